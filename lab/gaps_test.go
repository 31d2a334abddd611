package lab

import (
	"context"
	"slices"
	"testing"

	"github.com/vmware/govmomi/event"
	"github.com/vmware/govmomi/find"
	"github.com/vmware/govmomi/object"
	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// A plain is the simulator without the lab.
type plain struct {
	*testing.T
	c     *vim25.Client
	vm    *object.VirtualMachine
	hosts []*object.HostSystem // of one cluster; the VM is on the first
}

// TestGaps fails when the simulator has learned what the lab does in its place.
func TestGaps(t *testing.T) {
	for _, gap := range []struct {
		name string // what it does not do
		open func(p *plain) bool
	}{
		{"list a VM at the host to which it was relocated (arrive.go)", func(p *plain) bool {
			p.relocate(p.hosts[1])
			return !slices.Contains(plainProps[mo.HostSystem](p, p.hosts[1], "vm").Vm, p.vm.Reference())
		}},
		{"say where a VM has gone (arrive.go)", func(p *plain) bool {
			p.relocate(p.hosts[1])
			events, err := event.NewManager(p.c).QueryEvents(p.Context(), types.EventFilterSpec{EventTypeId: []string{"VmMigratedEvent"}})
			p.must(err)
			last := events[len(events)-1].(*types.VmMigratedEvent)
			return last.Host.Host == last.SourceHost.Host
		}},
		{"refuse to relocate to a host in maintenance (check.go)", func(p *plain) bool {
			task, err := p.hosts[1].EnterMaintenanceMode(p.Context(), 0, false, nil)
			p.must(err)
			p.must(task.Wait(p.Context()))
			to := p.hosts[1].Reference()
			task, err = p.vm.Relocate(p.Context(), types.VirtualMachineRelocateSpec{Host: &to}, types.VirtualMachineMovePriorityDefaultPriority)
			return wait(p.T, task, err) == nil
		}},
		{"find what is in the way of a relocation (provisioning.go)", func(p *plain) bool {
			task, err := p.hosts[1].EnterMaintenanceMode(p.Context(), 0, false, nil)
			p.must(err)
			p.must(task.Wait(p.Context()))
			to := p.hosts[1].Reference()
			res, err := object.NewVmProvisioningChecker(p.c).CheckRelocate(p.Context(), p.vm.Reference(), types.VirtualMachineRelocateSpec{Host: &to})
			p.must(err)
			return len(res[0].Error) == 0
		}},
		{"wait until a host is empty for maintenance, or empty it (hostop.go, drs.go)", func(p *plain) bool {
			task, err := p.hosts[0].EnterMaintenanceMode(p.Context(), 0, true, nil)
			p.must(err)
			p.must(task.Wait(p.Context()))
			return len(plainProps[mo.HostSystem](p, p.hosts[0], "vm").Vm) > 0
		}},
		{"know QueryVMotionCompatibilityEx_Task (provisioning.go)", func(p *plain) bool {
			_, err := methods.QueryVMotionCompatibilityEx_Task(p.Context(), p.c, &types.QueryVMotionCompatibilityEx_Task{
				This: *p.c.ServiceContent.VmProvisioningChecker, Vm: []types.ManagedObjectReference{p.vm.Reference()}, Host: []types.ManagedObjectReference{p.hosts[1].Reference()},
			})
			return typeName(vimFault(err)) == "MethodNotFound"
		}},
		{"know EVC (evc.go)", func(p *plain) bool {
			_, err := methods.EvcManager(p.Context(), p.c, &types.EvcManager{This: p.cluster()})
			return typeName(vimFault(err)) == "MethodNotFound"
		}},
		{"put hosts into standby (hostop.go)", func(p *plain) bool {
			_, err := methods.PowerDownHostToStandBy_Task(p.Context(), p.c, &types.PowerDownHostToStandBy_Task{This: p.hosts[1].Reference()})
			return typeName(vimFault(err)) == "MethodNotFound"
		}},
	} {
		t.Run(gap.name, func(t *testing.T) {
			model := simulator.VPX()
			model.Host, model.ClusterHost, model.Machine = 0, 2, 1
			simulator.Test(func(ctx context.Context, c *vim25.Client) {
				finder := find.NewFinder(c)
				p := &plain{T: t, c: c}
				vm, err := finder.VirtualMachine(ctx, "DC0_C0_RP0_VM0")
				p.must(err)
				p.vm = vm
				at := plainProps[mo.VirtualMachine](p, vm, "runtime.host").Runtime.Host
				hosts, err := finder.HostSystemList(ctx, "/DC0/host/DC0_C0/*")
				p.must(err)
				first := slices.IndexFunc(hosts, func(h *object.HostSystem) bool { return h.Reference() == *at })
				hosts[0], hosts[first] = hosts[first], hosts[0]
				p.hosts = hosts
				if !gap.open(p) {
					t.Error("the simulator does it now: see whether the lab still has to")
				}
			}, model)
		})
	}
}

func (p *plain) must(err error) {
	p.Helper()
	if err != nil {
		p.Fatal(err)
	}
}

func (p *plain) relocate(to *object.HostSystem) {
	p.Helper()
	host := to.Reference()
	task, err := p.vm.Relocate(p.Context(), types.VirtualMachineRelocateSpec{Host: &host}, types.VirtualMachineMovePriorityDefaultPriority)
	p.must(err)
	p.must(task.Wait(p.Context()))
}

func (p *plain) cluster() types.ManagedObjectReference {
	p.Helper()
	return *plainProps[mo.HostSystem](p, p.hosts[0], "parent").Parent
}

func plainProps[T any](p *plain, o mo.Reference, paths ...string) (dst T) {
	p.Helper()
	p.must(property.DefaultCollector(p.c).RetrieveOne(p.Context(), o.Reference(), paths, &dst))
	return dst
}
