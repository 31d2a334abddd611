package policy

import (
	"maps"
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/dependencies"
)

// A footprint is what a rule of cluster or move scope reads, at most. It is found in the
// compiled text, without running it: in the rule and in all that it refers to. What
// the text does not show for certain counts as read.
type footprint struct {
	always                     bool // more than is told apart here: ask in every cycle
	cluster, hosts, vms, loads bool
	marked                     bool
	names                      []string // of marked, sorted; nil for all of them
	fleet                      []string // keys of data.fleet
	derived                    []string // rules that read nothing of input, in place of what they read
	host, vm                   fields
	apart                      bool // what it says of a VM it says from that VM alone: see speaksApart
}

// fields are those of a host or VM. The zero value is none.
type fields struct {
	all  bool
	some map[string]bool
}

func (f *fields) add(name string) {
	if f.some == nil {
		f.some = map[string]bool{}
	}
	f.some[name] = true
}

// unite adds those of g.
func (f *fields) unite(g *fields) {
	f.all = f.all || g.all
	for name := range g.some {
		f.add(name)
	}
}

// any reports whether one of the names is among them.
func (f *fields) any(names []string) bool {
	return f.all || slices.ContainsFunc(names, func(name string) bool { return f.some[name] })
}

func (f *fields) equal(g *fields) bool { return f.all == g.all && maps.Equal(f.some, g.some) }

// What a variable can stand for, as a set.
type thing uint8

const (
	aHost thing = 1 << iota
	aVM
)

// A tracker finds what one rule reads.
type tracker struct {
	c      *ast.Compiler
	consts func(ast.Ref) (string, bool) // the value of a ref that reads parameters and facts alone
	whole  bool                         // look into rules that read nothing of input too
	with   bool                         // a document is replaced somewhere

	rule *ast.Rule                       // that is being read
	at   []ast.Body                      // in it, the outermost first
	vars map[*ast.Rule]map[ast.Var]thing // hosts and VMs, parameters of functions included
	seen map[*ast.Rule]bool
	grew bool // vars did
	out  footprint
}

// footprintOf finds what the rule at path reads.
func footprintOf(c *ast.Compiler, path ast.Ref, consts func(ast.Ref) (string, bool)) footprint {
	r := &tracker{c: c, consts: consts}
	r.read(path)
	if r.with {
		// What a rule is worth with another document in place is not what it is worth.
		r.whole, r.consts = true, nil
		r.read(path)
	}
	r.out.apart = !r.with && !r.out.always && !r.out.loads && r.out.listed() && speaksApart(c, path)
	slices.Sort(r.out.fleet)
	slices.Sort(r.out.derived)
	slices.Sort(r.out.names)
	return r.out
}

// read walks until no more variables turn out to be hosts or VMs.
func (r *tracker) read(path ast.Ref) {
	r.vars = map[*ast.Rule]map[ast.Var]thing{}
	for r.grew = true; r.grew; {
		r.grew, r.out, r.seen = false, footprint{}, map[*ast.Rule]bool{}
		r.follow(r.c.GetRulesExact(path))
	}
}

// listed reports whether the lists of VMs that are read are known one by one.
func (r *footprint) listed() bool { return (r.vms || r.marked) && (!r.marked || r.names != nil) }

func (r *tracker) follow(rules []*ast.Rule) {
	rule, at := r.rule, r.at
	for _, x := range rules {
		for ; x != nil && !r.seen[x]; x = x.Else {
			r.rule, r.at, r.seen[x] = x, []ast.Body{x.Body}, true
			for _, t := range x.Head.Reference[1:] {
				r.walk(t)
			}
			if x.Head.Key != nil {
				r.walk(x.Head.Key)
			}
			if x.Head.Value != nil {
				r.walk(x.Head.Value)
			}
			r.walk(x.Body)
		}
	}
	r.rule, r.at = rule, at
}

func (r *tracker) walk(x any) {
	ast.NewGenericVisitor(func(x any) bool {
		switch x := x.(type) {
		case ast.Body:
			r.at = append(r.at, x)
			for _, e := range x {
				r.walk(e)
			}
			r.at = r.at[:len(r.at)-1]
			return true
		case *ast.With:
			r.with = true
		case *ast.Expr:
			return r.expr(x)
		case ast.Ref:
			r.ref(x)
			return true
		case ast.Var:
			r.used(x)
		}
		return false
	}).Walk(x)
}

