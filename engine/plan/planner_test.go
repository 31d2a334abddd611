package plan

import (
	"bytes"
	"reflect"
	"runtime"
	"slices"
	"testing"

	"heliostat/engine"
	"heliostat/engine/sim"
	"heliostat/internal/race"
)

// A diary is a fleet to which little happens at a time.
type diary struct {
	*propCase
	in engine.Input
}

// anew is the snapshot that the next is made from.
func (d *diary) anew() *engine.Snapshot {
	s := d.in.Snapshot
	return &engine.Snapshot{
		At: s.At, Sites: slices.Clone(s.Sites), VCenters: s.VCenters, Clusters: slices.Clone(s.Clusters), Hosts: slices.Clone(s.Hosts), Datastores: slices.Clone(s.Datastores),
		Networks: slices.Clone(s.Networks), VMs: slices.Clone(s.VMs), Links: slices.Clone(s.Links), Rules: slices.Clone(s.Rules), Hazards: s.Hazards, Gaps: slices.Clone(s.Gaps),
	}
}

// happenings are what can happen to a snapshot.
var happenings = []func(d *diary, s *engine.Snapshot){
	func(*diary, *engine.Snapshot) {},
	func(d *diary, s *engine.Snapshot) { // loads change
		for range 1 + d.r.IntN(9) {
			v := &s.VMs[d.r.IntN(len(s.VMs))]
			if v.UsedMHz > 0 && v.UsedMiB > 0 {
				v.UsedMHz, v.UsedMiB, v.DirtyMbps = v.UsedMHz*int32(80+d.r.IntN(40))/100, v.UsedMiB*int32(80+d.r.IntN(40))/100, int32(d.r.IntN(100))
			}
		}
		if h := &s.Hosts[d.r.IntN(len(s.Hosts))]; h.UsedMHz > 0 {
			h.UsedMHz, h.UsedMiB = h.UsedMHz*int32(70+d.r.IntN(80))/100, h.UsedMiB*int32(70+d.r.IntN(80))/100
		}
	},
	func(d *diary, s *engine.Snapshot) { // somebody moves VMs
		for range 1 + d.r.IntN(3) {
			v := &s.VMs[d.r.IntN(len(s.VMs))]
			if h := int32(d.r.IntN(len(s.Hosts))); s.Hosts[h].VCenter == v.VCenter && s.Hosts[h].Power == engine.HostOn {
				v.Host = h
			}
		}
	},
	func(d *diary, s *engine.Snapshot) { // a host is full
		h := &s.Hosts[d.r.IntN(len(s.Hosts))]
		h.UsedMiB = h.MemoryMiB + 1
	},
	func(d *diary, s *engine.Snapshot) { // a VM is switched
		v := &s.VMs[d.r.IntN(len(s.VMs))]
		v.Power = engine.VMPower(d.r.IntN(2))
	},
	func(d *diary, s *engine.Snapshot) { // a VM vanishes: the last, to which no other refers by a higher index
		last := int32(len(s.VMs) - 1)
		for i := range s.Rules {
			s.Rules[i].VMs = slices.DeleteFunc(slices.Clone(s.Rules[i].VMs), func(v int32) bool { return v == last })
		}
		s.VMs = s.VMs[:last]
	},
	func(d *diary, s *engine.Snapshot) { // a VM appears
		v := s.VMs[d.r.IntN(len(s.VMs))]
		v.ID, v.NICs = s.VMs[len(s.VMs)-1].ID+"a", nil
		s.VMs = append(s.VMs, v)
	},
	func(d *diary, s *engine.Snapshot) { // a host fails or is back
		h := &s.Hosts[d.r.IntN(len(s.Hosts))]
		if h.Connected = !h.Connected; !h.Connected {
			h.Power = engine.HostUnknown
		} else {
			h.Power = engine.HostOn
		}
	},
	func(d *diary, s *engine.Snapshot) { // a host wakes, or is put to sleep
		k := d.r.IntN(len(s.Hosts))
		h := &s.Hosts[k]
		if h.Power == engine.HostStandby {
			h.Power, h.Mark = engine.HostOn, ""
		} else if len(d.in.Snapshot.VMsOn(int32(k))) == 0 {
			h.Power, h.Mark = engine.HostStandby, "standby c1-1"
		}
	},
	func(d *diary, s *engine.Snapshot) { // maintenance
		h := &s.Hosts[d.r.IntN(len(s.Hosts))]
		h.Maintenance = !h.Maintenance
	},
	func(d *diary, s *engine.Snapshot) { // what keeps a VM from moving
		v := &s.VMs[d.r.IntN(len(s.VMs))]
		switch d.r.IntN(4) {
		case 0:
			v.Obstacles ^= engine.ObPassthrough
		case 1:
			v.Task = "backup"
		case 2:
			v.Mode = engine.Mode(d.r.IntN(4))
		case 3:
			v.Home = engine.None
		}
	},
	func(d *diary, s *engine.Snapshot) { // a card on another network
		v := &s.VMs[d.r.IntN(len(s.VMs))]
		if v.NICs = slices.Clone(v.NICs); len(v.NICs) > 0 {
			v.NICs[0].Network = int32(d.r.IntN(len(s.Networks)))
		}
	},
	func(d *diary, s *engine.Snapshot) { // a MAC twice
		v, w := &s.VMs[d.r.IntN(len(s.VMs))], &s.VMs[d.r.IntN(len(s.VMs))]
		if v.NICs = slices.Clone(v.NICs); len(v.NICs) > 0 && len(w.NICs) > 0 {
			v.NICs[0].MAC = w.NICs[0].MAC
		}
	},
	func(d *diary, s *engine.Snapshot) { // tariffs
		s.Sites[d.r.IntN(len(s.Sites))].PriceMicroEURPerKWh = int32(20_000 + d.r.IntN(200_000))
	},
	func(d *diary, s *engine.Snapshot) { // an operator's freeze, a mode
		x := &s.Sites[d.r.IntN(len(s.Sites))]
		x.Frozen, x.Mode = d.r.IntN(4) == 0, engine.Mode(1+d.r.IntN(3))
	},
	func(d *diary, s *engine.Snapshot) { // datastores fill
		x := &s.Datastores[d.r.IntN(len(s.Datastores))]
		x.FreeMiB = x.FreeMiB * int64(d.r.IntN(120)) / 100
	},
	func(d *diary, s *engine.Snapshot) { // another site for a host
		s.Hosts[d.r.IntN(len(s.Hosts))].Site = int32(d.r.IntN(len(s.Sites)))
	},
	func(d *diary, s *engine.Snapshot) { // a rule is switched off or on
		if len(s.Rules) > 0 {
			i := d.r.IntN(len(s.Rules))
			s.Rules[i].Disabled = !s.Rules[i].Disabled
		}
	},
	func(d *diary, s *engine.Snapshot) { // gaps
		s.Gaps = s.Gaps[:len(s.Gaps)/2]
		if d.r.IntN(2) == 0 {
			s.Gaps = append(s.Gaps, engine.Gap{Subject: engine.Subject{Kind: "vm", ID: string(s.VMs[d.r.IntN(len(s.VMs))].ID)}, Reason: "no answer"})
		}
	},
	func(d *diary, s *engine.Snapshot) { // loads are read, or are not
		old := d.r.IntN(3) == 0
		for i := range s.VMs {
			if !old || d.r.IntN(5) > 0 {
				s.VMs[i].LoadAt = s.At
			}
		}
		for i := range s.Hosts {
			s.Hosts[i].LoadAt = s.At
		}
	},
}

