package policy

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"

	"heliostat/engine"
	"heliostat/rego"
)

// anew decides as if nothing were known: everything is encoded, every rule is asked
// about every cluster, and nothing is kept.
func anew(t *testing.T, b *Bundle, v engine.View) *engine.Decision {
	t.Helper()
	b.enc = &encoder{}
	d, data := b.encode(v)
	d = b.encodeAll(d)
	answers := b.askFleet(t.Context(), b.of(scopeFleet), d, data)
	for c := range d.clusters {
		for _, q := range b.of(scopeCluster) {
			a, err := func() (*answer, error) {
				set, err := q.ask(t.Context(), data, clusterInput(d, int32(c), &everything), d.now, b.deadline)
				if err != nil {
					return nil, err
				}
				items, err := itemsOf(set)
				if err != nil {
					return nil, err
				}
				return readAnswer(q.spec, q.voice, items, d.snap, int32(c))
			}()
			if err != nil {
				a = q.failed(err, d.snap, int32(c))
			}
			answers = append(answers, a)
		}
	}
	out := merge(answers)
	out.Revision, out.Voices = b.Revision, slices.Clone(b.Voices)
	return out
}

// speaking is a configuration in which every shipped policy has something to say.
func speaking() Config {
	cfg := DefaultConfig()
	cfg.Params = map[string]map[string]any{
		"cheapest_power": {"dear_mwh": 200, "cheap_mwh": 10}, "follow_the_wind": {"dirty_g_kwh": 500}, "load_balance": {"gap_pct": 10},
		"licence_domains": {"hosts": map[string]any{"db": []any{"h1", "h2", "h5"}}}, "change_freeze": {"holidays": true, "outside_windows": true},
	}
	return cfg
}

// stir is the fleet a minute later, with everything changed at random that policies
// look at, or the sites and what threatens them alone. v is left alone.
func stir(v engine.View, seed uint64) engine.View {
	rnd := rand.New(rand.NewPCG(seed, 3))
	if seed%2 == 0 {
		v = stirHosts(drift(v, seed), rnd)
	}
	v.Now += 60
	s := copySnapshot(v.Snapshot)
	if v.Snapshot = s; rnd.IntN(3) == 0 {
		s.Hazards = nil
	}
	s.Alerts = []engine.Alert{{Fingerprint: "a1", Status: "firing", Name: "Cooling", Kind: "cooling", Site: s.Sites[rnd.IntN(len(s.Sites))].ID, StartsAt: noon, ExpiresAt: noon + 9000}}
	site := &s.Sites[rnd.IntN(len(s.Sites))]
	site.SunMilliDeg, site.PriceMicroEURPerKWh, site.CarbonGPerKWh = rnd.Int32N(60_000), rnd.Int32N(200_000), rnd.Int32N(500)
	return v
}

func stirHosts(v engine.View, rnd *rand.Rand) engine.View {
	s := v.Snapshot
	some := func(list []string) []string {
		list = slices.DeleteFunc(slices.Clone(list), func(string) bool { return rnd.IntN(2) == 0 })
		slices.Sort(list)
		return list
	}
	for range 4 {
		vm := &s.VMs[rnd.IntN(len(s.VMs))]
		vm.Tags = some([]string{"criticality:1-critical", "licence:db", "licence:none", "pinned:yes", "residency:eu", "residency:jp", "spread:a", "together:a", "together:b", "users:tyo"})
		vm.Attributes = some([]string{"owner=x", "pinned=true", "spread=b"})
		host := &s.Hosts[rnd.IntN(len(s.Hosts))]
		host.Power = []engine.HostPower{engine.HostOn, engine.HostStandby}[rnd.IntN(2)]
		host.Connected = host.Power == engine.HostOn
	}
	return v
}

