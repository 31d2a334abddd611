package vcenter

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vmware/govmomi/vim25/types"

	"heliostat/engine"
	"heliostat/vsphere"
)

// A buildKey says what an inventory was made from.
type buildKey struct {
	topo                                   *topology
	version, tags, stops, fields, profiles uint64
}

// An inventory is the topology in the engine's words, without loads. It is made
// again only when something that it is made from has changed.
type inventory struct {
	key     buildKey
	inv     engine.Inventory
	gaps    []engine.Gap
	strange bool // a custom attribute's name is not known

	// Indices by moid, for the loads.
	vms, hosts, stores map[string]int32
	tasks              []taskOn // recent tasks, running or not

	at     engine.Unix // when the topology was last confirmed
	broken error
}

// A taskOn is a recent task of a VM or of a host; the other is None.
type taskOn struct {
	task     types.ManagedObjectReference
	vm, host int32
}

// overlay copies what loads are written to; everything else is shared.
func (b *inventory) overlay() *engine.Inventory {
	inv := b.inv
	inv.VMs = slices.Clone(inv.VMs)
	inv.Hosts = slices.Clone(inv.Hosts)
	inv.Datastores = slices.Clone(inv.Datastores)
	return &inv
}

// A builder converts one topology.
type builder struct {
	*inventory

	s        *Source
	topo     *topology
	vc       engine.VCenterID
	g        gaps
	computes []*compute
	hostRecs []*host
	dsRecs   []*datastore
	netRecs  []*network
	vmRecs   []*vm
	cluster  map[string]int32
	network  map[string]int32 // by moid
	byKey    map[string]int32 // by port group key or opaque network ID
	own      map[string]bool  // VMs, by moid, that their cluster's scheduler leaves alone
	folders  map[types.ManagedObjectReference]string
}

// convert is called with s.mu held.
func (s *Source) convert(conn *vsphere.Conn, key buildKey) *inventory {
	b := &builder{
		inventory: &inventory{key: key}, s: s, topo: s.topo, vc: conn.VCenter, folders: map[types.ManagedObjectReference]string{},
		g: gaps{source: s.Name(), at: engine.At(time.Now())},
	}
	b.inv.VCenter = engine.VCenter{ID: conn.VCenter, Name: s.session.Name(), Version: conn.Version}
	b.sortRecords()
	b.addNetworks()
	b.addDatastores()
	b.addClusters()
	b.addStops()
	b.addHosts()
	b.addVMs()
	b.addRules()
	b.gaps = b.g.list
	return b.inventory
}

// sortRecords splits the records by kind and sorts them as their IDs sort.
func (b *builder) sortRecords() {
	for _, r := range b.topo.records {
		switch r := r.(type) {
		case *compute:
			b.computes = append(b.computes, r)
		case *host:
			b.hostRecs = append(b.hostRecs, r)
		case *datastore:
			b.dsRecs = append(b.dsRecs, r)
		case *network:
			if !r.uplink {
				b.netRecs = append(b.netRecs, r)
			}
		case *vm:
			b.vmRecs = append(b.vmRecs, r)
		}
	}
	b.cluster = byMoid(b.computes, func(r *compute) string { return r.ref.Value })
	b.hosts = byMoid(b.hostRecs, func(r *host) string { return r.ref.Value })
	b.stores = byMoid(b.dsRecs, func(r *datastore) string { return r.ref.Value })
	b.network = byMoid(b.netRecs, func(r *network) string { return r.ref.Value })
}

// byMoid sorts records by moid and gives their indices.
func byMoid[T any](records []T, moid func(T) string) map[string]int32 {
	slices.SortFunc(records, func(a, b T) int { return cmp.Compare(moid(a), moid(b)) })
	index := make(map[string]int32, len(records))
	for i, r := range records {
		index[moid(r)] = int32(i)
	}
	return index
}

// at looks an index up; None when it is not there.
func at(index map[string]int32, moid string) int32 {
	if i, ok := index[moid]; ok {
		return i
	}
	return engine.None
}

