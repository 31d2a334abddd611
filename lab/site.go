package lab

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/simulator/vpx"
	vapi "github.com/vmware/govmomi/vapi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
)

// addSite builds one site: its vCenter, networks, clusters, hosts and datastores.
func (l *Lab) addSite(i int) error {
	cfg := &l.cfg.Sites[i]
	l.sites = append(l.sites, WorldSite{Name: cfg.Name, Region: cfg.Region, PUE: cfg.PUE, EURPerKWh: cfg.EURPerKWh, GramPerKWh: cfg.GramPerKWh})
	v := &vcenter{lab: l, name: cfg.Name, site: i, uuid: l.uuid("vcenter", cfg.Name)}
	content := vpx.ServiceContent
	content.About.InstanceUuid = v.uuid
	content.About.Name, content.About.FullName = "VMware vCenter Server", "VMware vCenter Server 8.0.3 (lab)"
	content.About.Version, content.About.ApiVersion = "8.0.3", "8.0.3.0"
	ctx, instance := simulator.NewServiceInstance(simulator.NewContext(), content, vpx.RootFolder)
	if err := l.addVCenter(v, simulator.New(ctx, instance)); err != nil {
		return err
	}
	if err := v.addFolders(); err != nil {
		return err
	}
	v.addNetworks(cfg)
	for k := range cfg.Clusters {
		if err := v.addCluster(&cfg.Clusters[k], cfg); err != nil {
			return err
		}
	}
	for _, d := range cfg.Datastores {
		if err := v.addDatastore(d); err != nil {
			return err
		}
	}
	return nil
}

// addVCenter wires a service into the lab: accounts, control, collector, tags.
func (l *Lab) addVCenter(v *vcenter, svc *simulator.Service) error {
	var err error
	if v.identity, err = newIdentity(v.name, l.hash("serial", v.name)>>1); err != nil {
		return err
	}
	v.svc = svc
	v.url = "https://" + v.name + ".lab/sdk"
	// Any user but the simulator's own default makes it ask ValidLogin.
	svc.Listen = &url.URL{Scheme: "https", Host: v.name + ".lab", Path: "/sdk", User: url.UserPassword("lab", v.uuid)}
	registry := v.registry()
	registry.SessionManager().ValidLogin = func(req *types.Login) bool {
		return slices.ContainsFunc(l.cfg.accounts(), func(a Account) bool {
			return a.Username == req.UserName && a.Password == req.Password
		})
	}
	registry.SessionManager().ServiceHostName = svc.Listen.Host
	svc.RegisterSDK(registry, registry.Path+"/vimService")
	svc.ServeMux.HandleFunc(registry.Path+"/vimServiceVersions.xml", svc.ServiceVersions)
	patterns, rest := vapi.New(svc.Listen, registry)
	for _, p := range patterns {
		svc.Handle(p, rest)
	}
	v.tags = newTagStore(rest)
	v.mux = svc.ServeMux
	v.control = newControl(v)
	v.power = powerCounter(registry)
	installCollector(v)
	installAuthorization(v)
	registry.AddHandler(&v.hub)
	l.vcs = append(l.vcs, v)
	return nil
}

func (v *vcenter) registry() *simulator.Registry { return v.svc.Context.Map }

// ctx is a context for changes that the lab itself makes, on behalf of user.
func (v *vcenter) ctx(user string) *simulator.Context {
	c := *v.svc.Context
	c.Context = context.Background()
	c.Session = &simulator.Session{
		UserSession: types.UserSession{Key: "lab", UserName: user}, Registry: v.svc.Context.Session.Registry, Map: v.registry(),
	}
	return &c
}

