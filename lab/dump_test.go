package lab

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/vmware/govmomi/view"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"
	"github.com/vmware/govmomi/vim25/xml"
)

func load(t *testing.T, name string) (*Lab, []mo.VirtualMachine, []mo.HostSystem) {
	t.Helper()
	l, err := Load(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Serve(t.Context(), "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	c := connect(t, l, 0, mover)
	v, err := view.NewManager(c.Client).CreateContainerView(t.Context(), c.ServiceContent.RootFolder, []string{"VirtualMachine", "HostSystem"}, true)
	if err != nil {
		t.Fatal(err)
	}
	var vms []mo.VirtualMachine
	var hosts []mo.HostSystem
	if err := v.Retrieve(t.Context(), []string{"VirtualMachine"}, []string{"name", "summary.quickStats", "config.instanceUuid"}, &vms); err != nil {
		t.Fatal(err)
	}
	if err := v.Retrieve(t.Context(), []string{"HostSystem"}, []string{"name", "summary.hardware"}, &hosts); err != nil {
		t.Fatal(err)
	}
	_, err = methods.PowerOffVM_Task(t.Context(), c.Client, &types.PowerOffVM_Task{This: vms[0].Self})
	if _, ok := vimFault(err).(types.NotSupported); !ok {
		t.Errorf("power off in a recorded vCenter: %v", err)
	}
	return l, vms, hosts
}

// A dump of a lab of one's own, written as govc object.save writes it.
func TestLoadOwnDump(t *testing.T) {
	dir := t.TempDir()
	src := build(t, small())
	v := src.vcs[0]
	ctx := v.ctx("")
	for _, o := range v.registry().AllReference("") {
		ref := o.Reference()
		spec := types.PropertyFilterSpec{PropSet: []types.PropertySpec{{Type: ref.Type, All: new(true)}}}
		if ref == controlRef || ref.Type == "EnvironmentBrowser" {
			continue
		}
		c, ok := content(ctx, &spec, ref)
		if !ok {
			continue
		}
		writeObject(t, filepath.Join(dir, fileName(ref)), c)
	}
	l, vms, hosts := load(t, dir)
	if len(vms) != 5 || len(hosts) != 2 || l.Endpoints()[0].InstanceUUID != v.uuid {
		t.Errorf("%d VMs on %d hosts at %s", len(vms), len(hosts), l.Endpoints()[0].InstanceUUID)
	}
}

// The simulator wants the service instance first, and reads files by name.
func fileName(ref types.ManagedObjectReference) string {
	if ref.Type == "ServiceInstance" {
		return "0000-ServiceInstance.xml"
	}
	return "1000-" + ref.Type + "-" + ref.Value + ".xml"
}

func TestLoadRecordedVCenter(t *testing.T) {
	name := os.Getenv("HELIOSTAT_VCENTER_DUMP")
	if name == "" {
		t.Skip("HELIOSTAT_VCENTER_DUMP names no recorded vCenter")
	}
	_, vms, hosts := load(t, name)
	t.Logf("%d VMs on %d hosts", len(vms), len(hosts))
	if len(vms) == 0 || len(hosts) == 0 {
		t.Error("nothing in it")
	}
}

func TestLoadNothing(t *testing.T) {
	for _, name := range []string{filepath.Join(t.TempDir(), "none"), t.TempDir()} {
		if _, err := Load(name); err == nil {
			t.Errorf("%s loaded", name)
		}
	}
}

func writeObject(t *testing.T, name string, c types.ObjectContent) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if err := xml.NewEncoder(f).Encode(c); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}
