package engine

import (
	"errors"
	"fmt"
	"slices"
)

// ErrStale means that the fleet is not as an action says. It is expected and
// never retried: the next cycle plans again from what is true then.
var ErrStale = errors.New("the fleet has changed")

// A Footprint is what a VM takes of a host.
type Footprint struct {
	CPUMHz int32 `json:"cpu_mhz"`
	MiB    int32 `json:"mib"`
	VCPUs  int32 `json:"vcpus"`
	Counts int32 `json:"-"` // 1 where it counts among those on the host (agents do not)
}

// FootprintOf is what VM v takes wherever it runs: CPU is the larger of its
// demand now, its packing percentile (pack, Unknown for none) and its
// reservation; memory is the larger of consumed with overhead and reserved,
// and all that is configured where consumption is not seen. A VM that is not
// powered on takes nothing.
func FootprintOf(v *VM, pack int32) Footprint {
	if v.Power != VMOn {
		return Footprint{}
	}
	mem := v.UsedMiB
	if mem == Unknown {
		mem = v.MemoryMiB
	}
	f := Footprint{CPUMHz: max(v.UsedMHz, pack, v.ReserveMHz, 0), MiB: max(mem, v.ReserveMiB), VCPUs: v.VCPUs, Counts: 1}
	if v.Obstacles&ObAgent != 0 {
		f.Counts = 0
	}
	return f
}

// A State is what is occupied while actions come and go. Start and Finish are
// the only two functions that planner, checker and simulator share.
type State struct {
	S     *Snapshot
	Foot  []Footprint // by VM
	Host  []int32     // by VM: where it runs
	CPU   []int32     // by host: occupied MHz, what is not a VM's included
	Mem   []int32     // by host: occupied MiB, likewise
	VCPU  []int32     // by host: vCPUs of powered-on VMs
	On    []int32     // by host: powered-on VMs that count (agents do not)
	In    []int32     // by host: arrivals under way
	Free  []int64     // by datastore: MiB
	Power []HostPower // by host
	Maint []bool      // by host
	Moved []int32     // by VM: 1 while a move is under way
}

// NewState is the fleet of s as it stands, each VM with its footprint. foot may
// be nil: then [FootprintOf] without percentiles.
func NewState(s *Snapshot, foot []Footprint) *State {
	if foot == nil {
		foot = make([]Footprint, len(s.VMs))
		for i := range s.VMs {
			foot[i] = FootprintOf(&s.VMs[i], Unknown)
		}
	}
	t := EmptyState(s, foot)
	for h := range s.Hosts {
		t.Settle(int32(h))
	}
	return t
}

// EmptyState knows no host and no VM yet but how much each VM takes: see
// [State.Settle]. What is not settled is on no host, or takes nothing.
func EmptyState(s *Snapshot, foot []Footprint) *State {
	n := len(s.Hosts)
	t := &State{
		S: s, Foot: foot, Host: make([]int32, len(s.VMs)), CPU: make([]int32, n), Mem: make([]int32, n), VCPU: make([]int32, n),
		On: make([]int32, n), In: make([]int32, n), Free: make([]int64, len(s.Datastores)), Power: make([]HostPower, n), Maint: make([]bool, n),
		Moved: make([]int32, len(s.VMs)),
	}
	for v := range t.Host {
		t.Host[v] = None
	}
	for d := range s.Datastores {
		t.Free[d] = s.Datastores[d].FreeMiB
	}
	return t
}

// Settle puts host h into the state as it stands in the snapshot, with its VMs. It
// may be settled again in another snapshot of the same fleet.
func (t *State) Settle(h int32) {
	host := &t.S.Hosts[h]
	t.CPU[h], t.Mem[h] = overhead(t.S, h)
	t.VCPU[h], t.On[h] = 0, 0
	for _, v := range t.S.VMsOn(h) {
		t.Host[v] = h
		t.add(&t.Foot[v], h, 1)
	}
	t.Power[h] = host.Power
	t.Maint[h] = host.Maintenance || host.Entering
}

// Revert makes all hosts and datastores, and some VMs, as they are in another state
// of the same fleet.
func (t *State) Revert(from *State, vms []int32) {
	t.S = from.S
	copy(t.CPU, from.CPU)
	copy(t.Mem, from.Mem)
	copy(t.VCPU, from.VCPU)
	copy(t.On, from.On)
	copy(t.In, from.In)
	copy(t.Power, from.Power)
	copy(t.Maint, from.Maint)
	copy(t.Free, from.Free)
	t.Restore(from, nil, vms, nil)
}

// Forget makes hosts and the VMs on them as though they had never been settled, in
// the snapshot in which they were.
func (t *State) Forget(hosts []int32) {
	for _, h := range hosts {
		for _, v := range t.S.VMsOn(h) {
			t.Host[v], t.Moved[v] = None, 0
		}
		t.CPU[h], t.Mem[h], t.VCPU[h], t.On[h], t.In[h], t.Power[h], t.Maint[h] = 0, 0, 0, 0, 0, HostUnknown, false
	}
}

