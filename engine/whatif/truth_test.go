package whatif

import (
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"heliostat/engine"
	"heliostat/engine/check"
	"heliostat/engine/sim"
)

var worlds = flag.Uint64("worlds", 5, "how many fleets to ask about: 400 take a minute")

// wild is a fleet in which all kinds of things stand in the way of moves.
func wild(seed uint64) (engine.Input, *rand.Rand) {
	r := rand.New(rand.NewPCG(seed, 5))
	s := sim.Fleet(seed, sim.FleetConfig{
		Hosts: 9 + r.IntN(9), VMs: 40 + r.IntN(40), HostsPerCluster: 2 + r.IntN(4), OffPct: 3, TemplatePct: 2, ObstaclePct: 8,
		AcrossPct: 60, RulePct: 100, GapPct: 3, StandbyPct: 15, DRSPct: r.IntN(2) * 40, LoadPct: 30 + r.IntN(60),
	})
	in := engine.Input{Cycle: 1, Now: s.At, Seed: seed, Level: engine.Enforce, Snapshot: s, Config: engine.DefaultConfig(), History: &engine.History{}}
	in.Config.Modes = engine.KindModes{Move: engine.Enforce, Standby: engine.Enforce, Wake: engine.Enforce, Maintenance: engine.Enforce}
	d := sim.Opinions(s, r.IntN)
	in.Decision = &d
	some := func(oneIn int) bool { return r.IntN(oneIn) == 0 }
	for i := range s.Hosts {
		h := &s.Hosts[i]
		switch {
		case h.Power != engine.HostOn:
		case some(9):
			h.Maintenance = true
		case some(9):
			h.Connected = false
		case some(20):
			h.VMotion = false
		case some(5):
			h.UsedMiB = h.MemoryMiB * int32(60+r.IntN(40)) / 100
		case some(20):
			in.History.Quarantine = append(in.History.Quarantine, engine.Quarantine{Subject: engine.Subject{Kind: "host", ID: string(h.ID)}, Name: h.Name, Since: in.Now - 60, Action: "c0-1", Reason: "lost"})
		}
	}
	for i := range s.Datastores {
		if some(3) {
			s.Datastores[i].FreeMiB = s.Datastores[i].CapacityMiB * int64(r.IntN(12)) / 100
		}
	}
	for i := range s.Links {
		l := &s.Links[i]
		switch r.IntN(5) {
		case 0:
			l.RTTMicros = 200_000
		case 1:
			l.Mbps = []int32{10, 260, 400}[r.IntN(3)]
		case 2:
			l.RTTMicros, l.Mbps = engine.Unknown, engine.Unknown
		}
	}
	for i := range s.Sites {
		if some(12) {
			s.Sites[i].Mode = engine.Advise
		}
	}
	in.History = engine.Fold(in.History, s, nil, in.Config.Low)
	for i := range in.History.VMs {
		x := &in.History.VMs[i]
		switch {
		case some(8):
			x.MovedAt, x.LeftSite, x.LeftHost = in.Now-engine.Unix(r.IntN(12_000)), s.Sites[r.IntN(3)].ID, s.Hosts[r.IntN(len(s.Hosts))].ID
		case some(20):
			x.FailedAt, x.Failures = in.Now-100, 2
		}
	}
	for i := range s.VMs {
		v := &s.VMs[i]
		switch {
		case some(20):
			v.Mode = []engine.Mode{engine.Off, engine.Advise}[r.IntN(2)]
		case some(20):
			v.DirtyMbps = 50_000
		case some(25):
			v.Task = "backup"
		}
	}
	if some(6) {
		in.Config.MovesPerCycle = 0
	}
	return in, r
}

// denying is policies that refuse some moves.
func denying(seed uint64) Deny {
	return func(moves []engine.Action) (out []engine.Veto) {
		for _, m := range moves {
			sum := seed
			for _, c := range string(m.VM) + string(m.To.Host) {
				sum = sum*31 + uint64(c)
			}
			if sum%7 == 0 {
				out = append(out, engine.Veto{VM: m.VM, To: m.To.Host, Code: "c", Reason: "r", Policy: "law", Mode: engine.Enforce})
			}
		}
		return out
	}
}

