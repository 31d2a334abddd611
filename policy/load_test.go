package policy

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"heliostat/engine"
)

// The table of what a bundle may not do. Each is refused with its place and with
// what is wrong.
func TestLoadRefuses(t *testing.T) {
	ok := "drain contains {\"host\": h.id, \"then\": \"standby\", \"reason\": \"r\"} if some h in input.hosts"
	rule := func(reads, text string) map[string]string {
		return map[string]string{"placement/p.rego": ruleOf(reads, text)}
	}
	for _, c := range []struct {
		name  string
		files map[string]string
		cfg   func(*Config)
		want  string // place and beginning of a message
	}{
		{"misspelt field", rule("cluster", strings.ReplaceAll(ok, "h.id", "h.idd")), nil, "placement/p.rego:7:25: undefined ref: h.idd"},
		{"misspelt field of the fleet", rule("fleet", "freeze contains {\"kind\": \"site\", \"id\": s.id, \"until\": 0, \"reason\": \"r\"} if {\n some s in data.fleet.sites\n s.sun_degrees > 1\n}"), nil, "placement/p.rego:9:2: undefined ref: s.sun_degrees"},
		{"compares a number with a string", rule("cluster", "wake contains {\"host\": h.id, \"reason\": \"r\"} if {\n some h in input.hosts\n h.cpu_pct == \"low\"\n}"), nil, "placement/p.rego:9:2: match error"},
		{"compares with null", rule("cluster", "wake contains {\"host\": h.id, \"reason\": \"r\"} if {\n some h in input.hosts\n h.cpu_pct == null\n}"), nil, "is_null(x)"},
		{"syntax", rule("cluster", "drain contains {"), nil, "placement/p.rego:8:1: unexpected eof"},
		{"unused variable", rule("cluster", "wake contains {\"host\": h.id, \"reason\": \"r\"} if {\n some h in input.hosts\n x := 1\n}"), nil, "placement/p.rego:9:2: assigned var x unused"},
		{"unknown rule", rule("cluster", strings.Replace(ok, "drain", "drian", 1)), nil, "placement/p.rego:3:1: drian is not a rule of the contract"},
		{"no scope", map[string]string{"placement/p.rego": "package placement.p\n\n# METADATA\n# entrypoint: true\n" + ok + "\n"}, nil, "placement/p.rego:3:1: drain: write custom: {reads: cluster}"},
		{"wrong scope", rule("fleet", ok), nil, "placement/p.rego:3:1: drain reads fleet: it is asked at scope cluster"},
		{"reads what it is not shown", rule("cluster", "pin contains {\"vm\": input.vm.id, \"reason\": \"r\"}"), nil, "placement/p.rego:3:1: pin reads input.vm, which scope cluster is not shown"},
		{"not a set", rule("cluster", "pin := {{\"vm\": \"v\", \"reason\": \"r\"}} if count(input.vms) > 0"), nil, "placement/p.rego:3:1: pin: write pin contains"},
		{"not an entry point", map[string]string{"placement/p.rego": "package placement.p\n\ndeny contains \"x\" if input.vm.passthrough\n"}, nil, "placement/p.rego:3:1: deny would not be asked"},
		{"a wish that yields", rule("cluster\n#   yields_to: [evacuate]", ok), nil, "placement/p.rego:3:1: drain is not a veto"},
		{"yields to something else", rule("move\n#   yields_to: [wake]", "deny contains {\"code\": \"c\", \"reason\": \"r\"} if input.vm.passthrough"), nil, "placement/p.rego:3:1: deny: yields_to can be"},
		{"asked if what is not there", rule("cluster\n#   asked_if: [most]", ok), nil, `placement/p.rego:3:1: drain: asked_if: p has no parameter "most"`},
		{"asked if nothing", rule("cluster\n#   asked_if: most", ok), nil, "placement/p.rego:3:1: drain: write asked_if: [PARAMETER, ...]"},
		{"no reason", rule("cluster", "pin contains {\"vm\": v.id} if some v in input.vms"), nil, `placement/p.rego:7:14: pin: "reason" is missing`},
		{"no reason in the body", rule("cluster", "pin contains x if {\n some v in input.vms\n x := {\"vm\": v.id}\n}"), nil, `placement/p.rego:9:7: pin: "reason" is missing`},
		{"empty reason", rule("cluster", "pin contains {\"vm\": v.id, \"reason\": \"\"} if some v in input.vms"), nil, `placement/p.rego:7:37: pin: "reason" is empty`},
		{"unknown key", rule("cluster", "pin contains {\"vm\": v.id, \"raeson\": \"\"} if some v in input.vms"), nil, `placement/p.rego:7:27: pin: unknown key "raeson": one of ["vm" "reason"]`},
		{"a long reason", rule("cluster", "pin contains {\"vm\": v.id, \"reason\": \""+strings.Repeat("x", 501)+"\"} if some v in input.vms"), nil, `placement/p.rego:7:37: pin: "reason" has 501 characters: at most 500`},
		{"a score that is too high", rule("fleet", "site_score contains {\"site\": s.id, \"score\": 2, \"reason\": \"r\"} if some s in data.fleet.sites"), nil, `placement/p.rego:7:45: site_score: "score" is 2: from -1 to 1`},
		{"a kind that is none", rule("cluster", strings.Replace(ok, "standby", "sleep", 1)), nil, `placement/p.rego:7:39: drain: "then" is "sleep": one of ["standby" "maintenance" "none"]`},
		{"a number as a text", rule("fleet", "site_score contains {\"site\": s.id, \"score\": \"0.5\", \"reason\": \"r\"} if some s in data.fleet.sites"), nil, `placement/p.rego:7:45: site_score: "score" is a string: it has to be a number`},
		{"a VM in place of its id", rule("cluster", "pin contains {\"vm\": v, \"reason\": \"r\"} if some v in input.vms"), nil, `placement/p.rego:7:21: pin: "vm" is an object: it has to be a string`},
		{"the second rule of a name", rule("cluster", "pin contains {\"vm\": v.id, \"reason\": \"r\"} if some v in input.vms\n\npin contains {\"vm\": v.id, \"reason\": n} if {\n some v in input.vms\n n := v.vcpus + 1\n}"), nil, `placement/p.rego:9:37: pin: "reason" is a number`},
		{"sites in place of their ids", rule("cluster", "allow_sites contains {\"vm\": v.id, \"sites\": [s | some s in data.fleet.sites], \"reason\": \"r\"} if some v in input.vms"), nil, `placement/p.rego:7:44: allow_sites: "sites" holds an object: it has to be an array or a set of strings`},
		{"a moment as a text", rule("cluster", strings.Replace(ok, "\"reason\"", "\"deadline\": \"noon\", \"reason\"", 1)), nil, `placement/p.rego:7:62: drain: "deadline" is a string: it has to be a whole number or null`},
		{"an item that is no object", rule("move", "deny contains \"never\" if input.vm.passthrough"), nil, `placement/p.rego:7:15: deny: an item is a string: it has to be an object`},
		{"a whole VM as an item", rule("cluster", "pin contains v if some v in input.vms"), nil, `placement/p.rego:7:14: pin: "reason" is missing`},
		{"a parameter of the wrong type", map[string]string{
			"params/data.json": "{\"p\": {\n \"max\": \"7\"}}", "params/schema.json": `{"properties": {"p": {"properties": {"max": {"type": "integer"}}}}}`,
		}, nil, "params/data.json:2:9: p.max: Invalid type. Expected: integer, given: string"},
		{"a parameter that the schema does not know", map[string]string{
			"params/data.json": "{\"p\": {\n \"may\": 7}}", "params/schema.json": `{"properties": {"p": {"properties": {"max": {"type": "integer"}}}}}`,
		}, nil, "params/data.json:2:9: p.may: no such parameter"},
		{"network", rule("fleet", "freeze contains {\"kind\": \"fleet\", \"id\": \"\", \"until\": 0, \"reason\": \"r\"} if http.send({\"url\": \"http://x\", \"method\": \"get\"}).status_code == 200"), nil, "placement/p.rego:7:75: http.send is not available to policies"},
		{"clock", rule("fleet", "freeze contains {\"kind\": \"fleet\", \"id\": \"\", \"until\": 0, \"reason\": \"r\"} if time.now_ns() > 5"), nil, "placement/p.rego:7:75: time.now_ns is not available"},
		{"what cannot be interrupted", rule("fleet", "freeze contains {\"kind\": \"fleet\", \"id\": \"\", \"until\": 0, \"reason\": \"r\"} if bits.lsh(1, 3000000000) > 0"), nil, "placement/p.rego:7:75: bits.lsh is not available"},
		{"misspelt parameter", map[string]string{"placement/p.rego": ruleOf("cluster", ok+"\n\nx if data.params.p.thershold > 1\n\n"), "params/data.json": `{"p": {"threshold": 1}}`}, nil, "placement/p.rego:9:6: undefined ref: data.params.p.thershold"},
		{"parameters that are no JSON", map[string]string{"params/data.json": "{\n \"p\": {,\n}"}, nil, "params/data.json:2:8: not JSON: invalid character"},
		{"a parameter given twice", map[string]string{"params/data.json": "{\"p\": {\"x\": 1,\n \"x\": 2}}"}, nil, "params/data.json:2:2: p.x: given twice; first on line 1"},
		{"a parameter that is null", map[string]string{"params/data.json": `{"p": {"x": null}}`}, nil, "params/data.json:1:13: p.x: has no value"},
		{"a parameter that is not finite", map[string]string{"params/data.json": `{"p": {"x": 1e999}}`}, nil, "params/data.json:1:13: p.x: want a finite number"},
		{"two documents of facts", map[string]string{"facts/data.json": "{} {}"}, nil, "facts/data.json:1:4: not JSON: invalid character '{' after top-level value"},
		{"no contract", map[string]string{"placement/placement.rego": "package placement\n"}, nil, "placement/placement.rego:1:1: the root package placement needs METADATA"},
		{"a name with a dash", map[string]string{"placement/x.rego": "package placement[\"a-b\"]\n"}, nil, `placement/x.rego:1:1: package placement["a-b"]: a policy's name has`},
		{"facts that are not there", rule("cluster", "pin contains {\"vm\": v.id, \"reason\": \"r\"} if {\n some v in input.vms\n v.name in data.facts.owners\n}"), nil, "placement/p.rego:9:12: undefined ref: data.facts.owners"},
		{"wrong contract", map[string]string{"placement/placement.rego": strings.Replace(rootModule, "contract: 1", "contract: 2", 1)}, nil, "placement/placement.rego:1:1: contract is 2: this program speaks version 1"},
		{"no schemas", map[string]string{"placement/placement.rego": "# METADATA\n# scope: subpackages\n# custom:\n#   contract: 1\npackage placement\n"}, nil, "placement/placement.rego:1:1: schemas are missing"},
		{"another package", map[string]string{"lib/x.rego": "package lib.x\n"}, nil, "lib/x.rego:1:1: package lib.x: policies are packages below placement"},
		{"parameters that are not read", map[string]string{"placement/p.rego": ruleOf("cluster", ok+"\n\nx if data.params.p.max > 1\n"), "params/data.json": `{"p": {"max": null}}`}, nil, "params/data.json:1:15: p.max: has no value"},
		{"no root for policies", map[string]string{".manifest": `{"roots": ["params"]}`}, nil, `.manifest: the roots are without "placement"`},
		{"another root", map[string]string{".manifest": `{"roots": ["system"]}`}, nil, `.manifest: root "system"`},
		{"a mode for no policy", rule("cluster", ok), func(c *Config) { c.Modes = map[string]engine.Mode{"q": engine.Enforce} }, "modes.q: no such policy"},
		{"a parameter that is not there", rule("cluster", ok), func(c *Config) { c.Params = map[string]map[string]any{"p": {"x": 1}} }, "params.p.x: no such parameter"},
		{"no deadline", rule("cluster", ok), func(c *Config) { c.Deadline = 0 }, "deadline: 0s is not positive"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := DefaultConfig()
			if c.cfg != nil {
				c.cfg(&cfg)
			}
			_, err := Load(t.Context(), bundleOf(c.files), cfg)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
			if strings.HasPrefix(c.want, "params/data.json") && strings.Contains(err.Error(), "\n") {
				t.Errorf("got more than the fault of the parameters: %v", err)
			}
		})
	}
}