// changes are what else can be different in the next Input.
var changes = []func(d *diary, p *engine.Plan){
	func(*diary, *engine.Plan) {},
	func(*diary, *engine.Plan) {},
	func(d *diary, _ *engine.Plan) { said := sim.Opinions(d.in.Snapshot, d.r.IntN); d.in.Decision = &said },
	func(d *diary, _ *engine.Plan) { d.in.Decision = &engine.Decision{} },
	func(d *diary, _ *engine.Plan) {
		d.in.History = engine.Fold(d.in.History, d.in.Snapshot, nil, d.in.Config.Low)
	},
	func(d *diary, p *engine.Plan) { // what was planned has ended, well or not
		var ended []engine.ActionRecord
		for i := range p.Actions {
			if state := engine.StateSucceeded; d.r.IntN(3) == 0 {
				if d.r.IntN(3) == 0 {
					state = engine.StateFailed
				}
				ended = append(ended, engine.ActionRecord{Action: p.Actions[i], State: state, Started: d.in.Now - 60, Ended: d.in.Now})
			}
		}
		d.in.History = engine.Fold(d.in.History, d.in.Snapshot, ended, d.in.Config.Low)
	},
	func(d *diary, p *engine.Plan) { // some is under way
		d.in.Open = nil
		for i := range p.Actions {
			if d.r.IntN(4) == 0 {
				d.in.Open = append(d.in.Open, engine.ActionRecord{Action: p.Actions[i], State: engine.StateStarted, Started: d.in.Now - 10})
			}
		}
	},
	func(d *diary, _ *engine.Plan) { d.in.Open = nil },
	func(d *diary, p *engine.Plan) { // some is vetoed
		for i := range p.Actions {
			if a := &p.Actions[i]; a.Kind == engine.Move && d.r.IntN(4) == 0 {
				v := engine.Veto{VM: a.VM, To: a.To.Host, Policy: "chatty", Code: "no", Reason: "not there", Mode: engine.Enforce}
				if d.r.IntN(3) == 0 {
					v.To = ""
				}
				d.in.Vetoes = append(slices.Clone(d.in.Vetoes), v)
			}
		}
	},
	func(d *diary, _ *engine.Plan) { d.in.Vetoes = nil },
	func(d *diary, _ *engine.Plan) { d.in.Config.MovesPerCycle = int32(d.r.IntN(40)) },
	func(d *diary, _ *engine.Plan) { d.in.Config = rested() },
	func(d *diary, _ *engine.Plan) { // quarantine
		h := *d.in.History
		h.Quarantine = []engine.Quarantine{{Subject: engine.Subject{Kind: "vm", ID: string(d.in.Snapshot.VMs[d.r.IntN(len(d.in.Snapshot.VMs))].ID)}, Reason: "lost"}}
		d.in.History = &h
	},
	func(d *diary, _ *engine.Plan) { d.in.Cycle++; d.in.Seed++ },
	func(d *diary, _ *engine.Plan) { d.in.Level = engine.Mode(1 + d.r.IntN(3)) },
}

