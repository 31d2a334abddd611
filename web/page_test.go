package web

import (
	"strings"
	"testing"
	"time"

	"heliostat/engine"
)

// The page shows what needs a person and each evacuation, and no name of a VM.
func TestPage(t *testing.T) {
	site := engine.Subject{Kind: "site", ID: "hou<ston"}
	b, sun, dusk := &Board{}, -12.3, -0.3
	b.Show(&Status{
		Cycle: 7, At: time.Now(), Good: time.Now(), Revision: "0123456789abcdef",
		Sites:      []SiteStatus{{Site: "tokyo", Mode: engine.Enforce, VMs: 82, PowerW: 1849}, {Site: "frankfurt", SunDeg: &sun}, {Site: "houston", SunDeg: &dusk, Hosts: HostCounts{On: 2}, Unmetered: 2}},
		Gaps:       []engine.Gap{{Source: "census", Subject: engine.Subject{Kind: "vcenter"}, Reason: "secret-vm"}},
		Pending:    &PendingPlan{Hash: "abcdef", Approvers: 2, Approved: []string{"ann"}, Expires: time.Unix(1_800_000_000, 0), Doubt: "secret-vm", Plan: &engine.Plan{Actions: make([]engine.Action, 3)}},
		Rails:      []engine.Hold{{Code: engine.HoldBreaker, Name: "secret-vm"}},
		Quarantine: []engine.Quarantine{{Name: "secret-vm"}}, Swings: []engine.Swing{{Name: "secret-vm"}, {}},
		Refused: "secret-vm.rego:1:1: no",
		Sources: []SourceStatus{{Name: "vc-tokyo"}, {Name: "vc-houston", Up: true}},
		Holds:   []engine.Hold{{Code: engine.HoldRTT, Name: "secret-vm"}},
		Open:    []OpenAction{{Record: engine.ActionRecord{Action: engine.Action{Kind: engine.Move, Name: "secret-vm", Demand: site}}}},
		Evacuations: []EvacuationStatus{{
			Demand: site, Deadline: 1_800_000_000, Headline: "site houston: 140 of 147", Gone: 12, VMs: 147, Leave: 140, Work: 139,
			Value: engine.Worth{Reached: 90, Bound: 95, All: 100}, ETA: engine.ETA{At: 1_799_990_000},
		}},
	})
	status, body := get(t, NewHandler(b, NewMetrics("test"), nil), "/")
	for _, want := range []string{
		"Evacuation of site hou&lt;ston", "site houston: 140 of 147", "Fri 15 Jan 08:00 UTC", `max="147" value="140"`, "139 of 147 working",
		"worth 90 of 100; no plan reaches more than 95", "Out already: 12. Under way: 1.", "<td>tokyo</td>", "<td>1.8</td><td>-</td>", "<td>-12°</td>", "<td>-</td><td>0°</td>", "not believed (1)",
		"<title>(8) Heliostat", "A plan of 3 actions waits for 1 of 2 approvals until 08:00 UTC", "Not all of that plan holds", "Held back by a rail: breaker (1).", "In quarantine: 1.", "again and again: 2.", "edit of the policies is refused",
		"Source vc-tokyo is silent.", "Held: 1 rtt.", "policies 0123456789ab",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("%d: the page lacks %q:\n%s", status, want, body)
		}
	}
	if strings.Contains(body, "secret-vm") {
		t.Error("the page names a VM")
	}
	if status, _ = get(t, NewHandler(b, NewMetrics("test"), nil), "/else"); status != 404 {
		t.Errorf("/else: %d", status)
	}
}
