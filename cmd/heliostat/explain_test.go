package main

import (
	"cmp"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"slices"
	"strings"
	"testing"

	"heliostat/engine"
	"heliostat/engine/backtest"
	"heliostat/engine/cycle"
	"heliostat/engine/sim"
	"heliostat/policy"
	"heliostat/rego"
)

// A staged scene is a small fleet in which one thing binds.
type staged struct {
	engine.Input
	v     int32         // a VM at the first site, which a policy wants at the second
	h     int32         // its host
	rails []engine.Hold // what the loop holds back beside the plan
}

func (x *staged) vm() *engine.VM     { return &x.Snapshot.VMs[x.v] }
func (x *staged) host() *engine.Host { return &x.Snapshot.Hosts[x.h] }

// tag adds a tag to the VM: category:name.
func (x *staged) tag(t string) {
	x.vm().Tags = append(x.vm().Tags, t)
	slices.Sort(x.vm().Tags)
}

// at calls f for each host of a site.
func (x *staged) at(site int32, f func(*engine.Host)) {
	for i := range x.Snapshot.Hosts {
		if h := &x.Snapshot.Hosts[i]; h.Site == site {
			f(h)
		}
	}
}

// alert is how a scene asks the policy for something that has no tags.
func (x *staged) alert(kind, name string, site int32, deadline engine.Unix) {
	x.Snapshot.Alerts = append(x.Snapshot.Alerts, engine.Alert{
		Fingerprint: fmt.Sprint(len(x.Snapshot.Alerts)), Status: "firing", Name: name, Kind: kind, Site: x.Snapshot.Sites[site].ID, Deadline: deadline,
		StartsAt: x.Now, ReceivedAt: x.Now, ExpiresAt: x.Now + 3600, Source: "test",
	})
}

func (x *staged) links(f func(*engine.Link)) {
	for i := range x.Snapshot.Links {
		f(&x.Snapshot.Links[i])
	}
}

func newScene(t *testing.T) *staged {
	t.Helper()
	s := sim.Fleet(3, sim.FleetConfig{Hosts: 9, VMs: 30, AcrossPct: 100, LoadPct: 30})
	x := &staged{Input: engine.Input{Cycle: 1, Now: s.At, Seed: 1, Level: engine.Enforce, Snapshot: s, Config: engine.DefaultConfig(), History: &engine.History{}}}
	x.Config.Modes = engine.KindModes{Move: engine.Enforce, Standby: engine.Enforce, Wake: engine.Enforce, Maintenance: engine.Enforce}
	x.v = int32(slices.IndexFunc(s.VMs, func(v engine.VM) bool { return v.Power == engine.VMOn && s.Hosts[v.Host].Site == 0 }))
	x.h = s.VMs[x.v].Host
	return x
}

// settle asks the policies and plans, as the loop does.
func (x *staged) settle(t *testing.T, b *policy.Bundle) (*engine.Decision, *engine.Plan, *force) {
	t.Helper()
	x.History = engine.Fold(x.History, x.Snapshot, nil, x.Config.Low)
	f := &force{Revision: b.Revision, Kept: true, bundle: b, view: backtest.ViewOf(&x.Input)}
	d, err := b.Evaluate(t.Context(), f.view)
	if err != nil {
		t.Fatal(err)
	}
	x.Decision = d.Audience(x.Level, "")
	p, _, err := cycle.Settle(t.Context(), b, f.view, &x.Input)
	if err != nil {
		t.Fatal(err)
	}
	return d, p, f
}

// explained is what explain prints of the VM, the host or the site.
func (x *staged) explained(t *testing.T, b *policy.Bundle, kind string) (*explanation, string) {
	t.Helper()
	d, p, f := x.settle(t, b)
	name := map[string]string{"vm": x.vm().Name, "host": x.host().Name, "site": string(x.Snapshot.Sites[0].ID)}[kind]
	e := &explanation{Cycle: 1, At: x.Now, Kind: kind, Revision: "revision", Policies: f, host: hostNamer(x.Snapshot)}
	if err := e.fill(t.Context(), &x.Input, d, p, x.rails, name); err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := e.print(&out); err != nil {
		t.Fatal(err)
	}
	return e, strings.ReplaceAll(out.String(), "testdata/scene/", "")
}

func wish(x *staged) { x.tag("wish:" + string(x.Snapshot.Sites[1].ID)) }