func (v *vcenter) addFolders() error {
	r := v.registry()
	root, ok := r.Get(v.svc.Context.Map.Get(vpx.RootFolder.Self).Reference()).(*simulator.Folder)
	if !ok {
		return fmt.Errorf("no root folder")
	}
	res, ok := root.CreateDatacenter(v.ctx(""), &types.CreateDatacenter{This: root.Self, Name: v.name}).(*methods.CreateDatacenterBody)
	if !ok || res.Res == nil {
		return fmt.Errorf("the simulator made no datacenter")
	}
	v.datacenter = lookup[*simulator.Datacenter](r, res.Res.Returnval)
	v.vmFolder = lookup[*simulator.Folder](r, v.datacenter.VmFolder)
	v.hostFolder = lookup[*simulator.Folder](r, v.datacenter.HostFolder)
	return nil
}

// lookup gets an object of the registry whose type is known; zero when it is not there.
func lookup[T any](r *simulator.Registry, ref types.ManagedObjectReference) T {
	t, _ := r.Get(ref).(T)
	return t
}

// addNetworks makes one port group for each segment.
func (v *vcenter) addNetworks(cfg *SiteConfig) {
	r := v.registry()
	folder := lookup[*simulator.Folder](r, v.datacenter.NetworkFolder)
	v.network = map[string]types.ManagedObjectReference{}
	if cfg.DVS {
		v.dvs = &simulator.DistributedVirtualSwitch{}
		v.dvs.Name, v.dvs.Name = v.name+"-dvs", v.name+"-dvs"
		v.dvs.Uuid = v.lab.uuid("dvs", v.name)
		v.dvs.Config = &types.VMwareDVSConfigInfo{DVSConfigInfo: types.DVSConfigInfo{Uuid: v.dvs.Uuid, Name: v.dvs.Name}}
		v.dvs.Summary = types.DVSSummary{Name: v.dvs.Name, Uuid: v.dvs.Uuid}
		r.PutEntity(folder, r.NewEntity(v.dvs))
		folder.ChildEntity = append(folder.ChildEntity, v.dvs.Self)
	}
	for _, name := range cfg.Segments {
		var self types.ManagedObjectReference
		if cfg.DVS {
			pg := &simulator.DistributedVirtualPortgroup{}
			pg.Name, pg.ManagedEntity.Name = name, name
			r.PutEntity(folder, r.NewEntity(pg))
			self = pg.Self
			pg.Key = self.Value
			pg.Config = types.DVPortgroupConfigInfo{Key: pg.Key, Name: name, DistributedVirtualSwitch: &v.dvs.Self, Type: "earlyBinding"}
			pg.Summary = &types.NetworkSummary{Network: &self, Name: name, Accessible: true}
			v.dvs.Portgroup = append(v.dvs.Portgroup, self)
		} else {
			n := &mo.Network{}
			n.Name, n.ManagedEntity.Name = name, name
			r.PutEntity(folder, r.NewEntity(n))
			self = n.Self
			n.Summary = &types.NetworkSummary{Network: &self, Name: name, Accessible: true}
		}
		folder.ChildEntity = append(folder.ChildEntity, self)
		v.datacenter.Network = append(v.datacenter.Network, self)
		v.network[name] = self
	}
}

