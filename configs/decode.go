package configs

import (
	"cmp"
	"encoding"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/agnivade/levenshtein"
	"go.yaml.in/yaml/v4"
)

// A Fault is one thing that is wrong with a configuration file.
type Fault struct {
	File   string `json:"file"`
	Line   int    `json:"line"`
	Column int    `json:"column"`
	Path   string `json:"path"` // such as sites[2].latitude; "" for the whole file
	What   string `json:"what"`
}

// String gives file:line:column: path: what.
func (f Fault) String() string {
	at := fmt.Sprintf("%s:%d:%d: ", f.File, f.Line, f.Column)
	if f.Path == "" {
		return at + f.What
	}
	return at + f.Path + ": " + f.What
}

// Faults are all that is wrong, in the file's order.
type Faults []Fault

// Error gives a line a fault.
func (f Faults) Error() string {
	lines := make([]string, len(f))
	for i := range f {
		lines[i] = f[i].String()
	}
	return strings.Join(lines, "\n")
}

// A decoder walks YAML nodes into structs, strictly, and goes on after a fault.
// Keys are the yaml tags of the fields, or else their json tags.
type decoder struct {
	file   string
	faults Faults
	nodes  map[string]*yaml.Node                   // by path: where each value stands
	text   func(key, value string) (string, error) // what a text becomes
}

func (d *decoder) fault(n *yaml.Node, path, format string, args ...any) {
	f := Fault{d.file, max(n.Line, 1), max(n.Column, 1), path, fmt.Sprintf(format, args...)}
	if !slices.Contains(d.faults, f) {
		d.faults = append(d.faults, f)
	}
}

// faultAt makes a fault of what a Validate said about a path: at the value, or
// where it would stand.
func (d *decoder) faultAt(path, what string) {
	at := path
	for d.nodes[at] == nil && at != "" {
		at = at[:max(strings.LastIndexAny(at, ".["), 0)]
	}
	for _, f := range d.faults {
		if f.Path != "" && (f.Path == path || strings.HasPrefix(path, f.Path+".") || strings.HasPrefix(path, f.Path+"[")) {
			return // what could not be read has been named already
		}
	}
	d.fault(d.nodes[at], path, "%s", what)
}

var (
	textType     = reflect.TypeFor[encoding.TextUnmarshaler]()
	durationType = reflect.TypeFor[time.Duration]()
	anyType      = reflect.TypeFor[any]()
)

// value decodes n into v, which is settable.
func (d *decoder) value(n *yaml.Node, v reflect.Value, path string) {
	d.nodes[path] = n
	if !d.plain(n, path) {
		return
	}
	if x, ok := v.Addr().Interface().(interface{ SetDefaults() }); ok {
		x.SetDefaults()
	}
	t := v.Type()
	switch {
	case reflect.PointerTo(t).Implements(textType):
		d.textValue(n, v, path)
	case t == durationType:
		d.duration(n, v, path)
	case t == anyType:
		v.Set(reflect.ValueOf(d.untyped(n, path)))
	case t.Kind() == reflect.Pointer:
		v.Set(reflect.New(t.Elem()))
		d.value(n, v.Elem(), path)
	case t.Kind() == reflect.Struct:
		d.structure(n, v, path)
	case t.Kind() == reflect.Map:
		d.mapping(n, v, path)
	case t.Kind() == reflect.Slice, t.Kind() == reflect.Array:
		d.sequence(n, v, path)
	default:
		d.scalar(n, v, path)
	}
}

// plain refuses what a configuration has no use for: no value, aliases, and tags.
func (d *decoder) plain(n *yaml.Node, path string) bool {
	switch {
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		d.fault(n, path, "anchors and aliases are not supported; write the value out")
	case n.Style&yaml.TaggedStyle != 0:
		d.fault(n, path, "tags such as %s are not supported", n.ShortTag())
	case n.ShortTag() == "!!null":
		d.fault(n, path, "has no value; give it one or remove the key")
	default:
		return true
	}
	return false
}