// What is kept, left out and asked in part never changes what is decided, on one
// goroutine or on several.
func TestDecidesAsIfNothingWereKept(t *testing.T) {
	shipped := func(cfg Config) *Bundle {
		b, err := Load(t.Context(), rego.FS, cfg)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for name, load := range map[string]func() *Bundle{
		"as shipped": func() *Bundle { return shipped(DefaultConfig()) },
		"speaking":   func() *Bundle { return shipped(speaking()) },
		"apart": func() *Bundle {
			return mustLoad(t, map[string]string{"placement/p.rego": apartPolicy}, DefaultConfig())
		},
	} {
		t.Run(name, func(t *testing.T) {
			clever, dumb := load(), load()
			v := smallFleet()
			for step := range 24 {
				v = stir(v, uint64(step))
				old := runtime.GOMAXPROCS(1 + step%3)
				got := mustEvaluate(t, clever, v)
				runtime.GOMAXPROCS(old)
				want := anew(t, dumb, v)
				if digest(t, got) != digest(t, want) {
					t.Fatalf("step %d: it decides otherwise than one that knows nothing", step)
				}
				if len(want.Failures) > 0 {
					t.Fatalf("step %d: %+v", step, want.Failures)
				}
			}
		})
	}
}

// apartPolicy has rules that speak of each VM alone in every way that is recognised,
// and some that seem to.
const apartPolicy = `package placement.p

# METADATA
# entrypoint: true
# custom: {reads: cluster}
pin contains {"vm": vm.id, "reason": $"{vm.criticality} {count(vm.obstacles)} {small(vm)}"} if {
	some vm in input.vms
	vm.power != "off"
}

pin contains {"vm": id, "reason": object.get(vm, ["tags", "spread"], "none")} if {
	some vm in input.marked[key]
	id := vm.id
	input.hosts[0].ours in {true, false}
}

key := "spread"

small(vm) if vm.disk_gb < 50

else := vm.vcpus

# METADATA
# entrypoint: true
# custom: {reads: cluster}
priority contains {"vm": vm.id, "priority": count(input.vms), "reason": "counts"} if some vm in input.vms

# METADATA
# entrypoint: true
# custom: {reads: cluster}
shed contains {"vm": vm.id, "then": "suspend", "reason": "the last"} if {
	some i, vm in input.vms
	i + 1 == count(input.vms)
}

# METADATA
# entrypoint: true
# custom: {reads: cluster}
keep_on contains {"host": vm.host, "reason": "it has one"} if some vm in input.marked.pinned

# METADATA
# entrypoint: true
# custom: {reads: cluster}
allow_sites contains {"vm": vm.id, "sites": [other.site], "reason": "where the others are"} if {
	some vm in input.marked.together
	some other in input.marked.together
	is_string(other.site)
}
`

// Rules are known for what they read, no more and no less.
func TestFootprints(t *testing.T) {
	b := mustLoad(t, map[string]string{"placement/p.rego": apartPolicy}, DefaultConfig())
	describe := func(q *query) string {
		r := &q.footprint
		fields := func(f fields) string {
			if f.all {
				return "all"
			}
			return strings.Join(slices.Sorted(maps.Keys(f.some)), " ")
		}
		return fmt.Sprintf("hosts %v (%s) vms %v marked %v (%s) apart %v", r.hosts, fields(r.host), r.vms, r.names, fields(r.vm), r.apart)
	}
	for i, want := range []string{
		"hosts false () vms false marked [together] (id site) apart false",
		"hosts false () vms false marked [pinned] (host) apart false",
		"hosts true (ours) vms true marked [spread] (criticality disk_gb id obstacles power tags vcpus) apart true",
		"hosts false () vms true marked [] (all) apart false",
		"hosts false () vms true marked [] (all) apart false",
	} {
		if got := describe(&b.queries[i]); got != want {
			t.Errorf("%s: %s\nwant %s", b.queries[i].rule, got, want)
		}
	}
}

// Of what ships, no rule is asked about all VMs where one has changed, and none reads
// what the others do not.
func TestShippedFootprints(t *testing.T) {
	b, err := Load(t.Context(), rego.FS, speaking())
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range b.of(scopeCluster) {
		r := &q.footprint
		balance := q.policy == "load_balance" // it compares VMs, by their loads
		if (r.vms || r.marked) && !r.apart && !balance {
			t.Errorf("%s.%s is asked about whole clusters", q.policy, q.rule)
		}
		if r.host.all || r.vm.all || r.always != balance || (r.marked && r.names == nil) {
			t.Errorf("%s.%s: %+v", q.policy, q.rule, *r)
		}
	}
}

// A rule that begins with what no cluster changes is not asked while that does not hold.
func TestGuards(t *testing.T) {
	module := `package placement.p

# METADATA
# entrypoint: true
# custom: {reads: cluster}
pin contains {"vm": vm.id, "reason": "alert"} if {
	some alert in data.fleet.alerts
	alert.status == "firing"
	some vm in input.vms
}

pin contains {"vm": vm.id, "reason": $"{1 / data.fleet.budgets.moves_hour}"} if {
	data.fleet.budgets.moves_hour < 5
	some vm in input.vms
}
`
	b := mustLoad(t, map[string]string{"placement/p.rego": module}, DefaultConfig())
	asked := 0
	b.queries[0].watch = func(string, *ast.Location) { asked++ }
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // one question at a time
	v := smallFleet()
	quiet := v
	quiet.Snapshot = copySnapshot(v.Snapshot)
	quiet.Snapshot.Alerts = nil
	quiet.Budget.MovesHour, v.Budget.MovesHour = 5, 5
	if d := mustEvaluate(t, b, quiet); asked != 0 || len(d.Pins) != 0 || len(d.Failures) != 0 {
		t.Errorf("asked %d times: %d pins, failures %v", asked, len(d.Pins), d.Failures)
	}
	if d := mustEvaluate(t, b, v); asked != 3 || len(d.Pins) != 89 {
		t.Errorf("asked %d times: %d pins, want 3 and 89", asked, len(d.Pins))
	}
	v.Budget.MovesHour = 0 // it divides by that, once it looks at VMs
	if d := mustEvaluate(t, b, v); len(d.Failures) != 3 || len(d.Freezes) != 3 {
		t.Errorf("failures %v", d.Failures)
	}
}
