package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vmware/govmomi"
	"github.com/vmware/govmomi/property"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/view"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
	"github.com/vmware/govmomi/vim25/xml"

	"heliostat/engine"
)

// ownDump makes a small vCenter with one host and two VMs, and saves it as
// 'govc object.save' does.
func ownDump(t *testing.T) string {
	t.Helper()
	m := simulator.VPX()
	m.Cluster, m.ClusterHost, m.Host, m.Machine = 1, 1, 0, 2
	if err := m.Create(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Remove)
	s := m.Service.NewServer()
	t.Cleanup(s.Close)
	c, err := govmomi.NewClient(t.Context(), s.URL, true)
	if err != nil {
		t.Fatal(err)
	}
	// The simulator's VMs run and take nothing, which no VM does.
	for _, o := range m.Map().All("VirtualMachine") {
		if vm, ok := o.(*simulator.VirtualMachine); ok {
			q := &vm.Summary.QuickStats
			q.OverallCpuUsage, q.OverallCpuDemand, q.HostMemoryUsage, q.GuestMemoryUsage = 21, 23, 30, 12
		}
	}
	dir := t.TempDir()
	for i, o := range m.Map().AllReference("") {
		ref := o.Reference()
		var content []types.ObjectContent
		// Some objects have nothing that can be read.
		if err := property.DefaultCollector(c.Client).Retrieve(t.Context(), []types.ManagedObjectReference{ref}, nil, &content); err != nil || len(content) != 1 {
			continue
		}
		n := i + 1
		if ref.Type == "ServiceInstance" {
			n = 0 // it comes first
		}
		b, err := xml.Marshal(content[0])
		if err != nil {
			t.Fatalf("%s: %v", ref, err)
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%04d-%s.xml", n, ref.Encode())), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// recorded plans on a recorded vCenter with one host, and expects that nothing
// is to be done and that its VMs have nowhere to go.
func recorded(t *testing.T, dump string, vms int, rules string) *rig {
	t.Helper()
	r := startLab(t, "--load", dump)
	r.ask(t, "check")
	out := r.ask(t, "plan")
	for _, want := range []string{fmt.Sprintf("1 site, 1 host, %d VMs (%[1]d running), %[2]s, 0 gaps, as of ", vms, rules), "nothing to do"} {
		if !strings.Contains(out, want) {
			t.Errorf("plan does not say %q:\n%s", want, out)
		}
	}
	_, stderr, code := heliostat(t, "plan", "--config", r.config, "--drain", "no-such-host")
	_, host, ok := strings.Cut(strings.TrimSpace(stderr), "there is only ")
	if code != exitFailure || !ok {
		t.Fatalf("plan for a host that is not there: exit %d: %s", code, stderr)
	}
	var p engine.Plan
	if err := json.Unmarshal([]byte(r.ask(t, "plan", "--json", "--drain", host)), &p); err != nil {
		t.Fatal(err)
	}
	held := map[string]bool{}
	for _, h := range p.Holds {
		if h.Subject.Kind == "vm" {
			held[h.Name] = held[h.Name] || (h.Code == engine.HoldNowhere && h.Detail == host+" is the only host")
		}
	}
	if len(p.Actions) > 0 || len(held) != vms {
		t.Errorf("%d actions; held: %v", len(p.Actions), held)
	}
	for vm, nowhere := range held {
		if !nowhere {
			t.Errorf("%s is not said to have nowhere to go: %+v", vm, p.Holds)
		}
	}
	out = r.ask(t, "plan", "--drain", host)
	for vm := range held {
		if !strings.Contains(out, "  "+vm+" ") {
			t.Errorf("plan --drain does not name %s:\n%s", vm, out)
		}
	}
	r.loads(t)
	return r
}

// loads compares what is said of the host's and each VM's load with what the
// recorded vCenter says itself.
func (r *rig) loads(t *testing.T) {
	t.Helper()
	c := connect(t, &r.endpoints[0])
	v, err := view.NewManager(c.Client).CreateContainerView(t.Context(), c.ServiceContent.RootFolder, []string{"HostSystem", "VirtualMachine"}, true)
	if err != nil {
		t.Fatal(err)
	}
	var hosts []mo.HostSystem
	var vms []mo.VirtualMachine
	err = errors.Join(v.Retrieve(t.Context(), []string{"HostSystem"}, []string{"summary"}, &hosts), v.Retrieve(t.Context(), []string{"VirtualMachine"}, []string{"name", "summary"}, &vms))
	if err != nil || len(hosts) != 1 {
		t.Fatalf("%d hosts: %v", len(hosts), err)
	}
	q, hw := hosts[0].Summary.QuickStats, hosts[0].Summary.Hardware
	want := fmt.Sprintf("recorded: 1 of 1 host on, CPU %d of %d MHz, memory %d of %d MiB, power unknown", q.OverallCpuUsage, int32(hw.NumCpuCores)*hw.CpuMhz, q.OverallMemoryUsage, hw.MemorySize>>20)
	if out := r.ask(t, "plan"); !strings.Contains(out, want) {
		t.Errorf("plan does not say %q:\n%s", want, out)
	}
	r.run(t)
	for i := range vms {
		s := &vms[i].Summary
		want := fmt.Sprintf("%s, %d MHz now; %d MiB configured, %d MiB used;", engine.Count(int(s.Config.NumCpu), "vCPU"), max(s.QuickStats.OverallCpuUsage, s.QuickStats.OverallCpuDemand), s.Config.MemorySizeMB, s.QuickStats.HostMemoryUsage)
		if out := r.ask(t, "explain", "vm", vms[i].Name); !strings.Contains(out, want) {
			t.Errorf("explain does not say %q:\n%s", want, out)
		}
	}
	r.daemon.interrupt(t)
}

func TestOwnDump(t *testing.T) {
	t.Parallel()
	recorded(t, ownDump(t), 2, "0 rules").lab.interrupt(t)
}

// TestRecordedVCenter plans on a real vCenter 8.0.1 with one host, seven VMs and
// three rules, all of them disabled. The recording is not part of the project.
func TestRecordedVCenter(t *testing.T) {
	dump := os.Getenv("HELIOSTAT_VCENTER_DUMP")
	if dump == "" {
		t.Skip("HELIOSTAT_VCENTER_DUMP names no recorded vCenter 8.0.1")
	}
	t.Parallel()
	recorded(t, dump, 7, "3 rules (3 disabled)")
}
