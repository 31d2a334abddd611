package policy

import (
	"cmp"
	"fmt"
	"slices"

	"heliostat/engine"
)

// A contradiction is two rules that cannot both have their way with one VM or host.
// The planner is safe with it, since nothing moves, which is why nobody would notice.
type contradiction struct {
	a, b  int32  // voices, a's name first
	where string // the VM or host, for people
	what  string // what each of the two wants
	n     int    // how many VMs or hosts
}

// contradictions finds those in what enforced and advised policies say, one for
// each pair of rules and kind, by name of the rules.
func contradictions(s *engine.Snapshot, whole *engine.Decision) []contradiction {
	d := whole.Audience(engine.Advise, "")
	f := &finder{snap: s, voices: d.Voices, found: map[clash]*contradiction{}}
	eachPair(d.AllowSites, func(x *engine.AllowSites) int32 { return x.VM }, func(x, y *engine.AllowSites) {
		if x.Sites != 0 && y.Sites != 0 && x.Sites&y.Sites == 0 {
			f.add(x.By, y.By, "VM "+s.VMs[x.VM].Name, "allow no site in common")
		}
	})
	eachPair(d.AllowHosts, func(x *engine.AllowHosts) int32 { return x.VM }, func(x, y *engine.AllowHosts) {
		common := slices.ContainsFunc(x.Hosts, func(h int32) bool { _, ok := slices.BinarySearch(y.Hosts, h); return ok })
		if len(x.Hosts) > 0 && len(y.Hosts) > 0 && !common {
			f.add(x.By, y.By, "VM "+s.VMs[x.VM].Name, "allow no host in common")
		}
	})
	f.groups(d.Groups)
	for _, k := range d.KeepOns {
		name := "host " + s.Hosts[k.Host].Name
		first, _ := slices.BinarySearchFunc(d.Drains, k.Host, func(x engine.Drain, h int32) int { return cmp.Compare(x.Host, h) })
		for i := first; i < len(d.Drains) && d.Drains[i].Host == k.Host; i++ {
			if d.Drains[i].Then != engine.ThenStandby { // which is an offer
				f.add(k.By, d.Drains[i].By, name, "demand that it stays on, and that it is emptied")
			}
		}
		for _, e := range d.Evacuations {
			if e.Place.Kind == "host" && e.Place.ID == string(s.Hosts[k.Host].ID) {
				f.add(k.By, e.By, name, "demand that it stays on, and that it is emptied")
			}
		}
	}
	out := make([]contradiction, 0, len(f.found))
	for _, c := range f.found {
		out = append(out, *c)
	}
	slices.SortFunc(out, func(a, b contradiction) int {
		return cmp.Or(cmp.Compare(a.a, b.a), cmp.Compare(a.b, b.b), cmp.Compare(a.what, b.what))
	})
	return out
}

// A clash is what is told once.
type clash struct {
	a, b int32
	what string
}

type finder struct {
	snap   *engine.Snapshot
	voices []engine.Voice
	found  map[clash]*contradiction
}

func (f *finder) add(x, y engine.By, where, what string) {
	a, b := min(x.Voice, y.Voice), max(x.Voice, y.Voice)
	if f.found[clash{a, b, what}] == nil {
		f.found[clash{a, b, what}] = &contradiction{a: a, b: b, where: where, what: what}
	}
	f.found[clash{a, b, what}].n++
}

// reach orders the places that a group may be about: who shares a host shares its
// cluster, and who shares that its site.
var reach = map[string]int{"host": 0, "cluster": 1, "site": 2}

// groups looks for pairs that are to share a place and not to share one around it.
func (f *finder) groups(groups []engine.Group) {
	const kinds = "want the two in one place, and in different ones"
	apart := map[int32][]*engine.Group{} // by VM
	for i := range groups {
		if g := &groups[i]; g.Kind == engine.GroupApart {
			for _, v := range g.VMs {
				apart[v] = append(apart[v], g)
			}
		}
	}
	for i := range groups {
		g := &groups[i]
		if g.Kind != engine.GroupTogether {
			continue
		}
		for n, v := range g.VMs {
			for _, other := range apart[v] {
				if reach[other.Scope] < reach[g.Scope] {
					continue // different hosts of one site: both can be had
				}
				for _, w := range g.VMs[n+1:] {
					if _, ok := slices.BinarySearch(other.VMs, w); ok {
						f.add(g.By, other.By, "VMs "+f.snap.VMs[v].Name+" and "+f.snap.VMs[w].Name, kinds)
					}
				}
			}
		}
	}
}

// eachPair visits the pairs of items that are about one VM. The items are sorted by it.
func eachPair[T any](items []T, vm func(*T) int32, visit func(x, y *T)) {
	for i := range items {
		for j := i + 1; j < len(items) && vm(&items[j]) == vm(&items[i]); j++ {
			visit(&items[i], &items[j])
		}
	}
}

// contradicted makes the contradictions that the decision before did not have
// faults, each at the rule of own, where one of the two is.
func (b *Bundle) contradicted(s *engine.Snapshot, now, before *engine.Decision, own func(file string) bool) Faults {
	name := func(v engine.Voice) string { return v.Policy + "." + v.Rule }
	known := map[string]bool{}
	if before != nil {
		for _, c := range contradictions(s, before) {
			known[name(before.Voices[c.a])+" "+name(before.Voices[c.b])+" "+c.what] = true
		}
	}
	var faults Faults
	for _, c := range contradictions(s, now) {
		if known[name(now.Voices[c.a])+" "+name(now.Voices[c.b])+" "+c.what] {
			continue
		}
		at, other := &b.queries[c.a], &b.queries[c.b]
		if !own(at.head.File) && own(other.head.File) {
			at, other = other, at
		}
		more := ""
		if c.n > 1 {
			more = fmt.Sprintf(", and %d more", c.n-1)
		}
		f := faultAt(at.head, "%s.%s contradicts %s.%s (%s:%d): of %s%s they %s", at.policy, at.rule, other.policy, other.rule, other.head.File, other.head.Row, c.where, more, c.what)
		f.Advice = "neither can have its way there: narrow one of the two, or turn one of the policies off"
		faults = append(faults, f)
	}
	return faults
}
