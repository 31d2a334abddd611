package policy

import (
	"encoding/json"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"

	"heliostat/engine"
	"heliostat/rego"
)

// readers are rules whose answers change with anything that they read, each
// reading in another way.
var readers = []string{
	`input.vms`,
	`input.hosts`,
	`input.cluster`,
	`[h.cpu_pct | some h in input.hosts]`,
	`[[` + strings.Join(configKeys(), ", ") + `] | some h in input.hosts]`,
	`[x | some v in input.vms; x := sized(v)]`,
	`object.get(input, ["vms", 1, "tags"], {})`,
	`[v | walk(input.cluster, [_, v])]`,
	`count(input)`,
	`{k: v | some k, v in input.vms[2]}`,
	`data.fleet.sites`,
	`[x | some k in ["links", "sites"]; x := data.fleet[k]]`,
	`[data.fleet.clusters[0].vms, data.params.p.limit]`,
	`[data.fleet.now, data.fleet.budgets]`,
	`[x | some s in data.fleet.sites; x := [s.sun_deg, indirect]]`,
	`[input.vm_load[0], data.fleet.actions]`,
	`[x | x := replaced with input.hosts as []]`,
	`[every_on, data.fleet.gaps, data.fleet.windows, data.fleet.alerts, data.fleet.hazards]`,
	`other`,
}

// configKeys are the fields of a host h that are no load.
func configKeys() (keys []string) {
	var schema struct {
		Defs struct {
			Host struct{ Properties map[string]any }
		} `json:"$defs"`
	}
	if err := json.Unmarshal(InputSchema, &schema); err != nil {
		panic(err)
	}
	for _, key := range slices.Sorted(maps.Keys(schema.Defs.Host.Properties)) {
		if !slices.Contains(loadKeys, key) {
			keys = append(keys, "h."+key)
		}
	}
	return keys
}

const readersHelp = `
sized(v) := [v.disk_gb, v.networks]

indirect := [h.id | some h in input.hosts; h.power == "on"]

replaced := [count(input.hosts), input.cluster.id, input.vms[0].host]

default every_on := false

every_on if every h in input.hosts { h.power == "on" }

other := input.vms[0].power if data.fleet.sites[0].frozen

else := input.hosts[0].vms
`

func readerBundle(t *testing.T) *Bundle {
	t.Helper()
	files := map[string]string{"params/data.json": `{"p": {"limit": 5}}`}
	for i, expr := range readers {
		// keep_on names one host of the cluster, and what was read is its reason.
		module := ruleOf("cluster", `keep_on contains {"host": input.hosts[0].id, "reason": crypto.sha256(json.marshal(`+expr+`))}`)
		files[fmt.Sprintf("placement/r%02d.rego", i)] = strings.Replace(module, "placement.p", fmt.Sprintf("placement.r%02d", i), 1) + readersHelp
	}
	b, err := Load(t.Context(), bundleOf(files), DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Whatever changes: a bundle that keeps answers decides as one that asks anew.
func TestKeptAnswersAreNeverStale(t *testing.T) {
	kept, fresh := readerBundle(t), readerBundle(t)
	same := func(what string, v engine.View) string {
		t.Helper()
		fresh.enc, fresh.said = &encoder{}, nil
		want := mustEvaluate(t, fresh, v)
		if len(want.Failures) > 0 || len(want.KeepOns) != len(readers)*len(v.Snapshot.Clusters) {
			t.Fatalf("%d answers, failures %+v", len(want.KeepOns), want.Failures)
		}
		sum := digest(t, want)
		if digest(t, mustEvaluate(t, kept, v)) != sum {
			t.Errorf("after a change of %s it decides otherwise than a fresh one", what)
		}
		return sum
	}
	base := smallFleet()
	base.Snapshot = copySnapshot(base.Snapshot)
	base.Snapshot.VMs = slices.DeleteFunc(base.Snapshot.VMs, func(v engine.VM) bool { return v.Host > 0 && !strings.HasSuffix(v.Name, "0") })
	first := same("nothing", base)
	eachChange(base, func(what string, v engine.View) {
		same(what, v)
		if digest(t, mustEvaluate(t, kept, base)) != first {
			t.Errorf("after a change of %s and back it is not as before", what)
		}
	})
	views := map[string]func(*engine.View){
		"now":     func(v *engine.View) { v.Now++ },
		"budget":  func(v *engine.View) { v.Budget.MovesDay++ },
		"windows": func(v *engine.View) { v.Windows = v.Windows[1:] },
		"open":    func(v *engine.View) { v.Open = nil },
		"gaps":    func(v *engine.View) { v.Snapshot = copySnapshot(v.Snapshot); v.Snapshot.Gaps = nil },
		"alerts":  func(v *engine.View) { v.Snapshot = copySnapshot(v.Snapshot); v.Snapshot.Alerts = nil },
		"hazards": func(v *engine.View) { v.Snapshot = copySnapshot(v.Snapshot); v.Snapshot.Hazards = nil },
		"links":   func(v *engine.View) { v.Snapshot = copySnapshot(v.Snapshot); v.Snapshot.Links = nil },
		"history": func(v *engine.View) { v.History = nil },
	}
	for what, change := range views {
		v := base
		change(&v)
		same(what, v)
	}
	v := base
	for step := range 10 {
		v = drift(v, uint64(step))
		same(fmt.Sprintf("drift %d", step), v)
	}
}

// Where one VM changed, the rules that read it are asked again about its cluster,
// and nothing else is. Time goes on, and the documents with it.
func TestOnlyWhatChangedIsAsked(t *testing.T) {
	b, err := Load(t.Context(), rego.FS, DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	v := smallFleet()
	mustEvaluate(t, b, v)
	var asked []string
	for i := range b.queries {
		if b.queries[i].spec.scope == scopeCluster {
			b.queries[i].watch = func(doing string, _ *ast.Location) { asked = append(asked, strings.TrimPrefix(doing, "rule ")) }
		}
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // one question at a time
	next := v
	next.Now += 60
	next.Snapshot = copySnapshot(v.Snapshot)
	next.Snapshot.VMs[35].Tags = []string{"pinned:yes"}
	mustEvaluate(t, b, next)
	// Two sites are emptied, and the tags of each VM that leaves are read.
	if want := []string{"emergency.priority", "hurricane.priority", "pinned.pin"}; !slices.Equal(asked, want) {
		t.Errorf("asked %q, want %q", asked, want)
	}
}
