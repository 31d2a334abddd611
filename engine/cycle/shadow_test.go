package cycle

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"heliostat/engine"
)

// candidate is an opinion in shadow.
type candidate struct {
	opinion
	broken error
}

func (c *candidate) Reload(context.Context) error { return c.broken }

func TestBundlesInShadowAreJournaledAndNeverActedOn(t *testing.T) {
	synctest.Test(t, bundlesInShadow)
}

func bundlesInShadow(t *testing.T) {
	f := &fleet{host: "v/h0"}
	b := newBook()
	r := newRig(t, f, b, engine.Off) // the bundle in force says nothing
	r.Shadows = []Shadow{
		{Name: "broken", Policy: &candidate{broken: errors.New("no such folder")}},
		{Name: "failing", Policy: &candidate{opinion: opinion{err: errors.New("boom")}}},
		{Name: "next", Policy: &candidate{opinion: opinion{mode: engine.Enforce}}},
		{Name: "advising", Policy: &candidate{opinion: opinion{mode: engine.Advise}}},
	}
	if err := r.with(t, func(context.Context) { time.Sleep(5 * time.Minute) }); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	actions := map[string]int{}
	var cycles int
	for e := range b.Entries(1) {
		switch e.Kind {
		case engine.EntryCycle:
			cycles++
		case engine.EntryPlan:
			var p engine.PlanRecord
			if err := json.Unmarshal(e.Data, &p); err != nil {
				t.Fatal(err)
			}
			if p.Level == engine.Shadow {
				actions[p.Shadow] += p.Actions
			} else if p.Actions > 0 {
				t.Errorf("cycle %d: %d actions at level %s", e.Cycle, p.Actions, p.Level)
			}
		default:
		}
	}
	if calls := f.did(); len(calls) > 0 {
		t.Errorf("a bundle in shadow was acted on: %v", calls)
	}
	// A move and the maintenance of the host, in every cycle.
	if cycles < 4 || actions[ShadowOf("next")] != 2*cycles || len(actions) != 2 || actions[ShadowOf("advising")] != 0 {
		t.Errorf("%d cycles; actions in shadow: %v", cycles, actions)
	}
	replayAll(t, b)
}

// TestRelay lays what the rails made of a decision over the same decision, and over
// another one.
func TestRelay(t *testing.T) {
	s := &engine.Snapshot{
		Sites: []engine.Site{{ID: "a"}, {ID: "b"}, {ID: "c"}}, VCenters: []engine.VCenter{{ID: "v"}}, Clusters: []engine.Cluster{{ID: "v/c"}},
		Hosts: []engine.Host{{ID: "v/h0", Site: 0}, {ID: "v/h1", Site: 1}}, VMs: []engine.VM{{ID: "vm0", Host: 1}, {ID: "vm1", Host: 0}},
	}
	said := func() *engine.Decision {
		return &engine.Decision{
			Voices:      []engine.Voice{{Policy: "hurricane", Rule: engine.RuleEvacuate, Mode: engine.Enforce}, {Policy: "sun", Rule: engine.RulePrefer, Mode: engine.Enforce}},
			Reasons:     []string{"a storm", "noon"},
			Evacuations: []engine.Evacuation{{Place: siteSubject(s, 2), By: engine.By{}}},
			Prefers:     []engine.Prefer{{VM: 1, To: siteSubject(s, 1), MicroEUR: 5, By: engine.By{Voice: 1, Reason: 1}}},
		}
	}
	v := &engine.View{Snapshot: s, Now: 1000}
	d := wayBack(said(), s, []homeward{{vm: 0, site: 0}}, 7)
	for _, site := range []int32{2, 0} { // one that the policies ask for as well, and one that only a person does
		d = evacuating(d, engine.OperatorRecord{Who: "ann", Subject: siteSubject(s, site), By: 2000})
	}
	d = Tiers{Approvers: 2, Evidence: 2}.judge(v, d, func([]engine.Evacuation) string { return "c" }).decision
	d = frozenBy(d, s, []engine.Stop{{Subject: engine.Subject{Kind: "cluster", ID: "v/c"}, Reason: "stop"}})
	if got := BundleVoices(d); !slices.Equal(got, said().Voices) {
		t.Errorf("the bundle's own voices are %v", got)
	}
	want, err := engine.Encode(d)
	if err != nil {
		t.Fatal(err)
	}
	got, err := engine.Encode(Relay(d, said(), s))
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("the same policies give\n%s\nrecorded\n%s", got, want)
	}
	other := said()
	other.Evacuations[0].Place = siteSubject(s, 1)
	x := Relay(d, other, s)
	if v := x.Voices[x.Evacuations[0].By.Voice]; v.Mode != engine.Enforce {
		t.Errorf("an evacuation that was not recorded is heard at %s", v.Mode)
	}
	if len(x.Freezes) != 3 || len(x.Evacuations) != 3 || len(x.AllowSites) != 1 || len(x.Prefers) != 2 {
		t.Errorf("the rails do not bind: %+v", x)
	}
}
