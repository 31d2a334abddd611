package lab

import (
	"slices"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/types"
)

// Slots are what hosts, their vMotion interfaces, datastores and a vCenter carry
// at once, and what moves take of it. Source: vSphere, "Limits on Simultaneous
// Migrations".
type Slots struct {
	Host, NICSlow, NICFast, Datastore, VCenter int
}

// DefaultSlots are those of vSphere 7.0 and 8.0.
var DefaultSlots = Slots{Host: 8, NICSlow: 4, NICFast: 8, Datastore: 128, VCenter: 640}

const (
	// unitsStorage is what a move with disks takes of a host, unitsLive what one without takes.
	unitsStorage, unitsLive = 4, 1
	// unitsCopy is what a move with disks takes of a datastore at each end.
	unitsCopy = 16
	// setup and setupAcross are how long checks and preparation take before data flows.
	setup, setupAcross = 6 * time.Second, 12 * time.Second
	// switchOver is the end of a move: stun, resume, registration.
	switchOver = 2 * time.Second
	// refusal is how long a move takes to fail that cannot be.
	refusal = time.Second
	// localMbps is how fast a host copies between two of its own datastores: 500 MB/s.
	localMbps = 4_000
	// reportEvery is how often running moves tell their progress.
	reportEvery = 10 * time.Second
)

// A phase is where a move is.
type phase uint8

const (
	queued   phase = iota
	refused        // will fail: it cannot be
	starting       // checks, preparation
	copying        // disks
	sending        // memory, in passes, while it is dirtied
	hotset         // what is dirtied too often, last
	switching
	cancelled
)

// A move is one relocation, from its submission to its end.
type move struct {
	m        *machine
	v        *vcenter // where it was asked for
	task     *simulator.Task
	user     string
	from, to *host
	dst      *vcenter
	pool     types.ManagedObjectReference
	folder   types.ManagedObjectReference
	home     int   // datastore of the VM's home after the move
	targets  []int // datastore of each disk after the move
	segments []string
	storage  bool
	live     bool
	drs      bool // the cluster's own scheduler's
	doom     *doom
	hung     *incident // that has it stand still until it is due; nil while it goes on
	link     int       // -1 within a site
	slots    bool

	phase   phase
	until   time.Time
	fail    types.BaseMethodFault
	left    float64 // MiB, of the phase
	rate    float64 // MiB/s on the wire
	net     float64 // MiB/s that left shrinks by
	hot     float64 // MiB of the hot set
	total   float64 // MiB, of disks and memory at once
	mem     float64 // MiB sent
	disk    float64 // MiB sent
	started time.Time
	stun    time.Duration
}

func (mv *move) across() bool  { return mv.dst != mv.v }
func (mv *move) flowing() bool { return mv.phase >= copying && mv.phase <= hotset && mv.hung == nil }

// world is the move as ground truth.
func (mv *move) world() WorldMove {
	w := WorldMove{
		VM: mv.m.uuid, From: mv.from.index, To: mv.to.index, Storage: mv.storage, Across: mv.across(), Started: mv.started,
		MemMiB: mv.mem, DiskMiB: mv.disk, Stun: mv.stun, WAN: mv.link >= 0, Target: -1,
	}
	if mv.storage {
		w.Target = mv.home
	}
	return w
}

// submit queues a move, or has it fail shortly when it cannot be.
func (l *Lab) submit(mv *move) {
	name, description := "RelocateVM_Task", "VirtualMachine.relocate"
	if mv.drs {
		name, description = "", "Drm.ExecuteVMotionLRO" // it has no method
	}
	mv.task = mv.v.newTask(mv.user, mv.m.obj, name, description)
	mv.m.move = mv
	l.moves = append(l.moves, mv)
	if f := l.check(mv); f != nil {
		l.refuse(mv, f)
	}
	l.startQueued()
	l.poke()
}

func (l *Lab) refuse(mv *move, f types.BaseMethodFault) {
	mv.phase, mv.fail, mv.until = refused, f, l.now.Add(refusal)
	mv.v.startTask(mv.task)
}

// startQueued starts, in order of submission, every queued move for which
// there is room: vCenter queues what exceeds a budget, it does not refuse it.
func (l *Lab) startQueued() {
	for _, mv := range l.moves {
		if mv.phase != queued || !l.fits(mv) {
			continue
		}
		if f := l.check(mv); f != nil { // the world may have changed while it waited
			l.refuse(mv, f)
			continue
		}
		l.take(mv, 1)
		l.reserve(mv, 1)
		mv.phase, mv.started, mv.until = starting, l.now, l.now.Add(setup)
		if mv.across() {
			mv.until = l.now.Add(setupAcross)
		}
		mv.v.startTask(mv.task)
		mv.doom = l.doomOf(mv.v, mv.m.name, mv.from.name, mv.to.name)
		l.postStart(mv)
	}
}

