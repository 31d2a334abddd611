package check

import (
	"errors"
	"fmt"
	"strings"

	"heliostat/engine"
)

// A lure is a plan that [Plan] must refuse, for a stated reason.
type lure struct {
	name string
	code engine.HoldCode
	set  func(x *decoy)
}

// A decoy is a small fleet that is sound, and a plan for it.
type decoy struct {
	in engine.Input
	p  *engine.Plan
}

// selfNow is when decoys are looked at: any moment does.
const selfNow engine.Unix = 1_800_000_000

// lures are the ways to do harm, each on its own.
func lures() []lure {
	return []lure{
		{"overcommit a host", engine.HoldCapacity, func(x *decoy) { x.in.Snapshot.VMs[0].UsedMiB, x.in.Snapshot.VMs[0].ReserveMiB = 180_000, 180_000 }},
		{"move a pinned VM", engine.HoldPinned, func(x *decoy) { x.in.Decision.Pins = []engine.Pin{{VM: 0}} }},
		{"act in a frozen site", engine.HoldFrozen, func(x *decoy) { x.in.Snapshot.Sites[0].Frozen = true }},
		{"act while paused", engine.HoldPaused, func(x *decoy) { x.in.Paused = "self-test" }},
		{"move a VM in quarantine", engine.HoldQuarantine, func(x *decoy) {
			x.in.History.Quarantine = []engine.Quarantine{{Subject: engine.Subject{Kind: "vm", ID: "s/vm"}, Name: "vm"}}
		}},
		{"act on an old snapshot", engine.HoldGap, func(x *decoy) { x.in.Snapshot.At -= engine.Unix(x.in.Config.TopologyMaxAgeS) + 1 }},
		{"enforce what is only advised", engine.HoldMode, func(x *decoy) { x.in.Config.Modes.Move = engine.Advise }},
		{"put a host with VMs to sleep", engine.HoldNotEmpty, func(x *decoy) {
			x.in.Decision.Drains = []engine.Drain{{Host: 0, Then: engine.ThenStandby}}
			x.host(engine.Standby, 0)
		}},
		{"wake a host that a person put to sleep", engine.HoldOwner, func(x *decoy) {
			x.in.Snapshot.Hosts[2].Power, x.in.Decision.Wakes = engine.HostStandby, []engine.Wake{{Host: 2}}
			x.host(engine.Wakeup, 2)
		}},
	}
}

// SelfTest lays plans before [Plan] that do harm, and one that does not. Its error
// names each that it takes for the other: such a check guards nothing.
func SelfTest() error { return selfTest(Plan) }

func selfTest(check func(engine.Input, *engine.Plan) error) error {
	var errs []error
	sound := newDecoy()
	if err := check(sound.in, sound.p); err != nil {
		errs = append(errs, fmt.Errorf("a sound plan is refused: %w", err))
	}
	for _, l := range lures() {
		x := newDecoy()
		l.set(x)
		switch err := check(x.in, x.p); {
		case err == nil:
			errs = append(errs, fmt.Errorf("a plan to %s is accepted", l.name))
		case !strings.Contains(err.Error(), ": "+string(l.code)+": "):
			errs = append(errs, fmt.Errorf("a plan to %s is refused, but not for that (%s): %w", l.name, l.code, err))
		}
	}
	return errors.Join(errs...)
}

// newDecoy is four hosts of one cluster at one site, a VM on the first, and a plan
// that moves it to the second.
func newDecoy() *decoy {
	s := &engine.Snapshot{
		At: selfNow, Sites: []engine.Site{{ID: "s", Mode: engine.Enforce}}, VCenters: []engine.VCenter{{ID: "s"}},
		Clusters:   []engine.Cluster{{ID: "s/c", Pool: "pool", Folder: "folder"}},
		Datastores: []engine.Datastore{{ID: "s/d", CapacityMiB: 1_000_000, FreeMiB: 500_000, Accessible: true, Shared: true, Sites: 1, Survives: 1}},
		VMs: []engine.VM{{
			ID: "s/vm", Name: "vm", Moid: "vm-1", Folder: "folder", Pool: "pool", Power: engine.VMOn, VCPUs: 2, MemoryMiB: 8000, UsedMHz: 1000, UsedMiB: 8000,
			ActiveMiB: 500, DirtyMbps: 10, LoadAt: selfNow, Mode: engine.Enforce, Disks: []engine.Disk{{Key: 2000, MiB: 10_000, Used: 10_000}},
		}},
	}
	for i := range 4 {
		s.Hosts = append(s.Hosts, engine.Host{
			ID: engine.HostID(fmt.Sprintf("s/h%d", i)), Name: fmt.Sprintf("h%d", i), Power: engine.HostOn, Connected: true, CPUMHz: 50_000, Cores: 20, Threads: 40,
			MemoryMiB: 200_000, CPUModel: "cpu", UsedMHz: 500, UsedMiB: 4000, LoadAt: selfNow, VMotion: true, NICMbps: 10_000, Standby: true, Datastores: []int32{0},
		})
	}
	s.Hosts[0].UsedMHz, s.Hosts[0].UsedMiB = 1500, 12_000
	x := &decoy{
		in: engine.Input{
			Cycle: 1, Now: selfNow, Level: engine.Enforce, Snapshot: s, History: &engine.History{}, Config: engine.DefaultConfig(),
			Decision: &engine.Decision{Voices: []engine.Voice{{Policy: "self_test", Rule: "rule", Mode: engine.Enforce}}, Reasons: []string{"to be refused"}},
		},
	}
	x.in.Config.Modes = engine.KindModes{Move: engine.Enforce, Standby: engine.Enforce, Wake: engine.Enforce, Maintenance: engine.Enforce}
	a := x.action(engine.Move, 0)
	a.VM, a.Name, a.Moid, a.To = "s/vm", "vm", "vm-1", engine.Place{Site: "s", VCenter: "s", Cluster: "s/c", Host: "s/h1"}
	x.p = &engine.Plan{Cycle: 1, Level: engine.Enforce, At: selfNow, Actions: []engine.Action{a}}
	return x
}

func (x *decoy) action(kind engine.ActionKind, h int) engine.Action {
	host := &x.in.Snapshot.Hosts[h]
	return engine.Action{
		ID: "c1-1", Kind: kind, Name: host.Name, From: engine.Place{Site: "s", VCenter: "s", Cluster: "s/c", Host: host.ID},
		Why: []engine.Why{{Policy: "self_test", Rule: "rule", Reason: "to be refused"}}, Estimate: engine.Estimate{Seconds: 60},
	}
}

// host makes the plan one action on a host.
func (x *decoy) host(kind engine.ActionKind, h int) {
	x.p.Actions = []engine.Action{x.action(kind, h)}
}
