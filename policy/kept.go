package policy

import (
	"context"
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"

	"heliostat/engine"
)

// Cluster-scope answers are kept from one cycle to the next. A rule's answer is a
// function of the bundle and of what it reads, which its text tells (see footprint);
// the encoder gives a document that has not changed by the same pointer. So an answer
// holds for as long as the pointers do. Where only some VMs are others, and the rule
// speaks of each VM from that VM alone, it is asked about those. What is kept are the
// items that the rule returned, not what was read from them, since that refers to the
// snapshot by index. Rules that failed are asked again.

// A said is a rule's answer about one cluster.
type said struct {
	read  []*ast.Term // what it depends on, lists of VMs apart
	lists []*ast.Term // arrays of VMs: all, or those under each name
	items []*ast.Term // sorted; nil: it failed, or cannot be kept
}

// A derived rule reads nothing of input: it is worth the same for all clusters, and
// is evaluated once a cycle. Rules that read it depend on its value, and not on all
// that the value was made of.
type derived struct {
	prepared rego.PreparedEvalQuery
	value    *ast.Term // the last one, nil for undefined; guarded by the bundle's mu
}

// A cycle is what one evaluation asks all clusters with.
type cycle struct {
	d       *document
	data    ast.Object
	queries []*query // of cluster scope
	open    []bool   // by query: whether it may have something to say at all
	derived map[string]*ast.Term
}

// newCycle evaluates what is the same for all clusters, and encodes all VMs where a
// rule will ask for them.
func (b *Bundle) newCycle(ctx context.Context, d *document, data ast.Object) *cycle {
	x := &cycle{d: d, data: data, queries: b.of(scopeCluster), derived: map[string]*ast.Term{}}
	x.open = make([]bool, len(x.queries))
	all := false
	for i, q := range x.queries {
		if x.open[i] = q.open(ctx, data, d.now, b.deadline); !x.open[i] {
			continue
		}
		all = all || q.footprint.vms
		for _, path := range q.footprint.derived {
			if _, ok := x.derived[path]; !ok {
				x.derived[path] = b.derive(ctx, path, data, d.now)
			}
		}
	}
	if all {
		x.d = b.encodeAll(d)
	}
	return x
}

// derive evaluates a derived rule. Its value is the same term for as long as it is equal.
func (b *Bundle) derive(ctx context.Context, path string, data ast.Object, now engine.Unix) *ast.Term {
	r := b.derived[path]
	t, err := question{data: data, now: now, deadline: b.deadline}.value(ctx, &r.prepared)
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case err == errUndefined: //nolint:errorlint // it is returned as it is
		r.value = nil
	case err != nil:
		r.value = ast.NullTerm() // one of its own: who reads it has to be asked
	default:
		r.value = keep(r.value, t)
	}
	return r.value
}

// dependsOn lists what the query's answer about cluster c depends on, lists of VMs
// apart; ok is false where it cannot be told.
func (x *cycle) dependsOn(q *query, c int32) (read, lists []*ast.Term, ok bool) {
	r, in := &q.footprint, &x.d.inputs[c]
	if r.always {
		return nil, nil, false
	}
	if r.cluster {
		read = append(read, in.cluster)
	}
	switch {
	case r.hosts && r.host.any(loadKeys):
		read = append(read, in.hosts)
	case r.hosts:
		read = append(read, in.config)
	}
	for _, key := range r.fleet {
		read = append(read, x.d.parts[key]) // nil for a key that there is not
	}
	for _, path := range r.derived {
		read = append(read, x.derived[path])
	}
	if r.vms {
		lists = append(lists, in.vms)
	}
	switch {
	case !r.marked:
	case r.names == nil:
		read = append(read, in.marked)
	default:
		for _, name := range r.names {
			lists = append(lists, in.marks[name]) // nil for a name that there is not
		}
	}
	return read, lists, true
}

// askCluster asks the cluster-scope queries about cluster c, or takes what they
// said before where it still holds.
func (b *Bundle) askCluster(ctx context.Context, x *cycle, c int32, before []said) (answers []*answer, now []said) {
	answers, now = make([]*answer, 0, len(x.queries)), make([]said, len(x.queries))
	for i, q := range x.queries {
		if !x.open[i] {
			continue
		}
		var old said
		if before != nil {
			old = before[i]
		}
		read, lists, ok := x.dependsOn(q, c)
		var err error
		items := old.items
		if !ok || items == nil || !slices.Equal(old.read, read) {
			items, err = b.items(ctx, x, q, clusterInput(x.d, c, &q.footprint))
		} else if !slices.Equal(old.lists, lists) {
			items, err = b.askAgain(ctx, x, q, c, &old, lists)
		}
		var a *answer
		if err == nil {
			a, err = readAnswer(q.spec, q.voice, items, x.d.snap, c)
		}
		if err != nil {
			answers = append(answers, q.failed(err, x.d.snap, c))
			continue
		}
		answers = append(answers, a)
		if ok {
			now[i] = said{read, lists, items}
		}
	}
	return answers, now
}

