package store

import (
	"testing"
	"time"

	"heliostat/engine"
)

// alert is one message about fingerprint "f", whose episode began at second n.
func alert(n int64, status string) engine.Alert {
	return engine.Alert{
		Fingerprint: "f", Status: status, Name: "CoolingFailure", Kind: "cooling", Site: "houston", StartsAt: engine.At(start) + engine.Unix(n),
		ReceivedAt: engine.At(start), ExpiresAt: engine.At(start) + 3600,
	}
}

func later(a engine.Alert, d time.Duration) engine.Alert {
	a.ReceivedAt, a.ExpiresAt = a.ReceivedAt.Add(d), a.ExpiresAt.Add(d)
	return a
}

func TestAlertDeliveries(t *testing.T) {
	type delivery struct {
		a     engine.Alert
		isNew bool
		then  string // status afterwards
	}
	for name, steps := range map[string][]delivery{
		"twice":                  {{alert(0, firing), true, firing}, {alert(0, firing), false, firing}, {later(alert(0, firing), time.Minute), false, firing}},
		"resolved":               {{alert(0, firing), true, firing}, {alert(0, resolved), true, resolved}, {alert(0, resolved), false, resolved}},
		"late duplicate":         {{alert(0, firing), true, firing}, {alert(0, resolved), true, resolved}, {alert(0, firing), false, resolved}},
		"second episode":         {{alert(0, firing), true, firing}, {alert(0, resolved), true, resolved}, {alert(9, firing), true, firing}},
		"end of the one before":  {{alert(0, firing), true, firing}, {alert(9, firing), true, firing}, {alert(0, resolved), false, firing}},
		"earlier by the other":   {{alert(9, firing), true, firing}, {alert(0, firing), false, firing}},
		"resolved without start": {{alert(0, resolved), true, resolved}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for i, s := range steps {
				j := openAt(t, dir, Options{}) // anew each time: it is the disk that remembers
				before := j.Last().Seq
				isNew, err := j.SaveAlert(t.Context(), s.a)
				if err != nil || isNew != s.isNew {
					t.Errorf("step %d: new %v, %v", i, isNew, err)
				}
				if journaled := j.Last().Seq > before; journaled != s.isNew {
					t.Errorf("step %d: journaled %v", i, journaled)
				}
				got, err := j.Alerts(start)
				if err != nil || len(got) != 1 || got[0].Status != s.then {
					t.Errorf("step %d: %+v, %v", i, got, err)
				}
				closeIt(t, j)
			}
		})
	}
}

func TestAlertPastItsLifeIsStaleUntilRepeatedOrResolved(t *testing.T) {
	now := start
	j := openAt(t, t.TempDir(), Options{Now: func() time.Time { return now }})
	save := func(a engine.Alert) {
		t.Helper()
		if _, err := j.SaveAlert(t.Context(), a); err != nil {
			t.Fatal(err)
		}
	}
	status := func(want string) {
		t.Helper()
		got, err := j.Alerts(now)
		if err != nil {
			t.Fatal(err)
		}
		if want == "" && len(got) == 0 {
			return
		}
		if len(got) != 1 || got[0].Status != want {
			t.Errorf("%v: %+v, want %q", now, got, want)
		}
	}
	save(alert(0, firing))
	now = start.Add(time.Hour - time.Second)
	status(firing)
	now = start.Add(time.Hour)
	status(stale)
	save(later(alert(0, firing), time.Hour))
	status(firing)
	now = start.Add(1000 * time.Hour)
	status(stale) // nobody said that it is over
	save(later(alert(0, resolved), 1000*time.Hour))
	status(resolved)
	now = now.Add(resolvedFor)
	status(resolved)
	now = now.Add(time.Second)
	status("")
	other := later(alert(0, firing), 2000*time.Hour)
	other.Fingerprint = "g"
	save(other)
	if _, known, err := j.alert("f"); known || err != nil {
		t.Errorf("the old alert is kept: %v", err)
	}
}

func TestMalformedAlertsAreRefused(t *testing.T) {
	j := openAt(t, t.TempDir(), Options{})
	nameless := alert(0, firing)
	nameless.Fingerprint = ""
	for _, a := range []engine.Alert{nameless, alert(0, stale), alert(0, "")} {
		if _, err := j.SaveAlert(t.Context(), a); err == nil {
			t.Errorf("%+v was taken", a)
		}
	}
	if j.Last().Seq != 0 {
		t.Error("something was journaled")
	}
}
