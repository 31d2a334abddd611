package engine

import "testing"

const hours = 3600

// An event is what happens to the VM w or the host va/h1, and at which hour: "> b" we
// move it to site b, "~ a" somebody else does, "sleep" and "wake" are the host's.
type event struct {
	hour int
	what string
}

// tell returns what is remembered at the end.
func tell(events []event) (*History, *Snapshot) {
	s := &Snapshot{Hosts: []Host{{ID: "va/h1", Name: "h1"}, {ID: "vb/h1"}, {ID: "vc/h1"}}, VMs: []VM{{ID: "w", Name: "web"}}}
	h := &History{}
	see := func(at Unix, ended []ActionRecord) {
		s = &Snapshot{At: at, Hosts: s.Hosts, VMs: []VM{s.VMs[0]}}
		next := Fold(h, s, ended, Thresholds{})
		NoteForeign(h, next, s, nil, ended)
		h = next
	}
	see(1000, nil)
	for _, e := range events {
		at := Unix(1000 + e.hour*hours)
		r := ActionRecord{State: StateSucceeded, Started: at - 60, Ended: at}
		switch e.what {
		case "sleep", "wake":
			r.Action = Action{Kind: Standby, From: Place{Host: "va/h1"}}
			if e.what == "wake" {
				r.Action.Kind = Wakeup
			}
			see(at+10, []ActionRecord{r})
		default:
			from := s.Hosts[s.VMs[0].Host].ID
			s.VMs[0].Host = int32(e.what[2] - 'a')
			to := s.Hosts[s.VMs[0].Host].ID
			if e.what[0] == '~' {
				see(at, nil)
				continue
			}
			r.Action = Action{Kind: Move, VM: "w", From: Place{Host: from, Site: SiteID(from[1])}, To: Place{Host: to, Site: SiteID(to[1])}}
			see(at+10, []ActionRecord{r})
		}
	}
	return h, s
}

// every repeats places, so many hours apart.
func every(hour, times int, places ...string) (list []event) {
	for i := range times {
		list = append(list, event{(i + 1) * hour, places[i%len(places)]})
	}
	return list
}

func TestSwings(t *testing.T) {
	for name, c := range map[string]struct {
		events  []event
		returns int32
		text    string
	}{
		"one return":                     {every(5, 2, "> b", "> a"), 1, ""},
		"two returns":                    {every(5, 3, "> b", "> a"), 2, "has come back 2 times in a row, last from h1: it may return later each time"},
		"two sites and the sun":          {every(12, 20, "> b", "> a"), 0, ""},
		"three sites and the sun":        {every(8, 20, "> b", "> c", "> a"), 0, ""},
		"on and on":                      {every(5, 6, "> b", "> c", "> a"), 0, ""},
		"there and back once a day":      {[]event{{18, "> b"}, {22, "> a"}, {42, "> b"}, {46, "> a"}}, 1, ""},
		"it swung, and follows the sun":  {append(every(5, 4, "> b", "> a"), event{44, "> b"}), 0, ""},
		"somebody moves it back once":    {every(3, 2, "> b", "~ a"), 1, ""},
		"somebody moves it back again":   {every(3, 4, "> b", "~ a"), 2, "was moved back to h1 by somebody else, 2 times in a row: it is left alone longer each time"},
		"somebody moves it on":           {every(3, 4, "> b", "~ c", "> a", "~ b"), 1, ""},
		"a host sleeps at night":         {[]event{{20, "sleep"}, {31, "wake"}, {44, "sleep"}, {55, "wake"}}, 0, ""},
		"a host is woken at once, twice": {every(2, 4, "sleep", "wake"), 2, "was woken soon after it was put to sleep 2 times in a row: it rests longer each time"},
		"twice, and then it sleeps":      {append(every(2, 4, "sleep", "wake"), event{10, "sleep"}, event{20, "wake"}), 0, ""},
	} {
		h, s := tell(c.events)
		text := ""
		if list := h.Swings(s); len(list) > 0 {
			text = list[0].Text()
		}
		if got := max(h.VM("w").Returns, h.Host("va/h1").Returns); got != c.returns || text != c.text {
			t.Errorf("%s: %d returns, not %d; %q", name, got, c.returns, text)
		}
		h.At += day
		if list := h.Swings(s); len(list) != 0 {
			t.Errorf("%s: a day later %+v", name, list)
		}
	}
}

func TestLonger(t *testing.T) {
	for _, c := range []struct {
		rest    int64
		returns int32
		want    int64
	}{{100, 0, 100}, {100, 1, 100}, {100, 2, 200}, {100, 5, 1600}, {4 * hours, 4, day}, {100, 1 << 30, day}, {2 * day, 9, 2 * day}, {0, 9, 0}} {
		if got := Longer(c.rest, c.returns); got != c.want {
			t.Errorf("a rest of %d s after %d returns is %d, not %d", c.rest, c.returns, got, c.want)
		}
	}
}
