package sun_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"heliostat/collectors/sun"
)

func TestObserve(t *testing.T) {
	src := &sun.Source{
		Sites: []sun.Site{{"frankfurt", 50.11, 8.68}, {"tromso", 69.65, 18.96}},
		Now:   func() time.Time { return time.Date(2026, 6, 21, 12, 0, 0, 0, time.UTC) },
	}
	o, err := src.Observe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, v := range o.Sites {
		fmt.Fprintf(&b, "%s %s %.1f\n", v.Site, v.Value.Key, v.Value.Number)
	}
	// The midnight sun of Tromso neither rises nor sets.
	want := `frankfurt sun_deg 62.6
frankfurt next_sunrise_unix 1782098137.0
frankfurt next_sunset_unix 1782070731.0
tromso sun_deg 42.5
`
	if b.String() != want {
		t.Errorf("got:\n%s", b.String())
	}
}