// What an answer says is so, taken by the letter: with all that it names as it says the
// VM moves, in a plan that the check accepts; with any of it left as it is, or just short of
// the number that is named, the VM does not.
func TestTrue(t *testing.T) {
	for seed := range *worlds {
		in, r := wild(seed)
		for range 2 {
			v := int32(r.IntN(len(in.Snapshot.VMs)))
			to := engine.Subject{Kind: "site", ID: string(in.Snapshot.Sites[r.IntN(3)].ID)}
			switch r.IntN(4) {
			case 0:
				to = engine.Subject{Kind: "cluster", ID: string(in.Snapshot.Clusters[r.IntN(len(in.Snapshot.Clusters))].ID)}
			case 1:
				to = engine.Subject{Kind: "host", ID: string(in.Snapshot.Hosts[r.IntN(len(in.Snapshot.Hosts))].ID)}
			}
			deny := denying(seed)
			if r.IntN(2) == 0 {
				deny = nil
			}
			name := fmt.Sprintf("seed %d: %s to %s", seed, in.Snapshot.VMs[v].Name, to)
			a := WhyNot(in, v, to, deny)
			verify(t, name, in, v, &a, deny)
		}
	}
}

func verify(t *testing.T, name string, in engine.Input, v int32, a *Answer, deny Deny) {
	t.Helper()
	if a.There || a.Moves {
		return
	}
	if !a.Possible {
		if n := len(a.Binds); n == 0 || n < maxSteps && a.Binds[n-1].Unless != "" {
			t.Errorf("%s: nothing binds, but it is not possible: %+v", name, a)
		}
		return
	}
	// moves says whether it moves once everything is as it is said that it would have to
	// be, but for one thing, which is as it is or just short of it.
	moves := func(but int, short, premium int64) (bool, error) {
		in, permit := in, false
		for i, b := range a.Binds {
			less := int64(0)
			if i == but {
				less = short
			}
			if i != but || short > 0 {
				in = literally(t, in, v, a.To, b, less)
				permit = permit || b.Code == engine.HoldVeto
			}
		}
		q := ask(in, v, a.To, deny)
		q.permit = permit
		p, in := q.settle(in, premium)
		return q.moves(p), check.Plan(in, p)
	}
	if ok, err := moves(-1, 0, a.ShortMicro); !ok || err != nil {
		t.Errorf("%s: it does not move for %d, or the check refuses (%v): %+v", name, a.ShortMicro, err, a)
		return
	}
	if less := a.ShortMicro - max(1, a.ShortMicro/500); less > 0 {
		if ok, _ := moves(-1, 0, less); ok {
			t.Errorf("%s: it moves for %d, less than %d", name, less, a.ShortMicro)
		}
	}
	for i, b := range a.Binds {
		if ok, _ := moves(i, 0, ceiling); ok {
			t.Errorf("%s: it moves without %+v: %+v", name, b, a)
		}
		if n := number(b); n > 0 {
			if ok, _ := moves(i, max(1, n/500), ceiling); ok {
				t.Errorf("%s: it moves with less than %+v: %+v", name, b, a)
			}
		}
	}
}

var digits = regexp.MustCompile("[0-9]+")

// number is the threshold that a bind names, 0 where it names none.
func number(b Bind) int64 {
	switch b.Code {
	case engine.HoldCapacity, engine.HoldReserve, engine.HoldSpace, engine.HoldBandwidth, engine.HoldConverge, engine.HoldRTT:
		n, _ := strconv.ParseInt(digits.FindString(b.Unless), 10, 64)
		return n
	default:
		return 0
	}
}

