package actuator

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"heliostat/engine"
	"heliostat/vsphere"
)

// relocateSpec makes the specification of a move: host, pool and folder explicit,
// every disk with its datastore and profile, every card with its network.
func (a *Actuator) relocateSpec(ctx context.Context, src *vsphere.Conn, act *engine.Action) (*types.VirtualMachineRelocateSpec, error) {
	var err error
	var there *end
	dst := src
	if act.Across {
		if there, dst, err = a.looking(ctx, act.To.VCenter, act.Kind); err != nil {
			return nil, err
		}
	}
	host := object("HostSystem", act.To.Host)
	spec := &types.VirtualMachineRelocateSpec{Host: &host}
	if act.To.Pool != "" {
		spec.Pool = &types.ManagedObjectReference{Type: "ResourcePool", Value: act.To.Pool}
	}
	if act.To.Folder != "" {
		spec.Folder = &types.ManagedObjectReference{Type: "Folder", Value: act.To.Folder}
	}
	if act.Storage {
		addStorage(spec, act)
	}
	if len(act.NICs) > 0 {
		if err := addNICs(ctx, spec, src, dst, act); err != nil {
			return nil, err
		}
	}
	if act.To.DRS {
		if err := place(ctx, spec, src, dst, act); err != nil {
			return nil, err
		}
	}
	if act.Across {
		if spec.Service, err = locator(there, dst, src); err != nil {
			return nil, err
		}
	}
	return spec, nil
}

// addStorage names the datastore and the profile of the home and of every disk.
// A format is kept unless a specification asks for another; that thin stays thin
// is said nonetheless, because the default differs between kinds of datastore.
func addStorage(spec *types.VirtualMachineRelocateSpec, act *engine.Action) {
	home := object("Datastore", act.HomeTo)
	spec.Datastore = &home
	for i := range act.Disks {
		d := &act.Disks[i]
		to := object("Datastore", d.To)
		l := types.VirtualMachineRelocateSpecDiskLocator{DiskId: d.Key, Datastore: to, Profile: profile(d.Profile)}
		if d.Thin {
			l.DiskBackingInfo = &types.VirtualDiskFlatVer2BackingInfo{
				VirtualDeviceFileBackingInfo: types.VirtualDeviceFileBackingInfo{Datastore: &to},
				DiskMode:                     string(types.VirtualDiskModePersistent), ThinProvisioned: new(true),
			}
		}
		spec.Disk = append(spec.Disk, l)
		if to == home && spec.Profile == nil {
			// The home follows the disk that stays with it.
			spec.Profile = profile(d.Profile)
		}
	}
}

func profile(id string) []types.BaseVirtualMachineProfileSpec {
	if id == "" {
		return nil
	}
	return []types.BaseVirtualMachineProfileSpec{&types.VirtualMachineDefinedProfileSpec{ProfileId: id}}
}

var errNoCard = errors.New("the VM has no such network card")

// addNICs connects the VM's cards to networks at the destination. A change of a
// device takes the whole device, so the VM's are read first.
func addNICs(ctx context.Context, spec *types.VirtualMachineRelocateSpec, src, dst *vsphere.Conn, act *engine.Action) error {
	props, err := properties(ctx, src, types.ManagedObjectReference{Type: "VirtualMachine", Value: act.Moid}, "config.hardware.device")
	if err != nil {
		return err
	}
	list, _ := props["config.hardware.device"].(types.ArrayOfVirtualDevice)
	cards := map[int32]types.BaseVirtualDevice{}
	for _, d := range list.VirtualDevice {
		if _, ok := d.(types.BaseVirtualEthernetCard); ok {
			cards[d.GetVirtualDevice().Key] = d
		}
	}
	for _, n := range act.NICs {
		card := cards[n.Key]
		if card == nil {
			return fmt.Errorf("connect card %d to %s: %w", n.Key, n.To, errNoCard)
		}
		if card.GetVirtualDevice().Backing, err = backing(ctx, dst, n.To); err != nil {
			return fmt.Errorf("connect card %d to %s: %w", n.Key, n.To, err)
		}
		spec.DeviceChange = append(spec.DeviceChange, &types.VirtualDeviceConfigSpec{Operation: types.VirtualDeviceConfigSpecOperationEdit, Device: card})
	}
	return nil
}

