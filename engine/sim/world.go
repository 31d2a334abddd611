package sim

import (
	"fmt"
	"slices"
	"strings"

	"heliostat/engine"
)

// A World is a fleet on virtual time. Carry changes it; nothing else does.
type World struct {
	Snapshot *engine.Snapshot
	History  *engine.History
	Now      engine.Unix
	Limits   engine.Limits
	Low      engine.Thresholds
	// Fails tells which actions fail at their end; nil for none.
	Fails func(*engine.Action) bool
}

// NewWorld is the fleet at its start, with an empty memory, save that hosts in
// standby with this daemon's mark are remembered as its own.
func NewWorld(s *engine.Snapshot, l engine.Limits) *World {
	w := &World{Snapshot: s, Now: s.At, Limits: l}
	w.History = engine.Fold(&engine.History{}, s, nil, w.Low)
	for i := range s.Hosts {
		if strings.HasPrefix(s.Hosts[i].Mark, "standby") {
			w.History.Hosts[i].Own = engine.OwnStandby
		}
	}
	return w
}

// A running action ends at a moment.
type running struct {
	act  int
	ends engine.Unix
}

// A run is one plan being carried out.
type run struct {
	w        *World
	p        *engine.Plan
	st       *engine.State
	slots    *engine.Slots
	done     []engine.ActionState // by action; "" while it waits or runs
	begun    []engine.Unix
	started  []bool
	running  []running
	cpu, mem []int32 // by host: over capacity at the start by so much
	err      error
}

// Carry carries the plan out as the executor does: the lowest-ranked action that
// is ready and fits the slots starts. It returns how each action ended, and an
// error when anything was overcommitted at any moment or an action could not be
// started on the fleet as it was then. The world is then as the plan left it.
func (w *World) Carry(p *engine.Plan) ([]engine.ActionRecord, error) {
	n := len(p.Actions)
	r := &run{
		w: w, p: p, st: engine.NewState(w.Snapshot, nil), slots: engine.NewSlots(w.Limits, w.Snapshot),
		done: make([]engine.ActionState, n), begun: make([]engine.Unix, n), started: make([]bool, n),
	}
	r.cpu, r.mem = slices.Clone(r.st.CPU), slices.Clone(r.st.Mem)
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return int(p.Actions[a].Rank - p.Actions[b].Rank) })
	for r.err == nil {
		r.startReady(order)
		if len(r.running) == 0 {
			break
		}
		r.endNext()
	}
	records := r.records()
	w.apply(r.st, p, r.done)
	w.History = engine.Fold(w.History, w.Snapshot, records, w.Low)
	return records, r.err
}

// startReady starts what can start, the lowest rank first.
func (r *run) startReady(order []int) {
	for _, i := range order {
		a := &r.p.Actions[i]
		if r.started[i] || r.done[i] != "" || !r.ready(i) || !r.slots.Fits(a) {
			continue
		}
		r.judgeStart(a)
		if err := r.st.Start(a); err != nil {
			r.fail(err)
			return
		}
		r.slots.Take(a)
		r.started[i], r.begun[i] = true, r.w.Now
		r.running = append(r.running, running{i, r.w.Now + engine.Unix(max(a.Estimate.Seconds, 1))})
		r.judge(a)
	}
}

// ready reports whether all that action i waits for has ended well. What waits
// for a failure never starts.
func (r *run) ready(i int) bool {
	for _, j := range r.p.Actions[i].After {
		switch r.done[j] {
		case engine.StateSucceeded:
		case engine.StateFailed, engine.StateStale:
			r.done[i] = engine.StateStale
			return false
		default:
			return false
		}
	}
	return true
}

// endNext moves the clock to the next end.
func (r *run) endNext() {
	k := 0
	for i := range r.running {
		if x, y := r.running[i], r.running[k]; x.ends < y.ends || (x.ends == y.ends && x.act < y.act) {
			k = i
		}
	}
	x := r.running[k]
	r.running = slices.Delete(r.running, k, k+1)
	r.w.Now = x.ends
	a := &r.p.Actions[x.act]
	end, state := r.st.Finish, engine.StateSucceeded
	if r.w.Fails != nil && r.w.Fails(a) {
		end, state = r.st.Abort, engine.StateFailed
	}
	if err := end(a); err != nil {
		r.fail(err)
	}
	r.slots.Release(a)
	r.done[x.act] = state
}

