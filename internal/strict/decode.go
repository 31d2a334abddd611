package strict

import (
	"cmp"
	"encoding"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/agnivade/levenshtein"
)

// A kind is what a value is in its text.
type kind uint8

const (
	null kind = iota
	boolean
	integer
	number // with a fraction or an exponent, or not finite
	text
	other // a scalar that is none of these, such as YAML's timestamp
	list
	mapping
)

var kindNames = map[kind]string{list: "a list", mapping: "a mapping"}

// A node is a value, and where it stands.
type node struct {
	kind         kind
	line, column int
	value        string  // of a scalar, without quotes
	keys         []*node // of a mapping: one for each item
	items        []*node
	refused      string // why it is refused whatever is wanted here; "" for not
}

// A Part is a value that is decoded later, by itself: what is wrong in it does
// not keep the rest of its document out.
type Part struct {
	d    *Document
	n    *node
	path string
}

// Decode is [Document.Decode] of the part.
func (p Part) Decode(v any) error {
	d := *p.d
	d.faults = nil
	d.value(p.n, reflect.ValueOf(v).Elem(), p.path)
	return d.Err()
}

// Decode puts the document into *v. A struct keeps what the document does not
// name; one with a method SetDefaults has it called first. The error is [Faults].
func (d *Document) Decode(v any) error {
	if d.root != nil {
		d.value(d.root, reflect.ValueOf(v).Elem(), "")
	}
	return d.Err()
}

var (
	textType     = reflect.TypeFor[encoding.TextUnmarshaler]()
	durationType = reflect.TypeFor[time.Duration]()
	anyType      = reflect.TypeFor[any]()
	partType     = reflect.TypeFor[Part]()
)