// next lets something happen.
func (d *diary) next(p *engine.Plan) {
	before := d.in.Snapshot
	if d.r.IntN(8) > 0 { // or the same is asked again
		s := d.anew()
		s.At += engine.Unix(d.r.IntN(2) * 300)
		for range 1 + d.r.IntN(3) {
			happenings[d.r.IntN(len(happenings))](d, s)
		}
		if d.r.IntN(8) > 0 { // or nobody compares
			s.Follow(before)
		}
		d.in.Now += s.At - before.At
		d.in.Snapshot = s
	}
	if len(d.in.Snapshot.VMs) != len(before.VMs) {
		d.in.Decision = &engine.Decision{} // it speaks of VMs by index
	}
	changes[d.r.IntN(len(changes))](d, p)
}

// TestIncrementalEqualsFromScratch: through random sequences of small changes, a
// planner that keeps what it made of the fleet gives the bytes that a fresh one does,
// and has kept what a fresh one makes.
func TestIncrementalEqualsFromScratch(t *testing.T) {
	renewed, steps := 0, 25
	if race.Enabled {
		steps = 6
	}
	propCases(t, 30, func(c *propCase) {
		d := &diary{propCase: c, in: input(c.s, c.o)}
		d.in.History = engine.Fold(&engine.History{}, c.s, nil, d.in.Config.Low)
		var kept Planner
		for step := range steps {
			if kept.b.newsOf(&d.in) != nil {
				renewed++
			}
			p := Build(d.in)
			want, err1 := engine.Encode(p)
			got, err2 := engine.Encode(kept.Build(d.in))
			if err1 != nil || err2 != nil || !bytes.Equal(got, want) {
				c.Fatalf("step %d: another plan (%v, %v):\n%s\nfrom scratch:\n%s", step, err1, err2, got, want)
			}
			keptAs(c.T, step, kept.b, compile(d.in))
			d.next(p)
		}
	})
	if !race.Enabled && renewed < 30*25/4 {
		t.Errorf("in %d of %d steps something was kept: the test shows little", renewed, 30*25)
	}
}