var errNoNetwork = errors.New("there is no such network")

// backing makes a card's backing for a network, which is one of three kinds. An
// identifier does not tell which, so all are asked for.
func backing(ctx context.Context, c *vsphere.Conn, id engine.NetworkID) (types.BaseVirtualDeviceBackingInfo, error) {
	_, moid := engine.SplitRef(id)
	kinds := []string{"DistributedVirtualPortgroup", "OpaqueNetwork", "Network"}
	spec := types.PropertyFilterSpec{PropSet: []types.PropertySpec{
		{Type: "DistributedVirtualPortgroup", PathSet: []string{"key", "config.distributedVirtualSwitch"}},
		{Type: "OpaqueNetwork", PathSet: []string{"summary"}},
		{Type: "Network", PathSet: []string{"name"}},
	}}
	for _, k := range kinds {
		spec.ObjectSet = append(spec.ObjectSet, types.ObjectSpec{Obj: types.ManagedObjectReference{Type: k, Value: moid}})
	}
	var found *types.ObjectContent
	err := c.Retrieve(ctx, spec, func(objects []types.ObjectContent) error {
		for i := range objects {
			if len(objects[i].PropSet) > 0 && found == nil {
				found = &objects[i]
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if found == nil {
		return nil, errNoNetwork
	}
	props := map[string]any{}
	for _, p := range found.PropSet {
		props[p.Name] = p.Val
	}
	if dvs, ok := props["config.distributedVirtualSwitch"].(types.ManagedObjectReference); ok {
		key, _ := props["key"].(string)
		uuid, err := properties(ctx, c, dvs, "uuid")
		if err != nil {
			return nil, err
		}
		b := &types.VirtualEthernetCardDistributedVirtualPortBackingInfo{Port: types.DistributedVirtualSwitchPortConnection{PortgroupKey: key}}
		b.Port.SwitchUuid, _ = uuid["uuid"].(string)
		return b, nil
	}
	if s, ok := props["summary"].(types.OpaqueNetworkSummary); ok {
		return &types.VirtualEthernetCardOpaqueNetworkBackingInfo{OpaqueNetworkId: s.OpaqueNetworkId, OpaqueNetworkType: s.OpaqueNetworkType}, nil
	}
	name, _ := props["name"].(string)
	return &types.VirtualEthernetCardNetworkBackingInfo{VirtualDeviceDeviceBackingInfo: types.VirtualDeviceDeviceBackingInfo{DeviceName: name}, Network: &found.Obj}, nil
}

// locator tells the source vCenter how to reach the destination. The receiving
// account's password goes through the source's hands, so it should be one that
// can do nothing else. The certificate is the one that our own pin accepted; a
// SHA-1 thumbprint is how vCenters before 9.0 name it.
func locator(there *end, dst, src *vsphere.Conn) (*types.ServiceLocator, error) {
	account := there.cfg.Receiver
	if account == nil {
		account = there.cfg.Mover
	}
	if account == nil {
		return nil, fmt.Errorf("vCenter %s has no account to receive with", there.cfg.Name)
	}
	read := there.opts.Password
	if read == nil {
		read = vsphere.ReadPassword
	}
	password, err := read(*account)
	if err != nil {
		return nil, err
	}
	l := &types.ServiceLocator{
		InstanceUuid: string(dst.VCenter), Url: origin(there.session.URL()),
		Credential: &types.ServiceLocatorNamePassword{Username: account.Username, Password: password.Reveal()},
	}
	if cert := there.session.Certificate(); cert != nil {
		l.SslThumbprint = soap.ThumbprintSHA1(cert)
		if major, _, _ := strings.Cut(src.Version, "."); len(major) > 1 || major >= "9" {
			l.SslCertificate = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw}))
		}
	}
	return l, nil
}

var errNoPlace = errors.New("the cluster's scheduler recommends no place")

// place asks the destination cluster's own scheduler, and follows its advice on
// host and, where disks go along, on datastores.
func place(ctx context.Context, spec *types.VirtualMachineRelocateSpec, src, dst *vsphere.Conn, act *engine.Action) error {
	ask := types.PlacementSpec{PlacementType: string(types.PlacementSpecPlacementTypeRelocate)}
	wish := types.VirtualMachineRelocateSpec{Pool: spec.Pool, Folder: spec.Folder, Datastore: spec.Datastore, Disk: spec.Disk, Profile: spec.Profile}
	ask.RelocateSpec = &wish
	vm := types.ManagedObjectReference{Type: "VirtualMachine", Value: act.Moid}
	if act.Across {
		cfg, err := configSpec(ctx, src, vm)
		if err != nil {
			return err
		}
		ask.ConfigSpec = cfg
	} else {
		ask.Vm = &vm
	}
	res, err := methods.PlaceVm(ctx, dst, &types.PlaceVm{This: object("ClusterComputeResource", act.To.Cluster), PlacementSpec: ask})
	if err != nil {
		return fmt.Errorf("ask cluster %s where to place %s: %w", act.To.Cluster, act.Name, err)
	}
	for _, r := range res.Returnval.Recommendations {
		for _, x := range r.Action {
			p, ok := x.(*types.PlacementAction)
			if !ok || p.TargetHost == nil {
				continue
			}
			spec.Host = p.TargetHost
			if rs := p.RelocateSpec; rs != nil && act.Storage {
				follow(spec, rs)
			}
			return nil
		}
	}
	return fmt.Errorf("ask cluster %s where to place %s: %w", act.To.Cluster, act.Name, errNoPlace)
}

// follow takes the recommended datastores, disk by disk where they are given.
func follow(spec, advice *types.VirtualMachineRelocateSpec) {
	if advice.Datastore != nil {
		spec.Datastore = advice.Datastore
	}
	for i := range spec.Disk {
		for k := range advice.Disk {
			if advice.Disk[k].DiskId == spec.Disk[i].DiskId {
				spec.Disk[i].Datastore = advice.Disk[k].Datastore
			}
		}
	}
}

// configSpec describes a VM to a vCenter that does not know it, as PlaceVm
// wants it for moves across vCenters.
func configSpec(ctx context.Context, c *vsphere.Conn, vm types.ManagedObjectReference) (*types.VirtualMachineConfigSpec, error) {
	props, err := properties(ctx, c, vm, "name", "config.version", "config.cpuAllocation", "config.memoryAllocation", "config.hardware", "config.files", "config.swapPlacement")
	if err != nil {
		return nil, err
	}
	hw, _ := props["config.hardware"].(types.VirtualHardware)
	out := &types.VirtualMachineConfigSpec{NumCPUs: hw.NumCPU, MemoryMB: int64(hw.MemoryMB)}
	out.Name, _ = props["name"].(string)
	out.Version, _ = props["config.version"].(string)
	out.SwapPlacement, _ = props["config.swapPlacement"].(string)
	if x, ok := props["config.cpuAllocation"].(types.ResourceAllocationInfo); ok {
		out.CpuAllocation = &x
	}
	if x, ok := props["config.memoryAllocation"].(types.ResourceAllocationInfo); ok {
		out.MemoryAllocation = &x
	}
	if x, ok := props["config.files"].(types.VirtualMachineFileInfo); ok {
		out.Files = &x
	}
	for _, d := range hw.Device {
		if disk, ok := d.(*types.VirtualDisk); ok {
			out.DeviceChange = append(out.DeviceChange, &types.VirtualDeviceConfigSpec{Operation: types.VirtualDeviceConfigSpecOperationAdd, Device: disk})
		}
	}
	return out, nil
}
