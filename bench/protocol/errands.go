package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/vmware/govmomi/view"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"

	"heliostat/engine"
	"heliostat/lab"
	"heliostat/vsphere"
)

// The size of a site: one VM on each of the first hosts, the last two are empty.
const (
	hostsPerSite = 5
	vmsPerSite   = 3
)

// An errand is what is to be done to one VM or host, step by step. The lab's
// ground truth says how far it has come.
type errand struct {
	vm    string // instance UUID, "" for a host
	host  int    // index in the lab's World
	steps []engine.Action
	next  int
}

// advance moves each errand on past the steps that have taken effect.
func (w *world) advance() {
	now := w.lab.World()
	at := map[string]engine.HostID{}
	for i := range now.VMs {
		h := &now.Hosts[now.VMs[i].Host]
		at[now.VMs[i].UUID] = hostID(h)
	}
	for _, e := range w.errands {
		for e.next < len(e.steps) && e.arrived(&e.steps[e.next], &now, at) {
			e.next++
		}
	}
}

func (e *errand) arrived(a *engine.Action, now *lab.World, at map[string]engine.HostID) bool {
	h := &now.Hosts[e.host]
	switch a.Kind {
	case engine.Move:
		return at[e.vm] == a.To.Host
	case engine.Standby:
		return h.Standby
	case engine.Wakeup:
		return h.On
	case engine.EnterMaintenance:
		return h.Maintenance
	case engine.ExitMaintenance:
		return !h.Maintenance
	}
	return false
}

func hostID(h *lab.WorldHost) engine.HostID { return engine.HostID(h.VCenter + "/" + h.Moid) }

// A site is one vCenter as the survey finds it.
type site struct {
	id       engine.VCenterID
	hosts    []mo.HostSystem
	clusters []mo.ClusterComputeResource
	vms      []mo.VirtualMachine
	networks []mo.Network
	stores   []mo.Datastore
}

// connect logs in to a vCenter from outside, as whoever judges does.
func (w *world) connect(ctx context.Context, i int, f func(c *vsphere.Conn) error) error {
	s, err := vsphere.Dial(ctx, w.vcenters[i], w.vcenters[i].Reader, vsphere.Options{DialContext: w.lab.Dial, Password: w.password})
	if err != nil {
		return err
	}
	defer func() { _ = s.Close() }()
	c, err := s.Conn(ctx)
	if err != nil {
		return err
	}
	return f(c)
}

// survey reads what stands where and draws the errands: each VM goes to two other
// hosts of its cluster and then to the other vCenter; each cluster's last host
// goes to sleep, wakes, and is in maintenance for a while.
func (w *world) survey(ctx context.Context) error {
	var sites []site
	for i := range w.vcenters {
		var s site
		err := w.connect(ctx, i, func(c *vsphere.Conn) error { return s.read(ctx, c) })
		if err != nil {
			return err
		}
		sites = append(sites, s)
	}
	index := map[engine.HostID]int{}
	truth := w.lab.World()
	for i := range truth.Hosts {
		index[hostID(&truth.Hosts[i])] = i
	}
	for i := range sites {
		here, there := &sites[i], &sites[1-i]
		for k := range here.vms {
			if v := &here.vms[k]; !isAgent(&truth, v.Config.InstanceUuid) {
				w.errands = append(w.errands, &errand{vm: v.Config.InstanceUuid, steps: here.moves(there, v, w.rng.IntN)})
			}
		}
		spare := here.place(&here.hosts[len(here.hosts)-1])
		e := &errand{host: index[spare.Host]}
		for _, k := range []engine.ActionKind{engine.Standby, engine.Wakeup, engine.EnterMaintenance, engine.ExitMaintenance} {
			e.steps = append(e.steps, engine.Action{Kind: k, Name: spare.Name, From: spare})
		}
		w.errands = append(w.errands, e)
	}
	return nil
}

func isAgent(truth *lab.World, uuid string) bool {
	for i := range truth.VMs {
		if v := &truth.VMs[i]; v.UUID == uuid {
			return slices.Contains(v.Fixtures, "agent")
		}
	}
	return false
}

func (s *site) read(ctx context.Context, c *vsphere.Conn) error {
	s.id = c.VCenter
	v, err := view.NewManager(c.Client).CreateContainerView(ctx, c.ServiceContent.RootFolder, nil, true)
	if err != nil {
		return err
	}
	for _, r := range []struct {
		kind  string
		paths []string
		into  any
	}{
		{"HostSystem", []string{"name", "parent"}, &s.hosts},
		{"ClusterComputeResource", []string{"resourcePool"}, &s.clusters},
		{"VirtualMachine", []string{"name", "config.instanceUuid", "config.hardware.device", "runtime.host"}, &s.vms},
		{"Network", []string{"name"}, &s.networks},
		{"Datastore", []string{"name"}, &s.stores},
	} {
		if err := v.Retrieve(ctx, []string{r.kind}, r.paths, r.into); err != nil {
			return fmt.Errorf("read %s: %w", r.kind, err)
		}
	}
	return nil
}

func (s *site) place(h *mo.HostSystem) engine.Place {
	p := engine.Place{VCenter: s.id, Host: engine.HostID(string(s.id) + "/" + h.Self.Value), Name: h.Name, Cluster: engine.ClusterID(string(s.id) + "/" + h.Parent.Value)}
	for i := range s.clusters {
		if c := &s.clusters[i]; c.Self == *h.Parent {
			p.Pool = c.ResourcePool.Value
		}
	}
	return p
}

// moves are a VM's steps. All but the cluster's last host take part.
func (s *site) moves(there *site, v *mo.VirtualMachine, draw func(int) int) []engine.Action {
	at := 0
	for i := range s.hosts {
		if s.hosts[i].Self == *v.Runtime.Host {
			at = i
		}
	}
	usable := len(s.hosts) - 1
	a := engine.Action{Kind: engine.Move, VM: engine.VMID(v.Config.InstanceUuid), Name: v.Name, Moid: v.Self.Value, From: s.place(&s.hosts[at])}
	var steps []engine.Action
	for i := range 2 {
		// Forward by one or two each time: never a host where it has been before.
		at = (at + 1 + draw(1+i)%2) % usable
		a.To = s.place(&s.hosts[at])
		steps = append(steps, a)
		a.From = a.To
	}
	a.To = there.place(&there.hosts[draw(usable)])
	a.Across, a.Storage, a.HomeTo = true, true, there.store(0)
	for _, d := range v.Config.Hardware.Device {
		switch d := d.(type) {
		case *types.VirtualDisk:
			b, ok := d.Backing.(types.BaseVirtualDeviceFileBackingInfo)
			if ok {
				a.Disks = append(a.Disks, engine.DiskTarget{Key: d.Key, From: engine.DatastoreID(string(s.id) + "/" + b.GetVirtualDeviceFileBackingInfo().Datastore.Value), To: there.store(1)})
			}
		case types.BaseVirtualEthernetCard:
			a.NICs = append(a.NICs, engine.NICTarget{Key: d.GetVirtualEthernetCard().Key, To: there.network()})
		}
	}
	return append(steps, a)
}

func (s *site) store(n int) engine.DatastoreID {
	return engine.DatastoreID(string(s.id) + "/" + s.stores[n].Self.Value)
}

func (s *site) network() engine.NetworkID {
	for i := range s.networks {
		if n := &s.networks[i]; strings.HasSuffix(n.Name, "app") {
			return engine.NetworkID(string(s.id) + "/" + n.Self.Value)
		}
	}
	return ""
}
