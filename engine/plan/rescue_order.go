package plan

import (
	"cmp"
	"math"
	"slices"

	"heliostat/engine"
)

// An order is in which VMs leave: by key, the smallest first, and those of one app
// one after another. nil keys: the smallest VM first.
type order struct {
	key    []float64
	app    []int32
	traded bool    // whatever their tier
	tight  bool    // the fullest host that holds a VM takes it, so that large ones find room
	wait   []bool  // by VM: it would be late, and keep others from leaving in time
	to     []int32 // by VM: the host that is chosen for it, None; nil for none
}

// tierKey is the tier as the order sees it.
func (b *builder) tierKey(tier int32) int32 {
	if b.order != nil && b.order.traded {
		return 0
	}
	return tier
}

// compare orders VMs within a tier.
func (o *order) compare(x, y int32) int {
	if o == nil {
		return 0
	}
	return cmp.Or(cmp.Compare(o.key[x], o.key[y]), cmp.Compare(o.app[x], o.app[y]))
}

// waits reports whether VM v is not to leave yet.
func (o *order) waits(v int32) bool { return o != nil && o.wait != nil && o.wait[v] }

// A rescuer is what Build knows of the evacuations with a deadline.
type rescuer struct {
	in     *engine.Input
	all    []*rescue
	price  [][]float64 // by evacuation and row, of the last order
	most   int64       // what no plan reaches more than that does as well as the last in each tier
	looked int64       // candidates evaluated
}

// newRescuer is nil when there is no such evacuation.
func newRescuer(in *engine.Input) *rescuer {
	if in.Decision == nil || !slices.ContainsFunc(in.Decision.Evacuations, evacDue) {
		return nil
	}
	b := survey(*in)
	x := &rescuer{in: in}
	for _, k := range b.rescues() {
		x.all = append(x.all, b.rescue(k))
	}
	return x
}

// A score is what an attempt saves: by evacuation, how many VMs of each tier work
// by the deadline, the highest first, and what they are worth.
type score struct {
	work  []int
	value int64
	all   bool // nothing is left to gain
}

// improve tries other orders than the one of the first attempt, where that leaves
// something, and returns what saves most.
func (x *rescuer) improve(b *builder) *builder {
	best := x.score(b)
	if best.all {
		return b
	}
	x.looked = b.evaluated
	try := func(o *order) {
		again := attempt(*x.in, o)
		x.looked += again.evaluated
		s := x.score(again)
		if s.better(&best, x.in.Config.TradeTiers) {
			b, best = again, s
		}
	}
	strict := x.order(&best, false)
	orders := []*order{strict}
	if x.in.Config.TradeTiers {
		orders = append(orders, x.order(&best, true))
	}
	for _, o := range orders {
		try(o)
		packed := *o
		packed.tight = true
		try(&packed)
		for _, tight := range []bool{false, true} {
			if !best.all && !x.near(&best) {
				try(x.pack(o, tight))
			}
		}
	}
	for range 3 { // what waits makes room, and what takes that may be late again
		wait := x.waiting(b, &best)
		if wait == nil {
			break
		}
		o := order{key: strict.key, app: strict.app}
		if b.order != nil {
			o = *b.order
			for v, yes := range o.wait {
				wait[v] = wait[v] || yes
			}
		}
		o.wait = wait
		before := b
		if try(&o); b == before {
			break
		}
	}
	b.evaluated = x.looked
	return b
}

// near reports whether so little is left to the bound that no more is looked for.
func (x *rescuer) near(s *score) bool { return s.value*1000 >= x.most*997 }

