package plan

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"sync"

	"heliostat/engine"
	"heliostat/internal/parallel"
)

// finish ranks the actions, estimates when each ends, and sums the effect up.
func (b *builder) finish() *engine.Plan {
	prefix := fmt.Sprintf("c%d", b.in.Cycle)
	switch {
	case b.in.Level == engine.Advise:
		prefix += "a"
	case b.in.Level < engine.Advise:
		prefix += "s-" + b.in.Shadow
	}
	var ids sync.WaitGroup
	ids.Go(func() { b.number(prefix) })
	p := &engine.Plan{
		Cycle: b.in.Cycle, Level: b.in.Level, Shadow: b.in.Shadow, At: b.in.Now, Actions: b.actions, Holds: b.holds, Evaluated: b.evaluated,
	}
	if p.Actions == nil {
		p.Actions = []engine.Action{}
	}
	b.expect()
	ends := b.simulate()
	ids.Wait()
	b.effect(p, ends)
	b.conflicts()
	if p.Holds = b.holds; p.Holds == nil {
		p.Holds = []engine.Hold{}
	}
	return p
}

// write makes actions of all that was decided.
func (b *builder) write() {
	b.actions = make([]engine.Action, len(b.acts))
	parallel.Each(parts(len(b.acts)), func() func(int) {
		return func(part int) {
			for i := part * partSize; i < min((part+1)*partSize, len(b.acts)); i++ {
				x := &b.acts[i]
				if x.action != nil {
					b.actions[i] = *x.action
				} else {
					b.describe(&b.actions[i], x)
				}
				b.actions[i].After, b.actions[i].Rank = x.after, int32(i)
			}
		}
	})
}

// describe puts a plain move into words.
func (b *builder) describe(a *engine.Action, x *act) {
	vm := &b.s.VMs[x.vm]
	a.Kind, a.VM, a.Name, a.Moid = engine.Move, vm.ID, vm.Name, vm.Moid
	a.From, a.To = b.place(x.from), b.place(x.to)
	a.From.Pool, a.From.Folder, a.To.Pool, a.To.Folder = vm.Pool, vm.Folder, vm.Pool, vm.Folder
	a.Why, a.Estimate, a.Ledger.CostOnce = x.why, x.pace.estimate(), x.once
}

// number gives the actions their IDs, which share one text.
func (b *builder) number(prefix string) {
	text, at := make([]byte, 0, len(b.actions)*(len(prefix)+8)), make([]int, 1, len(b.actions)+1)
	for i := range b.actions {
		text = strconv.AppendInt(append(append(text, prefix...), '-'), int64(i)+1, 10)
		at = append(at, len(text))
	}
	all := string(text)
	for i := range b.actions {
		b.actions[i].ID = all[at[i]:at[i+1]]
	}
}

// expectMost is the largest plan whose moves are simulated beside one another,
// which takes about 0.1 s then. In a larger one each move's own estimate stands.
const expectMost = 20_000

// expect notes how long each move should last beside the others, and the line rate
// that it gets on average.
func (b *builder) expect() {
	if n := len(b.actions); n == 0 || n > expectMost {
		return
	}
	f := newFluid(&b.in, b.actions)
	starts, ends := f.times(nil)
	for i := range b.actions {
		a := &b.actions[i]
		if a.Kind != engine.Move || math.IsInf(ends[i], 1) {
			continue
		}
		e, fit := &a.Estimate, fitOf(&b.in, a)
		lasts := ends[i] - starts[i]
		e.ExpectS = int64(math.Ceil(lasts - grain))
		e.LowS, e.HighS = fit.Within(e.ExpectS)
		if data := lasts - f.fixed[i]; data > 0 {
			e.Mbps = int32(math.Round(float64(e.MemoryMiB+e.DiskMiB) * mbitPerMiB * fit.Slow / data))
		}
	}
}

// lanes are the slot units of one resource, by when each is free.
type lanes []int64

// at is when n lanes are free together, and take occupies the n that are free first.
func (l lanes) at(n int) int64 { return l[min(n, len(l))-1] }

func (l lanes) take(n int, until int64) {
	for i := range min(n, len(l)) {
		l[i] = until
	}
	slices.Sort(l)
}

// A clock estimates when actions end: each starts once its predecessors have
// ended and its hosts, their vMotion network and its link have slots. It is a
// list schedule by rank that never looks back, so the executor may do better.
type clock struct {
	b     *builder
	at    []int32 // by host: where in hosts + 1
	hosts []struct{ units, nics lanes }
	links []lanes
	ends  []int64
}