// value decodes n into v, which is settable.
func (d *Document) value(n *node, v reflect.Value, path string) {
	d.nodes[path] = n
	switch {
	case n.refused != "":
		d.fault(n, path, "%s", n.refused)
		return
	case n.kind == null:
		d.fault(n, path, "has no value; give it one or remove the key")
		return
	}
	if x, ok := v.Addr().Interface().(interface{ SetDefaults() }); ok {
		x.SetDefaults()
	}
	t := v.Type()
	switch {
	case t == partType:
		v.Set(reflect.ValueOf(Part{d, n, path}))
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

// is reports whether the node is of the kind, and else says what was wanted.
func (d *Document) is(n *node, want kind, path string) bool {
	if n.kind != want {
		d.fault(n, path, "want %s, not %s", kindNames[want], cmp.Or(kindNames[n.kind], strconv.Quote(n.value)))
	}
	return n.kind == want
}

// isScalar reports whether the node is a scalar, and else says what was wanted.
func (d *Document) isScalar(n *node, path, want string) bool {
	name, ok := kindNames[n.kind]
	if ok {
		d.fault(n, path, "want %s, not %s", want, name)
	}
	return !ok
}

// eachKey calls f for each key of a mapping, and refuses duplicates.
func (d *Document) eachKey(n *node, path string, f func(key, value *node, path string)) {
	first := map[string]*node{}
	for i, k := range n.keys {
		at := join(path, k.value)
		switch {
		case k.refused != "":
			d.fault(k, path, "%s", k.refused)
		case first[k.value] != nil:
			d.fault(k, at, "given twice; first on line %d", first[k.value].line)
		case !d.Unseen && strings.ContainsFunc(k.value, Unseen):
			d.fault(k, at, "the key %q has a character that cannot be seen", k.value)
		default:
			first[k.value] = k
			f(k, n.items[i], at)
		}
	}
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func (d *Document) structure(n *node, v reflect.Value, path string) {
	if !d.is(n, mapping, path) {
		return
	}
	fields := fieldsOf(v, d.bare)
	d.eachKey(d.gathered(n, fields), path, func(k, value *node, at string) {
		field, ok := fields[k.value]
		if !ok {
			d.unknown(k, at, fields)
			return
		}
		d.value(value, field, at)
	})
}

// unknown refuses a key that no field has, unless it may pass. In another case a
// key never passes: encoding/json would take it for the field's.
func (d *Document) unknown(k *node, path string, fields map[string]reflect.Value) {
	for name := range fields {
		if d.Unknown && strings.EqualFold(name, k.value) {
			d.fault(k, path, "unknown key; did you mean %s?", name)
		}
	}
	if !d.Unknown {
		d.fault(k, path, "unknown key%s", nearest(k.value, fields))
	}
}

// gathered makes lists of the elements that an XML document repeats, where a
// field is a list: what is repeated beyond that stays, to be refused.
func (d *Document) gathered(n *node, fields map[string]reflect.Value) *node {
	if !d.bare {
		return n
	}
	out := &node{kind: n.kind, line: n.line, column: n.column}
	lists := map[string]*node{}
	for i, k := range n.keys {
		if f, ok := fields[k.value]; ok && f.Kind() == reflect.Slice {
			if l := lists[k.value]; l != nil {
				l.items = append(l.items, n.items[i])
				continue
			}
			lists[k.value] = &node{kind: list, line: k.line, column: k.column, items: []*node{n.items[i]}}
			out.items = append(out.items, lists[k.value])
		} else {
			out.items = append(out.items, n.items[i])
		}
		out.keys = append(out.keys, k)
	}
	return out
}

// FieldsOf lists a struct's fields by key, as all formats but XML name them.
func FieldsOf(v reflect.Value) map[string]reflect.Value { return fieldsOf(v, false) }

// fieldsOf lists a struct's fields by key. Of XML an attribute has the key
// @name, the text beside attributes #text.
func fieldsOf(v reflect.Value, isXML bool) map[string]reflect.Value {
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
		if isXML {
			tag = f.Tag.Get("xml")
		}
		name, option, _ := strings.Cut(tag, ",")
		switch {
		case option == "inline":
			maps.Copy(fields, fieldsOf(v.Field(i), isXML))
		case option == "attr":
			fields["@"+name] = v.Field(i)
		case option == "chardata":
			fields["#text"] = v.Field(i)
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

func (d *Document) mapping(n *node, v reflect.Value, path string) {
	if !d.is(n, mapping, path) {
		return
	}
	v.Set(reflect.MakeMap(v.Type()))
	d.eachKey(n, path, func(k, value *node, at string) {
		x := reflect.New(v.Type().Elem()).Elem()
		d.value(value, x, at)
		v.SetMapIndex(reflect.ValueOf(k.value).Convert(v.Type().Key()), x)
	})
}

func (d *Document) sequence(n *node, v reflect.Value, path string) {
	if !d.is(n, list, path) {
		return
	}
	if v.Kind() == reflect.Array && v.Len() != len(n.items) {
		d.fault(n, path, "want %d items, not %d", v.Len(), len(n.items))
		return
	}
	if v.Kind() == reflect.Slice {
		v.Set(reflect.MakeSlice(v.Type(), len(n.items), len(n.items)))
	}
	for i, item := range n.items {
		d.value(item, v.Index(i), fmt.Sprintf("%s[%d]", path, i))
	}
}

func (d *Document) textValue(n *node, v reflect.Value, path string) {
	if !d.isScalar(n, path, "a text") {
		return
	}
	if err := v.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(n.value)); err != nil {
		d.fault(n, path, "%v", err)
	}
}

func (d *Document) duration(n *node, v reflect.Value, path string) {
	if !d.isScalar(n, path, "a duration") {
		return
	}
	x, err := time.ParseDuration(n.value)
	if err != nil || n.kind != text {
		d.fault(n, path, "want a duration with its unit, such as 90s, 5m or 2h, not %q", n.value)
		return
	}
	v.SetInt(int64(x))
}

func (d *Document) scalar(n *node, v reflect.Value, path string) {
	want := map[reflect.Kind]string{reflect.String: "a text", reflect.Bool: "true or false", reflect.Float64: "a number"}[v.Kind()]
	want = cmp.Or(want, "a whole number")
	if !d.isScalar(n, path, want) {
		return
	}
	bad := func() { d.fault(n, path, "want %s, not %q", want, n.value) }
	switch v.Kind() {
	case reflect.String:
		d.stringValue(n, v, path)
	case reflect.Bool:
		if (n.kind != boolean && !d.bare) || (n.value != "true" && n.value != "false") {
			bad()
			return
		}
		v.SetBool(n.value == "true")
	case reflect.Float64:
		if f, ok := d.number(n, path); ok {
			v.SetFloat(f)
		}
	case reflect.Int, reflect.Int32, reflect.Int64:
		i, err := strconv.ParseInt(n.value, 10, v.Type().Bits())
		if (n.kind != integer && !d.bare) || err != nil || disguised(n.value) {
			bad()
			return
		}
		v.SetInt(i)
	case reflect.Uint64:
		i, err := strconv.ParseUint(n.value, 10, 64)
		if (n.kind != integer && !d.bare) || err != nil || disguised(n.value) {
			bad()
			return
		}
		v.SetUint(i)
	default:
		panic(fmt.Sprintf("strict: %s has a type that is not decoded: %s", path, v.Type()))
	}
}

// disguised reports whether YAML 1.1 would read the number otherwise than it looks, or
// with what separates digits.
func disguised(s string) bool {
	s = strings.TrimLeft(s, "+-")
	return (len(s) > 1 && s[0] == '0' && s[1] != '.') || strings.ContainsRune(s, '_')
}

func (d *Document) number(n *node, path string) (float64, bool) {
	f, err := strconv.ParseFloat(n.value, 64)
	switch {
	case n.kind == number && (err != nil || math.IsNaN(f) || math.IsInf(f, 0)): // .nan and .inf too
		d.fault(n, path, "want a finite number, not %q", n.value)
	case (n.kind != integer && n.kind != number && !d.bare) || err != nil || math.IsNaN(f) || math.IsInf(f, 0) || disguised(n.value):
		d.fault(n, path, "want a number, not %q", n.value)
	default:
		return f, true
	}
	return 0, false
}

func (d *Document) stringValue(n *node, v reflect.Value, path string) {
	if n.kind != text {
		d.fault(n, path, "want a text, not %s; write %q in quotes", n.value, n.value)
		return
	}
	s, ok := d.seen(n, path)
	if !ok {
		return
	}
	if d.Text != nil {
		var err error
		if s, err = d.Text(path[strings.LastIndexByte(path, '.')+1:], s); err != nil {
			d.fault(n, path, "%v", err)
			return
		}
	}
	v.SetString(s)
}

// seen is a text of which everything can be seen.
func (d *Document) seen(n *node, path string) (string, bool) {
	if !d.Unseen && strings.ContainsFunc(n.value, Unseen) {
		d.fault(n, path, "%q has a character that cannot be seen", n.value)
		return "", false
	}
	return n.value, true
}

// untyped decodes what has no type: a policy's own parameters.
func (d *Document) untyped(n *node, path string) any {
	switch n.kind {
	case mapping:
		m := map[string]any{}
		d.mapping(n, reflect.ValueOf(&m).Elem(), path)
		return m
	case list:
		s := []any{}
		d.sequence(n, reflect.ValueOf(&s).Elem(), path)
		return s
	case boolean:
		return decoded[bool](d, n, path)
	case integer, number:
		if d.json {
			d.number(n, path) // as precise as it was written, but finite
			return json.Number(n.value)
		}
		if n.kind == integer {
			return decoded[int64](d, n, path)
		}
		return decoded[float64](d, n, path)
	default:
		s, _ := d.seen(n, path)
		return s
	}
}

func decoded[T any](d *Document, n *node, path string) T {
	var x T
	d.scalar(n, reflect.ValueOf(&x).Elem(), path)
	return x
}