func leave(x *staged) { x.alert("leave", "", 0, 0) }

func sleep(x *staged) { x.alert("sleep", x.host().Name, 0, 0) }

// scenes has one for each kind of hold, and those in which none is.
var scenes = []struct {
	code   engine.HoldCode // "": nothing is held
	about  string
	ask    func(*staged)
	change func(*staged)
}{
	{"", "vm", wish, nil},
	{"", "vm", nil, nil},
	{engine.HoldFrozen, "vm", wish, func(x *staged) { x.alert("freeze", "", 0, 0) }},
	{engine.HoldVeto, "vm", wish, func(x *staged) { x.tag("deny:yes") }},
	{engine.HoldPinned, "vm", wish, func(x *staged) { x.tag("pin:yes") }},
	{engine.HoldMode, "vm", wish, func(x *staged) { x.Snapshot.Sites[0].Mode = engine.Advise }},
	{engine.HoldSites, "vm", wish, func(x *staged) { x.tag("only:" + string(x.Snapshot.Sites[0].ID)) }},
	{engine.HoldHosts, "vm", wish, func(x *staged) { x.tag("stay:yes") }},
	{engine.HoldObstacle, "vm", wish, func(x *staged) { x.vm().Obstacles |= engine.ObPassthrough }},
	{engine.HoldAcross, "vm", wish, func(x *staged) { x.vm().Across = false }},
	{engine.HoldCapacity, "vm", wish, func(x *staged) { x.at(1, func(h *engine.Host) { h.UsedMiB = h.MemoryMiB }) }},
	{engine.HoldReserve, "vm", wish, func(x *staged) { x.at(1, func(h *engine.Host) { h.UsedMiB = h.MemoryMiB * 7 / 10 }) }},
	{engine.HoldSpace, "vm", wish, func(x *staged) {
		for i := range x.Snapshot.Datastores {
			x.Snapshot.Datastores[i].FreeMiB = 0
		}
	}},
	{engine.HoldNetwork, "vm", wish, func(x *staged) {
		for i := range x.Snapshot.Networks {
			if n := &x.Snapshot.Networks[i]; n.VCenter == 1 {
				n.Segment = "another"
			}
		}
	}},
	{engine.HoldMAC, "vm", wish, func(x *staged) {
		other := slices.IndexFunc(x.Snapshot.VMs, func(v engine.VM) bool { return x.Snapshot.Hosts[v.Host].Site == 1 })
		n := x.vm().NICs[0]
		seg := x.Snapshot.Networks[n.Network].Segment
		n.Network = int32(slices.IndexFunc(x.Snapshot.Networks, func(k engine.Network) bool { return k.VCenter == 1 && k.Segment == seg }))
		x.Snapshot.VMs[other].NICs[0] = n
	}},
	{engine.HoldRule, "vm", wish, func(x *staged) {
		x.Snapshot.Rules = append(x.Snapshot.Rules, engine.Rule{Cluster: x.host().Cluster, Name: "on", Kind: engine.RuleOn, Mandatory: true, VMs: []int32{x.v}, Hosts: []int32{x.h}})
	}},
	{engine.HoldRTT, "vm", wish, func(x *staged) { x.links(func(l *engine.Link) { l.RTTMicros = 400_000 }) }},
	{engine.HoldBandwidth, "vm", wish, func(x *staged) { x.links(func(l *engine.Link) { l.Mbps = 10 }) }},
	{engine.HoldConverge, "vm", wish, func(x *staged) { x.vm().DirtyMbps = 100_000 }},
	{engine.HoldCompat, "vm", wish, func(x *staged) {
		for i := range x.Snapshot.Clusters {
			if c := &x.Snapshot.Clusters[i]; c.VCenter == 1 {
				c.EVC = "intel-sandybridge"
			}
		}
	}},
	{engine.HoldCooldown, "vm", wish, func(x *staged) {
		x.History = &engine.History{VMs: []engine.VMHistory{{ID: x.vm().ID, MovedAt: x.Now - 600, LeftSite: "hou", LeftHost: "vc-02/host-0000-00", Moves: 3, Returns: 2}}}
	}},
	{engine.HoldBudget, "vm", wish, func(x *staged) { x.Config.MovesPerDay = 0 }},
	{engine.HoldWorth, "vm", wish, func(x *staged) { x.Config.PaybackS = 1 }},
	{engine.HoldGap, "vm", wish, func(x *staged) { x.vm().LoadAt -= 3600 }},
	{engine.HoldBusy, "vm", wish, func(x *staged) { x.vm().Task = "backup" }},
	{engine.HoldNowhere, "vm", leave, func(x *staged) { x.alert("leave", "", 1, 0); x.alert("leave", "", 2, 0) }},
	{engine.HoldDeadline, "vm", func(x *staged) { x.alert("leave", "", 0, x.Now+5) }, nil},
	{engine.HoldStorage, "vm", wish, func(x *staged) { x.vm().Disks[0].Profile = "gold" }},
	{engine.HoldDRS, "vm", func(x *staged) { x.tag("beside:" + x.Snapshot.Hosts[(x.h+1)%3].Name) }, func(x *staged) { x.Snapshot.Clusters[0].DRS = engine.DRSFull }},
	{engine.HoldPoweredOff, "vm", leave, func(x *staged) { x.vm().Template, x.vm().Power = true, engine.VMOff }},
	{engine.HoldUnavailable, "vm", wish, func(x *staged) { x.at(1, func(h *engine.Host) { h.Connected = false }) }},
	{engine.HoldQuarantine, "vm", wish, func(x *staged) {
		x.History = &engine.History{Quarantine: []engine.Quarantine{{Subject: engine.Subject{Kind: "vm", ID: string(x.vm().ID)}, Name: x.vm().Name, Since: x.Now - 600, Action: "c0-1", Reason: "its task is not known"}}}
	}},
	{engine.HoldPaused, "vm", wish, func(x *staged) { x.Paused = "by the duty manager" }},
	{engine.HoldBreaker, "vm", wish, func(x *staged) {
		x.Broken = []engine.Hold{x.ofVCenter(engine.HoldBreaker, "4 of 5 actions ended badly")}
	}},
	{engine.HoldPrivilege, "vm", wish, func(x *staged) {
		x.Broken = []engine.Hold{x.ofVCenter(engine.HoldPrivilege, "the mover lacks a privilege")}
	}},
	{engine.HoldRamp, "vm", wish, func(x *staged) { x.rail("fleet", "", engine.HoldRamp) }},
	{engine.HoldApproval, "vm", leave, func(x *staged) { x.rail("site", string(x.Snapshot.Sites[0].ID), engine.HoldApproval) }},
	{engine.HoldSuspended, "site", leave, func(x *staged) { x.rail("fleet", "", engine.HoldSuspended) }},
	{engine.HoldEvidence, "site", leave, func(x *staged) { x.rail("site", string(x.Snapshot.Sites[0].ID), engine.HoldEvidence) }},
	{engine.HoldTurn, "site", leave, func(x *staged) { x.rail("site", string(x.Snapshot.Sites[0].ID), engine.HoldTurn) }},
	{engine.HoldOwner, "host", func(x *staged) { x.alert("wake", x.host().Name, 0, 0) }, func(x *staged) {
		// A person's host sleeps, and the others have become busy.
		x.host().Power, x.host().Connected = engine.HostStandby, false
		x.Snapshot.VMs = slices.DeleteFunc(x.Snapshot.VMs, func(v engine.VM) bool { return v.Host == x.h })
		x.v = 0
		x.at(0, func(h *engine.Host) {
			if h != x.host() {
				h.UsedMiB = h.MemoryMiB * 9 / 10
			}
		})
	}},
	{engine.HoldKeepOn, "host", sleep, func(x *staged) { x.alert("keep_on", x.host().Name, 0, 0) }},
	{engine.HoldLast, "host", sleep, func(x *staged) {
		x.at(0, func(h *engine.Host) {
			if h != x.host() {
				h.Maintenance = true
			}
		})
	}},
	{engine.HoldVSAN, "host", sleep, func(x *staged) { x.host().VSANData = true }},
	{engine.HoldStandby, "host", sleep, func(x *staged) { x.host().Standby = false }},
	{engine.HoldDPM, "host", sleep, func(x *staged) { x.Snapshot.Clusters[x.host().Cluster].DPM = true }},
	{engine.HoldNotEmpty, "host", sleep, func(x *staged) { x.vm().Obstacles |= engine.ObPassthrough }},
	{engine.HoldEvacuating, "host", sleep, leave},
}

