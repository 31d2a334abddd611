package main

import (
	"strings"
	"testing"
	"time"

	"heliostat/engine"
	"heliostat/web"
)

// What needs a person stands first, each in a line of its own.
func TestStatusTextNamesWhatSwings(t *testing.T) {
	got := statusText(&web.Status{Swings: []engine.Swing{
		{Subject: engine.Subject{Kind: "vm", ID: "5001"}, Name: "app-17", Returns: 2, Left: "esx-12", Foreign: true},
		{Subject: engine.Subject{Kind: "host", ID: "va/h1"}, Name: "esx-1", Returns: 3},
	}})
	want := "SWINGS: vm app-17 was moved back to esx-12 by somebody else, 2 times in a row: it is left alone longer each time\n" +
		"SWINGS: host esx-1 was woken soon after it was put to sleep 3 times in a row: it rests longer each time\n"
	if !strings.HasPrefix(got, want) {
		t.Errorf("got:\n%s", got)
	}
}

// Before a storm the answer, who has ordered it and who has still to approve stand
// above the long list of moves; and power that no meter shows is not zero.
func TestStatusTextBeforeAStorm(t *testing.T) {
	at := engine.Unix(1_800_000_000)
	got := statusText(&web.Status{
		Hazards:     []engine.Hazard{{ID: "al092026", Kind: "hurricane", Severity: "extreme", Site: "houston", Earliest: at, End: at + 3600, Source: "NHC"}},
		Alerts:      []engine.Alert{{Name: "Old", Status: "resolved"}, {Name: "CoolingFailure", Kind: "cooling", Site: "houston", Status: "firing", StartsAt: at}},
		Evacuations: []web.EvacuationStatus{{Headline: "site houston: 75 of 80"}},
		Ordered:     []engine.OperatorRecord{{Who: "root", Subject: engine.Subject{Kind: "site", ID: "houston"}, By: at}},
		Pending:     &web.PendingPlan{Hash: "d4108699bdff6adc", Approvers: 2, Approved: []string{"ann"}, Expires: time.Unix(1_800_000_000, 0), Doubt: "nothing of it holds: connection refused", Plan: &engine.Plan{Actions: make([]engine.Action, 1)}},
		Gaps:        []engine.Gap{{Source: "census", Subject: engine.Subject{Kind: "vcenter", ID: "vc-1"}, Reason: "14 of 106 VMs have vanished at once"}, {Source: "vc"}},
		Sites:       []web.SiteStatus{{Site: "frankfurt", Mode: engine.Enforce, Hosts: web.HostCounts{On: 9}, Unmetered: 9, VMs: 81}},
	})
	want := "NOT BELIEVED, nothing is done there: vcenter vc-1: 14 of 106 VMs have vanished at once\n" +
		"HAZARD: extreme hurricane al092026 may reach houston from 2027-01-15T08:00:00Z to 2027-01-15T09:00:00Z (NHC)\n" +
		"ALERT: CoolingFailure (cooling) at houston is firing since 2027-01-15T08:00:00Z\n" +
		"EVACUATION: site houston: 75 of 80\n" +
		"ORDERED by root, who does not approve it: evacuate site houston by 2027-01-15T08:00:00Z ('heliostat evacuate houston --cancel' ends it)\n" +
		"PLAN d4108699bdff WAITS for 1 approval more, by others than ann, until 08:00:00: 'heliostat approve d4108699'\n" +
		"    NOT NOW: nothing of it holds: connection refused\n"
	if !strings.HasPrefix(got, want) || !strings.Contains(got, "frankfurt      enforce       9        0     81       - kW       -\n") {
		t.Errorf("got:\n%s", got)
	}
}
