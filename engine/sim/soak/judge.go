package soak

import (
	"slices"

	"heliostat/engine"
)

// judge holds the rules that nothing may break, in code of its own: it knows the
// truth, and shares nothing with what it judges.
type judge struct {
	w      *world
	left   []leaving // by VM
	starts []start   // of the last day
	seen   engine.Unix
	begun  []begun // called, and not ended
	on     []bool  // by host: it ran in the last cycle
	roused []engine.Unix
	moves  [2][]engine.Unix // by VM: when it was last moved by others, by the daemon
	sight  []sight          // by VM: as the daemon last saw it
	handed []bool           // by VM: the daemon's last move left the host to the cluster
}

// A begun action has been called and must come to an end.
type begun struct {
	id    string
	what  string
	at    engine.Unix
	usual engine.Unix // how long it takes when nothing is wrong
}

// A leaving is the last place that the daemon took a VM from.
type leaving struct {
	host int32
	at   engine.Unix
}

// A sight is where a VM stood when the daemon last looked, and when others had last
// moved it by then.
type sight struct {
	host  int32
	moved engine.Unix
}

type start struct {
	at   engine.Unix
	kind engine.ActionKind
}

func newJudge(w *world) judge {
	j := judge{w: w, left: make([]leaving, len(w.t.VMs)), on: make([]bool, len(w.t.Hosts)), roused: make([]engine.Unix, len(w.t.VCenters))}
	for v := range j.left {
		j.left[v].host = engine.None
	}
	j.handed, j.sight = make([]bool, len(w.t.VMs)), make([]sight, len(w.t.VMs))
	for k := range j.moves {
		j.moves[k] = make([]engine.Unix, len(w.t.VMs))
	}
	return j
}

// planned judges a plan that is about to be carried out, at the moment of its snapshot.
func (j *judge) planned(s *engine.Snapshot, p *engine.Plan) {
	w := j.w
	j.seen = w.now
	for i := range s.VMs {
		if v, ok := w.t.FindVM(s.VMs[i].ID); ok {
			j.sight[v] = sight{w.t.VMs[v].Host, j.moves[0][v]}
		}
	}
	j.rouse()
	wishes := int32(0)
	for i := range p.Actions {
		a := &p.Actions[i]
		j.evidence(s, a)
		if a.Kind != engine.Move {
			j.owned(a, w.now)
			continue
		}
		if a.Demand.Kind == "" {
			wishes++
			j.restless(a)
		}
	}
	if wishes > w.cfg.MovesPerCycle {
		w.broken("budget", "%d moves of at most %d a cycle", wishes, w.cfg.MovesPerCycle)
	}
}

// evidence: nothing is done on what is not seen, too old, or cannot be.
func (j *judge) evidence(s *engine.Snapshot, a *engine.Action) {
	w := j.w
	for _, id := range []engine.VCenterID{a.From.VCenter, a.To.VCenter} {
		c, ok := w.t.FindVCenter(id)
		if !ok {
			continue
		}
		if why := j.doubtful(s, c); why != "" {
			w.broken("evidence", "%s %s on a vCenter whose feed cannot be believed: %s, in its cycle %d", a.ID, a, why, w.lies[c].cycles)
		}
	}
	fresh := func(what string, mhz, mib int32, at engine.Unix) {
		if mhz == engine.Unknown || mib == engine.Unknown || w.now-at > engine.Unix(w.cfg.LoadMaxAgeS) {
			w.broken("evidence", "%s %s: the load of %s is not known, or %d s old", a.ID, a, what, w.now-at)
		}
	}
	switch a.Kind {
	case engine.Move:
		v, ok1 := s.FindVM(a.VM)
		h, ok2 := s.FindHost(a.To.Host)
		if !ok1 || !ok2 {
			w.broken("evidence", "%s %s is about what is not listed", a.ID, a)
			return
		}
		if vm := &s.VMs[v]; vm.Power == engine.VMOn {
			fresh(vm.Name, vm.UsedMHz, vm.UsedMiB, vm.LoadAt)
			if to := &s.Hosts[h]; to.Power != engine.HostStandby { // one that sleeps has no load to be read
				fresh(to.Name, to.UsedMHz, to.UsedMiB, to.LoadAt)
			}
		}
	case engine.Standby:
		h, ok := s.FindHost(a.From.Host)
		if !ok {
			w.broken("evidence", "%s %s is about what is not listed", a.ID, a)
			return
		}
		fresh(s.Hosts[h].Name, s.Hosts[h].UsedMHz, s.Hosts[h].UsedMiB, s.Hosts[h].LoadAt)
	case engine.Wakeup, engine.EnterMaintenance, engine.ExitMaintenance:
	}
}

