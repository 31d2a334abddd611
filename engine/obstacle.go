package engine

import "strings"

// Obstacles is a set of properties of a VM that stop some or all live moves.
type Obstacles uint64

// The obstacles. Each is read from a field of the VM and has a row in [ObstacleTable].
const (
	ObPassthrough    Obstacles = 1 << iota // PCI passthrough, SR-IOV
	ObVGPU                                 // vGPU
	ObUSB                                  // host USB device
	ObClientMedia                          // CD or floppy on a physical or client device
	ObLocalISO                             // CD on an image that the destination cannot read
	ObRDM                                  // physical raw device mapping
	ObIndependent                          // independent disk
	ObMultiWriter                          // multi-writer or shared-bus disk
	ObDiskSnapshot                         // disk snapshots
	ObLinkedClone                          // linked or instant clone
	ObFaultTolerance                       // fault tolerance
	ObVApp                                 // member of a vApp
	ObDisabled                             // RelocateVM_Task in disabledMethod
	ObMigrationOff                         // migration disabled by configuration
	ObTools                                // tools installer mounted
	ObAgent                                // vCLS or another agent VM
	ObManaged                              // managed by an extension (SRM placeholder, NSX, HCX)
	ObReplicated                           // replicated (hbr_filter) or on a replicated datastore
	ObBackup                               // a backup proxy with hot-added disks
	ObSnapshotTask                         // a disk-snapshot task is running or has just run
	ObLatency                              // latency sensitivity high
	ObEncrypted                            // encrypted or vTPM: keys must be at the destination
	ObPinnedCPU                            // CPU affinity set
	ObNoHeartbeat                          // no guest heartbeat: a warning, never a stop
	ObOrphaned                             // disconnected, orphaned, inaccessible or invalid
	ObUnsharedSwap                         // swap file on a host-local datastore
)

// A Scope says which moves an obstacle stops.
type Scope uint8

// The scopes, from none to all.
const (
	ScopeWarn    Scope = iota // stops nothing, is shown
	ScopeAcross               // moves across vCenters
	ScopeStorage              // moves that take disks along, and so all moves across sites without shared storage
	ScopeAll                  // every move
)

// An ObstacleRow is what is known about one obstacle.
type ObstacleRow struct {
	Bit    Obstacles
	Name   string // stable, for the journal and the page
	Scope  Scope
	Text   string // completes "the VM ..."
	Source string // where the rule comes from
}

// ObstacleTable lists the obstacles, in bit order. Version 1.
var ObstacleTable = []ObstacleRow{
	{ObPassthrough, "passthrough", ScopeAll, "uses a PCI passthrough or SR-IOV device", "vSphere: conditions for vMotion"},
	{ObVGPU, "vgpu", ScopeAll, "uses a vGPU", "vSphere: vGPU vMotion is opt-in and stuns for seconds"},
	{ObUSB, "usb", ScopeAll, "uses a USB device of its host", "vSphere: conditions for vMotion"},
	{ObClientMedia, "client_media", ScopeAll, "has a CD or floppy on a physical or client device", "vSphere: conditions for vMotion"},
	{ObLocalISO, "local_iso", ScopeStorage, "has a CD on an image that the destination cannot read", "vSphere: conditions for vMotion"},
	{ObRDM, "rdm", ScopeStorage, "has a physical raw device mapping", "vSphere: Storage vMotion requirements"},
	{ObIndependent, "independent_disk", ScopeStorage, "has an independent non-persistent disk", "vSphere: Storage vMotion requirements"},
	{ObMultiWriter, "multi_writer", ScopeAll, "shares a disk or a SCSI bus with other VMs", "VMware KB 1034165"},
	{ObDiskSnapshot, "disk_snapshot", ScopeAcross, "has disk snapshots", "vSphere: cross-vCenter requirements; house rule: consolidate first"},
	{ObLinkedClone, "linked_clone", ScopeStorage, "is a linked or instant clone, which a copy would inflate", "vSphere: relocate unshares delta disks"},
	{ObFaultTolerance, "fault_tolerance", ScopeAcross, "is protected by fault tolerance, which would be lost", "vSphere: FT interoperability"},
	{ObVApp, "vapp", ScopeAcross, "is a member of a vApp", "vSphere: vApps do not travel"},
	{ObDisabled, "disabled_method", ScopeAll, "has relocation disabled by another solution", "vim.VirtualMachine.disabledMethod"},
	{ObMigrationOff, "migration_off", ScopeAll, "has migration disabled", "vim.vm.ConfigInfo extraConfig"},
	{ObTools, "tools_installer", ScopeAll, "has the tools installer mounted", "vSphere: conditions for vMotion"},
	{ObAgent, "agent", ScopeAll, "is an agent of the cluster (vCLS)", "VMware KB 80472"},
	{ObManaged, "managed", ScopeAll, "is managed by another solution", "vim.vm.ConfigInfo.managedBy"},
	{ObReplicated, "replicated", ScopeStorage, "is replicated, and a copy would break its protection", "vSphere Replication: Storage vMotion notes"},
	{ObBackup, "backup", ScopeAll, "is a backup proxy with disks of other VMs attached", "VADP hot-add"},
	{ObSnapshotTask, "snapshot_task", ScopeAll, "has a disk-snapshot task under way or just ended", "VADP: quiesce, then move"},
	{ObLatency, "latency_sensitive", ScopeAll, "is marked latency-sensitive", "vSphere: latency sensitivity high reserves CPUs"},
	{ObEncrypted, "encrypted", ScopeAcross, "is encrypted or has a vTPM, and the destination may lack the keys", "vSphere: encrypted vMotion across vCenters"},
	{ObPinnedCPU, "pinned_cpu", ScopeAll, "is pinned to CPUs of its host", "vSphere: CPU affinity"},
	{ObNoHeartbeat, "no_heartbeat", ScopeWarn, "has no guest heartbeat", "vSphere: heartbeat is checked after the move"},
	{ObOrphaned, "orphaned", ScopeAll, "is disconnected, orphaned or inaccessible", "vim.VirtualMachine.ConnectionState"},
	{ObUnsharedSwap, "unshared_swap", ScopeWarn, "keeps its swap file on a local datastore, which slows the move", "vSphere: swap file location"},
}

// Stops returns the first obstacle in o that stops a move of the given kind.
func (o Obstacles) Stops(storage, across bool) (ObstacleRow, bool) {
	if o == 0 {
		return ObstacleRow{}, false
	}
	for _, r := range ObstacleTable {
		if o&r.Bit == 0 {
			continue
		}
		if r.Scope == ScopeAll || (r.Scope == ScopeStorage && storage) || (r.Scope == ScopeAcross && across) {
			return r, true
		}
	}
	return ObstacleRow{}, false
}

// Names lists the obstacles in o, in table order.
func (o Obstacles) Names() []string {
	var names []string
	for _, r := range ObstacleTable {
		if o&r.Bit != 0 {
			names = append(names, r.Name)
		}
	}
	return names
}

// String joins the names with commas.
func (o Obstacles) String() string { return strings.Join(o.Names(), ",") }
