package whatif

import (
	"slices"
	"strings"
	"testing"

	"heliostat/engine"
	"heliostat/engine/plan"
	"heliostat/engine/sim"
)

// world is a fleet of three sites in which every VM may go anywhere, and a VM at
// the first site that is asked about.
func world(t *testing.T) (engine.Input, int32) {
	t.Helper()
	s := sim.Fleet(3, sim.FleetConfig{Hosts: 12, VMs: 60, AcrossPct: 100, LoadPct: 30})
	in := engine.Input{Now: s.At, Seed: 1, Level: engine.Enforce, Snapshot: s, Config: engine.DefaultConfig(), History: &engine.History{}}
	in.Config.Modes = engine.KindModes{Move: engine.Enforce, Standby: engine.Enforce, Wake: engine.Enforce, Maintenance: engine.Enforce}
	in.History = engine.Fold(in.History, s, nil, in.Config.Low)
	in.Decision = &engine.Decision{
		Voices:  []engine.Voice{{Policy: "sun", Rule: engine.RuleSiteScore, Mode: engine.Enforce, WeightMicroEUR: 10_000}, {Policy: "law", Rule: engine.RulePin, Mode: engine.Enforce}},
		Reasons: []string{"r"},
	}
	for v := range s.VMs {
		if s.VMs[v].Power == engine.VMOn && s.VMSite(int32(v)) == 0 {
			return in, int32(v)
		}
	}
	t.Fatal("no VM at the first site")
	return in, 0
}

// Each kind of constraint is named, said to be lifted by the right thing, and
// with it lifted the VM moves.
func TestWhyNot(t *testing.T) {
	by := engine.By{Voice: 1}
	for _, c := range []struct {
		name   string
		change func(in *engine.Input, v int32)
		code   engine.HoldCode // "": nothing binds
		unless string
	}{
		{"nothing but its worth", func(*engine.Input, int32) {}, "", ""},
		{"pinned", func(in *engine.Input, v int32) { in.Decision.Pins = []engine.Pin{{VM: v, By: by}} }, engine.HoldPinned, "neither a policy"},
		{"frozen", func(in *engine.Input, _ int32) {
			in.Decision.Freezes = []engine.Freeze{{Place: engine.Subject{Kind: "fleet"}, By: by}}
		}, engine.HoldFrozen, "nothing were frozen, as law now asks"},
		{"not allowed there", func(in *engine.Input, v int32) {
			in.Decision.AllowSites = []engine.AllowSites{{VM: v, Sites: engine.SiteMask(0).With(0), By: by}}
		}, engine.HoldSites, "allowed that site"},
		{"denied", func(in *engine.Input, v int32) {
			for i := range in.Snapshot.Hosts {
				in.Vetoes = append(in.Vetoes, engine.Veto{VM: in.Snapshot.VMs[v].ID, To: in.Snapshot.Hosts[i].ID, Code: "c", Reason: "r", Policy: "law", Mode: engine.Enforce})
			}
			slices.SortFunc(in.Vetoes, func(a, b engine.Veto) int { return strings.Compare(string(a.To), string(b.To)) })
		}, engine.HoldVeto, "did not deny"},
		{"moved lately", func(in *engine.Input, v int32) {
			for i := range in.History.VMs {
				if in.History.VMs[i].ID == in.Snapshot.VMs[v].ID {
					in.History.VMs[i].MovedAt = in.Now - 60
				}
			}
		}, engine.HoldCooldown, "of late"},
		{"budget", func(in *engine.Input, _ int32) { in.Config.MovesPerDay = 0 }, engine.HoldBudget, "budget were larger"},
		{"owner's tag", func(in *engine.Input, v int32) { in.Snapshot.VMs[v].Mode = engine.Off }, engine.HoldPinned, "owner's tag"},
		{"site's mode", func(in *engine.Input, _ int32) { in.Snapshot.Sites[0].Mode = engine.Advise }, engine.HoldMode, "site ams were in mode enforce"},
		{"not opted in", func(in *engine.Input, v int32) { in.Snapshot.VMs[v].Across = false }, engine.HoldAcross, "opted in"},
		{"too far", func(in *engine.Input, _ int32) {
			for i := range in.Snapshot.Links {
				in.Snapshot.Links[i].RTTMicros = 400_000
			}
		}, engine.HoldRTT, "at most 150 ms"},
		{"too thin", func(in *engine.Input, _ int32) {
			for i := range in.Snapshot.Links {
				in.Snapshot.Links[i].Mbps = 10
			}
		}, engine.HoldBandwidth, "the link there carried 250 Mbit/s"},
		{"full", func(in *engine.Input, _ int32) {
			for i := range in.Snapshot.Hosts {
				if h := &in.Snapshot.Hosts[i]; h.Site == 1 {
					h.UsedMiB = h.MemoryMiB
				}
			}
		}, engine.HoldCapacity, "the hosts there were 49 % larger"},
		{"no space", func(in *engine.Input, _ int32) {
			for i := range in.Snapshot.Datastores {
				in.Snapshot.Datastores[i].FreeMiB = 0
			}
		}, engine.HoldSpace, "datastore"},
		{"in quarantine", func(in *engine.Input, v int32) {
			in.History.Quarantine = []engine.Quarantine{{Subject: engine.Subject{Kind: "vm", ID: string(in.Snapshot.VMs[v].ID)}, Name: "x"}}
		}, engine.HoldQuarantine, "heliostat release"},
		{"asleep", func(in *engine.Input, _ int32) {
			for i := range in.Snapshot.Hosts {
				if h := &in.Snapshot.Hosts[i]; h.Site == 1 {
					h.Connected = false
				}
			}
		}, engine.HoldUnavailable, "answered"},
		{"a device", func(in *engine.Input, v int32) { in.Snapshot.VMs[v].Obstacles |= engine.ObPassthrough }, engine.HoldObstacle, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			in, v := world(t)
			c.change(&in, v)
			to := engine.Subject{Kind: "site", ID: string(in.Snapshot.Sites[1].ID)}
			before := plan.Build(in)
			a := WhyNot(in, v, to, nil)
			if a.There || a.Moves {
				t.Fatalf("%+v", a)
			}
			if c.code == "" {
				if len(a.Binds) > 0 || !a.Possible || a.ShortMicro <= 0 || len(a.Scores) != 1 {
					t.Fatalf("%+v", a)
				}
				// The premium is the least: with it the VM moves, with a hundredth less it does not.
				q := ask(in, v, to, nil)
				if !q.moved(in, a.ShortMicro) || q.moved(in, a.ShortMicro-max(2, a.ShortMicro/100)) {
					t.Errorf("%d is not the least premium", a.ShortMicro)
				}
				return
			}
			at := slices.IndexFunc(a.Binds, func(b Bind) bool { return b.Code == c.code })
			if at < 0 || !strings.Contains(a.Binds[at].Unless, c.unless) || a.Binds[at].Detail == "" {
				t.Fatalf("binds %+v, want %s: %s", a.Binds, c.code, c.unless)
			}
			if a.Possible != (c.unless != "") {
				t.Errorf("possible: %v, binds %+v", a.Possible, a.Binds)
			}
			// Asking changes nothing.
			after := plan.Build(in)
			if x, y := before.Hash(), after.Hash(); x != y {
				t.Errorf("the plan was %s and is %s", x, y)
			}
		})
	}
}

