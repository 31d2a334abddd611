package soak

import (
	"slices"

	"heliostat/engine"
)

// A lieKind is what is wrong with a vCenter's feed.
type lieKind uint8

const (
	honest   lieKind = iota
	frozen           // loads and their times stand still
	stuck            // loads stand still, their times go on
	zeroed           // the VMs' loads are zero
	tenfold          // demand is ten times what it is
	tenth            // demand and memory are a tenth of what they are
	unknown          // loads are not seen: what was read is no number
	fewVMs           // a share of the VMs is not listed
	fewHosts         // a share of the hosts, and what runs on them, is not listed
	absent           // nothing is listed: the vCenter does not answer
)

var lieNames = [...]string{"", "loads_frozen", "loads_stuck", "loads_zero", "loads_tenfold", "loads_tenth", "loads_unknown", "vms_missing", "hosts_missing", "vcenter_away"}

// A lie is what is wrong with one vCenter's feed now.
type lie struct {
	kind   lieKind
	since  engine.Unix
	ended  engine.Unix   // of the last one
	cycles int           // in which the daemon has seen it
	share  int           // of a hundred, where some are missing
	hosts  []engine.Host // as they were at its start
	vms    []engine.VM   // likewise
}

// quiet is for how long of each day nothing new breaks, and quietAt when that
// begins: what was started must then come to an end.
const (
	quietAt = 20 * hour
	// settled is when all faults have ended, half an hour before the judge asks.
	settled = 22 * hour
)

// live is what happens besides the daemon: loads, persons, and faults by chance.
func (w *world) live() {
	w.breathe()
	w.intend()
	if w.drs && w.power {
		w.manage()
	}
	if w.drs {
		w.balance()
	}
	if !w.faulty {
		return
	}
	second := int64(w.now-w.t.At) % day
	if int64(w.now-w.t.At) < hour || second >= quietAt {
		return
	}
	left := int(settled - second) // whatever breaks is whole again by then
	d := &w.d
	// About so many a day of 240 cycles: 7 lies, 48 foreign moves, 5 hosts taken, 1 to 3 of the rest.
	if d.chance(30) {
		w.startLie(left)
	}
	for range 2 {
		if d.chance(100) {
			w.in(d.roll(every), w.foreignMove)
		}
	}
	if d.chance(20) {
		w.foreignHost(left)
	}
	if d.chance(6) {
		w.crash(left)
	}
	if d.chance(12) {
		w.in(d.roll(every), w.x.restart)
	}
}

func (w *world) fault(kind, format string, args ...any) {
	w.r.Faults[kind]++
	w.note("fault "+kind+" "+format, args...)
}

// startLie makes one vCenter's feed wrong for five minutes to two hours.
func (w *world) startLie(left int) {
	d := &w.d
	c := int32(d.roll(len(w.lies)))
	l := &w.lies[c]
	if l.kind != honest || w.now-l.ended < 2*hour {
		return
	}
	running := 0
	for i := range w.t.VMs {
		if w.t.VMs[i].VCenter == c && w.t.VMs[i].Power == engine.VMOn {
			running++
		}
	}
	kind := lieKind(d.between(int(frozen), int(absent)))
	if running < 40 && (kind == zeroed || kind == tenfold || kind == tenth || kind == fewVMs) {
		return // too few for an average to mean something: see Believe
	}
	*l = lie{kind: kind, since: w.now, share: d.between(15, 60), hosts: slices.Clone(w.t.Hosts), vms: slices.Clone(w.t.VMs)}
	w.away[c] = kind == absent
	lasts := min(d.between(5*minute, 2*hour), left)
	w.fault(lieNames[kind], "vc=%d for=%d", c, lasts)
	w.in(lasts, func() {
		w.note("honest again vc=%d", c)
		w.lies[c] = lie{ended: w.now}
		w.away[c] = false
	})
}

// foreignMove is a person, or a cluster's own scheduler, who moves a VM.
func (w *world) foreignMove() {
	v := int32(w.d.roll(len(w.t.VMs)))
	if p := w.x.program; p != nil && len(p.queue) > 0 { // one that the daemon is about to move
		if i, ok := w.t.FindVM(p.plan.Actions[pick(&w.d, p.queue)].VM); ok {
			v = i
		}
	}
	vm := &w.t.VMs[v]
	if vm.Power != engine.VMOn || w.task[v] != nil || !w.t.Hosts[vm.Host].Ready() {
		return
	}
	hosts := w.t.HostsOf(w.t.Hosts[vm.Host].Cluster)
	to := pick(&w.d, hosts)
	x := &w.t.Hosts[to]
	if to == vm.Host || !x.Ready() || w.hostJob[to] != nil || w.memory(to)+vm.UsedMiB > x.MemoryMiB*9/10 {
		return
	}
	lasts := w.d.between(20, 400)
	w.fault("foreign_move", "%s to=%s", vm.Name, x.Name)
	w.take(v, to, lasts)
}

