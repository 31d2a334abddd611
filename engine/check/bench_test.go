package check

import (
	"fmt"
	"strings"
	"testing"

	"heliostat/engine"
	"heliostat/engine/sim"
)

// large is a fleet of the design scale, 15,000 hosts and 150,000 VMs at 15
// sites with rules and an hour of history, and a plan of so many moves to other
// hosts of their clusters.
func large(tb testing.TB, moves int) (engine.Input, *engine.Plan) {
	tb.Helper()
	s := sim.Fleet(1, sim.FleetConfig{Sites: 15, Hosts: 15_000, VMs: 150_000, RulePct: 60})
	m := newMaker(1, s)
	m.groups()
	m.remember()
	in := m.in
	in.History.Spent = nil
	in.Config.MovesPerCycle, in.Config.MovesPerHour, in.Config.MovesPerDay = 1<<20, 1<<20, 1<<20
	f := &fleet{in: in, p: &engine.Plan{Level: in.Level}}
	step := max(len(s.VMs)*4/5/moves, 1)
	for v := 0; v < len(s.VMs); v += step {
		hosts := s.HostsOf(s.VMCluster(int32(v)))
		past := in.History.VM(s.VMs[v].ID)
		if to := hosts[(v/step)%len(hosts)]; to != s.VMs[v].Host && past.MovedAt == 0 && past.FailedAt == 0 {
			f.move(string(s.VMs[v].ID), int(to)+1)
		}
	}
	// What Check refuses is left out, until it accepts the rest.
	for {
		err := Plan(in, f.p)
		if err == nil {
			f.p.Actions = f.p.Actions[:min(moves, len(f.p.Actions))]
			tb.Logf("%d hosts, %d VMs, %d actions", len(s.Hosts), len(s.VMs), len(f.p.Actions))
			return in, f.p
		}
		refused := map[string]bool{}
		for line := range strings.Lines(err.Error()) {
			id, _, _ := strings.Cut(line, ":")
			refused[id] = true
		}
		var rest []engine.Action
		for _, a := range f.p.Actions {
			if !refused[a.ID] {
				rest = append(rest, a)
			}
		}
		f.p.Actions = rest
	}
}

func BenchmarkPlan(b *testing.B) {
	for _, moves := range []int{1000, 10_000} {
		b.Run(fmt.Sprintf("%d", moves), func(b *testing.B) {
			in, p := large(b, moves)
			for b.Loop() {
				if err := Plan(in, p); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
