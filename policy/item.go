package policy

import (
	"fmt"
	"math"
	"slices"
	"unicode/utf8"

	"github.com/open-policy-agent/opa/v1/ast"

	"heliostat/engine"
)

// maxReason is the longest reason, in characters.
const maxReason = 500

// itemKeys are the keys of items, as terms.
var itemKeys interner

// An item is one object of a rule's set while it is read. The first thing that
// is wrong with it sticks; reading on gives zero values.
type item struct {
	obj  ast.Object
	snap *engine.Snapshot
	// cluster is the one asked about, or None: what an item says of a host or VM
	// outside it would be said again by every other cluster's query.
	cluster int32
	keys    []string // asked for so far
	found   int      // of those, how many it has
	err     error

	probe *[]field // takes what is asked for; see ruleSpec.fields
	spare bool     // what is asked for next need not be there; set while probing alone
}

func (it *item) fail(format string, args ...any) {
	if it.err == nil {
		it.err = fmt.Errorf(format, args...)
	}
}

// get returns the value under the key, nil where it is missing; required says
// whether that is a fault. Each key is asked for once.
func (it *item) get(key string, required bool) ast.Value {
	it.keys = append(it.keys, key)
	if it.probe != nil {
		*it.probe = append(*it.probe, field{key: key, required: required && !it.spare, schema: map[string]any{}})
		it.spare = false
	}
	t := it.obj.Get(itemKeys.str(key))
	if t == nil {
		if required {
			it.fail("%q is missing", key)
		}
		return nil
	}
	it.found++
	return t.Value
}

// optional reports whether there is a value under a key that need not be there.
// While the item is only described there is.
func (it *item) optional(key string) bool {
	it.spare = it.probe != nil
	return it.spare || it.obj.Get(itemKeys.str(key)) != nil
}

// done reports what was wrong, keys that nobody asked for included.
func (it *item) done() error {
	if it.err == nil && it.found != it.obj.Len() {
		for _, k := range it.obj.Keys() {
			if s, ok := k.Value.(ast.String); !ok || !slices.Contains(it.keys, string(s)) {
				it.fail("unknown key %v: one of %q", k, it.keys)
			}
		}
	}
	return it.err
}

func (it *item) str(key string) string {
	v := it.get(key, true)
	it.describe(textSchema)
	s, ok := v.(ast.String)
	if !ok && v != nil {
		it.fail("%q is %s, not a string", key, ast.ValueName(v))
	}
	return string(s)
}

// oneOf reads a string of a closed list.
func (it *item) oneOf(key string, names ...string) string {
	s := it.str(key)
	if it.probe != nil {
		it.describe(map[string]any{"enum": names})
	}
	if it.err == nil && !slices.Contains(names, s) {
		it.fail("%q is %q: one of %q", key, s, names)
	}
	return s
}

func (it *item) reason() string {
	s := it.str("reason")
	it.describe(reasonSchema)
	if n := utf8.RuneCountInString(s); it.err == nil && (n == 0 || n > maxReason) {
		it.fail("\"reason\" has %d characters, not 1 to %d", n, maxReason)
	}
	return s
}

func (it *item) number(key string) (ast.Number, bool) {
	v := it.get(key, true)
	n, ok := v.(ast.Number)
	if !ok && v != nil {
		it.fail("%q is %s, not a number", key, ast.ValueName(v))
	}
	return n, ok
}

// whole reads an integer between the bounds.
func (it *item) whole(key string, lo, hi int64) int64 {
	n, ok := it.number(key)
	if it.probe != nil {
		it.describe(map[string]any{"type": "integer", "minimum": lo, "maximum": hi})
	}
	if !ok {
		return 0
	}
	i, ok := n.Int64()
	if !ok || i < lo || i > hi {
		it.fail("%q is %v, not an integer from %d to %d", key, n, lo, hi)
	}
	return i
}

