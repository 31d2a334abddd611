package engine

import "testing"

// Who moves a VM that we did not move is told from ourselves.
func TestNoteForeign(t *testing.T) {
	at := func(moment Unix, web, db int32) *Snapshot {
		return &Snapshot{
			At: moment, Hosts: []Host{{ID: "va/h1"}, {ID: "va/h2"}, {ID: "va/h3"}},
			VMs: []VM{{ID: "db", Host: db}, {ID: "web", Host: web}},
		}
	}
	rec := func(k ActionKind, vm VMID, host HostID, s ActionState) []ActionRecord {
		return []ActionRecord{{Action: Action{Kind: k, VM: vm, From: Place{Host: host}}, State: s, Ended: 1000}}
	}
	for name, c := range map[string]struct {
		own         Owned // what we did to h1 before
		open, ended []ActionRecord
		foreign     bool
	}{
		"nobody says why":           {foreign: true},
		"we move it":                {open: rec(Move, "web", "va/h1", StateStarted)},
		"we have moved it":          {ended: rec(Move, "web", "va/h1", StateSucceeded)},
		"we move another":           {open: rec(Move, "db", "va/h1", StateStarted), foreign: true},
		"we send its host to sleep": {open: rec(Standby, "", "va/h1", StateStarted)},
		"its host goes into upkeep": {ended: rec(EnterMaintenance, "", "va/h1", StateFailed)},
		"another host sleeps":       {open: rec(Standby, "", "va/h3", StateStarted), foreign: true},
		"its host is ours":          {own: OwnStandby},
	} {
		h := Fold(&History{}, at(400, 0, 0), nil, Thresholds{})
		NoteForeign(&History{}, h, at(400, 0, 0), nil, nil)
		h.Hosts[0].Own = c.own
		s := at(1000, 1, 0)
		next := Fold(h, s, c.ended, Thresholds{})
		NoteForeign(h, next, s, c.open, c.ended)
		if got := next.VM("web").ForeignAt == 1000; got != c.foreign || next.VM("db").ForeignAt != 0 {
			t.Errorf("%s: web %+v, db %+v", name, next.VM("web"), next.VM("db"))
		}
		last := Fold(next, at(1060, 1, 0), nil, Thresholds{})
		NoteForeign(next, last, at(1060, 1, 0), nil, nil)
		if last.VM("web").ForeignAt != next.VM("web").ForeignAt || last.VM("web").SeenOn != "va/h2" {
			t.Errorf("%s: it stays where it is, and %+v", name, last.VM("web"))
		}
	}
}

// An inventory that lags behind the end of our own move is not taken for somebody.
func TestNoteForeignLag(t *testing.T) {
	s := &Snapshot{At: 1000, Hosts: []Host{{ID: "va/h1"}, {ID: "va/h2"}}, VMs: []VM{{ID: "web"}}}
	h := Fold(&History{}, s, nil, Thresholds{})
	NoteForeign(&History{}, h, s, nil, nil)
	ended := []ActionRecord{{Action: Action{Kind: Move, VM: "web", From: Place{Host: "va/h1"}, To: Place{Host: "va/h2"}}, State: StateSucceeded, Ended: 1050}}
	for _, x := range []struct {
		at   Unix
		host int32
	}{{1060, 0}, {1120, 1}} {
		s = &Snapshot{At: x.at, Hosts: s.Hosts, VMs: []VM{{ID: "web", Host: x.host}}}
		next := Fold(h, s, ended, Thresholds{})
		NoteForeign(h, next, s, nil, ended)
		h, ended = next, nil
	}
	if x := h.VM("web"); x.ForeignAt != 0 {
		t.Errorf("%+v", x)
	}
}
