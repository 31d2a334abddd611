package policy

import (
	"context"
	"encoding/json"
	"flag"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"

	"heliostat/engine"
	"heliostat/rego"
)

var update = flag.Bool("update", false, "write golden files")

// everyRule says something under every rule of scope fleet and cluster.
const everyRule = `package placement.p

# METADATA
# entrypoint: true
# custom: {reads: fleet}
site_score contains {"site": s.id, "score": 0.25, "reason": "score"} if some s in data.fleet.sites

# METADATA
# entrypoint: true
# custom: {reads: fleet}
evacuate contains {"kind": "site", "id": "hou", "deadline": 5, "reason": "evacuate"}

# METADATA
# entrypoint: true
# custom: {reads: fleet, yields_to: [evacuate]}
freeze contains {"kind": "fleet", "id": "", "until": null, "reason": "freeze"}

# METADATA
# entrypoint: true
# custom: {reads: cluster}
prefer contains {"vm": first.id, "kind": "host", "id": first.host, "eur_per_h": -0.5, "reason": "prefer"}

# METADATA
# entrypoint: true
# custom: {reads: cluster}
drain contains {"host": first.host, "then": "maintenance", "deadline": 7, "reason": "drain"}

drain contains {"host": first.host, "then": "none", "reason": "drain"}

# METADATA
# entrypoint: true
# custom: {reads: cluster}
wake contains {"host": first.host, "reason": "wake"}

# METADATA
# entrypoint: true
# custom: {reads: cluster}
priority contains {"vm": first.id, "priority": -3, "reason": "priority"}

# METADATA
# entrypoint: true
# custom: {reads: cluster}
apart contains {"group": "a", "vm": first.id, "scope": "site", "reason": "apart"}

# METADATA
# entrypoint: true
# custom: {reads: cluster}
together contains {"group": "t", "vm": first.id, "scope": "host", "reason": "together"}

# METADATA
# entrypoint: true
# custom: {reads: cluster}
near contains {"group": "n", "vm": first.id, "max_rtt_ms": 2.5, "max_split_s": 60, "reason": "near"}

# METADATA
# entrypoint: true
# custom: {reads: cluster}
shed contains {"vm": first.id, "then": "suspend", "reason": "shed"}

# METADATA
# entrypoint: true
# custom: {reads: cluster}
allow_sites contains {"vm": first.id, "sites": {"fra", "tyo"}, "reason": "sites"}

# METADATA
# entrypoint: true
# custom: {reads: cluster}
allow_hosts contains {"vm": first.id, "hosts": [first.host, first.host], "reason": "hosts"}

# METADATA
# entrypoint: true
# custom: {reads: cluster}
pin contains {"vm": first.id, "reason": $"pin, {input.vm_load[0].cpu_mhz >= 0}"}

# METADATA
# entrypoint: true
# custom: {reads: cluster}
keep_on contains {"host": first.host, "reason": "keep"}

first := input.vms[0]
`

