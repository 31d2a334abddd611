package lab

import (
	"slices"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// evcMode describes a CPU level as vCenter lists it.
func evcMode(level int) types.EVCMode {
	key := EVCModes[level-1]
	return types.EVCMode{
		ElementDescription: types.ElementDescription{Key: key, Description: types.Description{Label: key, Summary: key}},
		Vendor:             "intel", VendorTier: int32(level),
	}
}

// addEVC makes the cluster's EVC manager.
func (c *cluster) addEVC() {
	c.manager = &mo.ClusterEVCManager{ManagedCluster: c.obj.Self}
	c.manager.Self = types.ManagedObjectReference{Type: "ClusterEVCManager", Value: "evc-" + c.obj.Self.Value}
	for level := 1; level <= c.cfg.level(); level++ {
		c.manager.EvcState.SupportedEVCMode = append(c.manager.EvcState.SupportedEVCMode, evcMode(level))
	}
	c.vc.registry().Put(c.manager)
	c.setEVC(c.cfg.EVC)
}

// setEVC holds the cluster's VMs to a level, 0 for none. What runs keeps what it has seen.
func (c *cluster) setEVC(level int) {
	c.evc = level
	key := ""
	if level > 0 {
		key = EVCModes[level-1]
	}
	c.vc.update(c.manager, types.PropertyChange{Name: "evcState.currentEVCModeKey", Val: key})
	if s, ok := c.obj.Summary.(*types.ClusterComputeResourceSummary); ok {
		next := *s
		next.CurrentEVCModeKey = key
		c.vc.update(c.obj, types.PropertyChange{Name: "summary", Val: &next})
	}
	for _, h := range c.vc.lab.hosts {
		if c.vc.lab.clusters[h.cluster] == c {
			c.vc.update(h.obj, types.PropertyChange{Name: "summary.currentEVCModeKey", Val: key})
		}
	}
}

// EvcManager names a cluster's EVC manager.
func (c *control) EvcManager(_ *simulator.Context, req *types.EvcManager) soap.HasFault {
	for _, k := range c.v.lab.clusters {
		if k.vc == c.v && k.obj.Self == req.This {
			return &methods.EvcManagerBody{Res: &types.EvcManagerResponse{Returnval: &k.manager.Self}}
		}
	}
	return &methods.EvcManagerBody{Fault_: asFault(&types.ManagedObjectNotFound{Obj: req.This})}
}

// ConfigureEvcModeTask sets a cluster's level, unless a host does not have it or
// a VM runs with more.
func (c *control) ConfigureEvcModeTask(ctx *simulator.Context, req *types.ConfigureEvcMode_Task) soap.HasFault {
	body := &methods.ConfigureEvcMode_TaskBody{}
	k, level := c.managed(req.This), slices.Index(EVCModes, req.EvcModeKey)+1
	switch {
	case k == nil:
		body.Fault_ = asFault(&types.ManagedObjectNotFound{Obj: req.This})
		return body
	case level == 0:
		body.Fault_ = asFault(because(&types.InvalidArgument{InvalidProperty: "evcModeKey"}, "no EVC mode %q", req.EvcModeKey))
		return body
	}
	ref := c.configureEVC(ctx.Session.UserName, k, level, "ConfigureEvcMode_Task", "cluster.EVCManager.configureEvc")
	body.Res = &types.ConfigureEvcMode_TaskResponse{Returnval: ref}
	return body
}

// DisableEvcModeTask ends a cluster's EVC.
func (c *control) DisableEvcModeTask(ctx *simulator.Context, req *types.DisableEvcMode_Task) soap.HasFault {
	body := &methods.DisableEvcMode_TaskBody{}
	k := c.managed(req.This)
	if k == nil {
		body.Fault_ = asFault(&types.ManagedObjectNotFound{Obj: req.This})
		return body
	}
	ref := c.configureEVC(ctx.Session.UserName, k, 0, "DisableEvcMode_Task", "cluster.EVCManager.disableEvc")
	body.Res = &types.DisableEvcMode_TaskResponse{Returnval: ref}
	return body
}

func (c *control) managed(manager types.ManagedObjectReference) *cluster {
	for _, k := range c.v.lab.clusters {
		if k.vc == c.v && k.manager.Self == manager {
			return k
		}
	}
	return nil
}

func (c *control) configureEVC(user string, k *cluster, level int, name, description string) types.ManagedObjectReference {
	t := c.v.newTask(user, k.obj, name, description)
	c.v.startTask(t)
	f := k.admits(level)
	if f == nil {
		k.setEVC(level)
	}
	c.v.endTask(t, f)
	return t.Self
}

// admits says why a cluster cannot be held to a level, nil when it can.
func (c *cluster) admits(level int) types.BaseMethodFault {
	if level == 0 {
		return nil
	}
	l := c.vc.lab
	if c.cfg.level() < level {
		f := &types.EVCModeUnsupportedByHosts{EvcMode: EVCModes[level-1], Host: slices.Clone(c.obj.Host)}
		return because(f, "the hosts of %s have %s", c.cfg.Name, EVCModes[c.cfg.level()-1])
	}
	fault := &types.EVCConfigFault{}
	for _, m := range l.machines {
		if m.on && m.level > level && l.clusters[l.hosts[m.host].cluster] == c {
			fault.Faults = append(fault.Faults, localized(because(&types.EVCAdmissionFailedVmActive{}, "%s has seen %s", m.name, EVCModes[m.level-1])))
		}
	}
	if len(fault.Faults) == 0 {
		return nil
	}
	return because(fault, "%d VMs of %s run with more than %s", len(fault.Faults), c.cfg.Name, EVCModes[level-1])
}
