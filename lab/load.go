package lab

import (
	"strconv"
	"strings"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// A powerSample is a host's draw at a minute.
type powerSample struct {
	at    time.Time
	watts float64
}

const (
	// hypervisorMiB is what a host needs for itself, overheadMiB what it needs for each VM.
	hypervisorMiB, overheadMiB = 2048, 64
	// realtime is how far back the samples go, and perfEvery how far apart
	// they are. Source: vSphere real-time statistics.
	realtime, perfEvery = time.Hour, 20 * time.Second
)

// minute sets every VM's and host's load. As in a real vCenter nobody is told
// of it: quick statistics are polled.
func (l *Lab) minute(t time.Time) {
	on := make([][]int, len(l.hosts))
	for i, m := range l.machines {
		l.measure(m, t)
		on[m.host] = append(on[m.host], i)
	}
	for i, h := range l.hosts {
		l.sumHost(h, on[i], t)
		h.samples = append(h.samples, powerSample{at: t, watts: h.watts})
		if old := len(h.samples) - int(realtime/time.Minute); old > 0 {
			h.samples = h.samples[old:]
		}
	}
}

func (l *Lab) measure(m *machine, t time.Time) {
	if !m.on {
		m.cpuMHz, m.active, m.consumed = 0, 0, 0
		return
	}
	cpu, active := 1.0, 5.0
	if !m.agent {
		cpu, active = l.cfg.Demand.At(m.index, t)
	}
	mhz := float64(m.vcpus * l.hosts[m.host].cfg.MHzPerCore)
	m.cpuMHz = int64(mhz * cpu / 100)
	m.active = int64(float64(m.mem) * min(active, 100) / 100)
	m.consumed = min(max(int64(float64(m.mem)*m.base), m.active), m.mem) + overheadMiB
}

func (l *Lab) measureHost(h *host, t time.Time) { l.sumHost(h, l.machinesOn(h.index), t) }

// sumHost adds up a host's load, and grants its VMs what it has.
func (l *Lab) sumHost(h *host, vms []int, t time.Time) {
	var cpu, mem int64
	for _, i := range vms {
		cpu += l.machines[i].cpuMHz
		mem += l.machines[i].consumed
	}
	granted := 1.0
	if cpu > h.cpuMHz {
		granted = float64(h.cpuMHz) / float64(cpu)
	}
	for _, i := range vms {
		m := l.machines[i]
		if m.on {
			l.showLoad(m, granted, t)
		}
	}
	q := &h.obj.Summary.QuickStats
	switch h.phase {
	case hostUp:
		use := min(float64(cpu)/float64(h.cpuMHz), 1)
		h.watts = h.cfg.IdleW + (h.cfg.MaxW-h.cfg.IdleW)*use
		q.OverallCpuUsage, q.OverallMemoryUsage = int32(min(cpu, h.cpuMHz)), int32(min(mem+hypervisorMiB, h.memMiB))
		q.Uptime = int32(t.Sub(*h.obj.Runtime.BootTime).Seconds())
	case hostAsleep:
		h.watts = min(standbyWatts, h.cfg.IdleW)
		q.OverallCpuUsage, q.OverallMemoryUsage, q.Uptime = 0, 0, 0
	case hostBooting:
		// Firmware and memory tests first, then all cores at once.
		h.watts = h.cfg.MaxW * (0.6 + 0.4*min(float64(t.Sub(h.since))/float64(bootTime), 1))
		q.OverallCpuUsage, q.OverallMemoryUsage, q.Uptime = 0, 0, 0
	}
}

func (l *Lab) showLoad(m *machine, granted float64, t time.Time) {
	q := &m.obj.Summary.QuickStats
	q.OverallCpuDemand = int32(m.cpuMHz)
	q.OverallCpuUsage = int32(float64(m.cpuMHz) * granted)
	q.GuestMemoryUsage = int32(m.active)
	q.HostMemoryUsage = int32(m.consumed)
	q.ConsumedOverheadMemory = overheadMiB
	q.PrivateMemory = int32(m.consumed - overheadMiB)
	q.GuestHeartbeatStatus = m.obj.GuestHeartbeatStatus
	if boot := m.obj.Runtime.BootTime; boot != nil {
		q.UptimeSeconds = int32(t.Sub(*boot).Seconds())
	}
}

// load is the share of its CPU that a host's VMs ask for.
func (l *Lab) load(h *host) float64 {
	return float64(h.obj.Summary.QuickStats.OverallCpuUsage) / float64(h.cpuMHz)
}

// powerCounter is the key of power.power.average, which differs between releases.
func powerCounter(r *simulator.Registry) int32 {
	for _, o := range r.AllReference("PerformanceManager") {
		p, ok := o.(*simulator.PerformanceManager)
		if !ok {
			continue
		}
		for _, c := range p.PerfCounter {
			if c.GroupInfo.GetElementDescription().Key == "power" && c.NameInfo.GetElementDescription().Key == "power" && c.RollupType == types.PerfSummaryTypeAverage {
				return c.Key
			}
		}
	}
	return 0
}

// QueryPerf serves the power of hosts out of the model. Other counters are the
// simulator's.
func (c *control) QueryPerf(ctx *simulator.Context, req *types.QueryPerf) soap.HasFault {
	body := &methods.QueryPerfBody{Res: &types.QueryPerfResponse{}}
	for i := range req.QuerySpec {
		q := &req.QuerySpec[i]
		if h := c.v.host(&q.Entity); h != nil && len(q.MetricId) == 1 && q.MetricId[0].CounterId == c.v.power {
			if e := h.powerSeries(q, c.v.lab.now); e != nil {
				body.Res.Returnval = append(body.Res.Returnval, e)
			}
			continue
		}
		if ctx.Map.Get(q.Entity) == nil {
			body.Fault_ = asFault(&types.InvalidArgument{InvalidProperty: "querySpec.entity"})
			return body
		}
		pm := lookup[*simulator.PerformanceManager](ctx.Map, *vcContent(c.v).PerfManager)
		res := pm.QueryPerf(ctx, &types.QueryPerf{This: pm.Self, QuerySpec: req.QuerySpec[i : i+1]})
		if f := res.Fault(); f != nil {
			body.Fault_ = f
			return body
		}
		body.Res.Returnval = append(body.Res.Returnval, res.(*methods.QueryPerfBody).Res.Returnval...)
	}
	return body
}

// powerSeries is a host's draw in samples of 20 s, newest last; nil for a host
// that does not answer, whose meter vCenter cannot read.
func (h *host) powerSeries(q *types.PerfQuerySpec, now time.Time) types.BasePerfEntityMetricBase {
	if h.phase != hostUp || h.unplug {
		return nil
	}
	from, to := now.Add(-realtime), now
	if q.StartTime != nil && q.StartTime.After(from) {
		from = *q.StartTime
	}
	if q.EndTime != nil && q.EndTime.Before(to) {
		to = *q.EndTime
	}
	var info []types.PerfSampleInfo
	var values []int64
	for _, s := range h.samples {
		for at := s.at; at.Before(s.at.Add(time.Minute)); at = at.Add(perfEvery) {
			if at.After(from) && !at.After(to) {
				info = append(info, types.PerfSampleInfo{Timestamp: at, Interval: int32(perfEvery / time.Second)})
				values = append(values, int64(s.watts+0.5))
			}
		}
	}
	if n := int(q.MaxSample); n > 0 && len(values) > n {
		info, values = info[len(info)-n:], values[len(values)-n:]
	}
	if q.Format != string(types.PerfFormatCsv) {
		return &types.PerfEntityMetric{
			PerfEntityMetricBase: types.PerfEntityMetricBase{Entity: q.Entity}, SampleInfo: info,
			Value: []types.BasePerfMetricSeries{&types.PerfMetricIntSeries{PerfMetricSeries: types.PerfMetricSeries{Id: q.MetricId[0]}, Value: values}},
		}
	}
	var times, numbers []string
	for i := range info {
		times = append(times, strconv.Itoa(int(info[i].Interval)), info[i].Timestamp.Format(time.RFC3339))
		numbers = append(numbers, strconv.FormatInt(values[i], 10))
	}
	return &types.PerfEntityMetricCSV{
		PerfEntityMetricBase: types.PerfEntityMetricBase{Entity: q.Entity}, SampleInfoCSV: strings.Join(times, ","),
		Value: []types.PerfMetricSeriesCSV{{PerfMetricSeries: types.PerfMetricSeries{Id: q.MetricId[0]}, Value: strings.Join(numbers, ",")}},
	}
}
