package lab

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// A retrieval answers one PropertyFilterSpec. Unlike the simulator's, it does
// not copy values by way of XML: whatever reads them holds the lab's lock.
type retrieval struct {
	ctx   *simulator.Context
	specs map[string]*types.TraversalSpec
	seen  map[types.ManagedObjectReference]bool
	refs  []types.ManagedObjectReference
}

// selectObjects lists the objects that a filter selects, each once, in order.
// A missing root is a fault unless the filter says that it is none.
func selectObjects(ctx *simulator.Context, spec *types.PropertyFilterSpec) ([]types.ManagedObjectReference, types.BaseMethodFault) {
	r := &retrieval{ctx: ctx, specs: map[string]*types.TraversalSpec{}, seen: map[types.ManagedObjectReference]bool{}}
	for i := range spec.ObjectSet {
		o := &spec.ObjectSet[i]
		v, ok := managed(ctx, o.Obj)
		if !ok {
			if isTrue(spec.ReportMissingObjectsInResults) {
				continue
			}
			return nil, &types.ManagedObjectNotFound{Obj: o.Obj}
		}
		if o.SelectSet == nil || !isTrue(o.Skip) {
			r.add(o.Obj)
		}
		if f := r.walk(o.Obj, v, o.SelectSet, map[visit]bool{}); f != nil {
			return nil, f
		}
	}
	return r.refs, nil
}

func (r *retrieval) add(ref types.ManagedObjectReference) {
	if !r.seen[ref] && !hidden(r.ctx, ref) {
		r.seen[ref] = true
		r.refs = append(r.refs, ref)
	}
}

// A visit keeps a traversal from walking the same way twice.
type visit struct {
	ref  types.ManagedObjectReference
	spec *types.TraversalSpec
}

func (r *retrieval) walk(ref types.ManagedObjectReference, v reflect.Value, set []types.BaseSelectionSpec, done map[visit]bool) types.BaseMethodFault {
	for _, s := range set {
		if t, ok := s.(*types.TraversalSpec); ok && t.Name != "" {
			r.specs[t.Name] = t
		}
	}
	for _, s := range set {
		t, ok := s.(*types.TraversalSpec)
		if !ok {
			if t = r.specs[s.GetSelectionSpec().Name]; t == nil {
				return &types.InvalidArgument{InvalidProperty: "undefined TraversalSpec name"}
			}
		}
		if done[visit{ref, t}] || !isKind(v.Type(), t.Type) {
			continue
		}
		done[visit{ref, t}] = true
		val, _ := pathValue(v, t.Path)
		for _, child := range references(val) {
			if !isTrue(t.Skip) {
				r.add(child)
			}
			if cv, ok := managed(r.ctx, child); ok {
				if f := r.walk(child, cv, t.SelectSet, done); f != nil {
					return f
				}
			}
		}
	}
	return nil
}

// managed finds the part of an object that is its vSphere managed object.
func managed(ctx *simulator.Context, ref types.ManagedObjectReference) (reflect.Value, bool) {
	obj := ctx.Session.Get(ref)
	if obj == nil || hidden(ctx, ref) {
		return reflect.Value{}, false
	}
	if g, ok := obj.(interface{ Get() mo.Reference }); ok {
		obj = g.Get()
	}
	return moValue(obj), true
}

const moPackage = "github.com/vmware/govmomi/vim25/mo"

func moValue(obj mo.Reference) reflect.Value {
	v := reflect.ValueOf(obj).Elem()
	for v.Type().PkgPath() != moPackage {
		if v = v.Field(0); v.Kind() == reflect.Pointer {
			v = v.Elem()
		}
	}
	return v
}

// isKind reports whether a managed object's type is, or embeds, the named one.
func isKind(t reflect.Type, name string) bool {
	if name == "" || t.Name() == name {
		return true
	}
	f, ok := t.FieldByName(name)
	return ok && f.Anonymous
}

// paths lists the properties that the filter asks of a type; all is for every one.
func paths(spec *types.PropertyFilterSpec, t reflect.Type) (out []string, all, match bool) {
	for i := range spec.PropSet {
		p := &spec.PropSet[i]
		if isKind(t, p.Type) {
			match = true
			all = all || isTrue(p.All)
			out = append(out, p.PathSet...)
		}
	}
	return out, all, match
}

// content reads an object's properties. It reports false for an object that is
// gone or that the filter asks nothing of.
func content(ctx *simulator.Context, spec *types.PropertyFilterSpec, ref types.ManagedObjectReference) (types.ObjectContent, bool) {
	c := types.ObjectContent{Obj: ref}
	v, ok := managed(ctx, ref)
	if !ok {
		return c, false
	}
	names, all, match := paths(spec, v.Type())
	if !match {
		return c, false
	}
	if all {
		everything(v, &c)
	}
	read(v, names, &c)
	return c, true
}