// take starts a move inside a cluster that is not the daemon's.
func (w *world) take(v, to int32, lasts int) {
	vm := &w.t.VMs[v]
	a := engine.Action{ID: "foreign", Kind: engine.Move, VM: vm.ID, Name: vm.Name, From: w.place(vm.Host), To: w.place(to)}
	a.To.Pool, a.To.Folder = vm.Pool, vm.Folder
	w.stirred[to] = w.now
	w.launch(&task{act: a, vm: v, host: engine.None, to: to}, lasts)
}

func (w *world) place(h int32) engine.Place {
	x := &w.t.Hosts[h]
	return engine.Place{Site: w.t.Sites[x.Site].ID, VCenter: w.t.VCenters[x.VCenter].ID, Cluster: w.t.Clusters[x.Cluster].ID, Host: x.ID}
}

// foreignHost is a person who takes a host: an empty one, or one that the daemon
// has put to sleep or into maintenance, whose mark then goes or is forgotten.
func (w *world) foreignHost(left int) {
	h := int32(w.d.roll(len(w.t.Hosts)))
	for range 8 { // people have plans for the hosts of which the daemon has some too
		if w.t.Hosts[h].Mark == "" {
			h = int32(w.d.roll(len(w.t.Hosts)))
		}
	}
	x := &w.t.Hosts[h]
	if w.hostJob[h] != nil || w.down[h] || w.owner[h] == person {
		return
	}
	if w.owner[h] == nobody {
		if w.occupied(h) > 0 || !x.Ready() {
			return
		}
		// A person knows nothing of marks: one that was forgotten stays.
		if w.d.chance(500) {
			x.Maintenance = true
		} else {
			x.Power = engine.HostStandby
		}
	} else if x.Power == engine.HostStandby && w.d.chance(500) {
		x.Power, x.Maintenance = engine.HostOn, true // and no one tells the daemon
	} else {
		x.Mark = ""
	}
	w.owner[h], w.taken[h], w.noticed[h] = person, w.now, false
	w.fault("person_takes_host", "%s", x.Name)
	lasts := min(w.d.between(hour, 6*hour), left)
	if x.Maintenance && x.Mark != "" {
		w.in(lasts/2, func() { // and then sleeps it, beside the daemon's old mark
			if !w.noticed[h] {
				return
			}
			w.note("person puts to sleep %s", x.Name)
			x.Power, x.Maintenance, w.taken[h] = engine.HostStandby, false, w.now
		})
	}
	w.in(lasts, func() {
		w.note("person gives back %s", x.Name)
		w.owner[h], w.taken[h] = nobody, w.now
		x.Power, x.Maintenance, x.Connected = engine.HostOn, false, true
	})
}

// crash is a host that dies. What ran on it starts again on others of its cluster,
// as far as there is room, and what was under way from or to it has failed.
func (w *world) crash(left int) {
	h := int32(w.d.roll(len(w.t.Hosts)))
	x := &w.t.Hosts[h]
	if !x.Ready() || w.hostJob[h] != nil {
		return
	}
	w.fault("host_crash", "%s", x.Name)
	x.Connected, x.Power, w.down[h] = false, engine.HostUnknown, true
	for v := range w.t.VMs {
		if k := w.task[v]; k != nil && (w.t.VMs[v].Host == h || k.to == h) {
			k.err = "the host has failed"
			w.finish(k)
		}
		if vm := &w.t.VMs[v]; vm.Host == h && vm.Power == engine.VMOn && !w.elsewhere(int32(v)) {
			vm.Power, w.killed[v] = engine.VMOff, h+1
		}
	}
	w.in(min(w.d.between(10*minute, 3*hour), left), func() {
		w.note("host is back %s", x.Name)
		x.Connected, x.Power, w.down[h] = true, engine.HostOn, false
		for v := range w.t.VMs {
			if w.killed[v] == h+1 {
				w.t.VMs[v].Power, w.killed[v] = engine.VMOn, 0
			}
		}
		w.stirred[h] = w.now
	})
}

