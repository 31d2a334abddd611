package web

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"heliostat/engine"
)

func busy() *Status {
	at := time.Unix(1_800_000_000, 0)
	return &Status{
		Cycle: 3, At: at, TookMS: 1500, Good: at, Record: engine.CycleRecord{PlanMS: 500, Evaluated: 1000, Rounds: 2},
		Sites:   []SiteStatus{{Site: "tokyo", Hosts: HostCounts{On: 3, Standby: 1}, VMs: 40, PowerW: 900, Unmetered: 1}},
		Open:    []OpenAction{{Record: engine.ActionRecord{Action: engine.Action{Kind: engine.Standby}}}},
		Holds:   []engine.Hold{{Code: engine.HoldWorth}, {Code: engine.HoldWorth}, {Code: engine.HoldRTT}},
		Gaps:    []engine.Gap{{Source: "vc-tokyo"}},
		Sources: []SourceStatus{{Name: "vc-tokyo", Up: true, At: at.Add(-30 * time.Second)}, {Name: "vc-houston"}},
		Pending: &PendingPlan{Plan: &engine.Plan{Actions: make([]engine.Action, 2)}}, Journal: JournalStatus{Entries: 12},
		Rails: []engine.Hold{{Code: engine.HoldBreaker}}, Quarantine: []engine.Quarantine{{Subject: engine.Subject{Kind: "vm"}}},
		Swings: []engine.Swing{{Subject: engine.Subject{Kind: "host"}}, {Subject: engine.Subject{Kind: "host"}}},
	}
}

func TestMetricsShowTheStatus(t *testing.T) {
	m := NewMetrics("1")
	m.CycleEnded(busy())
	m.ActionStarted(engine.Move)
	m.ActionEnded(&engine.ActionRecord{Action: engine.Action{Estimate: engine.Estimate{Seconds: 20, MemoryMiB: 1, DiskMiB: 1}}, State: engine.StateSucceeded, TookS: 30})
	m.ActionEnded(&engine.ActionRecord{Action: engine.Action{Estimate: engine.Estimate{MemoryMiB: 1}}, State: engine.StateFailed})
	m.PolicyFailed("dpm", "drain")
	m.AlertReceived(true)
	m.AlertReceived(false)
	m.AlertRefused("token")
	want := `
heliostat_actions_ended_total{kind="move",state="failed"} 1
heliostat_actions_ended_total{kind="move",state="succeeded"} 1
heliostat_actions_started_total{kind="move"} 1
heliostat_alerts_received_total{result="new"} 1
heliostat_alerts_received_total{result="repeated"} 1
heliostat_alerts_refused_total{reason="token"} 1
heliostat_copied_bytes_total 2.097152e+06
heliostat_cycles_total{result="failed"} 0
heliostat_cycles_total{result="ok"} 1
heliostat_gaps{source="vc-tokyo"} 1
heliostat_holds{code="not_worth"} 2
heliostat_holds{code="rtt"} 1
heliostat_hosts{power="off",site="tokyo"} 0
heliostat_hosts{power="on",site="tokyo"} 3
heliostat_hosts{power="standby",site="tokyo"} 1
heliostat_hosts{power="unknown",site="tokyo"} 0
heliostat_hosts_in_maintenance{site="tokyo"} 0
heliostat_hosts_unmetered{site="tokyo"} 1
heliostat_journal_entries 12
heliostat_last_cycle_timestamp_seconds 1.8e+09
heliostat_move_seconds_total{of="predicted"} 20
heliostat_move_seconds_total{of="real"} 30
heliostat_observation_age_seconds{source="vc-tokyo"} 30
heliostat_open_actions{kind="enter_maintenance"} 0
heliostat_open_actions{kind="exit_maintenance"} 0
heliostat_open_actions{kind="move"} 0
heliostat_open_actions{kind="standby"} 1
heliostat_open_actions{kind="wake"} 0
heliostat_paused 0
heliostat_pending_actions 2
heliostat_plan_evaluations_total 1000
heliostat_policy_failures_total{policy="dpm",rule="drain"} 1
heliostat_policy_refused 0
heliostat_policy_waits 0
heliostat_power_watts{site="tokyo"} 900
heliostat_quarantined{kind="host"} 0
heliostat_quarantined{kind="vm"} 1
heliostat_rails{code="breaker"} 1
heliostat_source_up{source="vc-houston"} 0
heliostat_source_up{source="vc-tokyo"} 1
heliostat_swings{kind="host"} 2
heliostat_swings{kind="vm"} 0
heliostat_veto_rounds_total 2
heliostat_vms{site="tokyo"} 40
`
	if got := exposition(t, m); got != strings.TrimSpace(want) {
		t.Errorf("got:\n%s", got)
	}
	// What is over is no longer shown; what was counted stays.
	m.CycleEnded(&Status{Error: "no vCenter answers", Paused: &engine.OperatorRecord{}})
	got := exposition(t, m)
	for _, gone := range []string{"heliostat_holds{", "heliostat_hosts{", "heliostat_source_up{", `heliostat_open_actions{kind="standby"} 1`} {
		if strings.Contains(got, gone) {
			t.Errorf("%s is still shown", gone)
		}
	}
	for _, there := range []string{`heliostat_cycles_total{result="failed"} 1`, "heliostat_paused 1", "heliostat_last_cycle_timestamp_seconds 1.8e+09"} {
		if !strings.Contains(got, there) {
			t.Errorf("%s is not shown", there)
		}
	}
}

