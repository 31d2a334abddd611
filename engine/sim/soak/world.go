package soak

import (
	"container/heap"
	"hash"

	"heliostat/engine"
	"heliostat/engine/sim"
)

// A world is the truth, and what is about to happen in it. One goroutine owns it.
type world struct {
	r       *Result
	sum     hash.Hash
	verbose func(string)
	faulty  bool
	drs     bool
	alone   bool
	power   bool
	spoilt  sabotage
	seed    uint64
	d       dice

	now    engine.Unix
	events queue
	seq    int

	t       *engine.Snapshot // the truth, changed in place
	base    []int32          // by VM: MHz at noon
	mem     []int32          // by VM: MiB on average
	phase   []int32          // by VM: seconds by which its day is ahead of UTC
	task    []*task          // by VM: what runs on it
	hostJob []*task          // by host: what runs on it
	owner   []owner          // by host: who put it where it is
	taken   []engine.Unix    // by host: when a person last laid hands on it
	stirred []engine.Unix    // by host: when VMs last came to it that were not sent by us
	noticed []bool           // by host: that a person has woken it could be seen
	down    []bool           // by host: crashed
	killed  []int32          // by VM: the crashed host that it waits for + 1, since it found no room
	away    []bool           // by vCenter: does not answer
	lies    []lie            // by vCenter
	tasks   []*task          // of the last hour, oldest first
	taskSeq int

	intents intents // what persons and forecasts want
	m       manager
	x       executor
	j       judge
	cfg     engine.Config
}

// owner is who put a host into standby or maintenance.
type owner uint8

const (
	nobody owner = iota
	us
	person
)

// A task is what a vCenter carries out.
type task struct {
	key   string
	act   engine.Action
	ours  bool
	vm    int32 // None for a host's
	host  int32 // of a host action
	to    int32
	fails bool // at its end
	gone  bool // out of sight before it has ended
	done  bool
	err   string
	start engine.Unix
	ends  engine.Unix
}

func newWorld(o Options, r *Result, seed uint64, sum hash.Hash) *world {
	w := &world{r: r, sum: sum, verbose: o.Verbose, faulty: o.Faults, spoilt: o.sabotage, seed: seed, d: dice(seed*0x2545f4914f6cdd1d + 7), now: sim.Start}
	d := &w.d
	sites := d.between(2, 3)
	w.t = sim.Fleet(seed, sim.FleetConfig{
		Sites: sites, Hosts: d.between(12, 40), VMs: d.between(100, 300), HostsPerCluster: d.between(4, 10), OffPct: 4, TemplatePct: 2, ObstaclePct: 4,
		AcrossPct: 80, RulePct: 50, StandbyPct: 10, DRSPct: 25, LoadPct: d.between(20, 70),
	})
	w.tighten(d.between(35, 70))
	w.alone = o.Alone
	w.drs, w.power, w.m = o.DRS, o.Power, newManager(len(w.t.Hosts))
	for c := range w.t.Clusters {
		switch {
		case w.drs:
			w.t.Clusters[c].DRS = engine.DRSFull
		case w.power:
			w.t.Clusters[c].DRS = engine.DRSPartial
		}
	}
	// What is asleep at the start is the daemon's.
	w.owner = make([]owner, len(w.t.Hosts))
	for h := range w.t.Hosts {
		if w.t.Hosts[h].Power == engine.HostStandby {
			w.owner[h] = us
		}
	}
	n := len(w.t.VMs)
	w.base, w.mem, w.phase = make([]int32, n), make([]int32, n), make([]int32, n)
	for v := range w.t.VMs {
		vm := &w.t.VMs[v]
		w.base[v], w.mem[v] = vm.UsedMHz*3, vm.UsedMiB
		w.phase[v] = int32(w.t.Sites[w.t.VMSite(int32(v))].Lon * 240)
	}
	h := len(w.t.Hosts)
	w.task, w.hostJob, w.killed = make([]*task, n), make([]*task, h), make([]int32, n)
	w.taken, w.stirred, w.down = make([]engine.Unix, h), make([]engine.Unix, h), make([]bool, h)
	w.noticed = make([]bool, h)
	w.away, w.lies = make([]bool, len(w.t.VCenters)), make([]lie, len(w.t.VCenters))
	w.cfg = engine.DefaultConfig()
	w.cfg.Modes = engine.KindModes{Move: engine.Enforce, Standby: engine.Enforce, Wake: engine.Enforce, Maintenance: engine.Enforce}
	w.cfg.MovesPerCycle, w.cfg.MovesPerHour, w.cfg.MovesPerDay = int32(d.between(5, 20)), int32(d.between(20, 60)), int32(d.between(100, 400))
	w.cfg.PowerPerHour, w.cfg.PowerPerDay = int32(d.between(1, 6)), int32(d.between(6, 20))
	w.breathe()
	w.imagine()
	w.j = newJudge(w)
	w.x = newExecutor(w)
	return w
}

