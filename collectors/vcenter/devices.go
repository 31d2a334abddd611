package vcenter

import (
	"strings"

	"github.com/vmware/govmomi/vim25/types"

	"heliostat/engine"
)

// devices is what a VM's virtual hardware says.
type devices struct {
	disks     []disk
	nics      []nic
	obstacles engine.Obstacles
}

type disk struct {
	key       int32
	datastore string // moid
	file      string
	bytes     int64
	thin      bool
}

type nic struct {
	key     int32
	network string // moid of a standard network, where the backing has it
	name    string // of a standard network
	group   string // key of a distributed port group, or ID of an opaque network
	mac     string
}

func readDevices(list []types.BaseVirtualDevice) devices {
	var d devices
	for _, dev := range list {
		switch dev := dev.(type) {
		case *types.VirtualDisk:
			d.disk(dev)
		case *types.VirtualSriovEthernetCard:
			d.obstacles |= engine.ObPassthrough
			d.nic(&dev.VirtualEthernetCard)
		case types.BaseVirtualEthernetCard:
			d.nic(dev.GetVirtualEthernetCard())
		case *types.VirtualPCIPassthrough:
			if _, ok := dev.Backing.(*types.VirtualPCIPassthroughVmiopBackingInfo); ok {
				d.obstacles |= engine.ObVGPU
			} else {
				d.obstacles |= engine.ObPassthrough
			}
		case *types.VirtualUSB:
			d.obstacles |= engine.ObUSB
		case *types.VirtualTPM:
			d.obstacles |= engine.ObEncrypted
		case *types.VirtualCdrom:
			d.obstacles |= media(&dev.VirtualDevice)
		case *types.VirtualFloppy:
			d.obstacles |= media(&dev.VirtualDevice)
		case types.BaseVirtualSCSIController:
			if bus := dev.GetVirtualSCSIController().SharedBus; bus != "" && bus != types.VirtualSCSISharingNoSharing {
				d.obstacles |= engine.ObMultiWriter
			}
		}
	}
	return d
}

// media judges a CD or floppy drive. Only what is connected binds.
func media(dev *types.VirtualDevice) engine.Obstacles {
	if dev.Connectable == nil || !dev.Connectable.Connected {
		return 0
	}
	switch dev.Backing.(type) {
	case *types.VirtualCdromIsoBackingInfo, *types.VirtualFloppyImageBackingInfo:
		return engine.ObLocalISO
	case nil:
		return 0
	}
	return engine.ObClientMedia
}

func (d *devices) disk(dev *types.VirtualDisk) {
	x := disk{key: dev.Key, bytes: dev.CapacityInBytes}
	if x.bytes == 0 {
		x.bytes = dev.CapacityInKB << 10
	}
	mode, sharing := "", ""
	switch b := dev.Backing.(type) {
	case *types.VirtualDiskFlatVer2BackingInfo:
		mode, sharing, x.thin = b.DiskMode, b.Sharing, yes(b.ThinProvisioned)
		if cloned(b) {
			d.obstacles |= engine.ObLinkedClone
		}
	case *types.VirtualDiskSeSparseBackingInfo:
		mode, x.thin = b.DiskMode, true
	case *types.VirtualDiskSparseVer2BackingInfo:
		mode, x.thin = b.DiskMode, true
	case *types.VirtualDiskRawDiskMappingVer1BackingInfo:
		mode, sharing = b.DiskMode, b.Sharing
		if b.CompatibilityMode == string(types.VirtualDiskCompatibilityModePhysicalMode) {
			d.obstacles |= engine.ObRDM
		}
	case *types.VirtualDiskLocalPMemBackingInfo:
		mode = b.DiskMode
		d.obstacles |= engine.ObPassthrough // persistent memory of the host
	}
	if b, ok := dev.Backing.(types.BaseVirtualDeviceFileBackingInfo); ok {
		f := b.GetVirtualDeviceFileBackingInfo()
		x.file = f.FileName
		if f.Datastore != nil {
			x.datastore = f.Datastore.Value
		}
	}
	if sharing == string(types.VirtualDiskSharingSharingMultiWriter) {
		d.obstacles |= engine.ObMultiWriter
	}
	switch types.VirtualDiskMode(mode) {
	case types.VirtualDiskModeIndependent_nonpersistent, types.VirtualDiskModeNonpersistent, types.VirtualDiskModeUndoable, types.VirtualDiskModeAppend:
		d.obstacles |= engine.ObIndependent
	default: // persistent, also when independent of disk snapshots: it travels
	}
	d.disks = append(d.disks, x)
}

// cloned reports whether a disk's chain leads out of the disk's own folder: its
// base belongs to another VM. Disk snapshots stay within the folder.
func cloned(b *types.VirtualDiskFlatVer2BackingInfo) bool {
	own := dir(b.FileName)
	for p := b.Parent; p != nil; p = p.Parent {
		if dir(p.FileName) != own {
			return true
		}
	}
	return false
}

func (d *devices) nic(dev *types.VirtualEthernetCard) {
	x := nic{key: dev.Key, mac: strings.ToLower(dev.MacAddress)}
	switch b := dev.Backing.(type) {
	case *types.VirtualEthernetCardNetworkBackingInfo:
		x.name = b.DeviceName
		if b.Network != nil {
			x.network = b.Network.Value
		}
	case *types.VirtualEthernetCardDistributedVirtualPortBackingInfo:
		x.group = b.Port.PortgroupKey
	case *types.VirtualEthernetCardOpaqueNetworkBackingInfo:
		x.group = b.OpaqueNetworkId
	}
	d.nics = append(d.nics, x)
}