// exposition is the daemon's own series, without comments, histograms and build.
func exposition(t *testing.T, m *Metrics) string {
	t.Helper()
	_, body := get(t, NewHandler(&Board{}, m, nil), "/metrics")
	var lines []string
	for line := range strings.Lines(body) {
		if strings.HasPrefix(line, "heliostat_") && !strings.Contains(line, "_duration_") && !strings.Contains(line, "build_info") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return strings.Join(lines, "\n")
}

// The names are those that promtool accepts: it uses the same rules.
func TestMetricsLint(t *testing.T) {
	m := NewMetrics("1")
	m.CycleEnded(busy())
	m.ActionEnded(&engine.ActionRecord{})
	m.PolicyFailed("p", "r")
	m.AlertRefused("token")
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// A scrape sees the gauges of one moment.
func TestScrapeIsWhole(t *testing.T) {
	m := NewMetrics("1")
	s := busy()
	m.Shown(s)
	var wg sync.WaitGroup
	wg.Go(func() {
		for range 200 {
			m.Shown(s)
		}
	})
	for range 20 {
		if !strings.Contains(exposition(t, m), `heliostat_power_watts{site="tokyo"} 900`) {
			t.Fatal("half a status was scraped")
		}
	}
	wg.Wait()
}

func TestSitesOf(t *testing.T) {
	s := &engine.Snapshot{
		Sites:    []engine.Site{{ID: "a", SunMilliDeg: -18500}, {ID: "b", SunMilliDeg: engine.Unknown, Frozen: true}},
		Clusters: []engine.Cluster{{ID: "c"}},
		Hosts: []engine.Host{
			{ID: "1", Site: 0, Power: engine.HostOn, PowerW: 200},
			{ID: "2", Site: 0, Power: engine.HostStandby, PowerW: 10},
			{ID: "3", Site: 1, Power: engine.HostOn, PowerW: engine.Unknown, Maintenance: true},
			{ID: "4", Site: engine.None, Power: engine.HostOn, PowerW: 500},
		},
		VMs: []engine.VM{{ID: "a", Host: 0, Power: engine.VMOn}, {ID: "b", Host: 0}, {ID: "c", Host: 2, Power: engine.VMOn}, {ID: "d", Host: engine.None, Power: engine.VMOn}},
	}
	got := SitesOf(s)
	a, b := got[0], got[1]
	if a.Hosts != (HostCounts{On: 1, Standby: 1}) || a.VMs != 1 || a.PowerW != 210 || a.Unmetered != 0 || *a.SunDeg != -18.5 {
		t.Errorf("a: %+v", a)
	}
	if b.Hosts != (HostCounts{On: 1}) || b.Maintenance != 1 || b.VMs != 1 || b.PowerW != 0 || b.Unmetered != 1 || b.SunDeg != nil || !b.Frozen {
		t.Errorf("b: %+v", b)
	}
}

// pipes is a listener on which a test connects without sockets.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
}

func (p pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}
func (p pipes) Close() error   { close(p.done); return nil }
func (p pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "pipe"} }

// On shutdown a request under way is answered; one that does not end is cut off.
func TestServeEnds(t *testing.T) {
	for name, c := range map[string]struct {
		takes time.Duration
		code  string
		after time.Duration
	}{
		"answered": {2 * time.Second, "HTTP/1.1 200 OK", 2 * time.Second},
		"cut off":  {time.Hour, "", shutdownWait},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ln := pipes{make(chan net.Conn), make(chan struct{})}
				ctx, stop := context.WithCancel(t.Context())
				ended := make(chan error, 1)
				go func() {
					ended <- Serve(ctx, ln, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
						select {
						case <-time.After(c.takes):
						case <-r.Context().Done():
						}
					}), slog.New(slog.DiscardHandler))
				}()
				mine, theirs := net.Pipe()
				ln.conns <- theirs
				if _, err := io.WriteString(mine, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); err != nil {
					t.Fatal(err)
				}
				answer := make(chan string, 1)
				go func() {
					b, _ := io.ReadAll(mine) // a cut connection is what one case is about
					answer <- string(b)
				}()
				synctest.Wait()
				began := time.Now()
				stop()
				if err := <-ended; err != nil {
					t.Error(err)
				}
				if took := time.Since(began); took < c.after || took > c.after+time.Second {
					t.Errorf("ended after %s", took)
				}
				if got := <-answer; !strings.HasPrefix(got, c.code) || (c.code == "") != (got == "") {
					t.Errorf("answer %q", got)
				}
			})
		})
	}
}