// tighten gives the hosts so much memory that their VMs fill pct of a hundred of
// it, so that there is little to spare: each at least a fifth more than it holds.
func (w *world) tighten(pct int) {
	sum, on := 0, 0
	for h := range w.t.Hosts {
		if x := &w.t.Hosts[h]; x.Power == engine.HostOn {
			sum += int(x.UsedMiB)
			on++
		}
	}
	for h := range w.t.Hosts {
		x := &w.t.Hosts[h]
		x.MemoryMiB = max(int32(sum/on*100/pct), x.UsedMiB*6/5)
	}
}

// run runs the chapter.
func (w *world) run(seconds int64) {
	end := sim.Start + engine.Unix(seconds)
	w.note("begin sites=%d hosts=%d vms=%d", len(w.t.Sites), len(w.t.Hosts), len(w.t.VMs))
	for at := w.now; at < end; at += every {
		w.advance(at)
		w.live()
		w.tally()
		if !w.alone {
			w.x.cycle()
		}
		w.j.moment()
	}
	for v := range w.t.VMs {
		if w.t.VMs[v].Power == engine.VMOn {
			w.r.VMDays += int(seconds / day)
		}
	}
	w.advance(end)
	w.j.close()
	w.note("end %s", w.x.digest())
}

// An event is something that happens at a moment; of one moment, in the order
// in which they were foreseen.
type event struct {
	at  engine.Unix
	seq int
	do  func()
}

type queue []event

func (q *queue) Len() int { return len(*q) }
func (q *queue) Less(a, b int) bool {
	x, y := (*q)[a], (*q)[b]
	return x.at < y.at || (x.at == y.at && x.seq < y.seq)
}
func (q *queue) Swap(a, b int) { (*q)[a], (*q)[b] = (*q)[b], (*q)[a] }

// Push implements heap.Interface.
func (q *queue) Push(x any) {
	if e, ok := x.(event); ok {
		*q = append(*q, e)
	}
}

// Pop implements heap.Interface.
func (q *queue) Pop() any {
	old := *q
	e := old[len(old)-1]
	*q = old[:len(old)-1]
	return e
}

// in foresees an event.
func (w *world) in(seconds int, do func()) {
	w.seq++
	heap.Push(&w.events, event{w.now + engine.Unix(max(seconds, 0)), w.seq, do})
}

// advance lets everything happen up to the moment.
func (w *world) advance(to engine.Unix) {
	for len(w.events) > 0 && w.events[0].at <= to {
		e, _ := heap.Pop(&w.events).(event)
		w.now = e.at
		e.do()
	}
	w.now = to
}

// noise is 0 to n-1, for a VM and an interval.
func (w *world) noise(v int, slot int64, n int) int {
	d := dice(w.seed<<40 ^ uint64(v)<<20 ^ uint64(slot))
	return d.roll(n)
}