func (v *vcenter) addCluster(cfg *ClusterConfig, site *SiteConfig) error {
	l := v.lab
	obj, fault := simulator.CreateClusterComputeResource(v.ctx(""), v.hostFolder, cfg.Name, types.ClusterConfigSpecEx{})
	if fault != nil {
		return fmt.Errorf("cluster %s: %T", cfg.Name, fault)
	}
	c := &cluster{cfg: cfg, obj: obj, vc: v, site: v.site, pool: *obj.ResourcePool, next: l.now.Add(rebalanceEvery)}
	index := len(l.clusters)
	l.clusters = append(l.clusters, c)
	obj.Network = nil
	for _, s := range site.Segments {
		obj.Network = append(obj.Network, v.network[s])
	}
	obj.ConfigurationEx = c.configuration()
	for n := range cfg.Hosts {
		h := &host{
			index: len(l.hosts), vc: v, cluster: index, site: v.site, name: fmt.Sprintf("%s-esx%02d.lab", cfg.Name, n+1), cfg: cfg,
			since: l.now, vmotion: true, vsan: cfg.VSAN, segments: slices.Clone(site.Segments),
			cpuMHz: int64(cfg.CoresPerHost * cfg.MHzPerCore), memMiB: int64(cfg.MemGiB) << 10,
		}
		l.hosts = append(l.hosts, h)
		v.addHost(h, obj)
	}
	s := &types.ClusterComputeResourceSummary{UsageSummary: &types.ClusterUsageSummary{}}
	s.NumHosts, s.NumEffectiveHosts = int32(cfg.Hosts), int32(cfg.Hosts)
	s.TotalCpu = int32(cfg.Hosts * cfg.CoresPerHost * cfg.MHzPerCore)
	s.TotalMemory = int64(cfg.Hosts*cfg.MemGiB) << 30
	s.NumCpuCores, s.NumCpuThreads = int16(cfg.Hosts*cfg.CoresPerHost), int16(2*cfg.Hosts*cfg.CoresPerHost)
	s.EffectiveCpu, s.EffectiveMemory = s.TotalCpu, s.TotalMemory>>20
	s.CurrentFailoverLevel = int32(cfg.HAFailures)
	obj.Summary = s
	c.addEVC()
	return nil
}

// configuration is the cluster's DRS, HA and vSAN configuration.
func (c *cluster) configuration() *types.ClusterConfigInfoEx {
	info := &types.ClusterConfigInfoEx{}
	info.VmSwapPlacement = string(types.VirtualMachineConfigInfoSwapPlacementTypeVmDirectory)
	info.DrsConfig.Enabled = new(c.cfg.DRS != "" && c.cfg.DRS != "off")
	info.DrsConfig.VmotionRate = 3
	switch c.cfg.DRS {
	case "manual":
		info.DrsConfig.DefaultVmBehavior = types.DrsBehaviorManual
	case "partial":
		info.DrsConfig.DefaultVmBehavior = types.DrsBehaviorPartiallyAutomated
	case "full":
		info.DrsConfig.DefaultVmBehavior = types.DrsBehaviorFullyAutomated
	}
	info.DasConfig.Enabled = new(c.cfg.HAAdmission)
	info.DasConfig.AdmissionControlEnabled = new(c.cfg.HAAdmission)
	if c.cfg.HAAdmission {
		info.DasConfig.FailoverLevel = int32(c.cfg.HAFailures)
		info.DasConfig.AdmissionControlPolicy = &types.ClusterFailoverLevelAdmissionControlPolicy{FailoverLevel: int32(c.cfg.HAFailures)}
	}
	info.DpmConfigInfo = &types.ClusterDpmConfigInfo{Enabled: new(false)}
	info.VsanConfigInfo = &types.VsanClusterConfigInfo{Enabled: new(c.cfg.VSAN)}
	return info
}