// used notes that a variable is used other than by one of its fields.
func (r *tracker) used(v ast.Var) { r.all(r.vars[r.rule][v]) }

func (r *tracker) all(k thing) {
	r.out.host.all = r.out.host.all || k&aHost != 0
	r.out.vm.all = r.out.vm.all || k&aVM != 0
}

// field notes that a field is read of what is one of k.
func (r *tracker) field(k thing, t *ast.Term) {
	name, ok := t.Value.(ast.String)
	if !ok {
		r.all(k)
		return
	}
	if k&aHost != 0 {
		r.out.host.add(string(name))
	}
	if k&aVM != 0 {
		r.out.vm.add(string(name))
	}
}

// bind notes that a variable of a rule can be one of k.
func (r *tracker) bind(rule *ast.Rule, v ast.Var, k thing) {
	if r.vars[rule] == nil {
		r.vars[rule] = map[ast.Var]thing{}
	}
	if old := r.vars[rule][v]; old|k != old {
		r.vars[rule][v], r.grew = old|k, true
	}
}

// expr sees what is done with a host or VM other than reading a field of it, where
// that is harmless: giving it another name, or handing it to a function.
func (r *tracker) expr(e *ast.Expr) bool {
	terms, ok := e.Terms.([]*ast.Term)
	if !ok || len(e.With) > 0 {
		return false
	}
	if e.IsEquality() && len(terms) == 3 {
		return r.named(terms[1], terms[2]) || r.named(terms[2], terms[1])
	}
	op, ok := terms[0].Value.(ast.Ref)
	if !ok {
		return false
	}
	if op.String() == ast.ObjectGet.Name && r.got(terms) {
		return true
	}
	functions := r.c.GetRulesExact(op)
	if len(functions) > 0 {
		r.ref(op)
	}
	for i, arg := range terms[1:] {
		v, ok := arg.Value.(ast.Var)
		k := r.vars[r.rule][v]
		if !ok || k == 0 {
			r.walk(arg)
			continue
		}
		if len(functions) == 0 {
			r.all(k)
		}
		for _, f := range functions {
			for ; f != nil; f = f.Else {
				if i < len(f.Head.Args) {
					if p, ok := f.Head.Args[i].Value.(ast.Var); ok {
						r.bind(f, p, k)
						continue
					}
				}
				r.all(k)
			}
		}
	}
	return true
}

// named sees v = HOST and v = VM.
func (r *tracker) named(a, b *ast.Term) bool {
	v, ok := a.Value.(ast.Var)
	if !ok {
		return false
	}
	switch b := b.Value.(type) {
	case ast.Var:
		k := r.vars[r.rule][v] | r.vars[r.rule][b]
		if k == 0 {
			return false
		}
		r.bind(r.rule, v, k)
		r.bind(r.rule, b, k)
		return true
	case ast.Ref:
		k, at := itemOf(b)
		if k == 0 || len(b) != at+1 {
			return false
		}
		r.bind(r.rule, v, k)
		r.input(b)
		r.parts(b)
		return true
	}
	return false
}

// got sees object.get(HOST, "field", default).
func (r *tracker) got(terms []*ast.Term) bool {
	if len(terms) < 4 {
		return false
	}
	v, ok := terms[1].Value.(ast.Var)
	k := r.vars[r.rule][v]
	if !ok || k == 0 {
		return false
	}
	key := terms[2]
	if path, ok := key.Value.(*ast.Array); ok && path.Len() > 0 {
		key = path.Elem(0)
	}
	r.field(k, key)
	for _, t := range terms[2:] {
		r.walk(t)
	}
	return true
}

// itemOf says what the ref leads to or through, and where in it that stands.
func itemOf(ref ast.Ref) (thing, int) {
	if len(ref) < 2 || !ref[0].Equal(ast.InputRootDocument) {
		return 0, 0
	}
	key, _ := ref[1].Value.(ast.String)
	switch string(key) {
	case "vm":
		return aVM, 1
	case "from", "to":
		return aHost, 1
	case "hosts":
		return aHost, 2
	case "vms":
		return aVM, 2
	case "marked":
		return aVM, 3
	}
	return 0, 0
}