// breathe sets the loads to what they are now: from four in the morning to four in
// the afternoon demand rises from 40 to 100 per cent and falls again; memory swings
// by three per cent in hours.
func (w *world) breathe() {
	s := w.t
	for h := range s.Hosts {
		x := &s.Hosts[h]
		x.UsedMHz, x.UsedMiB, x.LoadAt = 0, 0, w.now
		if x.Power == engine.HostOn && x.Connected {
			x.UsedMHz, x.UsedMiB = ownMHz, ownMiB(x)
		}
	}
	for i := range s.VMs {
		v := &s.VMs[i]
		v.LoadAt = w.now
		if v.Power != engine.VMOn {
			v.UsedMHz, v.UsedMiB = 0, 0
			continue
		}
		clock := (int64(w.now) + int64(w.phase[i]) + 20*hour) % day // 0 at four in the morning
		if clock > day/2 {
			clock = day - clock
		}
		level := 40 + clock*60/(day/2)
		v.UsedMHz = int32(int64(w.base[i]) * level / 100 * int64(90+w.noise(i, int64(w.now)/every, 20)) / 100)
		v.UsedMiB = w.mem[i] * int32(97+w.noise(i, int64(w.now)/(6*hour), 7)) / 100
		if v.Host >= 0 {
			s.Hosts[v.Host].UsedMHz += v.UsedMHz
			s.Hosts[v.Host].UsedMiB += v.UsedMiB
		}
	}
	for i := range s.Links {
		s.Links[i].At = w.now
	}
}

// ownMHz is what a hypervisor takes itself. Of memory it takes a tenth: as much as
// EvacuationMemPct leaves free, so that forgetting it on a host that is woken shows.
const ownMHz = 400

func ownMiB(h *engine.Host) int32 { return h.MemoryMiB / 10 }

// memory is what host h holds in truth: its VMs and what is on its way to it.
func (w *world) memory(h int32) int32 {
	sum := ownMiB(&w.t.Hosts[h])
	for v := range w.t.VMs {
		vm := &w.t.VMs[v]
		if vm.Power == engine.VMOn && (vm.Host == h || (w.task[v] != nil && w.task[v].to == h)) {
			sum += vm.UsedMiB
		}
	}
	return sum
}

// occupied is how many powered-on VMs host h runs or awaits.
func (w *world) occupied(h int32) int {
	n := 0
	for v := range w.t.VMs {
		vm := &w.t.VMs[v]
		if vm.Power == engine.VMOn && vm.Obstacles&engine.ObAgent == 0 && (vm.Host == h || (w.task[v] != nil && w.task[v].to == h)) {
			n++
		}
	}
	return n
}

// launch starts a task in the vCenter: its end is foreseen.
func (w *world) launch(k *task, seconds int) *task {
	w.taskSeq++
	k.key, k.start, k.ends = "t"+itoa(w.taskSeq), w.now, w.now+engine.Unix(max(seconds, 1))
	if k.vm >= 0 {
		w.task[k.vm] = k
	} else {
		w.hostJob[k.host] = k
	}
	w.tasks = append(w.tasks, k)
	w.space(k, -1)
	w.in(seconds, func() { w.finish(k) })
	return k
}

// space takes, or gives back, what the task writes at its destination.
func (w *world) space(k *task, sign int64) {
	if !k.act.Storage {
		return
	}
	for _, x := range k.act.Disks {
		if d, ok := w.t.FindDatastore(x.To); ok && x.To != x.From {
			w.t.Datastores[d].FreeMiB += sign * x.MiB
		}
	}
	if d, ok := w.t.FindDatastore(k.act.HomeTo); ok {
		w.t.Datastores[d].FreeMiB += sign * k.act.SwapMiB
	}
}

