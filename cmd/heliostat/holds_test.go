package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"heliostat/engine"
)

// emptying is the policy gather, asking for the evacuation of sites instead.
func emptying(sites ...string) string {
	return `# METADATA
# title: Empty sites
# description: The sites named are to be empty.
# scope: package
package placement.gather

# METADATA
# title: What is to be empty
# entrypoint: true
# custom:
#   reads: fleet
evacuate contains {"kind": "site", "id": site.id, "deadline": null, "reason": "it is to be empty"} if {
	some site in data.fleet.sites
	site.mode == "enforce"
	site.id in {"` + strings.Join(sites, `", "`) + `"}
}
`
}

// TestRailsExplained has a daemon hold back what its policy asks for by each of the
// rails that look at the whole plan, and asks why: while it runs, and afterwards its
// journal alone.
func TestRailsExplained(t *testing.T) {
	t.Parallel()
	const first, last = "tyo-b-db002", "fra-a-cache004"
	r := startLab(t, "--speed", "1000")
	file := r.withGather(t, first, "fra-a-web040", last)
	r.edit(t, "ramp: 0s", "ramp: 10m", "evacuation_autonomous: true, evacuation_evidence: 1", "evacuation_autonomous: false",
		"policy:\n", "policy:\n  validate: {approve_above: 1}\n")
	r.run(t)

	type answer struct {
		args  []string
		cycle uint64
		text  string
	}
	var answers []answer
	// explained is what explain says of a cycle in which the hold was in force.
	explained := func(code engine.HoldCode, says, kind, name string) {
		t.Helper()
		var e explanation
		eventually(t, "held: "+string(code), func() bool {
			if err := json.Unmarshal([]byte(r.ask(t, "explain", kind, name, "--json")), &e); err != nil {
				t.Fatal(err)
			}
			return slices.ContainsFunc(e.Holds, func(h held) bool { return h.Code == code })
		})
		args := []string{"explain", kind, name}
		text := r.ask(t, append(args, "--cycle", fmt.Sprint(e.Cycle))...)
		for _, want := range []string{says, "(" + string(code) + ")", "until " + until[code], "gather.rego:", " read "} {
			if !strings.Contains(text, want) {
				t.Errorf("%s: no %q in\n%s", code, want, text)
			}
		}
		answers = append(answers, answer{args, e.Cycle, text})
	}
	explained(engine.HoldRamp, "one action in the first minute", "vm", last)
	write(t, file, emptying("houston"))
	explained(engine.HoldApproval, "2 different persons must approve it", "site", "houston")
	write(t, file, emptying("houston", "tokyo"))
	explained(engine.HoldTurn, "it is the turn of houston", "site", "tokyo")
	write(t, file, emptying("houston", "tokyo", "frankfurt"))
	explained(engine.HoldEvidence, "all 3 sites are threatened", "site", "tokyo")
	r.daemon.interrupt(t)

	begins := map[uint64]time.Time{}
	plans := r.journal(t, engine.EntryPlan)
	for _, e := range slices.Backward(plans) {
		begins[e.Cycle] = e.At
	}
	for _, a := range answers {
		for _, when := range [][]string{{"--cycle", fmt.Sprint(a.cycle)}, {"--at", begins[a.cycle].Format(time.RFC3339Nano)}} {
			if got := r.ask(t, append(a.args, when...)...); got != a.text {
				t.Errorf("%v %v of the stopped daemon:\n%s\nwhile it ran:\n%s", a.args, when, got, a.text)
			}
		}
		if a.args[1] == "vm" {
			continue
		}
		// Nothing arrives at the site either.
		if out := r.ask(t, "why-not", "vm", "fra-a-app065", "--to", "houston", "--cycle", fmt.Sprint(a.cycle)); !strings.Contains(out, "houston is being evacuated") && !strings.Contains(out, "frozen by operator.freeze: evacuate site") {
			t.Errorf("why-not:\n%s", out)
		}
	}
	for at, want := range map[string]struct {
		code int
		says string
	}{
		begins[plans[0].Cycle].Add(-time.Hour).Format(time.RFC3339): {exitFailure, fmt.Sprintf("or before: its first is of %s, cycle %d", plans[0].At.UTC().Format(time.RFC3339), plans[0].Cycle)},
		"yesterday": {exitUsage, `--at: "yesterday" is no time such as 2026-11-25T14:30:00Z`},
	} {
		if _, stderr, code := heliostat(t, "explain", "vm", first, "--at", at, "--config", r.config); code != want.code || !strings.Contains(stderr, want.says) {
			t.Errorf("--at %s: exit %d: %s", at, code, stderr)
		}
	}
}