// addHost makes the host's object by hand: the simulator's template copies
// half a megabyte of an old ESX for each.
func (v *vcenter) addHost(h *host, parent *simulator.ClusterComputeResource) {
	l, r, cfg := v.lab, v.registry(), h.cfg
	o := &simulator.HostSystem{}
	h.obj = o
	o.Name = h.name
	r.PutEntity(parent, r.NewEntity(o))
	parent.Host = append(parent.Host, o.Self)
	id := l.uuid("host", h.name)
	cores, threads := int16(cfg.CoresPerHost), int16(2*cfg.CoresPerHost)
	product := &types.AboutInfo{
		Name: "VMware ESXi", FullName: "VMware ESXi 8.0.3 (lab)", Vendor: "VMware, Inc.", Version: "8.0.3", ApiVersion: "8.0.3.0", ApiType: "HostAgent", OsType: "vmnix-x86",
	}
	o.Runtime = types.HostRuntimeInfo{
		ConnectionState: types.HostSystemConnectionStateConnected, PowerState: types.HostSystemPowerStatePoweredOn,
		StandbyMode: string(types.HostStandbyModeNone), BootTime: new(l.now.Add(-30 * 24 * time.Hour)),
	}
	o.Summary = types.HostListSummary{
		Host: &o.Self, Runtime: &o.Runtime, OverallStatus: types.ManagedEntityStatusGreen, MaxEVCModeKey: EVCModes[cfg.level()-1],
		Hardware: &types.HostHardwareSummary{
			Vendor: "Lab", Model: "R1", Uuid: id, MemorySize: h.memMiB << 20, CpuModel: "Lab CPU " + EVCModes[cfg.level()-1],
			CpuMhz: int32(cfg.MHzPerCore), NumCpuPkgs: 2, NumCpuCores: cores, NumCpuThreads: threads, NumNics: 2,
		},
		Config: types.HostConfigSummary{Name: h.name, Port: 443, Product: product, VmotionEnabled: true, FaultToleranceEnabled: false},
	}
	o.Hardware = &types.HostHardwareInfo{
		SystemInfo: types.HostSystemInfo{Vendor: "Lab", Model: "R1", Uuid: id},
		CpuInfo:    types.HostCpuInfo{NumCpuPackages: 2, NumCpuCores: cores, NumCpuThreads: threads, Hz: int64(cfg.MHzPerCore) * 1e6},
		MemorySize: h.memMiB << 20,
	}
	o.Capability = &types.HostCapability{
		VmotionSupported: true, StorageVMotionSupported: true, MaintenanceModeSupported: true,
		StandbySupported: true, IpmiSupported: new(true), RebootSupported: true, ShutdownSupported: true,
	}
	o.Config = h.config(product)
	for _, s := range h.segments {
		o.Network = append(o.Network, v.network[s])
		v.setNetworkHost(v.network[s], o.Self)
	}
}

// config is what can be read of the host's own configuration.
func (h *host) config(product *types.AboutInfo) *types.HostConfigInfo {
	vmk := types.HostVirtualNic{
		Device: "vmk1", Key: "key-vim.host.VirtualNic-vmk1", Portgroup: "vMotion",
		Spec: types.HostVirtualNicSpec{Mac: mac(1<<21 + h.index), Ip: &types.HostIpConfig{IpAddress: fmt.Sprintf("10.%d.1.%d", h.site, h.index%250+1), SubnetMask: "255.255.0.0"}},
	}
	speed := &types.PhysicalNicLinkInfo{SpeedMb: int32(h.cfg.nic()), Duplex: true}
	return &types.HostConfigInfo{
		Host: h.obj.Self, Product: *product,
		Network: &types.HostNetworkInfo{
			Pnic: []types.PhysicalNic{{Device: "vmnic0", Key: "key-vim.host.PhysicalNic-vmnic0", LinkSpeed: speed, Mac: mac(1<<20 + h.index), WakeOnLanSupported: true}},
			Vnic: []types.HostVirtualNic{vmk},
			Vswitch: []types.HostVirtualSwitch{{
				Name: "vSwitch0", Key: "key-vim.host.VirtualSwitch-vSwitch0", NumPorts: 512, Mtu: 9000, Pnic: []string{"key-vim.host.PhysicalNic-vmnic0"}, Portgroup: []string{"key-vim.host.PortGroup-vMotion"},
			}},
			Portgroup: []types.HostPortGroup{{Key: "key-vim.host.PortGroup-vMotion", Vswitch: "key-vim.host.VirtualSwitch-vSwitch0", Spec: types.HostPortGroupSpec{Name: "vMotion", VswitchName: "vSwitch0"}}},
		},
		VirtualNicManagerInfo: &types.HostVirtualNicManagerInfo{NetConfig: []types.VirtualNicManagerNetConfig{{
			NicType: string(types.HostVirtualNicManagerNicTypeVmotion), MultiSelectAllowed: true,
			CandidateVnic: []types.HostVirtualNic{vmk}, SelectedVnic: []string{vmk.Key},
		}}},
		Ipmi:           &types.HostIpmiInfo{BmcIpAddress: fmt.Sprintf("10.%d.9.%d", h.site, h.index%250+1), BmcMacAddress: mac(1<<19 + h.index), Login: "bmc"},
		VsanHostConfig: &types.VsanHostConfigInfo{Enabled: new(h.vsan)},
	}
}