func (r *run) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

// judgeStart checks that the action's host is as it must be.
func (r *run) judgeStart(a *engine.Action) {
	switch a.Kind {
	case engine.Move:
		to, ok := r.w.Snapshot.FindHost(a.To.Host)
		if ok && a.To.Host != a.From.Host && !r.st.Ready(to) {
			r.fail(fmt.Errorf("%s starts while %s is not ready", a, a.To.Host))
		}
	case engine.Standby, engine.EnterMaintenance:
		h, ok := r.w.Snapshot.FindHost(a.From.Host)
		drs := ok && r.w.Snapshot.Clusters[r.w.Snapshot.Hosts[h].Cluster].DRS == engine.DRSFull
		if ok && !drs && (r.st.On[h] > 0 || r.st.In[h] > 0) {
			r.fail(fmt.Errorf("%s starts with %d VMs on the host", a, r.st.On[h]))
		}
	case engine.Wakeup, engine.ExitMaintenance:
	}
}

// judge checks what the start of a move has filled.
func (r *run) judge(a *engine.Action) {
	s := r.w.Snapshot
	if a.Kind != engine.Move {
		return
	}
	if h, ok := s.FindHost(a.To.Host); ok {
		if r.st.CPU[h] > max(s.Hosts[h].CPUMHz, r.cpu[h]) || r.st.Mem[h] > max(s.Hosts[h].MemoryMiB, r.mem[h]) {
			r.fail(fmt.Errorf("%s overcommits its destination: %d of %d MHz, %d of %d MiB", a, r.st.CPU[h], s.Hosts[h].CPUMHz, r.st.Mem[h], s.Hosts[h].MemoryMiB))
		}
	}
	for _, d := range a.Disks {
		if i, ok := s.FindDatastore(d.To); ok && r.st.Free[i] < 0 {
			r.fail(fmt.Errorf("%s overfills %s", a, d.To))
		}
	}
}

// records say how each action ended. What never started is stale.
func (r *run) records() []engine.ActionRecord {
	out := make([]engine.ActionRecord, 0, len(r.p.Actions))
	for i := range r.p.Actions {
		state := r.done[i]
		if state == "" {
			state = engine.StateStale
		}
		out = append(out, engine.ActionRecord{Action: r.p.Actions[i], State: state, Started: r.begun[i], Ended: r.w.Now})
	}
	return out
}

// scatter is what a cluster's own scheduler does with the VMs of a host that goes:
// each to the ready host with most memory free.
func scatter(s *engine.Snapshot, h int32) {
	c := s.Hosts[h].Cluster
	if s.Clusters[c].DRS != engine.DRSFull {
		return
	}
	used := map[int32]int64{}
	for i := range s.VMs {
		if v := &s.VMs[i]; v.Host >= 0 && v.Power == engine.VMOn && s.Hosts[v.Host].Cluster == c {
			used[v.Host] += int64(max(v.UsedMiB, 0))
		}
	}
	for i := range s.VMs {
		v := &s.VMs[i]
		if v.Host != h || v.Power != engine.VMOn || v.Obstacles&engine.ObAgent != 0 {
			continue
		}
		best := engine.None
		for x := range s.Hosts {
			k := int32(x)
			if s.Hosts[k].Cluster == c && k != h && s.Hosts[k].Ready() && (best < 0 || int64(s.Hosts[k].MemoryMiB)-used[k] > int64(s.Hosts[best].MemoryMiB)-used[best]) {
				best = k
			}
		}
		if best >= 0 {
			v.Host = best
			used[best] += int64(max(v.UsedMiB, 0))
		}
	}
}

