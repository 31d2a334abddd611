package web

import (
	"strings"
	"testing"
	"time"

	"heliostat/engine"
)

// The page shows each evacuation, and no name of a VM.
func TestPage(t *testing.T) {
	site := engine.Subject{Kind: "site", ID: "hou<ston"}
	b := &Board{}
	b.Show(&Status{
		Cycle: 7, At: time.Now(), Good: time.Now(), Revision: "0123456789abcdef",
		Sites: []SiteStatus{{Site: "tokyo", Mode: engine.Enforce, VMs: 82}},
		Open:  []OpenAction{{Record: engine.ActionRecord{Action: engine.Action{Kind: engine.Move, Name: "secret-vm", Demand: site}}}},
		Evacuations: []EvacuationStatus{{
			Demand: site, Deadline: 1_800_000_000, Headline: "site houston: 140 of 147", VMs: 147, Leave: 140, Work: 139,
			Value: engine.Worth{Reached: 90, Bound: 95, All: 100}, ETA: engine.ETA{At: 1_799_990_000},
		}},
	})
	status, body := get(t, NewHandler(b, NewMetrics("test"), nil), "/")
	for _, want := range []string{
		"Evacuation of site hou&lt;ston", "site houston: 140 of 147", "Fri 15 Jan 08:00 UTC", `max="147" value="140"`, "139 of 147 working",
		"worth 90 of 100; no plan reaches more than 95", "Under way: 1.", "<td>tokyo</td>", "policies 0123456789ab",
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