var kindNames = map[yaml.Kind]string{yaml.MappingNode: "a mapping", yaml.SequenceNode: "a list"}

// is reports whether the node is of the kind, and else says what was wanted.
func (d *decoder) is(n *yaml.Node, kind yaml.Kind, path, want string) bool {
	if n.Kind != kind {
		d.fault(n, path, "want %s, not %s", want, cmp.Or(kindNames[n.Kind], strconv.Quote(n.Value)))
	}
	return n.Kind == kind
}

// keys calls f for each key of a mapping, and refuses duplicates.
func (d *decoder) keys(n *yaml.Node, path string, f func(key, value *yaml.Node, path string)) {
	first := map[string]*yaml.Node{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		at := join(path, k.Value)
		switch {
		case k.Kind != yaml.ScalarNode || k.ShortTag() == "!!merge":
			d.fault(k, path, "want a plain key")
		case first[k.Value] != nil:
			d.fault(k, at, "given twice; first on line %d", first[k.Value].Line)
		default:
			first[k.Value] = k
			f(k, v, at)
		}
	}
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func (d *decoder) structure(n *yaml.Node, v reflect.Value, path string) {
	if !d.is(n, yaml.MappingNode, path, "a mapping") {
		return
	}
	fields := fieldsOf(v)
	d.keys(n, path, func(k, value *yaml.Node, at string) {
		field, ok := fields[k.Value]
		if !ok {
			d.fault(k, at, "unknown key%s", nearest(k.Value, fields))
			return
		}
		d.value(value, field, at)
	})
}

// fieldsOf lists a struct's fields by key.
func fieldsOf(v reflect.Value) map[string]reflect.Value {
	fields := map[string]reflect.Value{}
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if !f.IsExported() {
			continue
		}
		tag, ok := f.Tag.Lookup("yaml")
		if !ok {
			tag = f.Tag.Get("json")
		}
		name, option, _ := strings.Cut(tag, ",")
		switch {
		case option == "inline":
			maps.Copy(fields, fieldsOf(v.Field(i)))
		case name != "-" && name != "":
			fields[name] = v.Field(i)
		}
	}
	return fields
}

// nearest suggests a key that may have been meant.
func nearest(key string, fields map[string]reflect.Value) string {
	best, least := "", max(2, len(key)/3)+1
	names := slices.Sorted(maps.Keys(fields))
	for _, k := range names {
		if n := levenshtein.ComputeDistance(strings.ToLower(key), k); n < least {
			best, least = k, n
		}
	}
	if best == "" {
		return "; known are " + strings.Join(names, ", ")
	}
	return fmt.Sprintf("; did you mean %s?", best)
}

func (d *decoder) mapping(n *yaml.Node, v reflect.Value, path string) {
	if !d.is(n, yaml.MappingNode, path, "a mapping") {
		return
	}
	v.Set(reflect.MakeMap(v.Type()))
	d.keys(n, path, func(k, value *yaml.Node, at string) {
		x := reflect.New(v.Type().Elem()).Elem()
		d.value(value, x, at)
		v.SetMapIndex(reflect.ValueOf(k.Value).Convert(v.Type().Key()), x)
	})
}

func (d *decoder) sequence(n *yaml.Node, v reflect.Value, path string) {
	if !d.is(n, yaml.SequenceNode, path, "a list") {
		return
	}
	if v.Kind() == reflect.Array && v.Len() != len(n.Content) {
		d.fault(n, path, "want %d items, not %d", v.Len(), len(n.Content))
		return
	}
	if v.Kind() == reflect.Slice {
		v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
	}
	for i, item := range n.Content {
		d.value(item, v.Index(i), fmt.Sprintf("%s[%d]", path, i))
	}
}

func (d *decoder) textValue(n *yaml.Node, v reflect.Value, path string) {
	if !d.is(n, yaml.ScalarNode, path, "a text") {
		return
	}
	if err := v.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(n.Value)); err != nil {
		d.fault(n, path, "%v", err)
	}
}

