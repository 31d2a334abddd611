package web

import (
	"net/http"
	"runtime"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"

	"heliostat/engine"
)

// Metrics are the daemon's own numbers. Its methods are safe for concurrent use;
// no label takes a value from outside but names of the configuration.
type Metrics struct {
	registry *prometheus.Registry
	mu       sync.Mutex // held while gauges are set anew, and while they are read

	cycles       *prometheus.CounterVec
	cycleSeconds prometheus.Histogram
	planSeconds  prometheus.Histogram
	lastCycle    prometheus.Gauge
	evaluations  prometheus.Counter
	rounds       prometheus.Counter

	started *prometheus.CounterVec
	ended   *prometheus.CounterVec
	copied  prometheus.Counter
	off     prometheus.Histogram
	lasted  *prometheus.CounterVec
	open    *prometheus.GaugeVec
	pending prometheus.Gauge
	paused  prometheus.Gauge
	holds   *prometheus.GaugeVec
	rails   *prometheus.GaugeVec
	lost    *prometheus.GaugeVec
	swings  *prometheus.GaugeVec
	gaps    *prometheus.GaugeVec

	hosts       *prometheus.GaugeVec
	maintenance *prometheus.GaugeVec
	vms         *prometheus.GaugeVec
	power       *prometheus.GaugeVec
	unmetered   *prometheus.GaugeVec
	up          *prometheus.GaugeVec
	age         *prometheus.GaugeVec

	policyFailures *prometheus.CounterVec
	policyRefused  prometheus.Gauge
	policyWaits    prometheus.Gauge
	journal        prometheus.Gauge
	alerts         *prometheus.CounterVec
	alertsRefused  *prometheus.CounterVec
}

// NewMetrics makes the metrics of one daemon, with a registry of their own.
func NewMetrics(version string) *Metrics {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m := &Metrics{registry: r}
	// Buckets: a small fleet takes milliseconds, 150,000 VMs some ten seconds.
	seconds := prometheus.ExponentialBuckets(0.01, 2, 14)
	m.cycles = counters(r, "cycles_total", "Cycles by how they ended.", "result")
	m.cycleSeconds = histogram(r, "cycle_duration_seconds", "How long cycles took.", seconds)
	m.planSeconds = histogram(r, "plan_duration_seconds", "How long building and checking plans took, by cycle.", seconds)
	m.lastCycle = gauge(r, "last_cycle_timestamp_seconds", "When the last completed cycle began.")
	m.evaluations = counter(r, "plan_evaluations_total", "Candidate moves that the planner looked at.")
	m.rounds = counter(r, "veto_rounds_total", "Rounds of planning and asking for vetoes.")

	m.started = counters(r, "actions_started_total", "Actions submitted, by kind.", "kind")
	m.ended = counters(r, "actions_ended_total", "Actions ended, by kind and by state in the journal.", "kind", "state")
	m.copied = counter(r, "copied_bytes_total", "Memory and disk content copied by moves that succeeded, as estimated.")
	m.off = histogram(r, "move_duration_error", "By how much longer moves that succeeded took than was expected, in parts of that; less than 0: shorter.",
		[]float64{-0.5, -0.2, -0.1, -0.05, -0.02, 0, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 3})
	m.lasted = counters(r, "move_seconds_total", "How long moves that succeeded took together: as predicted, and as the vCenter's clock has it.", "of")
	m.open = gauges(r, "open_actions", "Actions under way, by kind.", "kind")
	m.pending = gauge(r, "pending_actions", "Actions of the plan that waits for a person's approval.")
	m.paused = gauge(r, "paused", "1 while a person has paused the daemon.")
	m.holds = gauges(r, "holds", "Things that should happen and do not, by code, in the last cycle.", "code")
	m.rails = gauges(r, "rails", "Rails that bite, by code.", "code")
	m.lost = gauges(r, "quarantined", "What is left alone until a person has looked at it, by kind.", "kind")
	m.swings = gauges(r, "swings", "VMs that are moved there and back, and hosts that are put to sleep and woken, soon and several times in a row, by kind.", "kind")
	m.gaps = gauges(r, "gaps", "Things that could not be seen in the last cycle, by source.", "source")

	m.hosts = gauges(r, "hosts", "Hosts by site and power state.", "site", "power")
	m.maintenance = gauges(r, "hosts_in_maintenance", "Hosts in maintenance mode or entering it, by site.", "site")
	m.vms = gauges(r, "vms", "Powered-on VMs by site.", "site")
	m.power = gauges(r, "power_watts", "Power of the hosts that have a meter, by site.", "site")
	m.unmetered = gauges(r, "hosts_unmetered", "Hosts whose power is not known, by site.", "site")
	m.up = gauges(r, "source_up", "1 while a source of observations answers.", "source")
	m.age = gauges(r, "observation_age_seconds", "Age of the last good answer of a source, when the last cycle began.", "source")

	m.policyFailures = counters(r, "policy_failures_total", "Rules that could not be evaluated.", "policy", "rule")
	m.policyRefused = gauge(r, "policy_refused", "1 while the newest edit of the policies is refused and an older one serves.")
	m.policyWaits = gauge(r, "policy_waits", "1 while the newest edit of the policies waits for a person's approval.")
	m.journal = gauge(r, "journal_entries", "Entries in the journal.")
	m.alerts = counters(r, "alerts_received_total", "Alerts received, new ones and repetitions.", "result")
	m.alertsRefused = counters(r, "alerts_refused_total", "Deliveries of alerts that were refused, by reason.", "reason")

	build := gauges(r, "build_info", "1, with the version that runs.", "version", "goversion")
	build.WithLabelValues(version, runtime.Version()).Set(1)
	// What counts from zero is shown from the start, so that the first increase is seen.
	for _, result := range []string{"ok", "failed"} {
		m.cycles.WithLabelValues(result)
	}
	for _, result := range []string{"new", "repeated"} {
		m.alerts.WithLabelValues(result)
	}
	for _, of := range []string{"predicted", "real"} {
		m.lasted.WithLabelValues(of)
	}
	return m
}

