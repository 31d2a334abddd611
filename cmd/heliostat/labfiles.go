package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"heliostat/lab"
)

// labFiles are the files of a daemon that runs against a lab.
type labFiles struct {
	dir      string
	config   string // heliostat.yaml
	hazards  string
	token    string // of the alert intake
	policies string // the operator's own bundle, empty at first
}

// labOptions are what the configuration of a lab's daemon may vary in.
type labOptions struct {
	every       time.Duration // between cycles
	minGap      time.Duration // at least, however often the loop is woken
	recorded    bool          // nothing in it can be changed, and where it stands is not known
	listen      string        // of the web server; "" for none
	unchecked   bool          // moves are called at once, without the vCenter's check before
	maintenance *maintenance
}

// maintenance is an agreed window for one host.
type maintenance struct {
	host     string
	from, to time.Time
}

// writeLabFiles writes a configuration for the lab as it is served now into dir:
// heliostat.yaml, the accounts' passwords, an empty list of hazards, a token.
func writeLabFiles(dir string, cfg lab.Config, endpoints []lab.Endpoint, o labOptions) (labFiles, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return labFiles{}, err
	}
	f := labFiles{dir: dir, config: filepath.Join(dir, "heliostat.yaml"), hazards: filepath.Join(dir, "hazards.json"), token: filepath.Join(dir, "alerts.token"), policies: filepath.Join(dir, "policies")}
	for _, d := range []string{dir, f.policies} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return f, err
		}
	}
	write := func(path, text string) {
		if err == nil {
			err = os.WriteFile(path, []byte(text), 0o600)
		}
	}
	write(f.hazards, "[]\n")
	write(f.token, "lab-token\n")
	accounts := map[string]string{} // role to user name
	for _, a := range endpoints[0].Accounts {
		accounts[a.Role] = a.Username
		write(filepath.Join(dir, a.Role+".password"), a.Password+"\n")
	}
	write(f.config, labYAML(f, cfg, endpoints, accounts, o))
	return f, err
}

// labYAML is the text of the configuration.
func labYAML(f labFiles, cfg lab.Config, endpoints []lab.Endpoint, accounts map[string]string, o labOptions) string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	// list writes a section, unless it would be empty.
	list := func(name string, items []string) {
		if len(items) > 0 {
			line("%s:\n%s", name, strings.Join(items, "\n"))
		}
	}
	mode, sun, roles := "enforce", "enforce", []string{lab.RoleReader, lab.RoleMover}
	if o.recorded {
		mode, sun, roles = "advise", "off", roles[:1]
	}
	line("# A daemon for a lab of simulated vCenters. See 'heliostat init' for what each key means.")
	list("sites", labSites(cfg, endpoints, mode))
	line("vcenters:")
	for _, e := range endpoints {
		line("  - name: %s\n    url: %s\n    thumbprint: %q", e.Name, e.URL, e.Thumbprint)
		for _, role := range roles {
			line("    %s: {username: %q, password_file: %q}", role, accounts[role], filepath.Join(f.dir, role+".password"))
		}
	}
	list("segments", labSegments(cfg))
	list("links", labLinks(cfg))
	list("power", labPower(cfg))
	line("policy:\n  dir: %q\n  modes:\n    follow_the_sun: %s", f.policies, sun)
	for _, p := range []string{"dpm", "hurricane", "maintenance", "emergency", "quiet_hours", "sovereignty", "pinned"} {
		line("    %s: %s", p, mode)
	}
	line("  weights: {follow_the_sun: 0.02}")
	line("plan:\n  modes: {move: %s, standby: %s, wake: %s, maintenance: %s}", mode, mode, mode, mode)
	line("  cpu_max_pct: 70          # the lab's VMs burst")
	line("  evacuation_cpu_pct: 80")
	line("alerts:\n  token_file: %q", f.token)
	line("  rules:\n    - {match: {alertname: \"CoolingFailure\"}, kind: cooling, site_label: site, deadline_annotation: deadline, deadline_after: 4h}")
	line("hazards:\n  file: %q", f.hazards)
	if o.unchecked {
		line("execute:\n  check: false")
	}
	line("schedule:\n  every: %s\n  min_gap: %s", o.every, o.minGap)
	if m := o.maintenance; m != nil {
		line("windows:\n  - {id: firmware, kind: maintenance, host: %q, from: %q, to: %q, note: \"firmware of one host\"}", m.host, m.from.UTC().Format(time.RFC3339), m.to.UTC().Format(time.RFC3339))
	}
	line("rails:\n  ramp: 0s                 # a day in the lab is short")
	line("  tiers: {evacuation_autonomous: true, evacuation_evidence: 1} # the list of hazards alone, or an alert, empties a site")
	line("web:\n  listen: %q", o.listen)
	line("state:\n  dir: %q\n  socket: %q\n  kill_file: %q", filepath.Join(f.dir, "state"), filepath.Join(f.dir, "run", "heliostat.sock"), filepath.Join(f.dir, "run", "stop"))
	return b.String()
}

// labSites gives each site what the lab knows of it. Price and carbon of a
// recorded vCenter's site are not known, and unknown is not zero.
func labSites(cfg lab.Config, endpoints []lab.Endpoint, mode string) (items []string) {
	vcenterOf := map[string]string{}
	for _, e := range endpoints {
		vcenterOf[e.Site] = e.Name
	}
	for _, s := range cfg.Sites {
		text := fmt.Sprintf("  - id: %s\n    latitude: %v\n    longitude: %v\n    region: %q\n    time_zone: %q\n    pue: %v", s.Name, s.Lat, s.Lon, s.Region, s.TimeZone, max(s.PUE, 1))
		if s.EURPerKWh > 0 {
			text += fmt.Sprintf("\n    price_eur_per_kwh: %v", s.EURPerKWh)
		}
		if s.GramPerKWh > 0 {
			text += fmt.Sprintf("\n    carbon_g_per_kwh: %v", s.GramPerKWh)
		}
		items = append(items, text+fmt.Sprintf("\n    mode: %s\n    hosts: [{vcenter: %s}]", mode, vcenterOf[s.Name]))
	}
	return items
}

// labSegments lists the networks by name: where two sites have one of the same
// name, it is one L2 segment.
func labSegments(cfg lab.Config) (items []string) {
	seen := map[string]bool{}
	for _, s := range cfg.Sites {
		for _, name := range s.Segments {
			if !seen[name] {
				seen[name] = true
				items = append(items, fmt.Sprintf("  - name: %s\n    networks: [{name: %q}]", name, name))
			}
		}
	}
	return items
}

func labLinks(cfg lab.Config) (items []string) {
	for _, k := range cfg.Links {
		items = append(items, fmt.Sprintf("  - {between: [%s, %s], rtt_ms: %v, mbps: %d}", k.A, k.B, float64(k.RTT.Microseconds())/1000, int(k.Mbps)))
	}
	return items
}

// labPower is one model for all hosts: those of the lab are alike.
func labPower(cfg lab.Config) []string {
	for _, s := range cfg.Sites {
		if k := s.Clusters[0]; k.MaxW > 0 {
			return []string{fmt.Sprintf("  - {model: \"*\", idle_w: %d, max_w: %d}", int(k.IdleW), int(k.MaxW))}
		}
	}
	return nil
}