func (d *decoder) duration(n *yaml.Node, v reflect.Value, path string) {
	if !d.is(n, yaml.ScalarNode, path, "a duration") {
		return
	}
	x, err := time.ParseDuration(n.Value)
	if err != nil || n.ShortTag() != "!!str" {
		d.fault(n, path, "want a duration with its unit, such as 90s, 5m or 2h, not %q", n.Value)
		return
	}
	v.SetInt(int64(x))
}

func (d *decoder) scalar(n *yaml.Node, v reflect.Value, path string) {
	want := map[reflect.Kind]string{reflect.String: "a text", reflect.Bool: "true or false", reflect.Float64: "a number"}[v.Kind()]
	if want == "" {
		want = "a whole number"
	}
	if !d.is(n, yaml.ScalarNode, path, want) {
		return
	}
	tag := n.ShortTag()
	bad := func() { d.fault(n, path, "want %s, not %q", want, n.Value) }
	switch v.Kind() {
	case reflect.String:
		d.stringValue(n, v, path)
	case reflect.Bool:
		if tag != "!!bool" || (n.Value != "true" && n.Value != "false") {
			bad()
			return
		}
		v.SetBool(n.Value == "true")
	case reflect.Float64:
		if f, ok := d.number(n, path); ok {
			v.SetFloat(f)
		}
	case reflect.Int, reflect.Int32, reflect.Int64:
		i, err := strconv.ParseInt(n.Value, 10, v.Type().Bits())
		if tag != "!!int" || err != nil || octal(n.Value) {
			bad()
			return
		}
		v.SetInt(i)
	default:
		panic(fmt.Sprintf("configs: %s has a type that is not decoded: %s", path, v.Type()))
	}
}

// octal reports whether YAML 1.1 would read the number otherwise than it looks.
func octal(s string) bool {
	s = strings.TrimLeft(s, "+-")
	return len(s) > 1 && s[0] == '0' && s[1] != '.'
}

func (d *decoder) number(n *yaml.Node, path string) (float64, bool) {
	f, err := strconv.ParseFloat(n.Value, 64)
	tag := n.ShortTag()
	switch {
	case tag == "!!float" && (err != nil || math.IsNaN(f) || math.IsInf(f, 0)): // .nan and .inf too
		d.fault(n, path, "want a finite number, not %q", n.Value)
	case (tag != "!!int" && tag != "!!float") || err != nil || octal(n.Value):
		d.fault(n, path, "want a number, not %q", n.Value)
	default:
		return f, true
	}
	return 0, false
}

func (d *decoder) stringValue(n *yaml.Node, v reflect.Value, path string) {
	if n.ShortTag() != "!!str" {
		d.fault(n, path, "want a text, not %s; write %q in quotes", n.Value, n.Value)
		return
	}
	s := n.Value
	if i := strings.IndexFunc(s, unseen); i >= 0 {
		d.fault(n, path, "%q has a character that cannot be seen", s)
		return
	}
	key := path[strings.LastIndexByte(path, '.')+1:]
	s, err := d.text(key, s)
	if err != nil {
		d.fault(n, path, "%v", err)
		return
	}
	v.SetString(s)
}

// untyped decodes what has no type: a policy's own parameters.
func (d *decoder) untyped(n *yaml.Node, path string) any {
	if n.Kind == yaml.MappingNode {
		m := map[string]any{}
		d.mapping(n, reflect.ValueOf(&m).Elem(), path)
		return m
	}
	if n.Kind == yaml.SequenceNode {
		s := []any{}
		d.sequence(n, reflect.ValueOf(&s).Elem(), path)
		return s
	}
	switch n.ShortTag() {
	case "!!bool":
		return decoded[bool](d, n, path)
	case "!!int":
		return decoded[int64](d, n, path)
	case "!!float":
		return decoded[float64](d, n, path)
	default:
		return n.Value
	}
}

func decoded[T any](d *decoder, n *yaml.Node, path string) T {
	var x T
	d.scalar(n, reflect.ValueOf(&x).Elem(), path)
	return x
}