const namespace = "heliostat"

func counter(r prometheus.Registerer, name, help string) prometheus.Counter {
	c := prometheus.NewCounter(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help})
	r.MustRegister(c)
	return c
}

func counters(r prometheus.Registerer, name, help string, labels ...string) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Name: name, Help: help}, labels)
	r.MustRegister(c)
	return c
}

func gauge(r prometheus.Registerer, name, help string) prometheus.Gauge {
	g := prometheus.NewGauge(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help})
	r.MustRegister(g)
	return g
}

func gauges(r prometheus.Registerer, name, help string, labels ...string) *prometheus.GaugeVec {
	g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Namespace: namespace, Name: name, Help: help}, labels)
	r.MustRegister(g)
	return g
}

func histogram(r prometheus.Registerer, name, help string, buckets []float64) prometheus.Histogram {
	h := prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: namespace, Name: name, Help: help, Buckets: buckets})
	r.MustRegister(h)
	return h
}

func (m *Metrics) handler() http.Handler {
	whole := prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) {
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.registry.Gather()
	})
	return promhttp.HandlerFor(whole, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 10 * time.Second})
}

// CycleEnded counts a cycle and shows what it left behind. Call it once a cycle.
func (m *Metrics) CycleEnded(s *Status) {
	m.cycleSeconds.Observe(float64(s.TookMS) / 1000)
	if s.Error != "" {
		m.cycles.WithLabelValues("failed").Inc()
	} else {
		m.cycles.WithLabelValues("ok").Inc()
		m.planSeconds.Observe(float64(s.Record.PlanMS) / 1000)
		m.evaluations.Add(float64(s.Record.Evaluated))
		m.rounds.Add(float64(s.Record.Rounds))
		m.lastCycle.Set(float64(s.At.Unix()))
	}
	m.Shown(s)
}

