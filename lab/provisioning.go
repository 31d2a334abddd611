package lab

import (
	"slices"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// CheckRelocateTask answers what would stand in the way of a relocation now, by
// the checks that RelocateVM_Task makes. What is wrong with the call itself is
// refused as there; a VM that is busy or locked is what the result is about.
func (c *control) CheckRelocateTask(ctx *simulator.Context, req *types.CheckRelocate_Task) soap.HasFault {
	body := &methods.CheckRelocate_TaskBody{}
	m := c.v.machine(req.Vm)
	if m == nil {
		body.Fault_ = asFault(&types.ManagedObjectNotFound{Obj: req.Vm})
		return body
	}
	moves, f := c.candidates(m, &req.Spec)
	if f != nil {
		body.Fault_ = simulator.Fault(message(f), f)
		return body
	}
	var results []types.CheckResult
	for _, mv := range moves {
		r := mv.result(req.TestType, true)
		if f := m.busy(); f != nil && wanted(req.TestType, types.CheckTestTypeSourceTests) {
			r.Error = slices.Insert(r.Error, 0, localized(f))
		}
		results = append(results, r)
	}
	body.Res = &types.CheckRelocate_TaskResponse{Returnval: c.v.reply(ctx.Session.UserName, m, "CheckRelocate_Task", "vm.check.ProvisioningChecker.checkRelocate", results)}
	return body
}

// candidates are the moves that a specification stands for: one, or one to each
// host that takes VMs where the destination's cluster chooses.
func (c *control) candidates(m *machine, spec *types.VirtualMachineRelocateSpec) ([]*move, types.BaseMethodFault) {
	l := c.v.lab
	local := spec.Service == nil || spec.Service.InstanceUuid == c.v.uuid
	if spec.Host != nil || spec.Pool == nil || !local {
		mv, f := c.prepare(m, spec)
		return []*move{mv}, f
	}
	k := l.clusterOf(c.v, *spec.Pool)
	if k == nil || k == l.clusters[l.hosts[m.host].cluster] || k.drs() != "full" {
		mv, f := c.prepare(m, spec)
		return []*move{mv}, f
	}
	var out []*move
	for _, h := range l.hosts {
		if l.clusters[h.cluster] != k || !h.answers() || h.maint {
			continue
		}
		to := *spec
		to.Host = &h.obj.Self
		mv, f := c.prepare(m, &to)
		if f != nil {
			return nil, f
		}
		out = append(out, mv)
	}
	if len(out) == 0 {
		return nil, because(&types.NoActiveHostInCluster{ComputeResource: k.obj.Self}, "no host of %s takes VMs", k.cfg.Name)
	}
	return out, nil
}

// QueryVMotionCompatibilityExTask answers for each VM and each host whether they
// are compatible, as if the VM ran and the host was connected and not in maintenance.
func (c *control) QueryVMotionCompatibilityExTask(ctx *simulator.Context, req *types.QueryVMotionCompatibilityEx_Task) soap.HasFault {
	body := &methods.QueryVMotionCompatibilityEx_TaskBody{}
	var results []types.CheckResult
	var first *machine
	for _, vm := range req.Vm {
		m := c.v.machine(vm)
		if m == nil {
			body.Fault_ = asFault(&types.ManagedObjectNotFound{Obj: vm})
			return body
		}
		if first == nil {
			first = m
		}
		for i := range req.Host {
			h := c.v.host(&req.Host[i])
			if h == nil {
				body.Fault_ = asFault(&types.ManagedObjectNotFound{Obj: req.Host[i]})
				return body
			}
			mv := c.v.lab.within(m, h)
			mv.live = true
			results = append(results, mv.result(nil, false))
		}
	}
	if len(results) == 0 {
		body.Fault_ = asFault(because(&types.InvalidArgument{InvalidProperty: "host"}, "needs a VM and a host"))
		return body
	}
	body.Res = &types.QueryVMotionCompatibilityEx_TaskResponse{
		Returnval: c.v.reply(ctx.Session.UserName, first, "QueryVMotionCompatibilityEx_Task", "vm.check.ProvisioningChecker.queryVMotionCompatibilityEx", results),
	}
	return body
}

// result is what the checks of the kinds asked for (none: all) say of a move.
func (mv *move) result(kinds []string, state bool) types.CheckResult {
	r := types.CheckResult{Vm: &mv.m.obj.Self, Host: &mv.to.obj.Self}
	for _, c := range preflight {
		if !wanted(kinds, c.kind) || (c.state && !state) {
			continue
		}
		for _, f := range c.run(mv.v.lab, mv) {
			r.Error = append(r.Error, localized(f))
		}
	}
	return r
}

func wanted(kinds []string, kind types.CheckTestType) bool {
	return len(kinds) == 0 || slices.Contains(kinds, string(kind))
}

func localized(f types.BaseMethodFault) types.LocalizedMethodFault {
	return types.LocalizedMethodFault{Fault: f, LocalizedMessage: message(f)}
}

// reply makes a task that ends with the results after as long as a refusal takes.
func (v *vcenter) reply(user string, m *machine, name, description string, results []types.CheckResult) types.ManagedObjectReference {
	t := v.newTask(user, m.obj, name, description)
	v.startTask(t)
	v.lab.after(refusal, func() {
		v.update(t, types.PropertyChange{Name: "info.result", Val: types.ArrayOfCheckResult{CheckResult: results}})
		v.endTask(t, nil)
	})
	return t.Self
}

// An appointment is something that the player does at its time.
type appointment struct {
	at time.Time
	do func()
}

// after has f done d from now, under the lab's lock.
func (l *Lab) after(d time.Duration, f func()) {
	l.agenda = append(l.agenda, appointment{l.now.Add(d), f})
	l.poke()
}

// keep does what is due of the agenda, in order of its making.
func (l *Lab) keep() (did bool) {
	for i := 0; i < len(l.agenda); {
		a := l.agenda[i]
		if a.at.After(l.now) {
			i++
			continue
		}
		l.agenda = slices.Delete(l.agenda, i, i+1)
		a.do()
		did = true
	}
	return did
}