// apply makes the snapshot that would be seen now.
func (w *World) apply(st *engine.State, p *engine.Plan, done []engine.ActionState) {
	old := w.Snapshot
	s := &engine.Snapshot{
		At: w.Now, Sites: old.Sites, VCenters: old.VCenters, Clusters: old.Clusters, Hosts: slices.Clone(old.Hosts), Datastores: slices.Clone(old.Datastores),
		Networks: old.Networks, VMs: slices.Clone(old.VMs), Links: slices.Clone(old.Links), Rules: old.Rules, Hazards: old.Hazards, Alerts: old.Alerts, Gaps: old.Gaps,
	}
	for i := range p.Actions {
		if done[i] == engine.StateSucceeded {
			Arrive(s, &p.Actions[i])
		}
	}
	for d := range s.Datastores {
		s.Datastores[d].FreeMiB = st.Free[d]
	}
	for i := range s.Links {
		s.Links[i].At = w.Now
	}
	for h := range s.Hosts {
		s.Hosts[h].LoadAt = w.Now
	}
	for i := range s.VMs {
		v, from := &s.VMs[i], old.VMs[i].Host
		v.LoadAt = w.Now
		if v.Host == from || v.Power != engine.VMOn || !v.Seen() {
			continue
		}
		for h, sign := range map[int32]int32{from: -1, v.Host: 1} {
			if h >= 0 && s.Hosts[h].Seen() {
				s.Hosts[h].UsedMHz += sign * v.UsedMHz
				s.Hosts[h].UsedMiB += sign * v.UsedMiB
			}
		}
	}
	for h := range s.Hosts {
		if s.Hosts[h].Power == engine.HostStandby {
			s.Hosts[h].UsedMHz, s.Hosts[h].UsedMiB = 0, 0
		}
	}
	s.Rules = RulesLeft(s)
	w.Snapshot = s
}

// RulesLeft drops the VMs that have left their rule's cluster: rules do not travel.
func RulesLeft(s *engine.Snapshot) []engine.Rule {
	var out []engine.Rule
	for _, r := range s.Rules {
		r.VMs = slices.DeleteFunc(slices.Clone(r.VMs), func(v int32) bool { return s.VMCluster(v) != r.Cluster })
		if len(r.VMs) > 1 || (len(r.VMs) > 0 && (r.Kind == engine.RuleOn || r.Kind == engine.RuleNotOn)) {
			out = append(out, r)
		}
	}
	return out
}

// Arrive makes what the action has done visible in s.
func Arrive(s *engine.Snapshot, a *engine.Action) {
	if a.Kind != engine.Move {
		h, ok := s.FindHost(a.From.Host)
		if !ok {
			return
		}
		x := &s.Hosts[h]
		switch a.Kind {
		case engine.Standby:
			x.Power, x.Mark = engine.HostStandby, "standby "+a.ID
			scatter(s, h)
		case engine.Wakeup:
			x.Power, x.Mark = engine.HostOn, ""
		case engine.EnterMaintenance:
			x.Maintenance, x.Mark = true, "maintenance "+a.ID
			scatter(s, h)
		case engine.ExitMaintenance:
			x.Maintenance, x.Mark = false, ""
		case engine.Move:
		}
		return
	}
	v, ok1 := s.FindVM(a.VM)
	to, ok2 := s.FindHost(a.To.Host)
	if !ok1 || !ok2 {
		return
	}
	vm := &s.VMs[v]
	vm.Host, vm.VCenter, vm.Pool, vm.Folder = to, s.Hosts[to].VCenter, a.To.Pool, a.To.Folder
	if home, ok := s.FindDatastore(a.HomeTo); ok {
		vm.Home = home
	}
	vm.Disks = slices.Clone(vm.Disks)
	for i := range vm.Disks {
		for _, d := range a.Disks {
			if k, ok := s.FindDatastore(d.To); ok && d.Key == vm.Disks[i].Key {
				vm.Disks[i].Datastore = k
			}
		}
	}
	vm.NICs = slices.Clone(vm.NICs)
	for i := range vm.NICs {
		for _, n := range a.NICs {
			if k, ok := s.FindNetwork(n.To); ok && n.Key == vm.NICs[i].Key {
				vm.NICs[i].Network = k
			}
		}
	}
}