// finish ends a task: the world is as it wanted, or as before.
func (w *world) finish(k *task) {
	if k.done {
		return
	}
	k.done = true
	if k.vm >= 0 {
		w.task[k.vm] = nil
	} else {
		w.hostJob[k.host] = nil
	}
	if k.err == "" && k.fails {
		k.err = "a general system error occurred"
	}
	if k.err == "" {
		k.err = w.impossible(k)
	}
	w.note("task %s %s ends %q", k.key, k.act.ID, k.err)
	if k.err != "" {
		w.space(k, 1)
		return
	}
	if k.vm < 0 {
		w.hostDone(k)
		return
	}
	v := &w.t.VMs[k.vm]
	if k.act.Storage {
		for _, x := range k.act.Disks {
			if d, ok := w.t.FindDatastore(x.From); ok && x.To != x.From {
				w.t.Datastores[d].FreeMiB += x.MiB
			}
		}
		if v.Home >= 0 {
			w.t.Datastores[v.Home].FreeMiB += k.act.SwapMiB
		}
	}
	w.harm(k)
	w.j.settled(k)
	if k.ours {
		w.j.arrived(k, v.Host)
	} else {
		w.stirred[k.to] = w.now
	}
	sim.Arrive(w.t, &k.act)
	w.t.Rules = sim.RulesLeft(w.t)
}

// impossible says why the task cannot end well in the world as it is now.
func (w *world) impossible(k *task) string {
	if k.vm >= 0 {
		if h := &w.t.Hosts[k.to]; h.Power != engine.HostOn || !h.Connected || h.Maintenance {
			return "the destination is not available"
		}
		return ""
	}
	h := &w.t.Hosts[k.host]
	switch k.act.Kind {
	case engine.Standby, engine.EnterMaintenance:
		if h.Power != engine.HostOn || !h.Connected {
			return "the host does not answer"
		}
		w.scatter(k.host)
		if n := w.occupied(k.host); n > 0 {
			return "timed out with VMs on the host"
		}
	case engine.Wakeup, engine.ExitMaintenance, engine.Move:
	}
	return ""
}

// scatter is what a cluster's own scheduler does with the VMs of a host that goes:
// each to the ready host with most memory free, if there is room.
func (w *world) scatter(h int32) {
	c := w.t.Hosts[h].Cluster
	if w.t.Clusters[c].DRS != engine.DRSFull {
		return
	}
	for v := range w.t.VMs {
		if vm := &w.t.VMs[v]; vm.Host == h && vm.Power == engine.VMOn && w.task[v] == nil {
			w.elsewhere(int32(v))
			w.j.moves[0][v] = 0 // for the daemon, which closes the host
		}
	}
}

// elsewhere puts VM v on the ready host of its cluster with most memory free, if
// there is room for it. It reports whether there was.
func (w *world) elsewhere(v int32) bool {
	vm := &w.t.VMs[v]
	best, most := engine.None, int32(0)
	for _, h := range w.t.HostsOf(w.t.Hosts[vm.Host].Cluster) {
		x := &w.t.Hosts[h]
		if h == vm.Host || !x.Ready() || w.hostJob[h] != nil {
			continue
		}
		if free := x.MemoryMiB - w.memory(h) - max(vm.UsedMiB, w.mem[v]); free > most {
			best, most = h, free
		}
	}
	if best < 0 {
		return false
	}
	vm.Host, w.stirred[best] = best, w.now
	return true
}

// hostDone makes a host action true.
func (w *world) hostDone(k *task) {
	h := &w.t.Hosts[k.host]
	mark := h.Mark
	sim.Arrive(w.t, &k.act)
	h.Mark = mark // the daemon writes it once it has seen what came of it
	switch k.act.Kind {
	case engine.Standby, engine.EnterMaintenance:
		w.owner[k.host] = us
		w.j.emptied(k)
	case engine.Wakeup, engine.ExitMaintenance:
		w.owner[k.host] = nobody
	case engine.Move:
	}
	h.UsedMHz, h.UsedMiB = 0, 0
}

func itoa(n int) string {
	var b [20]byte
	i := len(b)
	for {
		i--
		b[i] = byte('0' + n%10)
		if n /= 10; n == 0 {
			return string(b[i:])
		}
	}
}