// deadAfter is for how long the loads of a feed may stand still unnoticed: what the
// daemon allows, and a cycle.
const deadAfter = 15*minute + every

// doubtful says why what vCenter c says must not be acted on, or "".
func (j *judge) doubtful(s *engine.Snapshot, c int32) string {
	w := j.w
	l := &w.lies[c]
	switch l.kind {
	case zeroed:
		return "all of its VMs take nothing"
	case tenfold, tenth: // however long it stays so: no lie lasts until it may be believed
		return lieNames[l.kind]
	case fewVMs, fewHosts:
		truth, seen := 0, 0
		for i := range w.t.VMs {
			if w.t.VMs[i].VCenter == c {
				truth++
			}
		}
		for i := range s.VMs {
			if s.VMs[i].VCenter == c {
				seen++
			}
		}
		// A few may be on their way.
		if gone := truth - seen - 8; gone > 2 && gone*100 > truth*5 {
			return lieNames[l.kind]
		}
	case absent:
		return "it does not answer"
	case stuck, frozen:
		if w.now-max(l.since, j.roused[c]) > deadAfter {
			return lieNames[l.kind]
		}
	case honest, unknown:
	}
	return ""
}

// rouse notes when a host of a vCenter was last switched on: the load that it then
// shows is new, though its feed stands still.
func (j *judge) rouse() {
	s := j.w.t
	for h := range s.Hosts {
		on := s.Hosts[h].Power == engine.HostOn && s.Hosts[h].Connected
		if on != j.on[h] {
			j.on[h], j.roused[s.Hosts[h].VCenter] = on, j.w.now
		}
	}
}

// owned: a host that a person owns is not touched.
func (j *judge) owned(a *engine.Action, seen engine.Unix) {
	w := j.w
	h, ok := w.t.FindHost(a.From.Host)
	if !ok || w.taken[h] > seen {
		return
	}
	mine := w.owner[h] == us
	if a.Kind == engine.Standby || a.Kind == engine.EnterMaintenance {
		mine = w.owner[h] != person
	}
	if !mine {
		w.broken("ownership", "%s %s: the host is not ours", a.ID, a)
	}
}

// restless: for a wish no VM returns within ReturnS to where it was taken from.
func (j *judge) restless(a *engine.Action) {
	w := j.w
	v, _ := w.t.FindVM(a.VM)
	l := j.left[v]
	if l.host < 0 || w.now-l.at >= engine.Unix(w.cfg.ReturnS) || a.From.Host == a.To.Host {
		return
	}
	was := &w.t.Hosts[l.host]
	site := w.t.Sites[was.Site].ID
	if a.To.Host == was.ID || (a.To.Site == site && a.From.Site != site) {
		w.broken("to and fro", "%s %s returns %d s after it left %s", a.ID, a, w.now-l.at, was.Name)
	}
}

// arrived remembers where one of our moves took its VM from.
func (j *judge) arrived(k *task, from int32) {
	if k.to != from {
		j.left[k.vm] = leaving{from, j.w.now}
	}
}