// simulate returns when each action should end, in seconds from now.
func (b *builder) simulate() []int64 {
	if len(b.actions) == 0 {
		return nil
	}
	k := clock{b: b, at: make([]int32, len(b.s.Hosts)), links: make([]lanes, len(b.s.Links)), ends: make([]int64, len(b.actions))}
	for i := range b.in.Open {
		r := &b.in.Open[i]
		a := &r.Action
		from, ok1 := b.s.FindHost(a.From.Host)
		to, ok2 := b.s.FindHost(a.To.Host)
		if a.Kind != engine.Move || !ok1 || !ok2 {
			continue
		}
		left := a.Estimate.Seconds
		if r.Started != 0 {
			left = max(left-int64(b.in.Now-r.Started), 0)
		}
		k.run(a, from, to, b.linkIndex(b.s.Hosts[from].Site, b.s.Hosts[to].Site), 0, left)
	}
	for i := range b.actions {
		a, x := &b.actions[i], &b.acts[i]
		start := int64(0)
		for _, j := range a.After {
			start = max(start, k.ends[j])
		}
		if a.Kind != engine.Move {
			k.ends[i] = start + a.Estimate.Seconds
			continue
		}
		k.ends[i] = k.run(a, x.from, x.to, x.link, start, a.Estimate.Seconds)
	}
	return k.ends
}

// run puts one move on the lanes and returns when it ends.
func (k *clock) run(a *engine.Action, from, to, link int32, start, secs int64) int64 {
	cost := k.b.c.Limits.Cost[a.Class()]
	type use struct {
		l lanes
		n int
	}
	var buf [5]use
	uses := buf[:0]
	for i, h := range [2]int32{from, to} {
		if i == 1 && to == from {
			break
		}
		units, nics := k.of(h)
		uses = append(uses, use{units, int(cost.Host)})
		if cost.NIC > 0 {
			uses = append(uses, use{nics, int(cost.NIC)})
		}
	}
	if link >= 0 {
		uses = append(uses, use{k.wan(link), 1})
	}
	for _, u := range uses {
		start = max(start, u.l.at(u.n))
	}
	for _, u := range uses {
		u.l.take(u.n, start+secs)
	}
	return start + secs
}

// of gives the lanes of host h: its units, and those of its vMotion network.
func (k *clock) of(h int32) (units, nics lanes) {
	if k.at[h] == 0 {
		all := make(lanes, max(k.b.c.Limits.HostUnits, 1)+max(k.b.nicUnits(h), 1))
		n := max(k.b.c.Limits.HostUnits, 1)
		k.hosts = append(k.hosts, struct{ units, nics lanes }{all[:n:n], all[n:]})
		k.at[h] = int32(len(k.hosts))
	}
	x := &k.hosts[k.at[h]-1]
	return x.units, x.nics
}

func (k *clock) wan(link int32) lanes {
	if k.links[link] == nil {
		k.links[link] = make(lanes, max(engine.LinkMoves(k.b.c.Limits, &k.b.s.Links[link]), 1))
	}
	return k.links[link]
}

// effect sums up what the plan achieves, and names the demands that will be late.
func (b *builder) effect(p *engine.Plan, ends []int64) {
	e := &p.Effect
	e.Power, e.Wishes = b.power, b.granted
	if len(p.Actions) == 0 {
		return
	}
	host, link := make([]int64, len(b.s.Hosts)), make([]int64, len(b.s.Links))
	for i := range p.Actions {
		a, x := &p.Actions[i], &b.acts[i]
		e.MakespanS = max(e.MakespanS, ends[i])
		e.PowerW += x.mw / 1000
		e.CostMicroEUR += a.Ledger.CostOnce
		e.MicroEURPerH += a.Ledger.SavesPerH
		e.LowerBoundS = max(e.LowerBoundS, a.Estimate.Seconds)
		if a.Kind == engine.Move {
			units := a.Estimate.Seconds * int64(b.c.Limits.Cost[a.Class()].Host)
			host[x.from] += units
			if x.to != x.from {
				host[x.to] += units
			}
			if x.link >= 0 {
				link[x.link] += a.Estimate.MemoryMiB + a.Estimate.DiskMiB
			}
		}
		if a.Deadline != 0 {
			b.judge(e, a, x, ends[i])
		}
	}
	for h := range host {
		e.LowerBoundS = max(e.LowerBoundS, host[h]/int64(max(b.c.Limits.HostUnits, 1)))
	}
	for i := range link {
		if rate := int64(b.s.Links[i].Mbps) * int64(b.c.Cost.EfficiencyPct) / 100; link[i] > 0 && rate > 0 {
			// 1 MiB is 8.388608 Mbit.
			e.LowerBoundS = max(e.LowerBoundS, link[i]*8_388_608/(rate*1_000_000))
		}
	}
}

// judge compares the expected end of a demanded action with its deadline. What
// will be late is moved all the same: it may yet be early.
func (b *builder) judge(e *engine.Effect, a *engine.Action, x *act, end int64) {
	at := b.in.Now + engine.Unix(end)
	if at <= a.Deadline {
		if a.Kind == engine.Move {
			e.VMsAtDeadline++
		}
		return
	}
	r := reason{
		code: engine.HoldDeadline, form: "it should end at %[1]s, %[3]d s after the deadline", where: at.String(), a: int64(at - a.Deadline),
	}
	if a.Kind == engine.Move {
		b.holdVM(x.vm, r, "leave by "+a.Deadline.String(), a.Demand, a.Why)
	} else {
		b.holdHost(x.from, r, a.Kind.String()+" by "+a.Deadline.String(), a.Demand, a.Why)
	}
}