// items asks a query for its set, sorted. It is not nil where there is no error.
func (b *Bundle) items(ctx context.Context, x *cycle, q *query, input ast.Value) ([]*ast.Term, error) {
	t, err := q.ask(ctx, x.data, input, x.d.now, b.deadline)
	if err != nil {
		return nil, err
	}
	return itemsOf(t)
}

// askAgain asks a query whose lists of VMs alone have changed: about the VMs that are
// in one of them and were not, or were and are not, where that is enough.
func (b *Bundle) askAgain(ctx context.Context, x *cycle, q *query, c int32, old *said, lists []*ast.Term) ([]*ast.Term, error) {
	changed := map[string]bool{}
	total := 0
	for i := range lists {
		a, b := elements(old.lists[i]), elements(lists[i])
		total += len(b)
		differing(a, b, func(vm *ast.Term) { changed[idOf(vm)] = true })
	}
	if !q.footprint.apart || 2*len(changed) > total {
		return b.items(ctx, x, q, clusterInput(x.d, c, &q.footprint))
	}
	few := func(list *ast.Term) *ast.Term {
		return array(slices.DeleteFunc(elements(list), func(vm *ast.Term) bool { return !changed[idOf(vm)] }))
	}
	in := x.d.inputs[c]
	if q.footprint.vms {
		in.vms = few(in.vms)
	}
	var o doc
	for _, name := range q.footprint.names {
		o.add(ast.StringTerm(name), few(in.marks[name]))
	}
	in.marked = o.term()
	items, err := b.items(ctx, x, q, x.d.input(c, &in, &q.footprint))
	if err != nil {
		return nil, err
	}
	return united(items, slices.DeleteFunc(slices.Clone(old.items), func(t *ast.Term) bool { return changed[vmOf(t)] })), nil
}

// united is what is in one of two sorted lists, sorted.
func united(a, b []*ast.Term) []*ast.Term {
	out := make([]*ast.Term, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		if ast.TermValueCompare(a[0], b[0]) <= 0 {
			out, a = append(out, a[0]), a[1:]
		} else {
			out, b = append(out, b[0]), b[1:]
		}
	}
	return append(append(out, a...), b...)
}

// differing calls f for what is in one of the lists and not in the other.
func differing(a, b []*ast.Term, f func(*ast.Term)) {
	for len(a) > 0 && len(b) > 0 && a[0] == b[0] {
		a, b = a[1:], b[1:]
	}
	for len(a) > 0 && len(b) > 0 && a[len(a)-1] == b[len(b)-1] {
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	in := make(map[*ast.Term]bool, len(a))
	for _, t := range a {
		in[t] = true
	}
	for _, t := range b {
		if !in[t] {
			f(t)
		}
		delete(in, t)
	}
	for t := range in {
		f(t)
	}
}

// saidBefore is what cluster-scope rules said in the evaluation before, by cluster.
func (b *Bundle) saidBefore() map[engine.ClusterID][]said {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.said
}

// keepSaid replaces it: clusters that have gone are forgotten.
func (b *Bundle) keepSaid(s *engine.Snapshot, perCluster [][]said) {
	m := make(map[engine.ClusterID][]said, len(perCluster))
	for c := range perCluster {
		m[s.Clusters[c].ID] = perCluster[c]
	}
	b.mu.Lock()
	b.said = m
	b.mu.Unlock()
}

// elements lists what is in an array, a nil one included. The list is the caller's.
func elements(t *ast.Term) []*ast.Term {
	if t == nil {
		return nil
	}
	arr, _ := t.Value.(*ast.Array)
	out := make([]*ast.Term, 0, arr.Len())
	arr.Foreach(func(x *ast.Term) { out = append(out, x) })
	return out
}

// idOf is the ID of a VM, and vmOf that of the VM of which an item speaks.
func idOf(vm *ast.Term) string { return text(vm, "id") }
func vmOf(t *ast.Term) string  { return text(t, "vm") }

func text(t *ast.Term, key string) string {
	obj, ok := t.Value.(ast.Object)
	if !ok {
		return ""
	}
	v := obj.Get(keyTerms[key])
	if v == nil {
		return ""
	}
	s, _ := v.Value.(ast.String)
	return string(s)
}