// keptAs compares what is kept with what a fresh planner makes.
func keptAs(t *testing.T, step int, b, fresh *builder) {
	t.Helper()
	x := b.newsOf(&b.in)
	if x == nil {
		return // some load is too old to keep anything
	}
	b.read(b.in, x) // what the plan decided is taken back
	if b.traits != nil {
		fresh.readTraits()
	} else {
		fresh.traits = nil
	}
	skip := []string{"mark", "said", "beds", "quiet", "hindrance", "heldBefore", "ejected", "stirred", "wide", "acts", "vetoes", "restless", "over", "resting", "gone", "goneBy", "ejected", "aim"}
	was, is := reflect.ValueOf(b).Elem(), reflect.ValueOf(fresh).Elem()
	for i := range was.NumField() {
		if name := was.Type().Field(i).Name; !slices.Contains(skip, name) && !equalValues(was.Field(i), is.Field(i)) {
			t.Fatalf("step %d: %s is kept otherwise than made anew", step, name)
		}
	}
	if !slices.Equal(b.restless, fresh.restless) || !slices.Equal(b.over, fresh.over) || !slices.Equal(b.resting, fresh.resting) || !slices.Equal(b.vetoes, fresh.vetoes) {
		t.Fatalf("step %d: other lists", step)
	}
	if slices.ContainsFunc(b.aim, func(h int32) bool { return h >= 0 }) || slices.ContainsFunc(b.gone, func(x load) bool { return x != load{} }) {
		t.Fatalf("step %d: something is left of the plan", step)
	}
	for h := range b.quiet {
		if r := fresh.stateReason(int32(h)); b.quiet[h] && !fresh.openHost[h] && !r.ok() {
			t.Fatalf("step %d: host %d is held to be quiet: %s", step, h, fresh.text(&r))
		}
	}
	for h, was := range b.hindrance {
		if r := fresh.stuckOn(&sleeper{h: int32(h)}); was.code != "" && b.traits != nil && b.quiet[h] && !fresh.openHost[h] && was != (hindrance{r.code, fresh.text(&r)}) {
			t.Fatalf("step %d: host %d is held to be kept on by %v, it is by %s", step, h, was, fresh.text(&r))
		}
	}
	if b.traits != nil { // more is known for the next step than the plan asked for
		for h := range b.quiet {
			b.sleepReason(&sleeper{h: int32(h)}, false)
			b.stuckOn(&sleeper{h: int32(h)})
		}
	}
}

// TestSameOnAnyNumberOfWorkers: a kept planner gives the same bytes on one processor
// and on several.
func TestSameOnAnyNumberOfWorkers(t *testing.T) {
	propCases(t, 10, func(c *propCase) {
		in := input(c.s, c.o)
		in.Config = rested()
		var first []byte
		for _, n := range []int{1, 2, 5} {
			before := runtime.GOMAXPROCS(n)
			var kept Planner
			kept.Build(in)
			b, err := engine.Encode(kept.Build(in))
			runtime.GOMAXPROCS(before)
			if first == nil {
				first = b
			}
			if err != nil || !bytes.Equal(b, first) {
				c.Fatalf("another plan on %d processors (%v)", n, err)
			}
		}
	})
}

// equalValues compares two fields; no list and an empty one are the same.
func equalValues(x, y reflect.Value) bool {
	if x.Kind() == reflect.Slice && x.Len() == 0 && y.Len() == 0 {
		return true
	}
	read := func(v reflect.Value) any { return reflect.NewAt(v.Type(), v.Addr().UnsafePointer()).Elem().Interface() }
	return reflect.DeepEqual(read(x), read(y))
}
