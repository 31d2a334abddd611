package plan

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"heliostat/engine"
	"heliostat/engine/check"
)

var update = flag.Bool("update", false, "write the plans of the golden scenarios anew")

// TestScenarios builds the plan of each scenario and compares it with the text
// below the rule. Each plan also passes Check, and is the same when built again.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no scenarios", err)
	}
	seen := map[engine.HoldCode]bool{}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".txt"), func(t *testing.T) {
			raw, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			text, want, _ := strings.Cut(string(raw), "----\n")
			in := parseScenario(t, text)
			p := Build(in)
			for _, h := range p.Holds {
				seen[h.Code] = true
				if h.Detail == "" || h.Want == "" || h.Name == "" || strings.Contains(h.Detail, "%!") {
					t.Errorf("incomplete hold %+v", h)
				}
			}
			if err := check.Plan(in, p); err != nil {
				t.Error(err)
			}
			got := renderPlan(p)
			if *update {
				if err := os.WriteFile(f, []byte(text+"----\n"+got), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != want {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
		})
	}
	for _, c := range allCodes {
		if !seen[c] {
			t.Errorf("no scenario shows a hold %q", c)
		}
	}
}

// allCodes are the codes that Build gives.
var allCodes = []engine.HoldCode{
	engine.HoldFrozen, engine.HoldVeto, engine.HoldPinned, engine.HoldMode, engine.HoldSites, engine.HoldHosts, engine.HoldObstacle, engine.HoldAcross,
	engine.HoldCapacity, engine.HoldReserve, engine.HoldSpace, engine.HoldNetwork, engine.HoldMAC, engine.HoldRule, engine.HoldRTT, engine.HoldBandwidth,
	engine.HoldConverge, engine.HoldCompat, engine.HoldCooldown, engine.HoldBudget, engine.HoldWorth, engine.HoldGap, engine.HoldBusy, engine.HoldNowhere,
	engine.HoldDeadline, engine.HoldStorage, engine.HoldOwner, engine.HoldKeepOn, engine.HoldLast, engine.HoldVSAN, engine.HoldStandby, engine.HoldDPM,
	engine.HoldNotEmpty, engine.HoldPoweredOff, engine.HoldDRS, engine.HoldEvacuating, engine.HoldPaused, engine.HoldUnavailable, engine.HoldQuarantine, engine.HoldBreaker,
	engine.HoldPrivilege,
}