// eachSlot visits what the move takes: a counter, how much, and how much there is.
func (l *Lab) eachSlot(mv *move, f func(used *int, cost, capacity int)) {
	cost := unitsLive
	if mv.storage && mv.live {
		cost = unitsStorage
	}
	hosts := []*host{mv.from}
	if mv.to != mv.from {
		hosts = append(hosts, mv.to)
	}
	for _, h := range hosts {
		f(&h.units, cost, l.slots.Host)
		if mv.live && mv.to != mv.from {
			capacity := l.slots.NICSlow
			if h.cfg.nic() >= 10_000 {
				capacity = l.slots.NICFast
			}
			f(&h.nicUnits, 1, capacity)
		}
	}
	cost = 1
	if mv.storage {
		cost = unitsCopy
	}
	stores := mv.m.stores()
	for _, s := range append(slices.Clone(mv.targets), mv.home) {
		if !slices.Contains(stores, s) {
			stores = append(stores, s)
		}
	}
	for _, s := range stores {
		f(&l.stores[s].units, cost, l.slots.Datastore)
	}
}

func (l *Lab) fits(mv *move) bool {
	running := 0
	for _, o := range l.moves {
		if o.phase > refused && o.v == mv.v {
			running++
		}
	}
	ok := running < l.slots.VCenter
	l.eachSlot(mv, func(used *int, cost, capacity int) { ok = ok && *used+cost <= capacity })
	return ok
}

// take occupies (+1) or frees (-1) the move's slots.
func (l *Lab) take(mv *move, sign int) {
	mv.slots = sign > 0
	l.eachSlot(mv, func(used *int, cost, _ int) { *used += sign * cost })
}

// reserve sets space aside (+1) at the disks' targets, or gives it back (-1).
func (l *Lab) reserve(mv *move, sign int64) {
	for i := range mv.m.disks {
		if d := &mv.m.disks[i]; d.store != mv.targets[i] {
			s := l.stores[mv.targets[i]]
			s.reserved += sign * d.copyMiB()
			l.updateSpace(s)
		}
	}
}

func (l *Lab) updateSpace(s *store) {
	l.showSpace(s)
	s.vc.update(s.obj, types.PropertyChange{Name: "summary.freeSpace", Val: s.obj.Summary.FreeSpace}, types.PropertyChange{Name: "info", Val: s.obj.Info})
}

// proceed takes a move whose phase is over to the next.
func (l *Lab) proceed(mv *move) {
	mv.hung = nil
	if mv.due() {
		d := mv.doom
		mv.doom = nil
		mv.tell()
		f, until := d.strike(mv.v, &mv.task)
		if f != nil {
			l.end(mv, f)
			return
		}
		if until.After(l.now) {
			mv.hung, mv.until = d.by, until
			return
		}
	}
	if mv.flowing() && mv.left > 0 {
		return // it goes on where it was
	}
	switch mv.phase {
	case queued: // is never due
	case refused:
		l.end(mv, mv.fail)
		return
	case cancelled:
		l.end(mv, &types.RequestCanceled{})
		return
	case starting:
		disk := float64(0)
		for i := range mv.m.disks {
			if d := &mv.m.disks[i]; d.store != mv.targets[i] {
				disk += float64(d.copyMiB())
			}
		}
		mem := float64(0)
		if mv.live && mv.to != mv.from {
			mem, mv.hot = float64(mv.m.consumed), float64(mv.m.active)/8
		}
		mv.total = disk + mem + mv.hot
		mv.phase, mv.left = copying, disk
	case copying:
		mv.phase, mv.left = sending, max(mv.total-mv.hot-mv.disk, 0)
		if !mv.live || mv.to == mv.from {
			mv.left = 0
		}
	case sending:
		mv.phase, mv.left = hotset, mv.hot
	case hotset:
		mv.phase, mv.until = switching, l.now.Add(switchOver)
		mv.stun = l.stunOf(mv)
	case switching:
		if f := l.check(mv); f != nil {
			l.end(mv, f)
			return
		}
		l.take(mv, -1) // while its datastores are still the old ones
		l.arrive(mv)
		l.end(mv, nil)
		return
	}
	if mv.flowing() && mv.left <= 0 {
		l.proceed(mv)
	}
}