// read adds the named properties to an object's content.
func read(v reflect.Value, names []string, c *types.ObjectContent) {
	for i, name := range names {
		if slices.Contains(names[:i], name) || hasProperty(c, name) {
			continue
		}
		val, ok := pathValue(v, name)
		switch {
		case !ok:
			c.MissingSet = append(c.MissingSet, types.MissingProperty{Path: name, Fault: types.LocalizedMethodFault{Fault: &types.InvalidProperty{Name: name}}})
		case val != nil:
			c.PropSet = append(c.PropSet, types.DynamicProperty{Name: name, Val: val})
		}
	}
}

func hasProperty(c *types.ObjectContent, name string) bool {
	return slices.ContainsFunc(c.PropSet, func(p types.DynamicProperty) bool { return p.Name == name })
}

// everything adds all set properties of an object, embedded types' included.
func everything(v reflect.Value, c *types.ObjectContent) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		switch {
		case f.Anonymous:
			everything(v.Field(i), c)
		case f.Name == "Self" || unset(v.Field(i)):
		default:
			c.PropSet = append(c.PropSet, types.DynamicProperty{Name: strings.ToLower(f.Name[:1]) + f.Name[1:], Val: wrap(v.Field(i))})
		}
	}
}

// pathValue reads a dotted path, whose elements may be indexed by a key, as in
// config.extraConfig["a.b"].value. The value is nil where it, or what holds it,
// is unset; ok is false where the type has no such property.
func pathValue(v reflect.Value, path string) (val any, ok bool) {
	for path != "" {
		var name, key string
		name, key, path = cutPath(path)
		for v.Kind() == reflect.Interface || v.Kind() == reflect.Pointer {
			if v.IsNil() {
				return nil, true
			}
			v = v.Elem()
		}
		if v.Kind() != reflect.Struct || name == "" {
			return nil, false
		}
		v = v.FieldByName(strings.ToUpper(name[:1]) + name[1:])
		if !v.IsValid() {
			return nil, false
		}
		if key != "" {
			if v = item(v, key); !v.IsValid() {
				return nil, true
			}
		}
		if unset(v) {
			return nil, true
		}
	}
	return wrap(v), true
}

// cutPath takes the first element off a path: its name, and its key where it has one.
func cutPath(path string) (name, key, rest string) {
	i := strings.IndexAny(path, ".[")
	if i < 0 {
		return path, "", ""
	}
	name, rest = path[:i], path[i:]
	if rest[0] == '[' {
		end := strings.Index(rest, "]")
		if end < 0 {
			return "", "", ""
		}
		key, rest = strings.Trim(rest[1:end], `"`), rest[end+1:]
	}
	return name, key, strings.TrimPrefix(rest, ".")
}

// item finds the element of a list whose Key is key.
func item(list reflect.Value, key string) reflect.Value {
	if list.Kind() != reflect.Slice {
		return reflect.Value{}
	}
	for i := range list.Len() {
		v := list.Index(i)
		for v.Kind() == reflect.Interface || v.Kind() == reflect.Pointer {
			v = v.Elem()
		}
		if v.Kind() != reflect.Struct {
			return reflect.Value{}
		}
		if k := v.FieldByName("Key"); k.IsValid() && fmt.Sprint(k.Interface()) == key {
			return v
		}
	}
	return reflect.Value{}
}

func unset(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		return v.IsNil()
	case reflect.String, reflect.Slice:
		return v.Len() == 0
	default:
		return false
	}
}

var typeByName = types.TypeFunc()

// wrap makes a value what the wire wants: a slice becomes its ArrayOf type.
func wrap(v reflect.Value) any {
	if v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	if v.Kind() != reflect.Slice {
		return v.Interface()
	}
	switch s := v.Interface().(type) {
	case []string:
		return &types.ArrayOfString{String: s}
	case []uint8:
		return &types.ArrayOfByte{Byte: s}
	case types.ByteSlice:
		return &types.ArrayOfByte{Byte: s}
	case []int16:
		return &types.ArrayOfShort{Short: s}
	case []int32:
		return &types.ArrayOfInt{Int: s}
	case []int64:
		return &types.ArrayOfLong{Long: s}
	case []types.ManagedObjectReference:
		return &types.ArrayOfManagedObjectReference{ManagedObjectReference: s}
	}
	kind := strings.TrimPrefix(v.Type().Elem().Name(), "Base")
	t, ok := typeByName("ArrayOf" + kind)
	if !ok {
		return v.Interface()
	}
	a := reflect.New(t)
	a.Elem().FieldByName(kind).Set(v)
	return a.Interface()
}

func references(val any) []types.ManagedObjectReference {
	switch x := val.(type) {
	case types.ManagedObjectReference:
		return []types.ManagedObjectReference{x}
	case *types.ArrayOfManagedObjectReference:
		return x.ManagedObjectReference
	}
	return nil
}

func isTrue(b *bool) bool { return b != nil && *b }