// literally is the Input as an answer words it, or short of it.
func literally(t *testing.T, in engine.Input, v int32, to engine.Subject, b Bind, short int64) engine.Input {
	t.Helper()
	s, d, h := copyOf(in.Snapshot), *in.Decision, *in.History
	s.Sites, s.Hosts, s.VMs, s.Links, s.Datastores = slices.Clone(s.Sites), slices.Clone(s.Hosts), slices.Clone(s.VMs), slices.Clone(s.Links), slices.Clone(s.Datastores)
	h.VMs = slices.Clone(h.VMs)
	in.Snapshot, in.Decision, in.History = s, &d, &h
	vm, n := &s.VMs[v], number(b)
	there := func(h int32) bool {
		x := &s.Hosts[h]
		return to.ID == string(x.ID) || to.ID == string(s.Clusters[x.Cluster].ID) || to.ID == string(s.Sites[x.Site].ID)
	}
	each := func(f func(x *engine.Host)) {
		for i := range s.Hosts {
			if there(int32(i)) || strings.HasPrefix(b.Unless, "its host and") && vm.Host == int32(i) {
				f(&s.Hosts[i])
			}
		}
	}
	link := func(f func(l *engine.Link)) {
		x, y := s.VMSite(v), siteOf(s, to)
		for i := range s.Links {
			if l := &s.Links[i]; l.A == x && l.B == y || l.A == y && l.B == x {
				f(l)
			}
		}
	}
	says := func(text string) bool { return strings.Contains(b.Unless, text) }
	switch b.Code {
	case engine.HoldCapacity, engine.HoldReserve:
		if n == 0 {
			in.Config.ReserveHosts = 0
			s.Clusters = slices.Clone(s.Clusters)
			each(func(x *engine.Host) { s.Clusters[x.Cluster].HA.Admission = false })
			break
		}
		each(func(x *engine.Host) {
			for _, size := range []*int32{&x.CPUMHz, &x.MemoryMiB, &x.Cores, &x.Threads} {
				*size = int32(math.Ceil(float64(*size) * float64(100+n-short) / 100))
			}
		})
	case engine.HoldSpace:
		more := map[int32]bool{}
		each(func(x *engine.Host) {
			for _, i := range x.Datastores {
				more[i] = true
			}
		})
		for i := range more {
			s.Datastores[i].FreeMiB += (n - short) << 10
			s.Datastores[i].CapacityMiB = max(s.Datastores[i].CapacityMiB, s.Datastores[i].FreeMiB)
		}
	case engine.HoldBandwidth:
		link(func(l *engine.Link) { l.Mbps = int32(n - short) })
	case engine.HoldRTT:
		link(func(l *engine.Link) { l.RTTMicros, l.At = int32(n+short)*1000, in.Now })
	case engine.HoldConverge:
		vm.DirtyMbps = int32(n + short)
	case engine.HoldFrozen:
		d.Freezes = nil
	case engine.HoldVeto: // the policies are not asked
	case engine.HoldMode:
		if says("its tag") {
			vm.Mode = engine.Enforce
		}
		for i := range s.Sites {
			if says("site " + string(s.Sites[i].ID) + " ") {
				s.Sites[i].Mode = engine.Enforce
			}
		}
	case engine.HoldUnavailable:
		each(func(x *engine.Host) {
			if says("were on") {
				x.Power = engine.HostOn
			}
			x.Connected = x.Connected || says("answered")
			x.Maintenance = x.Maintenance && !says("maintenance")
			x.VMotion = x.VMotion || says("vMotion")
		})
	case engine.HoldQuarantine:
		h.Quarantine = slices.DeleteFunc(slices.Clone(h.Quarantine), func(q engine.Quarantine) bool {
			return says("'heliostat release " + q.Subject.Kind + " " + q.Name + "'")
		})
	case engine.HoldCooldown:
		for i := range h.VMs {
			if h.VMs[i].ID == vm.ID {
				h.VMs[i] = engine.VMHistory{ID: vm.ID, CPU: h.VMs[i].CPU}
			}
		}
	case engine.HoldBudget:
		in.Config.MovesPerCycle, in.Config.MovesPerHour, in.Config.MovesPerDay = 1<<20, 1<<20, 1<<20
	case engine.HoldPinned:
		d.Pins = slices.DeleteFunc(slices.Clone(d.Pins), func(x engine.Pin) bool { return x.VM == v })
		if vm.Mode == engine.Off {
			vm.Mode = engine.Enforce
		}
	case engine.HoldSites:
		d.AllowSites = slices.DeleteFunc(slices.Clone(d.AllowSites), func(x engine.AllowSites) bool { return x.VM == v })
	case engine.HoldHosts:
		d.AllowHosts = slices.DeleteFunc(slices.Clone(d.AllowHosts), func(x engine.AllowHosts) bool { return x.VM == v })
	case engine.HoldRule:
		has := func(vms []int32) bool { return slices.Contains(vms, v) }
		d.Groups = slices.DeleteFunc(slices.Clone(d.Groups), func(g engine.Group) bool { return has(g.VMs) })
		s.Rules = slices.DeleteFunc(slices.Clone(s.Rules), func(r engine.Rule) bool { return has(r.VMs) })
	case engine.HoldAcross:
		vm.Across = true
	case engine.HoldBusy:
		vm.Task = ""
	case engine.HoldWorth:
		in.Config.PaybackS = 1 << 40
	default:
		t.Fatalf("%s: how is that lifted: %s", b.Code, b.Unless)
	}
	return in
}