// Clone is a copy that takes each VM for what this one does.
func (t *State) Clone() *State {
	c := *t
	c.Host, c.Moved = slices.Clone(t.Host), slices.Clone(t.Moved)
	c.CPU, c.Mem, c.VCPU, c.On, c.In = slices.Clone(t.CPU), slices.Clone(t.Mem), slices.Clone(t.VCPU), slices.Clone(t.On), slices.Clone(t.In)
	c.Free, c.Power, c.Maint = slices.Clone(t.Free), slices.Clone(t.Power), slices.Clone(t.Maint)
	return &c
}

// Restore makes hosts, VMs and datastores as they are in another state of the same
// snapshot.
func (t *State) Restore(from *State, hosts, vms, stores []int32) {
	for _, h := range hosts {
		t.CPU[h], t.Mem[h], t.VCPU[h], t.On[h], t.In[h], t.Power[h], t.Maint[h] = from.CPU[h], from.Mem[h], from.VCPU[h], from.On[h], from.In[h], from.Power[h], from.Maint[h]
	}
	for _, v := range vms {
		t.Host[v], t.Moved[v] = from.Host[v], from.Moved[v]
	}
	for _, d := range stores {
		t.Free[d] = from.Free[d]
	}
}

// overhead is what a host uses beyond its VMs: the hypervisor itself.
func overhead(s *Snapshot, h int32) (cpu, mem int32) {
	host := &s.Hosts[h]
	if !host.Seen() {
		return 0, 0
	}
	cpu, mem = host.UsedMHz, host.UsedMiB
	for _, v := range s.VMsOn(h) {
		vm := &s.VMs[v]
		if vm.Power == VMOn && vm.Seen() {
			cpu -= vm.UsedMHz
			mem -= vm.UsedMiB
		}
	}
	return max(cpu, 0), max(mem, 0)
}

func (t *State) add(f *Footprint, h, sign int32) {
	t.CPU[h] += sign * f.CPUMHz
	t.Mem[h] += sign * f.MiB
	t.VCPU[h] += sign * f.VCPUs
	t.On[h] += sign * f.Counts
}

// Leave is Start for a VM that is not under way and goes to another host without its
// disks: a planner knows all that.
func (t *State) Leave(v, to int32) {
	t.Moved[v] = 1
	t.add(&t.Foot[v], to, 1)
	t.In[to]++
}

// Remain takes back a Leave.
func (t *State) Remain(v, to int32) {
	t.Moved[v] = 0
	t.add(&t.Foot[v], to, -1)
	t.In[to]--
}

// Start reserves what the action needs at its destination. It changes nothing
// when it returns an error, which wraps [ErrStale] where the fleet is not as
// the action says. It does not ask whether the destination has room: that is
// the planner's and the checker's business.
func (t *State) Start(a *Action) error {
	if a.Kind != Move {
		return t.startHost(a)
	}
	v, to, err := t.ends(a)
	if err != nil {
		return err
	}
	return t.StartMove(a, v, to)
}

// StartMove is Start for a move whose VM and destination were looked up before.
func (t *State) StartMove(a *Action, v, to int32) error {
	if t.Moved[v] != 0 {
		return fmt.Errorf("start %s: a move of it is under way: %w", a.ID, ErrStale)
	}
	if from := t.Host[v]; from < 0 || t.S.Hosts[from].ID != a.From.Host {
		return fmt.Errorf("start %s: %s is not on %s: %w", a.ID, a.Name, a.From.Host, ErrStale)
	}
	t.Arrive(v, t.Host[v], to, &t.Foot[v])
	t.space(a, -1)
	return nil
}

// Arrive is StartMove for a move that takes no disks along and whose source was looked
// up too, and what its VM takes: f. It reports whether the VM is there, and not on its
// way elsewhere.
func (t *State) Arrive(v, from, to int32, f *Footprint) bool {
	if t.Moved[v] != 0 || t.Host[v] != from {
		return false
	}
	t.Moved[v] = 1
	if to != from {
		t.add(f, to, 1)
		t.In[to]++
	}
	return true
}

// Finish frees what the action held at its source. The action must have been
// started on this state.
func (t *State) Finish(a *Action) error {
	if a.Kind != Move {
		return t.finishHost(a)
	}
	v, to, err := t.ends(a)
	if err != nil {
		return err
	}
	return t.FinishMove(a, v, to)
}

// FinishMove is Finish for a move whose VM and destination were looked up before.
func (t *State) FinishMove(a *Action, v, to int32) error {
	if t.Moved[v] == 0 {
		return fmt.Errorf("finish %s: not started: %w", a.ID, ErrStale)
	}
	t.Depart(v, to, &t.Foot[v])
	t.freed(a, v)
	return nil
}