func (v *vcenter) addDatastore(cfg DatastoreConfig) error {
	l, r := v.lab, v.registry()
	s := &store{index: len(l.stores), vc: v, site: v.site, name: cfg.Name, capacity: cfg.GiB << 10, shared: cfg.Host == ""}
	o := &simulator.Datastore{}
	s.obj = o
	id := l.uuid("datastore", v.name, cfg.Name)
	o.Name = cfg.Name
	folder := lookup[*simulator.Folder](r, v.datacenter.DatastoreFolder)
	r.PutEntity(folder, r.NewEntity(o))
	folder.ChildEntity = append(folder.ChildEntity, o.Self)
	v.datacenter.Datastore = append(v.datacenter.Datastore, o.Self)
	where := "ds:///vmfs/volumes/" + id + "/"
	o.Summary = types.DatastoreSummary{
		Datastore: &o.Self, Name: cfg.Name, Url: where, Capacity: s.capacity << 20, FreeSpace: s.capacity << 20, Accessible: true,
		MultipleHostAccess: new(s.shared), Type: string(types.HostFileSystemVolumeFileSystemTypeVMFS),
		MaintenanceMode: string(types.DatastoreSummaryMaintenanceModeStateNormal),
	}
	o.Info = &types.VmfsDatastoreInfo{
		DatastoreInfo: types.DatastoreInfo{Name: cfg.Name, Url: where, FreeSpace: s.capacity << 20, MaxFileSize: 62 << 40, Timestamp: new(l.now)},
		Vmfs:          &types.HostVmfsVolume{HostFileSystemVolume: types.HostFileSystemVolume{Type: "VMFS", Name: cfg.Name, Capacity: s.capacity << 20}, Uuid: id, Version: "6.82", MajorVersion: 6},
	}
	o.Capability = types.DatastoreCapability{DirectoryHierarchySupported: true, PerFileThinProvisioningSupported: true, StorageIORMSupported: true}
	for _, h := range l.hosts {
		if h.vc != v || (cfg.Host != "" && cfg.Host != h.name) {
			continue
		}
		h.stores = append(h.stores, s.index)
		h.obj.Datastore = append(h.obj.Datastore, o.Self)
		o.Host = append(o.Host, types.DatastoreHostMount{
			Key: h.obj.Self, MountInfo: types.HostMountInfo{Path: "/vmfs/volumes/" + id, AccessMode: "readWrite", Mounted: new(true), Accessible: new(true)},
		})
		c := l.clusters[h.cluster].obj
		if !slices.Contains(c.Datastore, o.Self) {
			c.Datastore = append(c.Datastore, o.Self)
		}
	}
	if len(o.Host) == 0 {
		return fmt.Errorf("datastore %s: no host %s", cfg.Name, cfg.Host)
	}
	l.stores = append(l.stores, s)
	return nil
}

// netObject gives the common part of a network and of a distributed port group.
func (v *vcenter) netObject(ref types.ManagedObjectReference) *mo.Network {
	switch n := v.registry().Get(ref).(type) {
	case *mo.Network:
		return n
	case *simulator.DistributedVirtualPortgroup:
		return &n.Network
	}
	return nil
}

func (v *vcenter) setNetworkHost(ref, host types.ManagedObjectReference) {
	if n := v.netObject(ref); n != nil {
		n.Host = append(n.Host, host)
	}
}

var _ http.Handler = (*vcenter)(nil)