// due reports whether the move has come to where its doom awaits it: at once when
// nothing has to be copied, and at the latest before the switch.
func (mv *move) due() bool {
	return mv.doom != nil && mv.phase > starting && mv.phase < cancelled && (mv.phase == switching || mv.ahead() <= 0)
}

// ahead is how much is to be sent until the move's doom, MiB.
func (mv *move) ahead() float64 {
	return mv.total*float64(mv.doom.percent)/100 - mv.disk - mv.mem
}

// stunOf is how long the guest stands still: a quarter of a second, and four round trips.
func (l *Lab) stunOf(mv *move) time.Duration {
	if !mv.live {
		return 0
	}
	d := 250 * time.Millisecond
	if mv.link >= 0 {
		d += 4 * l.links[mv.link].rtt
	}
	return d
}

// end ends a move, in success when f is nil.
func (l *Lab) end(mv *move, f types.BaseMethodFault) {
	if mv.slots {
		l.take(mv, -1)
		if f != nil {
			l.reserve(mv, -1)
		}
	}
	w := mv.world()
	w.Ended, w.Done = l.now, f == nil
	if mv.phase != refused && !mv.started.IsZero() {
		l.ended = append(l.ended, w)
		if f != nil {
			l.postFailure(mv, f)
		}
	}
	mv.m.move = nil
	l.moves = slices.DeleteFunc(l.moves, func(o *move) bool { return o == mv })
	mv.v.endTask(mv.task, f)
}

// reflow shares links and interfaces among the moves that send now: each gets
// the smallest of its equal shares.
func (l *Lab) reflow() {
	for _, h := range l.hosts {
		h.flows = 0
	}
	for i := range l.links {
		l.links[i].flows = 0
	}
	for _, mv := range l.moves {
		if !mv.flowing() || mv.from == mv.to {
			continue
		}
		mv.from.flows++
		mv.to.flows++
		if mv.link >= 0 {
			l.links[mv.link].flows++
		}
	}
	for _, mv := range l.moves {
		if !mv.flowing() {
			continue
		}
		mbps := float64(localMbps)
		if mv.from != mv.to {
			mbps = min(mv.from.cfg.nic()/float64(mv.from.flows), mv.to.cfg.nic()/float64(mv.to.flows))
			if mv.link >= 0 {
				k := &l.links[mv.link]
				mbps = min(mbps, k.mbps/float64(k.flows))
			}
		}
		payload := mbps * l.cfg.efficiency()
		mv.rate = payload * 1e6 / mibBits
		mv.net = mv.rate
		if mv.phase == sending {
			// Memory that is dirtied is sent again. A VM that dirties faster than
			// nine tenths of the rate is slowed down, as vMotion does, to converge.
			mv.net -= min(mv.m.dirtyMbps(), 0.9*payload) * 1e6 / mibBits
		}
		mv.until = l.now.Add(time.Duration(mv.left/mv.net*1e9) + 1)
		if mv.doom != nil {
			if at := l.now.Add(time.Duration(max(mv.ahead(), 0)/mv.rate*1e9) + 1); at.Before(mv.until) {
				mv.until = at
			}
		}
	}
}

// elapse plays the flows on to t.
func (l *Lab) elapse(t time.Time) {
	dt := t.Sub(l.now).Seconds()
	if dt <= 0 {
		return
	}
	for _, mv := range l.moves {
		if !mv.flowing() {
			continue
		}
		mv.left -= mv.net * dt
		if mv.phase == copying {
			mv.disk += mv.rate * dt
		} else {
			mv.mem += mv.rate * dt
		}
	}
	l.now = t
}

func (l *Lab) reportProgress() {
	for _, mv := range l.moves {
		if mv.phase > refused {
			mv.tell()
		}
	}
}

// tell writes the move's progress into its task.
func (mv *move) tell() {
	if mv.total > 0 {
		mv.v.progress(mv.task, int32(min(1+97*(mv.disk+mv.mem)/mv.total, 98)))
	}
}

// cancelTask ends the work behind a task that was asked to end.
func (l *Lab) cancelTask(t *simulator.Task) {
	for _, mv := range slices.Clone(l.moves) {
		switch {
		case mv.task != t:
		case mv.phase == queued:
			l.end(mv, &types.RequestCanceled{})
		case mv.phase < switching:
			mv.phase, mv.until = cancelled, l.now.Add(time.Second)
			l.reflow()
		}
	}
	for _, op := range l.ops {
		if op.task == t {
			op.cancelled, op.at = true, l.now
		}
	}
	l.poke()
}
