package lab

import (
	"slices"
	"time"

	"github.com/vmware/govmomi/vim25/types"
)

// World is the ground truth now.
func (l *Lab) World() World {
	l.lock()
	defer l.unlock()
	l.advance(l.clock.Now())
	w := World{Now: l.now, Sites: slices.Clone(l.sites)}
	for _, k := range l.clusters {
		c := WorldCluster{Name: k.cfg.Name, Site: k.site, DRS: k.drs(), VSAN: k.cfg.VSAN}
		if k.cfg.HAAdmission {
			c.Failover = k.cfg.HAFailures
		}
		w.Clusters = append(w.Clusters, c)
	}
	for _, h := range l.hosts {
		w.Hosts = append(w.Hosts, WorldHost{
			Name: h.name, Moid: h.obj.Self.Value, VCenter: h.vc.uuid, Site: h.site, Cluster: h.cluster, On: h.phase == hostUp && !h.unplug,
			Standby: h.phase == hostAsleep, Maintenance: h.maint, VSANData: h.vsan, MHz: h.cpuMHz, MiB: h.memMiB, Threads: 2 * h.cfg.CoresPerHost,
			VMotion: h.vmotion, Watts: h.watts, IdleW: h.cfg.IdleW, MaxW: h.cfg.MaxW, Datastores: slices.Clone(h.stores), Segments: slices.Clone(h.segments), CPULevel: l.bootLevel(h),
		})
	}
	for _, s := range l.stores {
		w.Datastores = append(w.Datastores, WorldDatastore{
			Name: s.name, Moid: s.obj.Self.Value, VCenter: s.vc.uuid, MiB: s.capacity, FreeMiB: s.free(), Shared: s.shared, Holds: []string{l.sites[s.site].Name},
		})
	}
	for _, m := range l.machines {
		w.VMs = append(w.VMs, l.worldVM(m))
	}
	for _, k := range l.links {
		w.Links = append(w.Links, WorldLink{A: k.a, B: k.b, RTT: k.rtt, Mbps: k.mbps})
	}
	w.Rules = l.worldRules()
	w.Moves = append(l.justEnded(), l.inFlight()...)
	return w
}

// shownFor is how long an ended move is still shown, so that whoever looks once
// in a few minutes misses none.
const shownFor = 10 * time.Minute

// justEnded lists the moves that ended of late, in order of their ends.
func (l *Lab) justEnded() []WorldMove {
	i := len(l.ended)
	for i > 0 && l.now.Sub(l.ended[i-1].Ended) <= shownFor {
		i--
	}
	return slices.Clone(l.ended[i:])
}

func (l *Lab) worldVM(m *machine) WorldVM {
	v := WorldVM{
		UUID: m.uuid, Name: m.name, VCenter: m.vc.uuid, Host: m.host, On: m.on, Template: m.template, VCPUs: m.vcpus, MHz: m.cpuMHz, MiB: m.consumed,
		Configured: m.mem, ReserveMiB: m.reserve, Datastores: m.stores(), DirtyMbps: m.dirtyMbps(), Fixtures: slices.Clone(m.fixtures), Tags: slices.Clone(m.tags), CPULevel: m.level,
	}
	for i := range m.disks {
		v.DiskMiB += m.disks[i].used
	}
	for _, n := range m.nics {
		v.Segments = append(v.Segments, n.segment)
		v.MACs = append(v.MACs, n.mac)
	}
	return v
}

func (l *Lab) inFlight() (out []WorldMove) {
	for _, mv := range l.moves {
		if mv.phase > refused {
			out = append(out, mv.world())
		}
	}
	return out
}

// Moves lists all moves so far: the ended ones in order of their ends, then
// those in flight.
func (l *Lab) Moves() []WorldMove {
	l.lock()
	defer l.unlock()
	l.advance(l.clock.Now())
	return append(slices.Clone(l.ended), l.inFlight()...)
}

// worldRules reads the rules where they stand: in the clusters' configurations,
// which a client may have changed.
func (l *Lab) worldRules() (out []WorldRule) {
	for ci, k := range l.clusters {
		info, ok := k.obj.ConfigurationEx.(*types.ClusterConfigInfoEx)
		if !ok {
			continue
		}
		for _, r := range info.Rule {
			base := r.GetClusterRuleInfo()
			if base.Enabled != nil && !*base.Enabled {
				continue
			}
			w := WorldRule{Cluster: ci, Name: base.Name, Mandatory: isTrue(base.Mandatory)}
			switch x := r.(type) {
			case *types.ClusterAffinityRuleSpec:
				w.Kind, w.VMs = "together", l.indices(k, x.Vm)
			case *types.ClusterAntiAffinityRuleSpec:
				w.Kind, w.VMs = "apart", l.indices(k, x.Vm)
			case *types.ClusterVmHostRuleInfo:
				w.Kind = "on"
				group := x.AffineHostGroupName
				if group == "" {
					w.Kind, group = "not_on", x.AntiAffineHostGroupName
				}
				w.VMs, w.Hosts = l.groups(k, info, x.VmGroupName, group)
			}
			out = append(out, w)
		}
	}
	return out
}

func (l *Lab) indices(k *cluster, refs []types.ManagedObjectReference) (out []int) {
	for _, r := range refs {
		if m := k.vc.machine(r); m != nil {
			out = append(out, m.index)
		}
	}
	return out
}

func (l *Lab) groups(k *cluster, info *types.ClusterConfigInfoEx, vmGroup, hostGroup string) (vms, hosts []int) {
	for _, g := range info.Group {
		switch x := g.(type) {
		case *types.ClusterVmGroup:
			if x.Name == vmGroup {
				vms = l.indices(k, x.Vm)
			}
		case *types.ClusterHostGroup:
			if x.Name != hostGroup {
				continue
			}
			for _, r := range x.Host {
				if h := k.vc.host(&r); h != nil {
					hosts = append(hosts, h.index)
				}
			}
		}
	}
	return vms, hosts
}
