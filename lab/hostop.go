package lab

import (
	"slices"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

const (
	// enterTime, exitTime and sleepTime are how long a host takes once nothing is in the way.
	enterTime, exitTime, sleepTime = 15 * time.Second, 8 * time.Second, 90 * time.Second
	// bootTime is how long a host takes from standby to connected; each host
	// takes up to bootSpread longer, always the same.
	bootTime, bootSpread = 4 * time.Minute, 40 * time.Second
	// lookEvery is how often a host that waits to be empty looks again.
	lookEvery = 5 * time.Second
	// standbyWatts is what a host in standby draws: its BMC and power supplies.
	standbyWatts = 8
)

// A hostOp is a power or maintenance action on a host.
type hostOp struct {
	kind      string // enter, exit, sleep, wake
	h         *host
	task      *simulator.Task
	user      string
	at        time.Time // when to look or to end
	deadline  time.Time // zero for none
	evacuate  bool      // take along what is off, too
	empty     bool      // nothing is in the way any more
	cancelled bool
	doom      *doom     // at its end: hosts tell no progress
	hung      *incident // that has it stand still; nil when none does
}

var opNames = map[string][2]string{
	"enter": {"EnterMaintenanceMode_Task", "HostSystem.enterMaintenanceMode"},
	"exit":  {"ExitMaintenanceMode_Task", "HostSystem.exitMaintenanceMode"},
	"sleep": {"PowerDownHostToStandBy_Task", "HostSystem.powerDownToStandBy"},
	"wake":  {"PowerUpHostFromStandBy_Task", "HostSystem.powerUpFromStandBy"},
}

// operateHost starts an action when the host's state allows it.
func (c *control) operateHost(ctx *simulator.Context, ref types.ManagedObjectReference, op *hostOp, timeout int32) (types.ManagedObjectReference, *soap.Fault) {
	l := c.v.lab
	h := c.v.host(&ref)
	if h == nil {
		return ref, asFault(&types.ManagedObjectNotFound{Obj: ref})
	}
	if h.op != nil {
		return ref, asFault(&types.TaskInProgress{Task: h.op.task.Self})
	}
	if f := l.allows(h, op); f != nil {
		return ref, simulator.Fault(message(f), f)
	}
	op.h, op.user = h, ctx.Session.UserName
	op.task = c.v.newTask(op.user, h.obj, opNames[op.kind][0], opNames[op.kind][1])
	c.v.startTask(op.task)
	if timeout > 0 {
		op.deadline = l.now.Add(time.Duration(timeout) * time.Second)
	}
	op.doom = l.doomOf(h.vc, h.name)
	h.op = op
	l.ops = append(l.ops, op)
	l.begin(op)
	l.poke()
	return op.task.Self, nil
}

// allows says why an action cannot be, nil when it can.
func (l *Lab) allows(h *host, op *hostOp) types.BaseMethodFault {
	if h.unplug {
		return because(&types.HostNotConnected{}, "host %s is disconnected", h.name)
	}
	switch op.kind {
	case "enter":
		if h.phase != hostUp || h.maint {
			return because(&types.InvalidState{}, "host %s is asleep or in maintenance", h.name)
		}
	case "exit":
		if h.phase != hostUp || !h.maint {
			return because(&types.InvalidState{}, "host %s is not in maintenance", h.name)
		}
	case "sleep":
		if h.phase != hostUp || h.nowake {
			return because(&types.InvalidState{}, "host %s is asleep or could not be woken", h.name)
		}
		if l.clusters[h.cluster].drs() != "full" && len(l.inTheWay(h)) > 0 {
			return because(&types.InvalidState{}, "host %s runs %d VMs", h.name, len(l.inTheWay(h)))
		}
	case "wake":
		if h.phase != hostAsleep {
			return because(&types.InvalidState{}, "host %s is not in standby", h.name)
		}
		if h.nowake {
			return because(&types.HostPowerOpFailed{}, "host %s has no BMC and no wake-on-LAN", h.name)
		}
	}
	return nil
}

// inTheWay are the powered-on VMs of a host, agents apart, and what is on its way there.
func (l *Lab) inTheWay(h *host) (out []*machine) {
	for _, m := range l.machines {
		if m.agent {
			continue
		}
		if (m.host == h.index && m.on) || (m.move != nil && (m.move.to == h || m.move.from == h)) {
			out = append(out, m)
		}
	}
	return out
}

func (l *Lab) begin(op *hostOp) {
	h := op.h
	switch op.kind {
	case "exit":
		op.at = l.now.Add(exitTime)
	case "wake":
		l.postHost(op.user, h, &types.ExitingStandbyModeEvent{})
		h.phase, h.since = hostBooting, l.now
		op.at = l.now.Add(bootTime + time.Duration(l.unit("boot", h.name)*float64(bootSpread)))
		h.vc.update(h.obj, types.PropertyChange{Name: "runtime.standbyMode", Val: string(types.HostStandbyModeExiting)})
	default:
		op.at = l.now
		if op.kind == "enter" {
			l.postHost(op.user, h, &types.EnteringMaintenanceModeEvent{})
		} else {
			l.postHost(op.user, h, &types.EnteringStandbyModeEvent{})
			h.vc.update(h.obj, types.PropertyChange{Name: "runtime.standbyMode", Val: string(types.HostStandbyModeEntering)})
		}
		l.evacuate(op)
	}
}

// operate goes on with an action that is due.
func (l *Lab) operate(op *hostOp) {
	h := op.h
	waits := op.kind == "enter" || op.kind == "sleep"
	switch {
	case op.cancelled && waits:
		l.abandon(op, &types.RequestCanceled{})
	case waits && !op.empty && len(l.inTheWay(h)) > 0:
		l.evacuate(op) // what could not be moved before, or has failed
		op.at = l.now.Add(lookEvery)
		if !op.deadline.IsZero() && !op.deadline.After(l.now) {
			l.abandon(op, &types.Timedout{})
		}
	case waits && !op.empty:
		op.empty = true
		op.at = l.now.Add(enterTime)
		if op.kind == "sleep" {
			op.at = l.now.Add(sleepTime)
		}
	case op.doom != nil:
		d := op.doom
		op.doom = nil
		f, until := d.strike(h.vc, &op.task)
		if f != nil {
			l.abandon(op, f)
		} else {
			op.hung, op.at = d.by, until
		}
	default:
		l.complete(op)
		l.finishOp(op, nil)
	}
}

func (l *Lab) abandon(op *hostOp, f types.BaseMethodFault) {
	mode := types.HostStandbyModeNone
	if op.kind == "wake" {
		op.h.phase, op.h.since, mode = hostAsleep, l.now, types.HostStandbyModeIn
	}
	op.h.vc.update(op.h.obj, types.PropertyChange{Name: "runtime.standbyMode", Val: string(mode)})
	l.finishOp(op, f)
}

func (l *Lab) finishOp(op *hostOp, f types.BaseMethodFault) {
	op.h.op = nil
	l.ops = slices.DeleteFunc(l.ops, func(o *hostOp) bool { return o == op })
	op.h.vc.endTask(op.task, f)
}

// complete makes an action's result true.
func (l *Lab) complete(op *hostOp) {
	h := op.h
	set := func(name string, val any) types.PropertyChange {
		return types.PropertyChange{Name: "runtime." + name, Val: val}
	}
	switch op.kind {
	case "enter":
		l.moveAgents(h)
		h.maint = true
		l.postHost(op.user, h, &types.EnteredMaintenanceModeEvent{})
		h.vc.update(h.obj, set("inMaintenanceMode", true))
	case "exit":
		h.maint = false
		l.postHost(op.user, h, &types.ExitMaintenanceModeEvent{})
		h.vc.update(h.obj, set("inMaintenanceMode", false))
	case "sleep":
		l.moveAgents(h)
		h.phase, h.since = hostAsleep, l.now
		l.postHost(op.user, h, &types.EnteredStandbyModeEvent{})
		h.vc.update(h.obj, set("powerState", types.HostSystemPowerStateStandBy), set("standbyMode", string(types.HostStandbyModeIn)), set("connectionState", types.HostSystemConnectionStateNotResponding))
		l.connect(h, types.VirtualMachineConnectionStateDisconnected)
	case "wake":
		h.phase, h.since = hostUp, l.now
		l.postHost(op.user, h, &types.ExitedStandbyModeEvent{})
		boot := l.now
		h.vc.update(h.obj, set("powerState", types.HostSystemPowerStatePoweredOn), set("standbyMode", string(types.HostStandbyModeNone)), set("connectionState", types.HostSystemConnectionStateConnected), set("bootTime", boot))
		l.connect(h, types.VirtualMachineConnectionStateConnected)
		l.wakeAgents(h)
	}
	l.measureHost(h, l.now)
}

// connect sets the connection state of the VMs that are registered at a host.
func (l *Lab) connect(h *host, state types.VirtualMachineConnectionState) {
	for _, i := range l.machinesOn(h.index) {
		if m := l.machines[i]; !m.lost {
			m.vc.update(m.obj, types.PropertyChange{Name: "runtime.connectionState", Val: state}, types.PropertyChange{Name: "summary.runtime.connectionState", Val: state})
		}
	}
}

// moveAgents has the cluster take its agent off a host, or switch it off where there is no other.
func (l *Lab) moveAgents(h *host) {
	for _, i := range l.machinesOn(h.index) {
		m := l.machines[i]
		if !m.agent {
			continue
		}
		if to := l.roomiest(l.clusters[h.cluster], m, h); to != nil {
			l.setHost(m, to)
		} else {
			l.setPower(m, false)
		}
	}
}

// wakeAgents switches the cluster's agent on again.
func (l *Lab) wakeAgents(h *host) {
	for _, i := range l.machinesOn(h.index) {
		if m := l.machines[i]; m.agent && !m.on {
			l.setPower(m, true)
		}
	}
}

// setPower switches a VM on or off.
func (l *Lab) setPower(m *machine, on bool) {
	o := m.obj
	if on {
		m.on, m.level = true, l.bootLevel(l.hosts[m.host])
		now := l.now
		o.Runtime.BootTime, o.Summary.Runtime.BootTime = &now, &now
		o.Runtime.PowerState, o.Summary.Runtime.PowerState = types.VirtualMachinePowerStatePoweredOn, types.VirtualMachinePowerStatePoweredOn
		o.GuestHeartbeatStatus = types.ManagedEntityStatusGreen
		o.Guest.GuestState, o.Guest.ToolsRunningStatus, o.Guest.ToolsStatus = "running", "guestToolsRunning", types.VirtualMachineToolsStatusToolsOk
		l.measure(m, l.now)
	} else {
		l.powerOffObject(m)
	}
	m.vc.update(o,
		types.PropertyChange{Name: "runtime.powerState", Val: o.Runtime.PowerState}, types.PropertyChange{Name: "summary.runtime.powerState", Val: o.Runtime.PowerState},
		types.PropertyChange{Name: "runtime.minRequiredEVCModeKey", Val: EVCModes[m.level-1]}, types.PropertyChange{Name: "guestHeartbeatStatus", Val: o.GuestHeartbeatStatus})
}

// EnterMaintenanceModeTask waits until no VM runs on the host; a fully
// automated cluster sees to that.
func (c *control) EnterMaintenanceModeTask(ctx *simulator.Context, req *types.EnterMaintenanceMode_Task) soap.HasFault {
	ref, f := c.operateHost(ctx, req.This, &hostOp{kind: "enter", evacuate: isTrue(req.EvacuatePoweredOffVms)}, req.Timeout)
	if f != nil {
		return &methods.EnterMaintenanceMode_TaskBody{Fault_: f}
	}
	return &methods.EnterMaintenanceMode_TaskBody{Res: &types.EnterMaintenanceMode_TaskResponse{Returnval: ref}}
}

// ExitMaintenanceModeTask ends maintenance.
func (c *control) ExitMaintenanceModeTask(ctx *simulator.Context, req *types.ExitMaintenanceMode_Task) soap.HasFault {
	ref, f := c.operateHost(ctx, req.This, &hostOp{kind: "exit"}, req.Timeout)
	if f != nil {
		return &methods.ExitMaintenanceMode_TaskBody{Fault_: f}
	}
	return &methods.ExitMaintenanceMode_TaskBody{Res: &types.ExitMaintenanceMode_TaskResponse{Returnval: ref}}
}

// PowerDownHostToStandByTask puts a host to sleep that runs nothing; a fully
// automated cluster empties it first.
func (c *control) PowerDownHostToStandByTask(ctx *simulator.Context, req *types.PowerDownHostToStandBy_Task) soap.HasFault {
	ref, f := c.operateHost(ctx, req.This, &hostOp{kind: "sleep", evacuate: isTrue(req.EvacuatePoweredOffVms)}, req.TimeoutSec)
	if f != nil {
		return &methods.PowerDownHostToStandBy_TaskBody{Fault_: f}
	}
	return &methods.PowerDownHostToStandBy_TaskBody{Res: &types.PowerDownHostToStandBy_TaskResponse{Returnval: ref}}
}

// PowerUpHostFromStandByTask wakes a host.
func (c *control) PowerUpHostFromStandByTask(ctx *simulator.Context, req *types.PowerUpHostFromStandBy_Task) soap.HasFault {
	ref, f := c.operateHost(ctx, req.This, &hostOp{kind: "wake"}, req.TimeoutSec)
	if f != nil {
		return &methods.PowerUpHostFromStandBy_TaskBody{Fault_: f}
	}
	return &methods.PowerUpHostFromStandBy_TaskBody{Res: &types.PowerUpHostFromStandBy_TaskResponse{Returnval: ref}}
}

// PowerOnVMTask switches a VM on.
func (c *control) PowerOnVMTask(ctx *simulator.Context, req *types.PowerOnVM_Task) soap.HasFault {
	ref, f := c.power(ctx, req.This, true)
	if f != nil {
		return &methods.PowerOnVM_TaskBody{Fault_: f}
	}
	return &methods.PowerOnVM_TaskBody{Res: &types.PowerOnVM_TaskResponse{Returnval: ref}}
}

// PowerOffVMTask switches a VM off.
func (c *control) PowerOffVMTask(ctx *simulator.Context, req *types.PowerOffVM_Task) soap.HasFault {
	ref, f := c.power(ctx, req.This, false)
	if f != nil {
		return &methods.PowerOffVM_TaskBody{Fault_: f}
	}
	return &methods.PowerOffVM_TaskBody{Res: &types.PowerOffVM_TaskResponse{Returnval: ref}}
}

func (c *control) power(ctx *simulator.Context, ref types.ManagedObjectReference, on bool) (types.ManagedObjectReference, *soap.Fault) {
	m := c.v.machine(ref)
	if m == nil {
		return ref, asFault(&types.ManagedObjectNotFound{Obj: ref})
	}
	if m.move != nil {
		return ref, asFault(&types.TaskInProgress{Task: m.move.task.Self})
	}
	if m.on == on || m.template {
		return ref, asFault(&types.InvalidPowerState{ExistingState: m.obj.Runtime.PowerState})
	}
	name, id := "PowerOffVM_Task", "VirtualMachine.powerOff"
	if on {
		name, id = "PowerOnVM_Task", "VirtualMachine.powerOn"
	}
	t := c.v.newTask(ctx.Session.UserName, m.obj, name, id)
	c.v.startTask(t)
	if on && !c.v.lab.hosts[m.host].ready() {
		c.v.endTask(t, because(&types.InvalidState{}, "host %s is not ready", c.v.lab.hosts[m.host].name))
		return t.Self, nil
	}
	c.v.lab.setPower(m, on)
	c.v.endTask(t, nil)
	return t.Self, nil
}

var _ mo.Reference = (*control)(nil)