func TestEveryRule(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Modes = map[string]engine.Mode{"p": engine.Enforce}
	cfg.Weights = map[string]float64{"p": 0.02}
	b := mustLoad(t, map[string]string{"placement/p.rego": everyRule}, cfg)
	v := smallFleet()
	v.Snapshot.VMs[0].UsedMHz = 100
	d := mustEvaluate(t, b, v)
	d.Revision = "" // changes with every word above
	got, err := json.MarshalIndent(d, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	const golden = "testdata/every_rule.json"
	if *update {
		if err := os.WriteFile(golden, append(got, '\n'), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if string(got)+"\n" != string(want) {
		t.Errorf("differs from %s; run with -update and read the difference:\n%s", golden, got)
	}
	var all []string
	for _, voice := range d.Voices {
		all = append(all, voice.Rule)
	}
	for rule, spec := range contract {
		if (spec.scope == scopeFleet || spec.scope == scopeCluster) && !slices.Contains(all, rule) {
			t.Errorf("%s is not tried", rule)
		}
	}
}

// What goes wrong while a rule is asked: a veto closes, a wish is dropped, and
// nobody else notices.
func TestFailures(t *testing.T) {
	long := strings.Repeat("x", 501)
	// The item is made of JSON, of which the check cannot tell the type.
	pin := func(text string) string {
		return ruleOf("cluster", "pin contains x if {\n some v in input.vms\n x := json.unmarshal(json.marshal("+text+"))\n}")
	}
	for _, c := range []struct {
		name, module, want string
	}{
		{"no reason", pin(`{"vm": v.id}`), `"reason" is missing`},
		{"empty reason", pin(`{"vm": v.id, "reason": ""}`), `"reason" has 0 characters`},
		{"long reason", pin(`{"vm": v.id, "reason": "` + long + `"}`), `"reason" has 501 characters`},
		{"unknown key", pin(`{"vm": v.id, "reason": "r", "raeson": "r"}`), `unknown key "raeson"`},
		{"wrong type", pin(`{"vm": 7, "reason": "r"}`), `"vm" is number, not a string`},
		{"no object", pin(`v.id`), `is string, not an object`},
		{"unknown VM", pin(`{"vm": "nobody", "reason": "r"}`), `no VM "nobody"`},
		{"a VM elsewhere", ruleOf("cluster", `pin contains {"vm": "vm-000089-00000000000000000000", "reason": "r"}`), "is not in the cluster asked about"},
		{"division by zero", ruleOf("cluster", `pin contains {"vm": v.id, "reason": $"{1 / (v.vcpus - 4)}"} if some v in input.vms`), "divide by zero"},
		{"arithmetic on null", ruleOf("cluster", `pin contains {"vm": v.id, "reason": $"{h.power_w + 1}"} if { some v in input.vms; some h in input.hosts }`), "plus: operand 1 must be number but got null"},
		{"endless", ruleOf("cluster", `pin contains {"vm": "x", "reason": "r"} if { some i in numbers.range(1, 100000); some j in numbers.range(1, 100000); i * j == -1 }`), "did not end within 50ms"},
		{"unknown site", ruleOf("cluster", `allow_sites contains {"vm": v.id, "sites": ["nowhere"], "reason": "r"} if some v in input.vms`), `no site "nowhere"`},
		{"unknown host", ruleOf("cluster", `allow_hosts contains {"vm": v.id, "hosts": json.unmarshal("\"h\""), "reason": "r"} if some v in input.vms`), `"hosts" is string, not an array or a set`},
	} {
		t.Run("veto "+c.name, func(t *testing.T) {
			cfg := DefaultConfig()
			if c.name == "endless" {
				cfg.Deadline = 50 * time.Millisecond
			}
			v := fleetOf(3, 3, 1)
			v.Snapshot.Hosts[0].PowerW = engine.Unknown
			if c.name == "a VM elsewhere" {
				v = fleetOf(9, 3, 1)
			}
			d := mustEvaluate(t, mustLoad(t, map[string]string{"placement/p.rego": c.module}, cfg), v)
			if len(d.Failures) == 0 || !strings.Contains(d.Failures[0].Error, c.want) || !strings.HasPrefix(d.Failures[0].Error, "placement/p.rego:") || !d.Failures[0].Veto {
				t.Fatalf("failures %+v, want %s", d.Failures, c.want)
			}
			if len(d.Freezes) != len(d.Failures) || d.Freezes[0].Place != (engine.Subject{Kind: "cluster", ID: string(v.Snapshot.Clusters[0].ID)}) {
				t.Errorf("freezes %+v", d.Freezes)
			}
			if why := d.Why(d.Freezes[0].By); why.Policy != "p" || !strings.Contains(why.Reason, "fails closed") {
				t.Errorf("why %v", why)
			}
			if len(d.Pins) > 0 && c.name != "a VM elsewhere" {
				t.Errorf("pins %+v of a rule that failed", d.Pins)
			}
		})
	}
}

func TestFailedWishIsDropped(t *testing.T) {
	files := map[string]string{
		"placement/p.rego": ruleOf("cluster", `wake contains {"host": h.id, "reason": $"{1 / (h.cores - 32)}"} if some h in input.hosts`),
		"placement/q.rego": strings.Replace(ruleOf("cluster", `wake contains {"host": h.id, "reason": "r"} if some h in input.hosts`), "package placement.p", "package placement.q", 1),
	}
	v := fleetOf(6, 3, 1)
	v.Snapshot.Hosts[0].Cores, v.Snapshot.Hosts[1].Cores, v.Snapshot.Hosts[2].Cores = 8, 8, 8
	d := mustEvaluate(t, mustLoad(t, files, DefaultConfig()), v)
	if len(d.Failures) != 1 || d.Failures[0].Veto || d.Failures[0].Scope.ID != string(v.Snapshot.Clusters[1].ID) {
		t.Errorf("failures %+v, want that of the second cluster", d.Failures)
	}
	if len(d.Freezes) != 0 || len(d.Wakes) != 3+6 {
		t.Errorf("%d freezes, %d wakes; want 0 and 9: only the second cluster's opinion of one policy is missing", len(d.Freezes), len(d.Wakes))
	}
}

func TestFailedFleetVetoFreezesTheFleet(t *testing.T) {
	b := mustLoad(t, map[string]string{"placement/p.rego": ruleOf("fleet", `freeze contains {"kind": "site", "id": "nowhere", "until": 0, "reason": "r"}`)}, DefaultConfig())
	d := mustEvaluate(t, b, smallFleet())
	if len(d.Freezes) != 1 || d.Freezes[0].Place.Kind != "fleet" || len(d.Failures) != 1 {
		t.Errorf("freezes %+v, failures %+v", d.Freezes, d.Failures)
	}
}

// The contract's `contains` is never undefined; were a rule so all the same, a
// veto must close.
func TestUndefinedFailsClosed(t *testing.T) {
	c, err := compile(t.Context(), readFiles(bundleOf(map[string]string{
		"placement/p.rego": ruleOf("cluster", `pin contains {"vm": v.id, "reason": "r"} if some v in input.vms`) + "\nnever := 1 if input.hosts[0].id == \"\"\n",
	}), ""))
	if err != nil {
		t.Fatal(err)
	}
	e := c.entries[0]
	e.ref = "data.placement.p.never"
	q, err := (&preparer{c: c.compiler, data: ast.NewObject()}).query(t.Context(), e, 0)
	if err != nil {
		t.Fatal(err)
	}
	b := &Bundle{Voices: []engine.Voice{{Policy: "p", Rule: "pin"}}, queries: []query{q}, deadline: time.Second, enc: &encoder{}}
	d := mustEvaluate(t, b, fleetOf(3, 3, 1))
	if len(d.Freezes) != 1 || len(d.Failures) != 1 || !strings.Contains(d.Failures[0].Error, "is undefined") {
		t.Errorf("freezes %+v, failures %+v", d.Freezes, d.Failures)
	}
}

func TestModes(t *testing.T) {
	files := map[string]string{"placement/p.rego": everyRule}
	cfg := DefaultConfig()
	cfg.Modes = map[string]engine.Mode{"p": engine.Off}
	if d := mustEvaluate(t, mustLoad(t, files, cfg), smallFleet()); len(d.Voices) != 0 || len(d.Pins) != 0 {
		t.Errorf("a policy that is off speaks: %+v", d.Voices)
	}
	cfg.Modes = nil
	d := mustEvaluate(t, mustLoad(t, files, cfg), smallFleet())
	for _, v := range d.Voices {
		if v.Mode != engine.Advise || v.Yields != (v.Rule == engine.RuleFreeze) || (v.WeightMicroEUR != 0) != (v.Rule == engine.RuleSiteScore) {
			t.Errorf("voice %+v", v)
		}
	}
}

func TestEvaluateEndsWithItsContext(t *testing.T) {
	b := mustLoad(t, map[string]string{"placement/p.rego": everyRule}, DefaultConfig())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if d, err := b.Evaluate(ctx, smallFleet()); err == nil {
		t.Errorf("gave %+v", d)
	}
}

// The shipped bundle: loads, decides without failures, and decides the same
// each time, with terms kept and with terms made anew.
func TestShippedIsDeterministic(t *testing.T) {
	load := func() *Bundle {
		b, err := Load(t.Context(), rego.FS, DefaultConfig())
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	kept := load()
	v := smallFleet()
	first := mustEvaluate(t, kept, v)
	if len(first.Failures) > 0 {
		t.Fatalf("failures %+v", first.Failures)
	}
	want := digest(t, first)
	for range 3 {
		if got := digest(t, mustEvaluate(t, kept, v)); got != want {
			t.Fatal("differs from one run to the next")
		}
	}
	if got := digest(t, mustEvaluate(t, load(), v)); got != want {
		t.Error("differs between two bundles of one revision")
	}
	fresh := load()
	for step := range 20 {
		v = drift(v, uint64(step))
		fresh.enc, fresh.said = &encoder{}, nil
		if got, want := digest(t, mustEvaluate(t, kept, v)), digest(t, mustEvaluate(t, fresh, v)); got != want {
			t.Fatalf("step %d: with kept terms it decides otherwise than with fresh ones", step)
		}
	}
}

func TestDecisionIsSorted(t *testing.T) {
	b, err := Load(t.Context(), rego.FS, DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	d := mustEvaluate(t, b, smallFleet())
	if !slices.IsSorted(d.Reasons) {
		t.Errorf("reasons %q", d.Reasons)
	}
	if !slices.IsSortedFunc(d.Voices, func(a, b engine.Voice) int { return strings.Compare(a.Policy+" "+a.Rule, b.Policy+" "+b.Rule) }) {
		t.Errorf("voices %+v", d.Voices)
	}
	if len(d.Evacuations) == 0 || len(d.SiteScores) != 3 || len(d.Pins) != 1 || len(d.Drains) == 0 || len(d.AllowSites) == 0 {
		t.Errorf("%d evacuations, %d scores, %d pins, %d drains, %d allowed", len(d.Evacuations), len(d.SiteScores), len(d.Pins), len(d.Drains), len(d.AllowSites))
	}
}

func TestGroupsUniteOverClusters(t *testing.T) {
	b := mustLoad(t, map[string]string{"placement/p.rego": ruleOf("cluster", `near contains {"group": v.tags.env, "vm": v.id, "max_rtt_ms": rtt[input.cluster.site], "reason": "r"} if some v in input.vms`) +
		"\nrtt := {\"fra\": 10, \"hou\": 5, \"tyo\": 20}\n"}, DefaultConfig())
	v := fleetOf(9, 3, 1)
	d := mustEvaluate(t, b, v)
	if len(d.Groups) != 1 || len(d.Groups[0].VMs) != 90 || d.Groups[0].MaxRTTMicros != 5000 || !slices.IsSorted(d.Groups[0].VMs) {
		t.Errorf("groups %+v", d.Groups)
	}
}

func TestDeny(t *testing.T) {
	guard := "package placement.guard\n\n# METADATA\n# entrypoint: true\n# custom: {reads: move, yields_to: [evacuate]}\n" +
		"deny contains {\"code\": \"away\", \"reason\": $\"{w.policy} wants it\"} if {\n some w in input.why\n input.to.region != input.from.region\n}\n"
	broken := strings.Replace(ruleOf("move", `deny contains {"code": "x", "reason": $"{1 / (input.vm.vcpus - 4)}"}`), "placement.p", "placement.broken", 1)
	cfg := DefaultConfig()
	cfg.Modes = map[string]engine.Mode{"guard": engine.Enforce}
	b := mustLoad(t, map[string]string{"placement/guard.rego": guard, "placement/broken.rego": broken}, cfg)
	v := smallFleet()
	v.Snapshot.VMs[0].VCPUs, v.Snapshot.VMs[1].VCPUs = 2, 2
	gone := moveOf(v.Snapshot, 0, 2)
	gone.VM = "vm-gone"
	standby := engine.Action{Kind: engine.Standby, From: moveOf(v.Snapshot, 0, 2).From}
	got, err := b.Deny(t.Context(), v, []engine.Action{moveOf(v.Snapshot, 0, 8), moveOf(v.Snapshot, 1, 2), moveOf(v.Snapshot, 2, 2), standby, gone})
	if err != nil {
		t.Fatal(err)
	}
	type key struct {
		vm         engine.VMID
		code, from string
	}
	var keys []key
	for _, x := range got {
		keys = append(keys, key{x.VM, x.Code, x.Policy})
	}
	id := func(i int) engine.VMID { return v.Snapshot.VMs[i].ID }
	want := []key{{id(0), "x", "broken"}, {id(0), "away", "guard"}, {id(1), "x", "broken"}, {id(2), "policy_error", "broken"}, {"vm-gone", "policy_error", "broken"}, {"vm-gone", "policy_error", "guard"}}
	if !slices.Equal(keys, want) {
		t.Fatalf("got %v\nwant %v", keys, want)
	}
	if x := got[1]; x.Mode != engine.Enforce || !x.Yields || x.Reason != "p wants it" || x.To != v.Snapshot.Hosts[8].ID {
		t.Errorf("veto %+v", x)
	}
}

func TestReview(t *testing.T) {
	module := "package placement.p\n\n# METADATA\n# entrypoint: true\n# custom: {reads: plan}\n" +
		"reject contains {\"reason\": \"too much\"} if {\n some l in input.links\n l.gb > 20\n}\n\n# METADATA\n# entrypoint: true\n# custom: {reads: plan}\n" +
		"approval contains {\"approvers\": 2, \"reason\": \"two moves\"} if input.plan.moves >= 2\n"
	broken := strings.Replace(ruleOf("plan", `reject contains x if {
 input.plan.moves > 0
 some x in [{"reason": ""}]
}`), "placement.p", "placement.broken", 1)
	v := smallFleet()
	plan := &engine.Plan{Level: engine.Enforce, Actions: []engine.Action{moveOf(v.Snapshot, 0, 8), moveOf(v.Snapshot, 1, 2)}}
	files := map[string]string{"placement/p.rego": module, "placement/broken.rego": broken}
	for _, c := range []struct {
		name    string
		modes   map[string]engine.Mode
		level   engine.Mode
		rejects []string
		persons int32
	}{
		{"not enforced", nil, engine.Enforce, nil, 0},
		{"advised", map[string]engine.Mode{"broken": engine.Off}, engine.Advise, []string{"p.reject: too much"}, 2},
		{"enforced", map[string]engine.Mode{"p": engine.Enforce}, engine.Enforce, []string{"p.reject: too much"}, 2},
		{"fails closed", map[string]engine.Mode{"p": engine.Off}, engine.Advise, []string{`broken.reject: could not be evaluated: placement/broken.rego:3:1: reject: item {"reason": ""}: "reason" has 0 characters, not 1 to 500`}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := DefaultConfig()
			cfg.Modes = maps.Clone(c.modes)
			plan.Level = c.level
			got, err := mustLoad(t, files, cfg).Review(t.Context(), v, plan)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got.Rejects, c.rejects) || got.Approvers != c.persons {
				t.Errorf("got %+v", got)
			}
		})
	}
}

// A rule whose parameters say that it has nothing to say is not asked, and is no voice.
func TestAskedIf(t *testing.T) {
	module := ruleOf("cluster\n#   asked_if: [most, names]", "pin contains {\"vm\": v.id, \"reason\": \"r\"} if some v in input.vms")
	for params, asked := range map[string]bool{
		`{"p": {"most": 0, "names": []}}`: false, `{"p": {"most": 0.0, "names": {}}}`: false, `{"p": {"most": "", "names": false}}`: false,
		`{"p": {"most": 1, "names": []}}`: true, `{"p": {"most": 0, "names": ["x"]}}`: true, `{"p": {"most": true, "names": []}}`: true,
	} {
		b := mustLoad(t, map[string]string{"placement/p.rego": module, "params/data.json": params}, DefaultConfig())
		if d := mustEvaluate(t, b, smallFleet()); len(b.Voices) > 0 != asked || len(d.Pins) > 0 != asked {
			t.Errorf("%s: voices %v, %d pins", params, b.Voices, len(d.Pins))
		}
	}
}

// What is marked is what has the tag or the attribute, and stays the same term
// while those VMs do.
func TestMarked(t *testing.T) {
	v := smallFleet()
	v.Snapshot.VMs[0].Tags, v.Snapshot.VMs[0].Attributes = []string{"app:a", "app:b", "tier:db"}, []string{"owner=x"}
	e := &encoder{}
	first := e.encode(v)
	c := v.Snapshot.VMCluster(0)
	in := first.inputs[c]
	for _, name := range []string{"app", "tier", "owner"} {
		list, ok := in.marks[name].Value.(*ast.Array)
		if !ok || list.Len() == 0 || list.Elem(0) != e.vm(first, 0) {
			t.Errorf("%s: %v", name, in.marks[name])
		}
	}
	next := v
	next.Snapshot = copySnapshot(v.Snapshot)
	for i := range next.Snapshot.VMs {
		if x := &next.Snapshot.VMs[i]; i > 0 && len(x.Tags)+len(x.Attributes) == 0 {
			x.Name += "'"
		}
	}
	if second := e.encode(next); second.inputs[c].marked != in.marked {
		t.Error("VMs without marks changed, and marked with them")
	}
	next.Snapshot = copySnapshot(v.Snapshot)
	next.Snapshot.VMs[0].Tags = nil
	if third := e.encode(next); third.inputs[c].marks["tier"] == in.marks["tier"] {
		t.Error("a VM lost its tag and is marked still")
	}
}