func TestWhyNotThere(t *testing.T) {
	in, v := world(t)
	if a := WhyNot(in, v, engine.Subject{Kind: "site", ID: string(in.Snapshot.Sites[0].ID)}, nil); !a.There {
		t.Errorf("%+v", a)
	}
	// A site score that is worth enough: the plan moves it.
	in.Decision.SiteScores = []engine.SiteScore{{Site: 1, Milli: 1000}}
	in.Decision.Voices[0].WeightMicroEUR, in.Config.MovesPerCycle = 10_000_000, 1000
	if a := WhyNot(in, v, engine.Subject{Kind: "site", ID: string(in.Snapshot.Sites[1].ID)}, nil); !a.Moves {
		t.Errorf("%+v", a)
	}
}

// The policies are asked about moves that nobody has proposed yet, and what they
// refuse binds like any other thing.
func TestWhyNotAsks(t *testing.T) {
	in, v := world(t)
	to, asked := engine.Subject{Kind: "site", ID: string(in.Snapshot.Sites[1].ID)}, 0
	a := WhyNot(in, v, to, func(moves []engine.Action) (out []engine.Veto) {
		asked++
		for _, m := range moves {
			out = append(out, engine.Veto{VM: m.VM, To: m.To.Host, Code: "c", Reason: "r", Policy: "law", Mode: engine.Enforce})
		}
		return out
	})
	if len(a.Binds) != 1 || a.Binds[0].Code != engine.HoldVeto || a.Binds[0].Unless != "law did not deny it" || !a.Possible || asked == 0 || asked > 3 {
		t.Errorf("%+v, asked %d times", a, asked)
	}
}