// scaled reads a number between the bounds and returns it times scale, rounded.
func (it *item) scaled(key string, lo, hi, scale float64) int64 {
	n, ok := it.number(key)
	if it.probe != nil {
		it.describe(map[string]any{"type": "number", "minimum": lo, "maximum": hi})
	}
	if !ok {
		return 0
	}
	f, ok := n.Float64()
	if !ok || math.IsNaN(f) || f < lo || f > hi {
		it.fail("%q is %v, not a number from %v to %v", key, n, lo, hi)
		return 0
	}
	return int64(math.Round(f * scale))
}

// moment reads Unix seconds; null, and a missing optional one, is no moment.
func (it *item) moment(key string, required bool) engine.Unix {
	v := it.get(key, required)
	it.describe(momentSchema)
	switch v := v.(type) {
	case nil, ast.Null:
		return 0
	case ast.Number:
		if i, ok := v.Int64(); ok && i >= 0 {
			return engine.Unix(i)
		}
		it.fail("%q is %v, not whole seconds since 1970", key, v)
	default:
		it.fail("%q is %s, not a number or null", key, ast.ValueName(v))
	}
	return 0
}

// vm reads the ID of a VM of the cluster asked about.
func (it *item) vm() int32 {
	id := it.str("vm")
	if it.err != nil {
		return engine.None
	}
	v, ok := it.snap.FindVM(engine.VMID(id))
	switch {
	case !ok:
		it.fail("no VM %q", id)
	case it.snap.VMCluster(v) != it.cluster:
		it.fail("VM %q is not in the cluster asked about", id)
	}
	return v
}

// host reads the ID of a host of the cluster asked about.
func (it *item) host() int32 {
	id := it.str("host")
	if it.err != nil {
		return engine.None
	}
	h, ok := it.snap.FindHost(engine.HostID(id))
	switch {
	case !ok:
		it.fail("no host %q", id)
	case it.snap.Hosts[h].Cluster != it.cluster:
		it.fail("host %q is not in the cluster asked about", id)
	}
	return h
}

func (it *item) site() int32 {
	id := it.str("site")
	s, ok := it.snap.FindSite(engine.SiteID(id))
	if it.err == nil && !ok {
		it.fail("no site %q", id)
	}
	return s
}

// place reads kind and id of something that exists. The fleet needs no id.
func (it *item) place(kinds ...string) engine.Subject {
	kind := it.oneOf("kind", kinds...)
	if kind == "fleet" {
		if v := it.get("id", false); v != nil && v.Compare(ast.String("")) != 0 {
			it.fail("the fleet has no id")
		}
		return engine.Subject{Kind: kind}
	}
	id := it.str("id")
	if it.err == nil && !exists(it.snap, kind, id) {
		it.fail("no %s %q", kind, id)
	}
	return engine.Subject{Kind: kind, ID: id}
}

func exists(s *engine.Snapshot, kind, id string) (ok bool) {
	switch kind {
	case "site":
		_, ok = s.FindSite(engine.SiteID(id))
	case "cluster":
		_, ok = s.FindCluster(engine.ClusterID(id))
	case "host":
		_, ok = s.FindHost(engine.HostID(id))
	case "vm":
		_, ok = s.FindVM(engine.VMID(id))
	case "datastore":
		_, ok = s.FindDatastore(engine.DatastoreID(id))
	}
	return ok
}

// each reads an array or a set of strings.
func (it *item) each(key string, f func(string)) {
	v := it.get(key, true)
	it.describe(namesSchema)
	list, ok := v.(interface{ Foreach(func(*ast.Term)) })
	if !ok {
		if v != nil {
			it.fail("%q is %s, not an array or a set", key, ast.ValueName(v))
		}
		return
	}
	list.Foreach(func(t *ast.Term) {
		s, ok := t.Value.(ast.String)
		if !ok {
			it.fail("%q holds %s, not strings", key, ast.ValueName(t.Value))
		}
		f(string(s))
	})
}