// indices looks several up, leaving out what is not there; ascending.
func indices(index map[string]int32, moids []string) []int32 {
	out := make([]int32, 0, len(moids))
	for _, m := range moids {
		if i, ok := index[m]; ok {
			out = append(out, i)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func ref[T ~string](vc engine.VCenterID, moid string) T { return T(string(vc) + "/" + moid) }

// folder is the inventory path of a place, such as /Houston/vm/web.
func (b *builder) folder(r types.ManagedObjectReference) string {
	if p, ok := b.folders[r]; ok {
		return p
	}
	rec, ok := b.topo.records[r]
	if !ok {
		return "" // the root folder, which no view includes, or a place that may not be read
	}
	p := b.folder(rec.base().parent) + "/" + strings.ReplaceAll(rec.base().name, "/", "%2f")
	b.folders[r] = p
	return p
}

// vmFolder is the VM folder of the datacentre in which an object stands.
func (b *builder) vmFolder(r types.ManagedObjectReference) string {
	for rec := b.topo.records[r]; rec != nil; rec = b.topo.records[rec.base().parent] {
		if p, ok := rec.(*place); ok && p.vmFolder != "" {
			return p.vmFolder
		}
	}
	return ""
}

func (b *builder) addNetworks() {
	b.byKey = map[string]int32{}
	b.inv.Networks = make([]engine.Network, len(b.netRecs))
	for i, r := range b.netRecs {
		n := &b.inv.Networks[i]
		*n = engine.Network{ID: ref[engine.NetworkID](b.vc, r.ref.Value), Name: r.name, Gateway: engine.None, Key: r.key}
		if r.ref.Type == "DistributedVirtualPortgroup" {
			n.Distributed = true
			n.Switch = b.switchUUID(r.dvs)
		}
		if r.key != "" {
			b.byKey[r.key] = int32(i)
		}
		b.refused(&r.common, "network", string(n.ID))
	}
}

func (b *builder) switchUUID(moid string) string {
	for _, kind := range []string{"VmwareDistributedVirtualSwitch", "DistributedVirtualSwitch"} {
		if p, ok := b.topo.records[types.ManagedObjectReference{Type: kind, Value: moid}].(*place); ok {
			return p.uuid
		}
	}
	return ""
}

func (b *builder) addDatastores() {
	b.inv.Datastores = make([]engine.Datastore, len(b.dsRecs))
	for i, r := range b.dsRecs {
		s := &r.summary
		d := &b.inv.Datastores[i]
		*d = engine.Datastore{
			ID: ref[engine.DatastoreID](b.vc, r.ref.Value), Name: r.name, Type: strings.ToLower(s.Type), URL: s.Url,
			CapacityMiB: s.Capacity >> 20, FreeMiB: s.FreeSpace >> 20, Accessible: s.Accessible, Shared: yes(s.MultipleHostAccess),
			Maintenance: s.MaintenanceMode != "" && s.MaintenanceMode != string(types.DatastoreSummaryMaintenanceModeStateNormal),
		}
		b.refused(&r.common, "datastore", string(d.ID))
	}
}

func (b *builder) addClusters() {
	b.inv.Clusters = make([]engine.Cluster, len(b.computes))
	for i, r := range b.computes {
		c := &b.inv.Clusters[i]
		*c = engine.Cluster{
			ID: ref[engine.ClusterID](b.vc, r.ref.Value), Name: r.name, Pool: r.pool, EVC: r.evc, Folder: b.vmFolder(r.parent),
			Path: b.folder(r.ref), Lone: r.ref.Type == "ComputeResource",
		}
		if r.config != nil {
			b.clusterConfig(c, r.config)
		}
		b.refused(&r.common, "cluster", string(c.ID))
	}
}

func (b *builder) clusterConfig(c *engine.Cluster, cfg *types.ClusterConfigInfoEx) {
	if yes(cfg.DrsConfig.Enabled) {
		switch cfg.DrsConfig.DefaultVmBehavior {
		case types.DrsBehaviorManual:
			c.DRS = engine.DRSManual
		case types.DrsBehaviorPartiallyAutomated:
			c.DRS = engine.DRSPartial
		case types.DrsBehaviorFullyAutomated, "": // the level that a cluster has unless another is chosen
			c.DRS = engine.DRSFull
		}
	}
	c.DPM = cfg.DpmConfigInfo != nil && yes(cfg.DpmConfigInfo.Enabled)
	c.VSAN = cfg.VsanConfigInfo != nil && yes(cfg.VsanConfigInfo.Enabled)
	das := &cfg.DasConfig
	c.HA = engine.HA{Enabled: yes(das.Enabled), Admission: yes(das.AdmissionControlEnabled)}
	switch p := das.AdmissionControlPolicy.(type) {
	case *types.ClusterFailoverLevelAdmissionControlPolicy:
		c.HA.HostFailures = p.FailoverLevel
	case *types.ClusterFailoverResourcesAdmissionControlPolicy:
		c.HA.HostFailures, c.HA.CPUPct, c.HA.MemoryPct = p.FailoverLevel, p.CpuFailoverResourcesPercent, p.MemoryFailoverResourcesPercent
	case *types.ClusterFailoverHostAdmissionControlPolicy:
		c.HA.HostFailures = p.FailoverLevel
		c.FailOn = indices(b.hosts, values(p.FailoverHosts))
	case nil:
		c.HA.HostFailures = das.FailoverLevel
	}
}

func values(refs []types.ManagedObjectReference) []string {
	out := make([]string, len(refs))
	for i := range refs {
		out[i] = refs[i].Value
	}
	return out
}

// refused makes a gap of the properties that an account may not read.
func (b *builder) refused(c *common, kind, id string) {
	if len(c.missing) > 0 {
		b.g.add(kind, id, "cannot read %s", strings.Join(c.missing, ", "))
	}
}

func (b *builder) addHosts() {
	b.inv.Hosts = make([]engine.Host, len(b.hostRecs))
	for i, r := range b.hostRecs {
		h := &b.inv.Hosts[i]
		b.host(h, r)
		b.refused(&r.common, "host", string(h.ID))
		for _, t := range r.tasks {
			b.tasks = append(b.tasks, taskOn{task: t, vm: engine.None, host: int32(i)})
		}
	}
	// A host whose cluster may not be read cannot be placed at all.
	for i := range b.inv.Hosts {
		if b.inv.Hosts[i].Cluster == engine.None {
			b.orphanHost(int32(i))
		}
	}
}

// orphanHost gives a host whose compute resource is not readable one of its own.
func (b *builder) orphanHost(i int32) {
	h := &b.inv.Hosts[i]
	b.g.add("host", string(h.ID), "its cluster cannot be read")
	h.Cluster = int32(len(b.inv.Clusters))
	// "~" sorts behind every moid, so that the clusters stay sorted by ID.
	b.inv.Clusters = append(b.inv.Clusters, engine.Cluster{ID: ref[engine.ClusterID](b.vc, "~"+b.hostRecs[i].ref.Value), Name: h.Name, Lone: true})
}

func (b *builder) host(h *engine.Host, r *host) {
	hw := &r.hardware
	*h = engine.Host{
		ID: ref[engine.HostID](b.vc, r.ref.Value), Name: r.name, Cluster: at(b.cluster, r.parent.Value), Site: engine.None,
		Power: hostPower(r), Connected: r.connection == types.HostSystemConnectionStateConnected, Maintenance: r.maintenance,
		CPUMHz: hw.CpuMhz * int32(hw.NumCpuCores), Cores: int32(hw.NumCpuCores), Threads: int32(hw.NumCpuThreads), MemoryMiB: int32(hw.MemorySize >> 20),
		CPUModel: hw.CpuModel, EVCMax: r.evcMax, UsedMHz: engine.Unknown, UsedMiB: engine.Unknown, PowerW: engine.Unknown,
		IdleW: engine.Unknown, MaxW: engine.Unknown, VMotion: r.vmotionUp(), NICMbps: r.vmotionMbps(), Standby: r.canStandby && r.wakes(),
		VSANData: r.vsan, Entering: r.standby == string(types.HostStandbyModeEntering),
		Datastores: indices(b.stores, r.datastores), Networks: indices(b.network, r.networks),
	}
	list, ok := b.s.fields.attributes(r.custom)
	b.strange = b.strange || !ok
	h.Mark = attribute(list, markField)
}

// markField is the custom attribute by which the daemon knows its own hosts, and
// reasonField the one in which it tells why it moved a VM.
const (
	markField   = "heliostat"
	reasonField = "heliostat.reason"
	acrossField = "heliostat.across"
)

// attribute is the value of one attribute in a list of "name=value".
func attribute(list []string, name string) string {
	for _, a := range list {
		if v, ok := strings.CutPrefix(a, name+"="); ok {
			return v
		}
	}
	return ""
}

func hostPower(r *host) engine.HostPower {
	switch {
	case r.power == types.HostSystemPowerStateStandBy || r.standby == string(types.HostStandbyModeIn):
		return engine.HostStandby
	case r.power == types.HostSystemPowerStatePoweredOff:
		return engine.HostOff
	case r.power == types.HostSystemPowerStatePoweredOn:
		return engine.HostOn
	}
	return engine.HostUnknown
}

// hwVersion reads "vmx-19".
func hwVersion(s string) int32 {
	n, err := strconv.ParseInt(strings.TrimPrefix(s, "vmx-"), 10, 32)
	if err != nil {
		return 0
	}
	return int32(n)
}