// called counts the budgets at the moment of the call.
func (j *judge) called(f *flight) {
	w, a := j.w, &f.rec.Action
	j.begun = append(j.begun, begun{a.ID, a.String(), w.now, engine.Unix(f.usual)})
	if a.Kind != engine.Move {
		j.owned(a, j.seen-1)
	}
	if a.Demand.Kind != "" || (a.Kind != engine.Move && a.Kind != engine.Standby) {
		return
	}
	perHour, perDay := w.cfg.MovesPerHour, w.cfg.MovesPerDay
	if a.Kind == engine.Standby {
		perHour, perDay = w.cfg.PowerPerHour, w.cfg.PowerPerDay
	}
	inHour, inDay := int32(1), int32(1)
	kept := j.starts[:0]
	for _, s := range j.starts {
		age := w.now - s.at
		if age >= day {
			continue
		}
		kept = append(kept, s)
		if s.kind != a.Kind {
			continue
		}
		inDay++
		if age < hour {
			inHour++
		}
	}
	j.starts = kept
	if inHour > perHour || inDay > perDay {
		w.broken("budget", "%s %s is number %d of at most %d this hour, %d of %d this day", a.ID, a, inHour, perHour, inDay, perDay)
	}
}

// ended forgets what has come to an end.
func (j *judge) ended(id string) {
	j.begun = slices.DeleteFunc(j.begun, func(b begun) bool { return b.id == id })
}

// submitted judges what a call begins in truth.
func (j *judge) submitted(f *flight, k *task) {
	w, a := j.w, &f.rec.Action
	if a.Demand.Kind == "" {
		j.starts = append(j.starts, start{w.now, a.Kind})
	}
	if a.Kind != engine.Move {
		if w.hostJob[k.host] != nil {
			w.broken("started twice", "%s %s while %s runs on the host", a.ID, a, w.hostJob[k.host].act.ID)
		}
		closes := a.Kind == engine.Standby || a.Kind == engine.EnterMaintenance
		if n := w.occupied(k.host); closes && n > 0 && w.t.Clusters[w.t.Hosts[k.host].Cluster].DRS != engine.DRSFull {
			w.broken("occupied", "%s %s with %d running VMs on it", a.ID, a, n)
		}
		return
	}
	v := &w.t.VMs[k.vm]
	if w.task[k.vm] != nil {
		w.broken("started twice", "%s %s while %s runs on the VM", a.ID, a, w.task[k.vm].act.ID)
	}
	if w.t.Hosts[v.Host].ID != a.From.Host {
		w.broken("started twice", "%s %s: the VM is not there", a.ID, a)
	}
	if at := j.moves[0][k.vm]; w.drs && a.Demand.Kind == "" && w.now-at < hour {
		w.broken("fight", "%s %s: its cluster's own scheduler moved it %d s ago", a.ID, a, w.now-at)
	}
	j.room(f, k)
}

// settled remembers who has moved a VM: not what others do out of the daemon's sight,
// which may be undone before it looks again, nor what they have undone between two looks.
func (j *judge) settled(k *task) {
	by := 0
	if k.ours {
		by = 1
	} else if j.w.lies[j.w.t.VMs[k.vm].VCenter].kind >= fewVMs {
		return
	}
	j.moves[by][k.vm] = j.w.now
	if was := j.sight[k.vm]; !k.ours && k.to == was.host && j.moves[1][k.vm] < j.seen {
		j.moves[by][k.vm] = was.moved // it is back: nobody could have seen it
	}
	j.handed[k.vm] = (k.ours && k.act.To.DRS) || (!k.ours && j.handed[k.vm])
}

// contested: a cluster's own scheduler does not move within an hour what the daemon
// has put on a host. What the daemon has handed over to the cluster is for its
// scheduler to place, then and later: that is counted.
func (j *judge) contested(v int32, to string) {
	w := j.w
	switch at := j.moves[1][v]; {
	case w.now-at >= hour:
	case j.handed[v]:
		w.r.Onward++
	default:
		w.broken("fight", "VM %s is moved on to %s, %d s after the daemon had moved it", w.t.VMs[v].Name, to, w.now-at)
	}
}