// observe is the snapshot that the daemon gets: the truth, as far as the feeds tell it.
func (w *world) observe() *engine.Snapshot {
	t := w.t
	s := &engine.Snapshot{
		At: w.now, Sites: t.Sites, VCenters: t.VCenters, Clusters: t.Clusters, Networks: t.Networks, Links: slices.Clone(t.Links),
		Hosts: slices.Clone(t.Hosts), Datastores: slices.Clone(t.Datastores), VMs: slices.Clone(t.VMs), Rules: t.Rules,
	}
	for v := range s.VMs {
		if k := w.task[v]; k != nil && !k.ours {
			s.VMs[v].Task = "VirtualMachine.migrate"
		}
	}
	hidden := false
	for c := range w.lies {
		l := &w.lies[c]
		if l.kind != honest {
			l.cycles++
			w.distort(s, int32(c), l)
			hidden = hidden || l.kind >= fewVMs
		}
		if l.kind == absent {
			s.Gaps = append(s.Gaps, engine.Gap{Source: "sim", Subject: engine.Subject{Kind: "vcenter", ID: string(t.VCenters[c].ID)}, Reason: "it does not answer", At: w.now})
		}
	}
	if w.spoilt == cramped {
		for v := range s.VMs {
			s.VMs[v].UsedMiB /= 4
		}
		for h := range s.Hosts {
			s.Hosts[h].UsedMiB /= 4
		}
	}
	if hidden {
		s = w.hide(s)
	}
	for i := range s.Hosts {
		// A quarter of an hour: longer than any list lags.
		if h, _ := t.FindHost(s.Hosts[i].ID); s.Hosts[i].Power == engine.HostOn && w.owner[h] == person && w.now-w.taken[h] > 15*minute {
			w.noticed[h] = true
		}
	}
	return s
}

// distort makes the loads of vCenter c what its feed says.
func (w *world) distort(s *engine.Snapshot, c int32, l *lie) {
	for i := range s.Hosts {
		x := &s.Hosts[i]
		if x.VCenter != c {
			continue
		}
		switch l.kind {
		case frozen, stuck:
			x.UsedMHz, x.UsedMiB = l.hosts[i].UsedMHz, l.hosts[i].UsedMiB
			if l.kind == frozen {
				x.LoadAt = l.hosts[i].LoadAt
			}
		case tenth:
			x.UsedMHz, x.UsedMiB = x.UsedMHz/10, x.UsedMiB/10
		case unknown:
			x.UsedMHz, x.UsedMiB = engine.Unknown, engine.Unknown
		case honest, zeroed, tenfold, fewVMs, fewHosts, absent:
		}
	}
	for i := range s.VMs {
		v := &s.VMs[i]
		if v.VCenter != c || v.Power != engine.VMOn {
			continue
		}
		switch l.kind {
		case frozen, stuck:
			v.UsedMHz, v.UsedMiB = l.vms[i].UsedMHz, l.vms[i].UsedMiB
			if l.kind == frozen {
				v.LoadAt = l.vms[i].LoadAt
			}
		case zeroed:
			v.UsedMHz, v.UsedMiB = 0, 0
		case tenfold:
			v.UsedMHz *= 10
		case tenth:
			v.UsedMHz, v.UsedMiB = v.UsedMHz/10, v.UsedMiB/10
		case unknown:
			v.UsedMHz, v.UsedMiB = engine.Unknown, engine.Unknown
		case honest, fewVMs, fewHosts, absent:
		}
	}
}

// missing reports whether a feed leaves out the thing of that number.
func (w *world) missing(c int32, i int, kinds ...lieKind) bool {
	l := &w.lies[c]
	if !slices.Contains(kinds, l.kind) {
		return false
	}
	return l.kind == absent || w.noise(i, int64(l.since), 100) < l.share
}

// hide leaves out what is not listed, and numbers the rest anew.
func (w *world) hide(s *engine.Snapshot) *engine.Snapshot {
	host := make([]int32, len(s.Hosts))
	var hosts []engine.Host
	for i := range s.Hosts {
		host[i] = engine.None
		if !w.missing(s.Hosts[i].VCenter, i, fewHosts, absent) {
			host[i] = int32(len(hosts))
			hosts = append(hosts, s.Hosts[i])
		}
	}
	vm := make([]int32, len(s.VMs))
	var vms []engine.VM
	for i := range s.VMs {
		v := s.VMs[i]
		vm[i] = engine.None
		if w.missing(v.VCenter, i, fewVMs, absent) || (v.Host >= 0 && host[v.Host] < 0) {
			continue
		}
		vm[i] = int32(len(vms))
		if v.Host >= 0 {
			v.Host = host[v.Host]
		}
		vms = append(vms, v)
	}
	renumber := func(list, to []int32) []int32 {
		var out []int32
		for _, i := range list {
			if to[i] >= 0 {
				out = append(out, to[i])
			}
		}
		return out
	}
	var rules []engine.Rule
	for _, r := range s.Rules {
		r.VMs, r.Hosts = renumber(r.VMs, vm), renumber(r.Hosts, host)
		if len(r.VMs) > 0 {
			rules = append(rules, r)
		}
	}
	return &engine.Snapshot{
		At: s.At, Sites: s.Sites, VCenters: s.VCenters, Clusters: s.Clusters, Networks: s.Networks, Links: s.Links,
		Hosts: hosts, Datastores: s.Datastores, VMs: vms, Rules: rules, Gaps: s.Gaps,
	}
}
