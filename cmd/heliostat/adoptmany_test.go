package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"heliostat/engine"
	"heliostat/lab"
)

// adoptLab is two vCenters with n VMs in all, and room for each to move to a host
// of its own eighth: as many as the platform lets a host move at once.
func adoptLab(n int) lab.Config {
	hosts := (n/2 + 7) / 8
	site := func(name string) lab.SiteConfig {
		s := lab.SiteConfig{Name: name, TimeZone: "UTC", PUE: 1.2, EURPerKWh: 0.1, GramPerKWh: 300, Segments: []string{"app", "db"}, DVS: true}
		for _, part := range []string{"from", "to"} {
			k := lab.ClusterConfig{Name: name[:3] + "-" + part, Hosts: hosts, CoresPerHost: 32, MHzPerCore: 2400, MemGiB: 1024, DRS: "off", IdleW: 150, MaxW: 400}
			if part == "from" {
				k.VMs = n / 2
			}
			s.Clusters = append(s.Clusters, k)
		}
		for i := range 6 { // a datastore carries 128 moves at once
			s.Datastores = append(s.Datastores, lab.DatastoreConfig{Name: fmt.Sprintf("%s-ds%d", name[:3], i), GiB: 50_000})
		}
		return s
	}
	return lab.Config{
		Seed: 1, Start: time.Now(), Speed: 10, Sites: []lab.SiteConfig{site("houston"), site("frankfurt")},
		Links: []lab.LinkConfig{{A: "houston", B: "frankfurt", RTT: 123 * time.Millisecond, Mbps: 10_000}},
	}
}

// shift is a policy that wants each VM on the host of the other cluster that
// stands where its own does.
func shift(w *lab.World) string {
	var b strings.Builder
	b.WriteString("# METADATA\n# title: Gather\n# description: Each VM belongs on a host of its own.\n# scope: package\npackage placement.gather\n\nwanted := {\n")
	byName := map[string]*lab.WorldHost{}
	for i := range w.Hosts {
		byName[w.Hosts[i].Name] = &w.Hosts[i]
	}
	for i := range w.VMs {
		to := byName[strings.Replace(w.Hosts[w.VMs[i].Host].Name, "-from-", "-to-", 1)]
		fmt.Fprintf(&b, "\t%q: %q,\n", w.VMs[i].Name, to.VCenter+"/"+to.Moid)
	}
	b.WriteString(`}

# METADATA
# title: Where they belong
# entrypoint: true
# custom:
#   reads: cluster
prefer contains {"vm": vm.id, "kind": "host", "id": wanted[vm.name], "eur_per_h": 5, "reason": "its place"} if {
	some vm in input.vms
	wanted[vm.name] != vm.host
}
`)
	return b.String()
}

// TestAdoptMany kills the daemon with many moves in flight and starts it again:
// each comes to its end in the journal, and none is started twice. The moves stand
// still at half of their way until they are taken over, so that however busy the
// machine is all are in flight. How many says HELIOSTAT_ADOPT.
func TestAdoptMany(t *testing.T) {
	t.Parallel()
	n := 32
	if s := os.Getenv("HELIOSTAT_ADOPT"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			t.Fatalf("HELIOSTAT_ADOPT: %v", err)
		}
	}
	cfg := adoptLab(n)
	l, err := lab.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Serve(t.Context(), "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	r := &rig{dir: filepath.Join(t.TempDir(), "lab"), endpoints: l.Endpoints()}
	files, err := writeLabFiles(r.dir, cfg, r.endpoints, labOptions{every: 5 * time.Second, minGap: time.Second, listen: "127.0.0.1:0", unchecked: true})
	if err != nil {
		t.Fatal(err)
	}
	r.config = files.config
	r.quiet(t)
	r.edit(t, "  weights:", "    gather: enforce\n  weights:",
		"plan:\n", "plan:\n  moves_per_cycle: 1000\n  moves_per_hour: 2000\n",
		"  tiers: {", "  budgets: {host: {hour: 100, day: 100}, cluster: {hour: 1000, day: 1000}, site: {hour: 1000, day: 1000}, demand_x: 1, retries: 1000}\n  tiers: {small_moves: 0, ")
	w := l.World()
	write(t, filepath.Join(r.dir, "policies", "gather.rego"), shift(&w))
	hang, err := l.Inject(lab.Incident{Kind: "task_hangs", Percent: 50, P: 1})
	if err != nil {
		t.Fatal(err)
	}
	r.run(t)

	for part := 1; part <= 4; part++ {
		eventually(t, fmt.Sprintf("%d of %d move at once", n*part/4, n), func() bool { return inFlight(l) >= n*part/4 })
	}
	eventually(t, "each has its task in the journal", func() bool { return len(r.entriesOf(t, engine.EntryTask, "")) == n })
	began := inFlight(l)
	r.daemon.kill(t)
	if ended := r.ended(t); began != n || len(ended) > 0 {
		t.Fatalf("%d VMs move, %d actions have ended when the daemon is killed", began, len(ended))
	}

	restarted := time.Now()
	r.daemon = start(t, nil, "run", "--config", r.config)
	adopted := 0
	eventually(t, "what is open is taken over", func() bool {
		adopted = strings.Count(r.daemon.log.String(), `msg="action adopted"`)
		return adopted == n
	})
	toAdopt := time.Since(restarted)
	l.End(hang[0])
	eventually(t, "all moves end", func() bool { return inFlight(l) == 0 })
	var ended []engine.ActionRecord
	eventually(t, "what was open ends", func() bool {
		ended = r.ended(t)
		return len(ended) >= n
	})
	toEnd := time.Since(restarted)
	starts, twice := map[string]int{}, 0
	for _, m := range l.Moves() {
		if starts[m.VM]++; starts[m.VM] > 1 {
			twice++
		}
	}
	for i := range ended {
		if ended[i].State != engine.StateSucceeded {
			t.Errorf("%s ended as %s: %s", ended[i].Action.String(), ended[i].State, ended[i].Error)
		}
	}
	t.Logf(`{"in_flight": %d, "adopted": %d, "seconds_to_adopt": %.1f, "seconds_to_end": %.1f, "double_starts": %d}`,
		began, adopted, toAdopt.Seconds(), toEnd.Seconds(), twice)
	if twice > 0 {
		t.Errorf("%d double starts", twice)
	}
}

// inFlight counts the VMs that move.
func inFlight(l *lab.Lab) (n int) {
	for _, m := range l.Moves() {
		if m.Ended.IsZero() {
			n++
		}
	}
	return n
}