// room: nothing is filled beyond what it has by a move of ours, the VM counted at both ends.
func (j *judge) room(f *flight, k *task) {
	w, a := j.w, &f.rec.Action
	v, h := &w.t.VMs[k.vm], &w.t.Hosts[k.to]
	if k.err == "" && v.Power == engine.VMOn && v.Host != k.to && w.stirred[k.to] < j.seen {
		if sum := w.memory(k.to) + v.UsedMiB; sum > h.MemoryMiB {
			if f.lied || j.excused(k.to) {
				w.r.Misled++
				w.note("misled %s: %d of %d MiB", a.ID, sum, h.MemoryMiB)
			} else {
				w.broken("overcommit", "%s %s: %d of %d MiB", a.ID, a, sum, h.MemoryMiB)
			}
		}
	}
	if !a.Storage {
		return
	}
	for _, x := range a.Disks {
		if d, ok := w.t.FindDatastore(x.To); ok && x.To != x.From && w.t.Datastores[d].FreeMiB < x.MiB {
			w.broken("space", "%s %s: %d MiB to a datastore with %d free", a.ID, a, x.MiB, w.t.Datastores[d].FreeMiB)
		}
	}
}

// untold reports whether the loads of vCenter c stand still: that shows by and by,
// and until then they are what they were. Every other lie shows at once.
func (w *world) untold(c int32) bool { k := w.lies[c].kind; return k == frozen || k == stuck }

// excused reports whether what is on its way to host h could not be known: a VM
// that a person moves, or one that has grown since its feed has stood still.
func (j *judge) excused(h int32) bool {
	w := j.w
	return slices.ContainsFunc(w.task, func(k *task) bool {
		return k != nil && k.to == h && (!k.ours || w.untold(w.t.VMs[k.vm].VCenter))
	})
}

// emptied: a host that was closed runs nothing.
func (j *judge) emptied(k *task) {
	if n := j.w.occupied(k.host); n > 0 {
		j.w.broken("occupied", "%s is over with %d running VMs on the host", k.act.ID, n)
	}
}

// moment judges the world as it stands, once a cycle.
func (j *judge) moment() {
	w := j.w
	for v := range w.t.VMs {
		vm := &w.t.VMs[v]
		if vm.Host < 0 || int(vm.Host) >= len(w.t.Hosts) {
			w.broken("lost", "VM %s is nowhere", vm.Name)
			continue
		}
		h := &w.t.Hosts[vm.Host]
		if vm.Power == engine.VMOn && vm.Obstacles&engine.ObAgent == 0 && (h.Power != engine.HostOn || h.Maintenance || !h.Connected) {
			w.broken("occupied", "VM %s runs on %s, which is %s, in maintenance %t", vm.Name, h.Name, h.Power, h.Maintenance)
		}
		if h.VCenter != vm.VCenter {
			w.broken("lost", "VM %s is in one vCenter and its host in another", vm.Name)
		}
	}
	for len(w.tasks) > 0 && w.tasks[0].done && w.now-w.tasks[0].ends > 6*hour {
		w.tasks = w.tasks[1:]
	}
	j.unfinished()
}

// unfinished: half an hour after the faults of the day have ended, what was begun
// before is over, but for what takes longer by itself.
func (j *judge) unfinished() {
	w := j.w
	since := int64(w.now-w.t.At) % day
	if w.faulty && since < settled+30*minute {
		return
	}
	whole := w.now - engine.Unix(since) + settled // when the last fault of the day had ended
	j.begun = slices.DeleteFunc(j.begun, func(b begun) bool {
		due := b.at + b.usual*3/2
		if w.faulty {
			due = max(due, whole)
		}
		if w.now <= due+30*minute {
			return false
		}
		w.r.Unfinished++
		w.broken("unfinished", "%s %s was called %d s ago and has no end", b.id, b.what, w.now-b.at)
		return true
	})
}

// close judges what is left at the end.
func (j *judge) close() { j.moment() }