// waiting are the VMs that would be late and whose moves keep others from leaving
// in time: of those that are late, the first in rank are let go, as many as is best,
// and then one by one what still fits.
func (x *rescuer) waiting(b *builder, s *score) []bool {
	late := x.late(b)
	best, keep := *s, -1
	for _, n := range []int{0, len(late) / 8, len(late) / 4, len(late) / 2, len(late) * 3 / 4} {
		if now := x.scoreOf(leaveOut(b.actions, late[n:])); now.better(&best, x.in.Config.TradeTiers) {
			best, keep = now, n
		}
	}
	if keep < 0 {
		return nil
	}
	late = late[keep:]
	// About as much work for a large plan as for a small one.
	tries := min(max(4_000/len(b.actions), 4), 40)
	for k := 0; k < len(late) && tries > 0; tries-- {
		fewer := slices.Delete(slices.Clone(late), k, k+1)
		if now := x.scoreOf(leaveOut(b.actions, fewer)); now.better(&best, x.in.Config.TradeTiers) {
			best, late = now, fewer
		} else {
			k++
		}
	}
	wait := make([]bool, len(x.in.Snapshot.VMs))
	for _, i := range late {
		wait[b.acts[i].vm] = true
	}
	return wait
}

// late lists the moves of an attempt that end after the deadline, by rank.
func (x *rescuer) late(b *builder) []int32 {
	ends := newFluid(x.in, b.actions).run(nil)
	var out []int32
	for i := range b.actions {
		for _, r := range x.all {
			if v := b.acts[i].vm; b.actions[i].Kind == engine.Move && r.at[v] >= 0 && ends[i] > r.seconds {
				out = append(out, int32(i))
			}
		}
	}
	return out
}

func (s *score) better(x *score, traded bool) bool {
	if traded {
		return s.value > x.value
	}
	return cmp.Or(slices.Compare(s.work, x.work), cmp.Compare(s.value, x.value)) > 0
}

func (x *rescuer) score(b *builder) score { return x.scoreOf(b.actions) }

func (x *rescuer) scoreOf(actions []engine.Action) score {
	f := newFluid(x.in, actions)
	return x.tell(f, f.run(nil))
}

// tell is what is saved when the actions end so.
func (x *rescuer) tell(f *fluid, ends []float64) score {
	s := score{all: true}
	for _, r := range x.all {
		out, _ := r.out(f, ends)
		work, value := r.tally(r.works(out))
		s.work, s.value = append(s.work, work...), s.value+value
		s.all = s.all && !slices.Contains(out, false)
	}
	return s
}

// tally counts VMs by tier, and adds up what they are worth.
func (r *rescue) tally(which []bool) ([]int, int64) {
	n, value := make([]int, len(r.tiers)), int64(0)
	for i, yes := range which {
		if yes {
			n[r.rank[i]]++
			value += r.worth(int32(i))
		}
	}
	return n, value
}

// order is by what each app takes of what is scarce, at the prices of the bound,
// for what it is worth. What can work nowhere comes last.
func (x *rescuer) order(s *score, traded bool) *order {
	o := &order{traded: traded, key: make([]float64, len(x.in.Snapshot.VMs)), app: make([]int32, len(x.in.Snapshot.VMs))}
	for i := range o.key {
		o.key[i] = math.Inf(1)
	}
	tiers := 0
	x.price, x.most = x.price[:0], 0
	for _, r := range x.all {
		fewest := s.work[tiers : tiers+len(r.tiers)]
		tiers += len(r.tiers)
		if traded {
			fewest = nil
		}
		if r.options == nil {
			r.survey()
		}
		most, price := r.bound(s.value, fewest)
		x.most += most
		x.price = append(x.price, price)
		cost, worth := make([]float64, len(r.vms)), make([]float64, len(r.vms))
		for i, c := range r.costs(price) {
			a := r.app[i]
			worth[a] += float64(r.worth(int32(i)))
			if c < 0 || r.lost[i] {
				c = math.Inf(1)
			}
			cost[a] += c
		}
		for i, v := range r.vms {
			a := r.app[i]
			o.key[v], o.app[v] = cost[a]/worth[a], a
		}
	}
	return o
}

// leaveOut is the actions but those given, which nothing waits for.
func leaveOut(actions []engine.Action, which []int32) []engine.Action {
	at := nones(len(actions))
	out := make([]engine.Action, 0, len(actions))
	for i := range actions {
		if slices.Contains(which, int32(i)) {
			continue
		}
		a := actions[i]
		a.Rank, a.After = int32(i), nil
		for _, j := range actions[i].After {
			if at[j] >= 0 {
				a.After = append(a.After, at[j])
			}
		}
		at[i] = int32(len(out))
		out = append(out, a)
	}
	return out
}
