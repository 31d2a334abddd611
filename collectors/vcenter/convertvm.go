package vcenter

import (
	"cmp"
	"slices"
	"strings"

	"github.com/vmware/govmomi/vim25/types"

	"heliostat/engine"
)

// addVMs converts the VMs and sorts them by instance UUID. A VM without one, and
// all but the first of several with the same, cannot be told apart: gaps.
func (b *builder) addVMs() {
	slices.SortFunc(b.vmRecs, func(x, y *vm) int {
		return cmp.Or(cmp.Compare(x.uuid, y.uuid), cmp.Compare(x.ref.Value, y.ref.Value))
	})
	homes := b.homes()
	b.own = b.overrides()
	kept := b.vmRecs[:0]
	for _, r := range b.vmRecs {
		switch {
		case r.uuid == "":
			b.g.add("vm", r.ref.Value, "%s has no instance UUID that can be read", r.name)
		case len(kept) > 0 && kept[len(kept)-1].uuid == r.uuid:
			b.g.add("vm", r.uuid, "%s (%s) has the instance UUID of %s", r.name, r.ref.Value, kept[len(kept)-1].name)
		default:
			kept = append(kept, r)
		}
	}
	b.vmRecs = kept
	b.vms = make(map[string]int32, len(kept))
	b.inv.VMs = make([]engine.VM, len(kept))
	for i, r := range kept {
		v := &b.inv.VMs[i]
		b.vms[r.ref.Value] = int32(i)
		b.vm(v, r, homes)
		b.refused(&r.common, "vm", r.uuid)
		if v.Host >= 0 && r.dev.obstacles&engine.ObUSB != 0 {
			b.inv.Hosts[v.Host].USB = true
		}
		for _, t := range r.tasks {
			b.tasks = append(b.tasks, taskOn{task: t, vm: int32(i), host: engine.None})
		}
	}
}

// homes are the folders of all VMs' configuration files. A disk in the folder of
// another VM is attached for a while, as backup proxies do.
func (b *builder) homes() map[string]*vm {
	homes := make(map[string]*vm, len(b.vmRecs))
	for _, r := range b.vmRecs {
		homes[dir(r.home)] = r
	}
	return homes
}

func (b *builder) vm(v *engine.VM, r *vm, homes map[string]*vm) {
	*v = engine.VM{
		ID: engine.VMID(r.uuid), Name: r.name, Moid: r.ref.Value, Host: at(b.hosts, r.host), Folder: r.parent.Value, Pool: r.pool,
		Path: b.folder(r.parent) + "/" + r.name, Power: vmPower(r.power), Template: r.template, VCPUs: r.vcpus, MemoryMiB: r.memory,
		ReserveMHz: int32(r.reserveMHz), ReserveMiB: int32(r.reserveMiB), UsedMHz: engine.Unknown, UsedMiB: engine.Unknown,
		ActiveMiB: engine.Unknown, DirtyMbps: engine.Unknown, HWVersion: hwVersion(r.version), EVC: r.evc, ManagedBy: r.managed.ExtensionKey,
	}
	v.Home = b.home(r, v.Host)
	v.Disks = make([]engine.Disk, len(r.dev.disks))
	for i := range r.dev.disks {
		d := &r.dev.disks[i]
		v.Disks[i] = engine.Disk{Key: d.key, Datastore: at(b.stores, d.datastore), MiB: mib(d.bytes), Used: r.used(d), Thin: d.thin, Profile: b.s.profiles.of(r.ref.Value, d.key)}
	}
	v.NICs = make([]engine.NIC, len(r.dev.nics))
	for i := range r.dev.nics {
		n := &r.dev.nics[i]
		v.NICs[i] = engine.NIC{Key: n.key, Network: b.nicNetwork(n, v.Host), MAC: n.mac}
	}
	v.Obstacles = b.obstacles(r, v, homes)
	if v.Obstacles&engine.ObReplicated != 0 {
		v.ProtectedBy = "vSphere Replication"
	}
	v.DRSOwn = b.own[r.ref.Value]
	b.people(v, r)
}

// people reads what people say about the VM by tags and custom attributes.
func (b *builder) people(v *engine.VM, r *vm) {
	list, ok := b.s.fields.attributes(r.custom)
	b.strange = b.strange || !ok
	// What we wrote ourselves is no news, and would change with every move.
	v.Attributes = slices.DeleteFunc(list, func(a string) bool { return strings.HasPrefix(a, reasonField+"=") })
	v.Mode = engine.Enforce
	if !b.s.cfg.NoTags {
		tags, seen := b.s.tags.byVM[r.ref.Value]
		if v.Tags = tags; seen {
			v.Mode, v.Across = wishes(tags)
		} else {
			v.Mode = engine.Off
			b.g.add("vm", r.uuid, "its tags have not been read")
		}
	}
	v.Across = v.Across || isTrue(attribute(list, acrossField))
}

func vmPower(p types.VirtualMachinePowerState) engine.VMPower {
	switch p {
	case types.VirtualMachinePowerStatePoweredOn:
		return engine.VMOn
	case types.VirtualMachinePowerStateSuspended:
		return engine.VMSuspended
	case types.VirtualMachinePowerStatePoweredOff:
	}
	return engine.VMOff
}