// Depart is FinishMove for a move that takes no disks along and whose VM takes f. It
// reports whether the VM was on its way.
func (t *State) Depart(v, to int32, f *Footprint) bool {
	if t.Moved[v] == 0 {
		return false
	}
	t.Moved[v] = 0
	if from := t.Host[v]; from != to {
		t.add(f, from, -1)
		t.In[to]--
		t.Host[v] = to
	}
	return true
}

// Abort takes back a Start: the action failed, and the VM is where it was.
func (t *State) Abort(a *Action) error {
	if a.Kind != Move {
		return t.abortHost(a)
	}
	v, to, err := t.ends(a)
	if err != nil {
		return err
	}
	return t.AbortMove(a, v, to)
}

// AbortMove is Abort for a move whose VM and destination were looked up before.
func (t *State) AbortMove(a *Action, v, to int32) error {
	if t.Moved[v] == 0 {
		return fmt.Errorf("abort %s: not started: %w", a.ID, ErrStale)
	}
	t.Moved[v] = 0
	if to != t.Host[v] {
		t.add(&t.Foot[v], to, -1)
		t.In[to]--
	}
	t.space(a, 1)
	return nil
}

func (t *State) ends(a *Action) (v, to int32, err error) {
	v, ok := t.S.FindVM(a.VM)
	if !ok {
		return 0, 0, fmt.Errorf("%s: no VM %s: %w", a.ID, a.VM, ErrStale)
	}
	to, ok = t.S.FindHost(a.To.Host)
	if !ok {
		return 0, 0, fmt.Errorf("%s: no host %s: %w", a.ID, a.To.Host, ErrStale)
	}
	return v, to, nil
}

// space reserves (sign -1) or gives back (sign 1) the room at the destination's datastores.
func (t *State) space(a *Action, sign int64) {
	if !a.Storage {
		return
	}
	for _, d := range a.Disks {
		if d.From == d.To {
			continue
		}
		if i, ok := t.S.FindDatastore(d.To); ok {
			t.Free[i] += sign * d.MiB
		}
	}
	if i, ok := t.S.FindDatastore(a.HomeTo); ok {
		t.Free[i] += sign * a.SwapMiB
	}
}

// freed gives the space at the source back, once the move is over.
func (t *State) freed(a *Action, v int32) {
	if !a.Storage {
		return
	}
	vm := &t.S.VMs[v]
	for _, d := range a.Disks {
		if d.From == d.To {
			continue
		}
		if i, ok := t.S.FindDatastore(d.From); ok {
			t.Free[i] += d.MiB
		}
	}
	if vm.Home >= 0 {
		t.Free[vm.Home] += a.SwapMiB
	}
}

func (t *State) startHost(a *Action) error {
	h, ok := t.S.FindHost(a.From.Host)
	if !ok {
		return fmt.Errorf("start %s: no host %s: %w", a.ID, a.From.Host, ErrStale)
	}
	switch a.Kind {
	case Standby:
		if t.Power[h] != HostOn {
			return fmt.Errorf("start %s: %s is %s: %w", a.ID, a.Name, t.Power[h], ErrStale)
		}
		t.Power[h] = HostStandby // it takes no VM from now on
	case Wakeup:
		if t.Power[h] != HostStandby {
			return fmt.Errorf("start %s: %s is %s: %w", a.ID, a.Name, t.Power[h], ErrStale)
		}
	case EnterMaintenance:
		if t.Maint[h] {
			return fmt.Errorf("start %s: %s is in maintenance already: %w", a.ID, a.Name, ErrStale)
		}
		t.Maint[h] = true
	case ExitMaintenance:
		if !t.Maint[h] {
			return fmt.Errorf("start %s: %s is not in maintenance: %w", a.ID, a.Name, ErrStale)
		}
	case Move:
	}
	return nil
}

func (t *State) finishHost(a *Action) error {
	h, ok := t.S.FindHost(a.From.Host)
	if !ok {
		return fmt.Errorf("finish %s: no host %s: %w", a.ID, a.From.Host, ErrStale)
	}
	switch a.Kind {
	case Wakeup:
		t.Power[h] = HostOn
	case ExitMaintenance:
		t.Maint[h] = false
	case Move, Standby, EnterMaintenance:
	}
	return nil
}

func (t *State) abortHost(a *Action) error {
	h, ok := t.S.FindHost(a.From.Host)
	if !ok {
		return fmt.Errorf("abort %s: no host %s: %w", a.ID, a.From.Host, ErrStale)
	}
	switch a.Kind {
	case Standby:
		t.Power[h] = HostOn
	case EnterMaintenance:
		t.Maint[h] = false
	case Move, Wakeup, ExitMaintenance:
	}
	return nil
}

// Ready reports whether host h can take a VM in this state. A host in standby
// does not answer; once woken it does.
func (t *State) Ready(h int32) bool {
	return t.Power[h] == HostOn && !t.Maint[h] && t.S.Hosts[h].Reachable()
}