// What may be of the right type is left to the dry run.
func TestLoadAcceptsWhatMayBeRight(t *testing.T) {
	for name, rule := range map[string]string{
		"null or a moment":      "drain contains {\"host\": h.id, \"then\": \"none\", \"deadline\": d, \"reason\": \"r\"} if {\n some h in input.hosts\n some d in [null, 5]\n}",
		"a text or a number":    "pin contains {\"vm\": v.id, \"reason\": r} if {\n some v in input.vms\n some r in [\"a\", 5]\n is_string(r)\n}",
		"what was JSON":         "pin contains json.unmarshal(v.name) if some v in input.vms",
		"what is put together":  "pin contains object.union({\"vm\": v.id}, {\"reason\": \"r\"}) if some v in input.vms",
		"a set of ids":          "allow_sites contains {\"vm\": v.id, \"sites\": {s.id | some s in data.fleet.sites}, \"reason\": \"r\"} if some v in input.vms",
		"no sites":              "allow_sites contains {\"vm\": v.id, \"sites\": [], \"reason\": \"r\"} if some v in input.vms",
		"a tag":                 "prefer contains {\"vm\": v.id, \"kind\": \"site\", \"id\": v.tags.home, \"eur_per_h\": to_number(v.tags.eur), \"reason\": \"r\"} if some v in input.vms",
		"a function's own item": "pin contains item(v) if some v in input.vms\n\nitem(v) := {\"vm\": v.id, \"reason\": \"r\"}",
	} {
		if _, err := Load(t.Context(), bundleOf(map[string]string{"placement/p.rego": ruleOf("cluster", rule)}), DefaultConfig()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLoadReportsEverythingAtOnce(t *testing.T) {
	_, err := Load(t.Context(), bundleOf(map[string]string{
		"placement/a.rego": "package placement.a\n\nx if {\n",
		"placement/b.rego": "package placement.b\n\nx if input.hots\n\ny if input.vmms\n",
		"params/data.json": "[]",
	}), DefaultConfig())
	for _, want := range []string{"placement/a.rego:4:1", "placement/b.rego:3:6", "placement/b.rego:5:6", "params/data.json:1"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("nothing about %s in:\n%v", want, err)
		}
	}
}

func TestRevision(t *testing.T) {
	files := map[string]string{
		"placement/p.rego": ruleOf("cluster", "wake contains {\"host\": h.id, \"reason\": data.params.p.why} if some h in input.hosts"),
		"params/data.json": `{"p": {"why": "x"}}`,
	}
	base := mustLoad(t, files, DefaultConfig()).Revision
	changed := func(change func(map[string]string, *Config)) string {
		f, cfg := maps.Clone(files), DefaultConfig()
		change(f, &cfg)
		return mustLoad(t, f, cfg).Revision
	}
	if got := changed(func(f map[string]string, _ *Config) {
		f["placement/p_test.rego"] = "package placement.p_test\n\ntest_x if true\n"
	}); got != base {
		t.Error("a test changes the revision")
	}
	if got := changed(func(_ map[string]string, c *Config) { c.Modes = map[string]engine.Mode{"p": engine.Shadow} }); got != base {
		t.Error("a mode changes the revision")
	}
	for name, change := range map[string]func(map[string]string, *Config){
		"text": func(f map[string]string, _ *Config) { f["placement/p.rego"] += "# x\n" },
		"name": func(f map[string]string, _ *Config) {
			f["placement/q.rego"] = f["placement/p.rego"]
			delete(f, "placement/p.rego")
		},
		"parameter": func(f map[string]string, _ *Config) { f["params/data.json"] = `{"p": {"why": "y"}}` },
		"override":  func(_ map[string]string, c *Config) { c.Params = map[string]map[string]any{"p": {"why": "y"}} },
		"facts":     func(f map[string]string, _ *Config) { f["facts/owners/data.json"] = `{"a": 1}` },
	} {
		if changed(change) == base {
			t.Errorf("%s does not change the revision", name)
		}
	}
}

// A bundle in the contract's style, with its data-driven tests.
func TestBundleOfTheContractsStyle(t *testing.T) {
	files := map[string]string{
		"params/data.json": `{"storm": {"lead_s": 172800, "margin_s": 14400, "rank": {"1-critical": 1}}, "saver": {"low_cpu_pct": 20, "hold_s": 1800, "high_cpu_pct": 75}}`,
		"placement/storm.rego": `# METADATA
# title: Avoidance
# scope: package
# labels:
#   policy: storm
package placement.storm

params := data.params.storm

# METADATA
# title: Sites to evacuate
# entrypoint: true
# custom:
#   reads: fleet
evacuate contains {
	"kind": "site",
	"id": site,
	"deadline": hazard.onset - params.margin_s,
	"reason": $"{hazard.kind} {hazard.id} reaches {site}",
} if {
	some hazard in data.fleet.hazards
	hazard.severity in {"severe", "extreme"}
	hazard.onset - data.fleet.now <= params.lead_s
	some site in hazard.sites
}

# METADATA
# title: Order of evacuation
# entrypoint: true
# custom:
#   reads: cluster
priority contains {"vm": vm.id, "priority": rank, "reason": $"criticality {vm.criticality}"} if {
	some e in evacuate
	e.id == input.cluster.site
	some vm in input.vms
	rank := object.get(params.rank, vm.criticality, 9)
}
`,
		"placement/saver.rego": `package placement.saver

params := data.params.saver

# METADATA
# entrypoint: true
# custom:
#   reads: cluster
drain contains {"host": host.id, "then": "standby", "reason": $"CPU {host.cpu_pct} % for {host.low_for_s} s"} if {
	some host in input.hosts
	host.usable
	host.cpu_pct < params.low_cpu_pct
	host.low_for_s >= params.hold_s
}

# METADATA
# entrypoint: true
# custom:
#   reads: cluster
wake contains {"host": host.id, "reason": $"cluster CPU {input.cluster.cpu_pct} %"} if {
	input.cluster.cpu_pct > params.high_cpu_pct
	some host in input.hosts
	host.power == "standby"
}
`,
		"placement/guard.rego": `package placement.guard

# METADATA
# entrypoint: true
# custom:
#   reads: move
deny contains {"code": "passthrough", "reason": "the VM uses a passthrough device"} if input.vm.passthrough

deny contains {"code": "residency", "reason": $"{input.vm.id} must stay in {input.vm.residency}"} if {
	input.vm.residency != "any"
	input.to.region != input.vm.residency
}
`,
		"placement/placement_test.rego": `package placement_test

import data.placement.guard
import data.placement.saver

test_idle_host_is_drained if {
	count(saver.drain) == 1 with input as {"hosts": [{"id": "h1", "usable": true, "cpu_pct": 5, "low_for_s": data.params.saver.hold_s}]}
}

test_guard[name] if {
	some name, c in {
		"passthrough": {"vm": {"id": "v", "passthrough": true, "residency": "any"}, "to": {"region": "eu"}, "want": {"passthrough"}},
		"fine": {"vm": {"id": "v", "passthrough": false, "residency": "eu"}, "to": {"region": "eu"}, "want": set()},
	}
	got := {d.code | some d in guard.deny with input as c}
	got == c.want
}
`,
	}
	b := mustLoad(t, files, DefaultConfig())
	if want := []string{"guard", "saver", "storm"}; !slices.Equal(b.Policies, want) {
		t.Errorf("policies %v, want %v", b.Policies, want)
	}
	d := mustEvaluate(t, b, smallFleet())
	if len(d.Failures) > 0 {
		t.Fatalf("failures: %+v", d.Failures)
	}
	// The hazard reaches fra too, though mildly there: it is the record's worst that counts in this policy.
	if len(d.Evacuations) != 2 || d.Evacuations[0].Deadline != noon+90_000-14_400 {
		t.Errorf("evacuations %+v", d.Evacuations)
	}
	if len(d.Priorities) == 0 || len(d.Priorities) >= 90 {
		t.Errorf("%d priorities", len(d.Priorities))
	}
	report, err := Test(t.Context(), bundleOf(files))
	if err != nil || report.Err() != nil || len(report.Results) != 2 {
		t.Errorf("tests: %+v, %v", report, err)
	}
}

func TestFailedTestsAreLocated(t *testing.T) {
	files := map[string]string{
		"placement/p.rego": ruleOf("cluster", "wake contains {\"host\": h.id, \"reason\": \"r\"} if some h in input.hosts"),
		"placement/p_test.rego": "package placement.p_test\n\nimport data.placement.p\n\ntest_good if count(p.wake) == 0 with input as {\"hosts\": []}\n\n" +
			"test_bad if {\n\tprint(\"got\", p.wake)\n\tcount(p.wake) == 1 with input as {\"hosts\": []}\n}\n\ntest_cases[name] if {\n\tsome name, n in {\"one\": 1, \"nought\": 0}\n\tcount(p.wake) == n with input as {\"hosts\": []}\n}\n",
	}
	report, err := Test(t.Context(), bundleOf(files))
	if err != nil {
		t.Fatal(err)
	}
	got := report.Err()
	for _, want := range []string{"placement/p_test.rego:9:2: test test_bad failed\n\tthe left side is 0\n\tgot set()", "test_cases failed: one"} {
		if got == nil || !strings.Contains(got.Error(), want) {
			t.Errorf("nothing about %q in: %v", want, got)
		}
	}
}
