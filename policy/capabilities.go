package policy

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// allowed lists the built-ins that a policy may call. It is an allow-list so
// that an upgrade adds nothing unnoticed. Left out are the network, the clock,
// chance, the environment and the runtime; parsers of foreign formats; and what
// ignores cancellation: bits.lsh, graph.reachable_paths and regex.globs_match
// ran past 60 s when tried, net.cidr_expand fills memory.
const allowed = `
	assign eq equal neq lt lte gt gte
	plus minus mul div rem abs ceil floor round
	and or set_diff intersection union
	count sum product max min sort
	array.concat array.flatten array.reverse array.slice
	object.filter object.get object.keys object.remove object.subset object.union object.union_n
	json.filter json.remove json.patch json.is_valid json.marshal json.unmarshal
	concat contains endswith startswith format_int indexof indexof_n lower upper replace split substring
	sprintf strings.any_prefix_match strings.any_suffix_match strings.count strings.replace_n strings.reverse strings.split_n
	trim trim_left trim_prefix trim_right trim_space trim_suffix
	regex.find_all_string_submatch_n regex.find_n regex.is_valid regex.match regex.replace regex.split
	glob.match glob.quote_meta
	is_array is_boolean is_null is_number is_object is_set is_string type_name to_number
	numbers.range numbers.range_step walk graph.reachable
	bits.and bits.negate bits.or bits.rsh bits.xor
	net.cidr_contains net.cidr_intersects net.cidr_is_valid
	semver.compare semver.is_valid units.parse units.parse_bytes
	time.add_date time.clock time.date time.diff time.format time.parse_duration_ns time.parse_ns time.parse_rfc3339_ns time.weekday
	crypto.sha256 base64.encode base64.decode hex.encode hex.decode
	rego.metadata.chain rego.metadata.rule
	print internal.print internal.member_2 internal.member_3 internal.template_string internal.test_case
`

// Capabilities is what the policy engine may do for policies, in the form that
// its own tools read.
func Capabilities() *ast.Capabilities {
	c := ast.CapabilitiesForThisVersion()
	names := strings.Fields(allowed)
	c.Builtins = slices.DeleteFunc(slices.Clone(c.Builtins), func(b *ast.Builtin) bool { return !slices.Contains(names, b.Name) })
	c.AllowNet = []string{} // schemas cannot be fetched either
	return c
}

// CapabilitiesJSON is [Capabilities] as a file for Rego's own tools.
func CapabilitiesJSON() ([]byte, error) { return json.MarshalIndent(Capabilities(), "", " ") }

// refused reports whether the name is a built-in that is left out on purpose.
func refused(name string) bool {
	return slices.ContainsFunc(ast.Builtins, func(b *ast.Builtin) bool { return b.Name == name }) &&
		!slices.Contains(strings.Fields(allowed), name)
}