func (x *staged) ofVCenter(code engine.HoldCode, detail string) engine.Hold {
	k := &x.Snapshot.VCenters[0]
	return engine.Hold{Subject: engine.Subject{Kind: "vcenter", ID: string(k.ID)}, Name: k.Name, Code: code, Want: "start actions", Detail: detail}
}

func (x *staged) rail(kind, id string, code engine.HoldCode) {
	x.rails = append(x.rails, engine.Hold{Subject: engine.Subject{Kind: kind, ID: id}, Name: cmp.Or(id, "fleet"), Code: code, Want: "start actions", Detail: "as the loop words it"})
}

// Each kind of hold has a scene, and explain says of it which rule wanted what, what
// that read, what bound, what would end it, and of a VM what the planner would need.
func TestExplain(t *testing.T) {
	cfg := policy.DefaultConfig()
	cfg.Dir, cfg.Modes = "testdata/scene", map[string]engine.Mode{"scene": engine.Enforce}
	for _, name := range policy.Shipped(rego.FS).Policies() {
		cfg.Modes[name] = engine.Off
	}
	b, err := policy.Load(t.Context(), rego.FS, cfg)
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	seen := map[engine.HoldCode]bool{}
	for _, c := range scenes {
		x := newScene(t)
		for _, f := range []func(*staged){c.ask, c.change} {
			if f != nil {
				f(x)
			}
		}
		e, text := x.explained(t, b, c.about)
		fmt.Fprintf(&got, "== %s\n%s\n", cmp.Or(string(c.code), "nothing"), text)
		seen[c.code] = true
		if i := slices.IndexFunc(e.Holds, func(h held) bool { return h.Code == c.code }); c.code != "" {
			if i < 0 || e.Holds[i].Detail == "" || e.Holds[i].Until == "" {
				t.Errorf("%s: no such hold, or one that is not explained:\n%s", c.code, text)
			}
		}
		for _, s := range e.Said {
			if s.At == "" || len(s.Read) == 0 {
				t.Errorf("%s: what %s.%s read is not said", c.code, s.Policy, s.Rule)
			}
		}
	}
	for _, code := range holdCodes(t) {
		if !seen[code] || until[code] == "" {
			t.Errorf("hold %s has no scene here, or nothing that would end it in holds.go", code)
		}
	}
	const file = "testdata/explain.golden"
	if *update {
		if err := os.WriteFile(file, []byte(got.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != got.String() {
		t.Errorf("not as in %s (go test -run TestExplain -update, then read the difference)", file)
	}
}

// holdCodes reads the constants of type HoldCode from engine's source.
func holdCodes(t *testing.T) (out []engine.HoldCode) {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), "../../engine/plan.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(f, func(n ast.Node) bool {
		v, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if id, ok := v.Type.(*ast.Ident); ok && id.Name == "HoldCode" {
			lit, ok := v.Values[0].(*ast.BasicLit)
			if !ok {
				t.Fatalf("%s is no literal", v.Names[0].Name)
			}
			out = append(out, engine.HoldCode(strings.Trim(lit.Value, `"`)))
		}
		return true
	})
	if len(out) < 40 {
		t.Fatalf("only %d kinds of hold found", len(out))
	}
	return out
}

// noRevisions is a journal that keeps no policies.
type noRevisions struct{ journal }

// Kind implements journal.
func (noRevisions) Kind(engine.EntryKind) ([]engine.Entry, error) { return nil, nil }

// A revision that is not kept is named, and so is what stands in.
func TestRevisionNotKept(t *testing.T) {
	f, err := loadForce(t.Context(), noRevisions{}, "00c0ffee00c0ffee", nil)
	if err != nil {
		t.Fatal(err)
	}
	if f.Kept || f.Instead != f.bundle.Revision || !strings.Contains(f.note(), "Revision 00c0ffee00c0, which was in force, is not kept here") || !strings.Contains(f.note(), "revision "+f.Instead[:12]) {
		t.Errorf("%+v: %s", f, f.note())
	}
	if _, err := keptBundle(noRevisions{})(t.Context(), "00c0ffee00c0ffee", nil); !errors.Is(err, backtest.ErrNotKept) {
		t.Errorf("replay would use another: %v", err)
	}
	// What ships needs not be kept.
	if f, err = loadForce(t.Context(), noRevisions{}, f.Instead, nil); err != nil || !f.Kept || f.note() != "" {
		t.Errorf("%+v, %v", f, err)
	}
}