// mib rounds up: a part of a MiB takes one.
func mib(bytes int64) int64 { return (bytes + 1<<20 - 1) >> 20 }

// home is the datastore of the configuration file. Its path names it, and names
// are unique within a datacentre only: first among those that the host mounts.
func (b *builder) home(r *vm, host int32) int32 {
	name, _, ok := strings.Cut(strings.TrimPrefix(r.home, "["), "]")
	if !ok {
		return engine.None
	}
	if host >= 0 {
		for _, d := range b.inv.Hosts[host].Datastores {
			if b.inv.Datastores[d].Name == name {
				return d
			}
		}
	}
	for i := range b.inv.Datastores {
		if b.inv.Datastores[i].Name == name {
			return int32(i)
		}
	}
	return engine.None
}

// used is what a disk's files take, in MiB: all of the disk where that is not seen.
func (r *vm) used(d *disk) int64 {
	var bytes int64
	for i := range r.layout {
		if r.layout[i].Key != d.key {
			continue
		}
		for _, unit := range r.layout[i].Chain {
			for _, key := range unit.FileKey {
				for f := range r.files {
					if r.files[f].Key == key {
						bytes += r.files[f].Size
					}
				}
			}
		}
	}
	if bytes <= 0 {
		return mib(d.bytes)
	}
	return mib(bytes)
}

// nicNetwork finds the network behind a card: by reference, by key, or by name
// among the networks of the host.
func (b *builder) nicNetwork(n *nic, host int32) int32 {
	if n.group != "" {
		return at(b.byKey, n.group)
	}
	if i := at(b.network, n.network); i >= 0 {
		return i
	}
	if host >= 0 && n.name != "" {
		for _, i := range b.inv.Hosts[host].Networks {
			if w := &b.inv.Networks[i]; w.Name == n.name && !w.Distributed {
				return i
			}
		}
	}
	return engine.None
}

// obstacles are the properties that stop moves, each from the field that tells.
func (b *builder) obstacles(r *vm, v *engine.VM, homes map[string]*vm) engine.Obstacles {
	o := r.dev.obstacles
	for _, x := range r.extra {
		o |= x
	}
	switch {
	case r.managed.Type == "cluster-agent" || r.managed.ExtensionKey == "com.vmware.vim.eam":
		o |= engine.ObAgent
	case r.managed.ExtensionKey != "" && o&engine.ObAgent == 0:
		o |= engine.ObManaged
	}
	for _, c := range [...]struct {
		bit engine.Obstacles
		is  bool
	}{
		{engine.ObDiskSnapshot, r.snapshot},
		{engine.ObFaultTolerance, r.ft != "" && r.ft != types.VirtualMachineFaultToleranceStateNotConfigured},
		{engine.ObVApp, r.vapp},
		{engine.ObDisabled, r.disabled},
		{engine.ObTools, r.tools},
		{engine.ObLatency, r.latency},
		{engine.ObEncrypted, r.encrypted || r.crypto != ""},
		{engine.ObPinnedCPU, r.affinity},
		{engine.ObNoHeartbeat, v.Power == engine.VMOn && (r.heartbeat == types.ManagedEntityStatusRed || r.heartbeat == types.ManagedEntityStatusGray)},
		{engine.ObOrphaned, r.connection != types.VirtualMachineConnectionStateConnected},
		{engine.ObUnsharedSwap, b.localSwap(r, v.Host)},
		{engine.ObBackup, borrowed(r, homes)},
	} {
		if c.is {
			o |= c.bit
		}
	}
	return o
}

// localSwap reports whether the VM's swap file lies with its host.
func (b *builder) localSwap(r *vm, host int32) bool {
	const local = string(types.VirtualMachineConfigInfoSwapPlacementTypeHostLocal)
	if r.swap != string(types.VirtualMachineConfigInfoSwapPlacementTypeInherit) || host < 0 {
		return r.swap == local
	}
	c := b.inv.Hosts[host].Cluster
	return int(c) < len(b.computes) && b.computes[c].config != nil && b.computes[c].config.VmSwapPlacement == local
}

// borrowed reports whether a disk lies in the home folder of another VM, as the
// disks do that backup proxies attach.
func borrowed(r *vm, homes map[string]*vm) bool {
	own := dir(r.home)
	for i := range r.dev.disks {
		d := dir(r.dev.disks[i].file)
		if d == "" || d == own {
			continue
		}
		if other := homes[d]; other != nil && other != r && r.dev.obstacles&engine.ObMultiWriter == 0 {
			return true
		}
	}
	return false
}

// overrides are the VMs that have an entry of their own in their cluster's
// configuration that keeps a fully automated scheduler from moving them.
func (b *builder) overrides() map[string]bool {
	own := map[string]bool{}
	for i, r := range b.computes {
		if b.inv.Clusters[i].DRS != engine.DRSFull {
			continue
		}
		if o := r.config.DrsConfig.EnableVmBehaviorOverrides; o != nil && !*o {
			continue
		}
		for k := range r.config.DrsVmConfig {
			c := &r.config.DrsVmConfig[k]
			if (c.Enabled != nil && !*c.Enabled) || (c.Behavior != "" && c.Behavior != types.DrsBehaviorFullyAutomated) {
				own[c.Key.Value] = true
			}
		}
	}
	return own
}
