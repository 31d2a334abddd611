package main

import (
	"testing"

	"heliostat/engine"
)

// certified is a journal of plans and their certificates.
type certified struct {
	journal
	plans []engine.Entry
	kept  map[string][]byte
}

func (c *certified) Kind(engine.EntryKind) ([]engine.Entry, error) { return c.plans, nil }
func (c *certified) Get(digest string) ([]byte, error)             { return c.kept[digest], nil }

func (c *certified) add(t *testing.T, cycle uint64, level engine.Mode, digest string, vms int) {
	t.Helper()
	e, err := engine.NewEntry(cycle, engine.EntryPlan, engine.PlanRecord{Level: level, Certificates: digest})
	if err != nil {
		t.Fatal(err)
	}
	c.plans = append(c.plans, e)
	if c.kept[digest], err = engine.Encode([]engine.Certificate{{Demand: engine.Subject{Kind: "site", ID: "houston"}, VMs: vms}}); err != nil {
		t.Fatal(err)
	}
}

// While a plan waits none is made in each cycle: explain goes by the certificate of the
// one that waits, not by one of later, and by none once nothing is asked for any more.
func TestCertificateOfWhatWaits(t *testing.T) {
	j := &certified{kept: map[string][]byte{}}
	j.add(t, 3, engine.Advise, "old", 90)
	j.add(t, 4, engine.Advise, "waits", 80)
	j.add(t, 5, engine.Shadow, "shadow", 70)
	j.add(t, 6, engine.Enforce, "", 0)
	j.add(t, 9, engine.Advise, "later", 60)
	asked := &engine.Decision{Evacuations: []engine.Evacuation{{Place: engine.Subject{Kind: "site", ID: "houston"}, Deadline: 7}}}
	at := planned{cycle: 6}
	if c, err := certificateIn(j, asked, at, "houston"); err != nil || c == nil || c.VMs != 80 {
		t.Errorf("while a plan waits: %+v, %v", c, err)
	}
	at.record.Certificates = "shadow"
	if c, err := certificateIn(j, asked, at, "houston"); err != nil || c == nil || c.VMs != 70 {
		t.Errorf("of the cycle's own plan: %+v, %v", c, err)
	}
	for site, d := range map[string]*engine.Decision{"tokyo": asked, "houston": {}} {
		if c, err := certificateIn(j, d, planned{cycle: 6}, site); err != nil || c != nil {
			t.Errorf("nobody asks for %s: %+v, %v", site, c, err)
		}
	}
}
