package engine

// VMPower is a VM's power state.
type VMPower uint8

// The power states.
const (
	VMOff VMPower = iota
	VMOn
	VMSuspended
)

var vmPowerNames = [...]string{"off", "on", "suspended"}

// String names the state.
func (p VMPower) String() string { return vmPowerNames[p] }

// MarshalText implements encoding.TextMarshaler.
func (p VMPower) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (p *VMPower) UnmarshalText(b []byte) error {
	return parseName(p, b, vmPowerNames[:], "VM power state")
}

// A Disk is one virtual disk. Space is what it may grow to where it is thick,
// and what it uses where it is thin.
type Disk struct {
	Key       int32  `json:"key"` // device key
	Datastore int32  `json:"datastore"`
	MiB       int64  `json:"mib"`  // provisioned
	Used      int64  `json:"used"` // allocated on the datastore, MiB
	Thin      bool   `json:"thin,omitempty"`
	Profile   string `json:"profile,omitempty"` // storage policy ID; "" for the datastore's default
}

// CopyMiB is what a storage move of the disk has to write at the destination.
func (d *Disk) CopyMiB() int64 {
	if d.Thin {
		return d.Used
	}
	return d.MiB
}

// A NIC is one virtual network card.
type NIC struct {
	Key     int32  `json:"key"`
	Network int32  `json:"network"` // None when its backing is not in the inventory
	MAC     string `json:"mac,omitempty"`
}

// A VM is one virtual machine as last observed. Templates and powered-off VMs
// are VMs too: an evacuation must name them.
type VM struct {
	ID      VMID   `json:"id"`
	Name    string `json:"name"`
	Moid    string `json:"moid"` // its managed object in VCenter, for now
	VCenter int32  `json:"vcenter"`
	Host    int32  `json:"host"`
	Folder  string `json:"folder"` // moid
	Pool    string `json:"pool"`   // moid
	Path    string `json:"path,omitempty"`

	Power    VMPower `json:"power"`
	Template bool    `json:"template,omitempty"`

	VCPUs      int32 `json:"vcpus"`
	MemoryMiB  int32 `json:"memory_mib"` // configured
	ReserveMHz int32 `json:"reserve_mhz,omitzero"`
	ReserveMiB int32 `json:"reserve_mib,omitzero"`

	UsedMHz   int32 `json:"used_mhz"`   // CPU demand now; Unknown when not seen
	UsedMiB   int32 `json:"used_mib"`   // host memory consumed, overhead included; Unknown when not seen
	ActiveMiB int32 `json:"active_mib"` // active guest memory: never a fit, only a hint of the dirty rate
	DirtyMbps int32 `json:"dirty_mbps"` // rate at which memory is dirtied; Unknown when only estimable
	LoadAt    Unix  `json:"load_at"`

	Home  int32  `json:"home"` // datastore of the configuration file
	Disks []Disk `json:"disks,omitempty"`
	NICs  []NIC  `json:"nics,omitempty"`

	Tags        []string `json:"tags,omitempty"`       // "category:name", sorted
	Attributes  []string `json:"attributes,omitempty"` // "name=value", sorted
	ManagedBy   string   `json:"managed_by,omitempty"`
	ProtectedBy string   `json:"protected_by,omitempty"`
	HWVersion   int32    `json:"hw_version,omitzero"`
	Mode        Mode     `json:"mode"`              // from the tag category "heliostat": never = Off, advise, auto = Enforce (also without a tag)
	Across      bool     `json:"across,omitempty"`  // opted in to moves across vCenters outside an evacuation
	DRSOwn      bool     `json:"drs_own,omitempty"` // an override of its own keeps its cluster's scheduler from moving it
	EVC         string   `json:"evc,omitempty"`     // lowest EVC mode that the running guest needs; "" when not seen

	Obstacles Obstacles `json:"obstacles,omitempty"`
	Task      string    `json:"task,omitempty"` // a running task on the VM that is not ours: its description
}

// DiskMiB is the space that the VM's disks, growth and swap file need on arrival.
func (v *VM) DiskMiB() int64 {
	var n int64
	for i := range v.Disks {
		n += v.Disks[i].CopyMiB()
	}
	return n
}

// SwapMiB is the size of the VM's swap file: configured memory less its reservation.
func (v *VM) SwapMiB() int64 { return int64(max(0, v.MemoryMiB-v.ReserveMiB)) }

// Tag returns the name of the VM's tag in the category, or "".
func (v *VM) Tag(category string) string {
	for _, t := range v.Tags {
		if len(t) > len(category) && t[:len(category)] == category && t[len(category)] == ':' {
			return t[len(category)+1:]
		}
	}
	return ""
}

// Seen reports whether the VM's load is known.
func (v *VM) Seen() bool { return v.UsedMHz != Unknown && v.UsedMiB != Unknown }
