package policy

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"heliostat/engine"
	"heliostat/rego"
)

// What a rule read for an item is what its author would have printed: through
// helpers, with the parameters, and for this item alone.
func TestReadings(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Dir = t.TempDir()
	write := func(name, text string) {
		path := filepath.Join(cfg.Dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	write("placement/far.rego", `package placement.far

limit := data.params.far.limit

# METADATA
# entrypoint: true
# custom: {reads: cluster}
prefer contains {"vm": vm.id, "kind": "site", "id": "hou", "eur_per_h": worth, "reason": $"above {limit}"} if {
	some vm in input.vms
	busy(vm)
	not vm.tags.calm
	worth := vm.vcpus * 2
}

busy(vm) if {
	vm.disk_gb > limit
	weekday == "Monday"
}

weekday := "Monday" if data.fleet.now > 0

# METADATA
# entrypoint: true
# custom: {reads: cluster}
pin contains {"vm": vm.id, "reason": $"{count(peers)} like it"} if {
	some vm in input.vms
	peers := {x.id | some x in input.vms; x.vcpus == vm.vcpus; x.disk_gb > limit}
	others := [x.name | some x in input.vms; x.id != vm.id; x.mem_mb > vm.vcpus]
	count(others) > 0
}

# METADATA
# entrypoint: true
# custom: {reads: move}
deny contains {"code": "far", "reason": $"too far for {input.vm.folder}"} if {
	input.from.site != input.to.site
	input.vm.vcpus > 0
	input.why[0].rule == "prefer"
}
`)
	write("params/data.json", `{"far": {"limit": 0}}`)
	b, err := Load(t.Context(), rego.FS, cfg)
	if err != nil {
		t.Fatal(err)
	}
	view := smallFleet()
	move := moveOf(view.Snapshot, 0, 8)
	text := func(policy, rule string, about About, name string) string {
		rs, err := b.Readings(t.Context(), view, policy, rule, about)
		if err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		for _, r := range rs {
			if name != "" && !strings.Contains(fmt.Sprint(r.Names), name) {
				continue
			}
			fmt.Fprintf(&out, "%s %s:", strings.TrimPrefix(r.At, cfg.Dir+"/"), r.Reason)
			for _, v := range r.Values {
				fmt.Fprintf(&out, " %s=%s", v.Name, v.Value)
			}
			out.WriteString("\n")
		}
		return out.String()
	}
	for _, c := range []struct {
		policy, rule string
		about        About
		name         string
		want         string
	}{
		{"far", "prefer", About{Cluster: 0}, string(view.Snapshot.VMs[0].ID), "placement/far.rego:8 above 0: vm.disk_gb=40 params.limit=0 limit=0 data.fleet.now=1782043200 (2026-06-21T12:00:00Z) weekday=\"Monday\" vm.tags.calm=undefined vm.vcpus=4 worth=8\n"},
		{"far", "pin", About{Cluster: 0}, string(view.Snapshot.VMs[0].ID), "placement/far.rego:25 29 like it: x.vcpus=4 x.disk_gb=40 params.limit=0 limit=0 x.mem_mb=16384 vm.vcpus=4 x.name=\"vm1\", \"vm2\", \"vm3\", \"vm4\", \"vm6\", \"vm7\", \"vm8\", \"vm9\", \"vm10\", \"vm11\", \"vm12\", ...\n"},
		{"far", "deny", About{Cluster: engine.None, Move: &move}, "", "placement/far.rego:35 too far for group-v3: input.from.site=\"fra\" input.to.site=\"tyo\" input.vm.vcpus=4 input.why[0].rule=\"prefer\" input.vm.folder=\"group-v3\"\n"},
		{"hurricane", "evacuate", About{Cluster: engine.None}, "hou", "placement/hurricane.rego:60 hurricane AL09 threatens hou: at.site=\"hou\" known={\"fra\", \"hou\", \"tyo\"} at.severity=\"extreme\" params.severities=[\"severe\", \"extreme\"] at.p=0.8 params.min_p=0.1 at.onset=1782133200 (2026-06-22T13:00:00Z) hazard.kind=\"hurricane\" hazard.id=\"AL09\" threat.arrival=1782133200 params.lead_s=172800 data.fleet.now=1782043200 (2026-06-21T12:00:00Z) params.margin_s=14400 threat.name=\"hurricane AL09\" threat.site=\"hou\"\n"},
		{"dpm", "drain", About{Cluster: 1}, "", "placement/dpm.rego:38 CPU below 45 % and memory below 80 % over 40 minutes: input.cluster.dpm=false strained=undefined params.target_pct=63 params.tolerance_pct=18 low_cpu_pct=45 params.low_mem_pct=80 host.cpu_pct_40m=7 low_cpu=45 host.mem_pct_40m=46 low_mem=80 host.usable=true host.can_wake=true host.usb=false host.vsan=false\n"},
		{"dpm", "evacuate", About{Cluster: 1}, "", ""},
	} {
		if got := text(c.policy, c.rule, c.about, c.name); got != c.want {
			t.Errorf("%s.%s:\n%s", c.policy, c.rule, got)
		}
	}
}