func (r *tracker) ref(ref ast.Ref) {
	switch head := ref[0].Value.(type) {
	case ast.Var:
		switch {
		case ref[0].Equal(ast.InputRootDocument):
			r.input(ref)
			if k, at := itemOf(ref); k != 0 && len(ref) > at+1 {
				r.field(k, ref[at+1])
			} else {
				r.all(k)
			}
		case ref[0].Equal(ast.DefaultRootDocument):
			r.data(ref)
		case len(ref) > 1:
			r.field(r.vars[r.rule][head], ref[1])
		default:
			r.used(head)
		}
	default:
		r.walk(ref[0])
	}
	r.parts(ref)
}

// parts walks what a ref is indexed with.
func (r *tracker) parts(ref ast.Ref) {
	for _, t := range ref[1:] {
		r.walk(t)
	}
}

// input notes which document of input is read.
func (r *tracker) input(ref ast.Ref) {
	var key ast.String
	if len(ref) > 1 {
		key, _ = ref[1].Value.(ast.String)
	}
	o := &r.out
	switch key {
	case "cluster":
		o.cluster = true
	case "hosts":
		o.hosts = true
	case "vms":
		o.vms = true
	case "vm_load": // it changes with every cycle
		o.loads, o.always = true, true
	case "marked":
		name, ok := "", false
		if len(ref) > 2 {
			name, ok = r.constant(ref[2])
		}
		switch {
		case !ok:
			o.names = nil
		case !o.marked:
			o.names = []string{name}
		case o.names != nil && !slices.Contains(o.names, name):
			o.names = append(o.names, name)
		}
		o.marked = true
	case "vm", "from", "to", "why", "move", "plan", "moves", "links":
	default: // all of it, or what we do not know
		*o = footprint{always: true, cluster: true, hosts: true, vms: true, loads: true, marked: true, fleet: o.fleet, derived: o.derived, host: fields{all: true}, vm: fields{all: true}}
	}
}

// constant is the string that a term must be for the bodies around it to hold, where
// the text tells.
func (r *tracker) constant(t *ast.Term) (string, bool) {
	switch v := t.Value.(type) {
	case ast.String:
		return string(v), true
	case ast.Ref:
		if r.consts != nil {
			return r.consts(v)
		}
	case ast.Var:
		for _, body := range r.at {
			for _, e := range body {
				if x, ref := equality(e); ref != nil && x == v && r.consts != nil {
					if s, ok := r.consts(ref); ok {
						return s, true
					}
				}
			}
		}
	}
	return "", false
}

// data notes what is read of data.
func (r *tracker) data(ref ast.Ref) {
	key := func(i int) string {
		if i >= len(ref) {
			return ""
		}
		k, _ := ref[i].Value.(ast.String)
		return string(k)
	}
	switch key(1) {
	case "params", "facts": // they belong to the bundle
		return
	case "fleet":
		if k := key(2); k != "" {
			if !slices.Contains(r.out.fleet, k) {
				r.out.fleet = append(r.out.fleet, k)
			}
			return
		}
	case "placement":
		rules := r.c.GetRules(ref.ConstantPrefix())
		if len(rules) == 0 {
			break
		}
		if path, ok := r.derives(rules, ref); ok && !r.whole {
			if !slices.Contains(r.out.derived, path) {
				r.out.derived = append(r.out.derived, path)
			}
			return
		}
		r.follow(rules)
		return
	}
	r.out.always = true
}

// derives reports whether the ref leads to one rule that is no function and reads
// nothing of input, and gives the rule's path.
func (r *tracker) derives(rules []*ast.Rule, ref ast.Ref) (string, bool) {
	path := rules[0].Ref().GroundPrefix()
	if !ref.HasPrefix(path) {
		return "", false
	}
	for _, x := range rules {
		if len(x.Head.Args) > 0 || !x.Ref().GroundPrefix().Equal(path) || readsInput(r.c, x) {
			return "", false
		}
	}
	return path.String(), true
}

// readsInput reports whether any of input may be read where x is evaluated. If named,
// only those documents count, and input as a whole.
func readsInput(c *ast.Compiler, x any, named ...string) bool {
	refs, err := dependencies.Base(c, x)
	return err != nil || slices.ContainsFunc(refs, func(r ast.Ref) bool {
		if !r[0].Equal(ast.InputRootDocument) {
			return false
		}
		if len(r) == 1 || len(named) == 0 {
			return true
		}
		key, ok := r[1].Value.(ast.String)
		return !ok || slices.Contains(named, string(key))
	})
}
