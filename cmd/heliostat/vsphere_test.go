package main

import (
	"crypto/x509"
	"net/url"
	"testing"

	"github.com/vmware/govmomi"
	"github.com/vmware/govmomi/find"
	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/session"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"heliostat/engine"
	"heliostat/lab"
)

// connect logs in to a vCenter with govmomi alone, over verified TLS: what these
// tests see of the lab does not pass through the daemon's code.
func connect(t *testing.T, e *lab.Endpoint) *govmomi.Client {
	t.Helper()
	u, err := soap.ParseURL(e.URL)
	if err != nil {
		t.Fatal(err)
	}
	sc := soap.NewClient(u, false)
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(e.CertPEM) {
		t.Fatalf("%s: no certificate", e.Name)
	}
	sc.DefaultTransport().TLSClientConfig.RootCAs = pool
	vc, err := vim25.NewClient(t.Context(), sc)
	if err != nil {
		t.Fatalf("connect to %s: %v", e.Name, err)
	}
	c := &govmomi.Client{Client: vc, SessionManager: session.NewManager(vc)}
	if err := c.Login(t.Context(), url.UserPassword(e.Username, e.Password)); err != nil {
		t.Fatalf("log in to %s: %v", e.Name, err)
	}
	t.Cleanup(vc.CloseIdleConnections)
	return c
}

// standing is where each VM runs, as the vCenters themselves say: hosts by
// instance UUID, each as "vcUUID/moid". A VM seen twice has two. The cluster
// services' agents, which never leave their cluster, are left out.
func (r *rig) standing(t *testing.T) map[engine.VMID][]engine.HostID {
	t.Helper()
	out := map[engine.VMID][]engine.HostID{}
	for i := range r.endpoints {
		c := connect(t, &r.endpoints[i])
		f := find.NewFinder(c.Client)
		dc, err := f.DefaultDatacenter(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		list, err := f.SetDatacenter(dc).VirtualMachineList(t.Context(), "*")
		if err != nil {
			t.Fatal(err)
		}
		refs := make([]types.ManagedObjectReference, len(list))
		for j, vm := range list {
			refs[j] = vm.Reference()
		}
		var vms []mo.VirtualMachine
		if err := property.DefaultCollector(c.Client).Retrieve(t.Context(), refs, []string{"config", "runtime.host"}, &vms); err != nil {
			t.Fatal(err)
		}
		uuid := c.ServiceContent.About.InstanceUuid
		for j := range vms {
			if by := vms[j].Config.ManagedBy; by != nil && by.Type == "cluster-agent" {
				continue
			}
			id := engine.VMID(vms[j].Config.InstanceUuid)
			out[id] = append(out[id], engine.HostID(uuid+"/"+vms[j].Runtime.Host.Value))
		}
	}
	return out
}

// relocations lists the relocate tasks of a VM in the task histories of all vCenters.
func (r *rig) relocations(t *testing.T, vm string) []types.TaskInfo {
	t.Helper()
	var out []types.TaskInfo
	for i := range r.endpoints {
		c := connect(t, &r.endpoints[i])
		made, err := methods.CreateCollectorForTasks(t.Context(), c.Client, &types.CreateCollectorForTasks{This: *c.ServiceContent.TaskManager})
		if err != nil {
			t.Fatal(err)
		}
		for {
			page, err := methods.ReadNextTasks(t.Context(), c.Client, &types.ReadNextTasks{This: made.Returnval, MaxCount: 100})
			if err != nil {
				t.Fatal(err)
			}
			if len(page.Returnval) == 0 {
				break
			}
			for _, info := range page.Returnval {
				if info.EntityName == vm && info.DescriptionId == "VirtualMachine.relocate" {
					out = append(out, info)
				}
			}
		}
	}
	return out
}
