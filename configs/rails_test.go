package configs

import (
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// minimal is a configuration of one vCenter at one site, in three lines.
const minimal = "sites: [{id: a, latitude: 1, longitude: 1, hosts: [{vcenter: a}]}]\n" +
	"vcenters:\n  - {name: a, url: https://a.example, reader: {username: u, password_file: secret}}\n"

func TestRailsAreValidated(t *testing.T) {
	text := minimal + `rails: {ramp: 2h, ramp_demand: 6m, breaker_first: 6, breaker_pct: 101, breaker_rest: -1s}
sanity: {shrink_pct: 0, hosts_pct: 101, load_factor_x10: 10, accept_cycles: 1}
`
	got := said(t, folder(t, text, "secret"))
	for _, want := range []string{
		"c.yaml:4:15: rails.ramp: 2h0m0s is not between 0s and 1h", "rails.ramp_demand: 6m0s is not between 0s and 5m0s", "rails.breaker_first: 6 is not between 0 and 5",
		"rails.breaker_pct: 101 is not between 0 and 100", "rails.breaker_rest: -1s is negative", "c.yaml:5:22: sanity.shrink_pct: 0 is not between 1 and 100",
		"sanity.hosts_pct: 101 is not between", "sanity.load_factor_x10: 10 is not between 11", "sanity.accept_cycles: 1 is not between 2",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
}

// The kill file is no secret that must be readable: as a rule it is not there.
func TestKillFile(t *testing.T) {
	for text, want := range map[string]string{
		"":                                "/run/heliostat/stop",
		"state: {kill_file: \"\"}\n":      "",
		"state: {kill_file: run/stop}\n":  "DIR/run/stop",
		"state: {kill_file: /tmp/stop}\n": "/tmp/stop",
	} {
		file := folder(t, minimal+text+"rails: {ramp: 0s}\n", "secret")
		c, err := Load(file)
		if err != nil {
			t.Error(err)
			continue
		}
		if want = strings.Replace(want, "DIR", filepath.Dir(file), 1); c.State.KillFile != want || c.Rails.Ramp != 0 || c.Rails.BreakerRest != 30*time.Minute {
			t.Errorf("%q: kill file %q, want %q; rails %+v", text, c.State.KillFile, want, c.Rails)
		}
	}
}