// Shown sets every gauge from a status. It counts nothing.
func (m *Metrics) Shown(s *Status) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.paused.Set(one(s.Paused != nil))
	m.policyRefused.Set(one(s.Refused != ""))
	m.policyWaits.Set(one(s.Waits != ""))
	m.journal.Set(float64(s.Journal.Entries))
	m.pending.Set(0)
	if s.Pending != nil {
		m.pending.Set(float64(len(s.Pending.Plan.Actions)))
	}
	for k := engine.Move; k <= engine.ExitMaintenance; k++ {
		m.open.WithLabelValues(k.String()).Set(0)
	}
	for i := range s.Open {
		m.open.WithLabelValues(s.Open[i].Record.Action.Kind.String()).Inc()
	}
	m.holds.Reset()
	for _, c := range HoldCounts(s.Holds) {
		m.holds.WithLabelValues(c.Name).Set(float64(c.N))
	}
	m.rails.Reset()
	for _, c := range HoldCounts(s.Rails) {
		m.rails.WithLabelValues(c.Name).Set(float64(c.N))
	}
	for _, kind := range []string{"vm", "host"} {
		m.lost.WithLabelValues(kind).Set(0)
		m.swings.WithLabelValues(kind).Set(0)
	}
	for i := range s.Quarantine {
		m.lost.WithLabelValues(s.Quarantine[i].Subject.Kind).Inc()
	}
	for i := range s.Swings {
		m.swings.WithLabelValues(s.Swings[i].Subject.Kind).Inc()
	}
	m.gaps.Reset()
	for i := range s.Gaps {
		m.gaps.WithLabelValues(s.Gaps[i].Source).Inc()
	}
	m.up.Reset()
	m.age.Reset()
	for _, src := range s.Sources {
		m.up.WithLabelValues(src.Name).Set(one(src.Up))
		if !src.At.IsZero() { // a source that never answered has no age
			m.age.WithLabelValues(src.Name).Set(s.At.Sub(src.At).Seconds())
		}
	}
	m.sites(s.Sites)
}

func (m *Metrics) sites(sites []SiteStatus) {
	for _, v := range []*prometheus.GaugeVec{m.hosts, m.maintenance, m.vms, m.power, m.unmetered} {
		v.Reset()
	}
	for i := range sites {
		s, id := &sites[i], string(sites[i].Site)
		m.hosts.WithLabelValues(id, engine.HostOn.String()).Set(float64(s.Hosts.On))
		m.hosts.WithLabelValues(id, engine.HostStandby.String()).Set(float64(s.Hosts.Standby))
		m.hosts.WithLabelValues(id, engine.HostOff.String()).Set(float64(s.Hosts.Off))
		m.hosts.WithLabelValues(id, engine.HostUnknown.String()).Set(float64(s.Hosts.Unknown))
		m.maintenance.WithLabelValues(id).Set(float64(s.Maintenance))
		m.vms.WithLabelValues(id).Set(float64(s.VMs))
		m.power.WithLabelValues(id).Set(float64(s.PowerW))
		m.unmetered.WithLabelValues(id).Set(float64(s.Unmetered))
	}
}

// ActionStarted counts an action that was submitted.
func (m *Metrics) ActionStarted(kind engine.ActionKind) {
	m.started.WithLabelValues(kind.String()).Inc()
}

// ActionEnded counts an action by the state in which it ended.
func (m *Metrics) ActionEnded(r *engine.ActionRecord) {
	m.ended.WithLabelValues(r.Action.Kind.String(), string(r.State)).Inc()
	if r.State == engine.StateSucceeded {
		m.copied.Add(float64(r.Action.Estimate.MemoryMiB+r.Action.Estimate.DiskMiB) * (1 << 20))
		if e := r.Action.Estimate.Expected(); r.Action.Kind == engine.Move && r.TookS > 0 && e > 0 {
			m.off.Observe(float64(r.TookS-e) / float64(e))
			m.lasted.WithLabelValues("predicted").Add(float64(e))
			m.lasted.WithLabelValues("real").Add(float64(r.TookS))
		}
	}
}

// PolicyFailed counts a rule that could not be evaluated.
func (m *Metrics) PolicyFailed(policy, rule string) {
	m.policyFailures.WithLabelValues(policy, rule).Inc()
}

// AlertReceived counts an alert that was made durable, or was known already.
func (m *Metrics) AlertReceived(isNew bool) {
	if isNew {
		m.alerts.WithLabelValues("new").Inc()
		return
	}
	m.alerts.WithLabelValues("repeated").Inc()
}

// AlertRefused counts a delivery that was refused. reason is one of a few fixed words.
func (m *Metrics) AlertRefused(reason string) { m.alertsRefused.WithLabelValues(reason).Inc() }

func one(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
