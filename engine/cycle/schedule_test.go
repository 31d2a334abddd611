package cycle

import (
	"testing"
	"time"
)

func TestParseSchedule(t *testing.T) {
	places := []Place{{ID: "houston", Lat: 29.76, Lon: -95.37}, {ID: "tromso", Lat: 69.65, Lon: 18.96}}
	at := func(s string) time.Time {
		x, err := time.Parse(time.RFC3339, s)
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	for _, c := range []struct{ spec, from, want string }{
		{"*/5 * * * *", "2026-06-01T00:01:00Z", "2026-06-01T00:05:00Z"},
		{"@every 90s", "2026-06-01T00:01:00Z", "2026-06-01T00:02:30Z"},
		{"30 2 * * *", "2026-03-29T00:00:00Z", "2026-03-29T02:30:00Z"},
		// The hour from two to three does not exist in Berlin on that night.
		{"CRON_TZ=Europe/Berlin 30 2 * * *", "2026-03-28T12:00:00Z", "2026-03-29T01:30:00Z"},
		{"CRON_TZ=Europe/Berlin 30 2 * * *", "2026-03-29T01:30:00Z", "2026-03-30T00:30:00Z"},
		// It exists twice on this one: the job runs in the first.
		{"CRON_TZ=Europe/Berlin 30 2 * * *", "2026-10-24T12:00:00Z", "2026-10-25T00:30:00Z"},
		{"CRON_TZ=Europe/Berlin 30 2 * * *", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"},
	} {
		s, err := ParseSchedule(c.spec, places)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.Next(at(c.from)); !got.Equal(at(c.want)) {
			t.Errorf("%s after %s: %s, want %s", c.spec, c.from, got.UTC().Format(time.RFC3339), c.want)
		}
	}
	rise, err := ParseSchedule("@sunrise houston +30m", places)
	if err != nil {
		t.Fatal(err)
	}
	// Houston, 21 June 2026: the sun rises at 06:21 CDT.
	if got, want := rise.Next(at("2026-06-21T06:00:00Z")), at("2026-06-21T11:51:00Z"); got.Sub(want).Abs() > 2*time.Minute {
		t.Errorf("half an hour after sunrise in Houston: %s, want about %s", got, want)
	}
	first := rise.Next(at("2026-06-21T06:00:00Z"))
	if second := rise.Next(first); second.Sub(first) < 23*time.Hour || second.Sub(first) > 25*time.Hour {
		t.Errorf("the next sunrise is %v later", second.Sub(first))
	}
	set, err := ParseSchedule("@sunset tromso", places)
	if err != nil {
		t.Fatal(err)
	}
	// The sun does not set there from late May to late July.
	if got := set.Next(at("2026-06-01T00:00:00Z")); got.Before(at("2026-07-20T00:00:00Z")) || got.After(at("2026-08-01T00:00:00Z")) {
		t.Errorf("first sunset of the summer in Tromso: %s", got)
	}
	for _, bad := range []string{"", "* * *", "@sunrise", "@sunrise atlantis", "@sunset houston soon", "CRON_TZ=Mars/Base 0 0 * * *", "CRON_TZ=UTC", "@every never"} {
		if _, err := ParseSchedule(bad, places); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}
