package vcenter

import (
	"context"
	"strings"
	"testing"

	"github.com/vmware/govmomi/vapi/rest"
	"github.com/vmware/govmomi/vapi/tags"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"

	"heliostat/engine"
	"heliostat/lab"
	"heliostat/vsphere"
)

// attach puts the tag that says stop on an object, or takes it off, as a person does.
func attach(t *testing.T, c *vsphere.Conn, ref types.ManagedObjectReference, on bool) {
	t.Helper()
	err := c.REST(t.Context(), func(r *rest.Client) error {
		m := tags.NewManager(r)
		if !on {
			return m.DetachTag(t.Context(), "stop", ref)
		}
		if _, err := m.GetTag(t.Context(), "stop"); err != nil {
			id, err := m.GetCategory(t.Context(), "heliostat")
			if err != nil {
				return err
			}
			if _, err := m.CreateTag(t.Context(), &tags.Tag{Name: "stop", CategoryID: id.ID}); err != nil {
				return err
			}
		}
		return m.AttachTag(t.Context(), "stop", ref)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestStopByTag: on the root folder it stops the vCenter, on a datacentre or a
// cluster the clusters in it; one look after, it is seen.
func TestStopByTag(t *testing.T) {
	bubble(t, labConfig(), func(t *testing.T, l *lab.Lab, r *rig) {
		o := r.until(t, func(engine.Observation) bool { return true })
		if o.Inventory.VCenter.Stop != "" || o.Inventory.Clusters[0].Stop != "" {
			t.Fatalf("stopped before anybody said so: %+v", o.Inventory.VCenter)
		}
		c := mover(t, l)
		var dc types.ManagedObjectReference
		for ref := range r.source.topo.records {
			if ref.Type == "Datacenter" {
				dc = ref
			}
		}
		_, moid := engine.SplitRef(o.Inventory.Clusters[0].ID)
		for _, x := range []struct {
			on               types.ManagedObjectReference
			vcenter, cluster string
		}{
			{c.ServiceContent.RootFolder, "tag heliostat:stop on the root folder", ""},
			{dc, "", "tag heliostat:stop on /houston"},
			{types.ManagedObjectReference{Type: "ClusterComputeResource", Value: moid}, "", "tag heliostat:stop on " + o.Inventory.Clusters[0].Path},
		} {
			attach(t, c, x.on, true)
			o, err := r.source.Observe(t.Context())
			if err != nil || o.Inventory.VCenter.Stop != x.vcenter || !strings.HasPrefix(o.Inventory.Clusters[0].Stop, x.cluster) || (x.cluster == "") != (o.Inventory.Clusters[0].Stop == "") {
				t.Errorf("on %s: vCenter %q, cluster %q, %v", x.on, o.Inventory.VCenter.Stop, o.Inventory.Clusters[0].Stop, err)
			}
			attach(t, c, x.on, false)
			if o, err = r.source.Observe(t.Context()); err != nil || o.Inventory.VCenter.Stop+o.Inventory.Clusters[0].Stop != "" {
				t.Errorf("off %s: vCenter %q, cluster %q, %v", x.on, o.Inventory.VCenter.Stop, o.Inventory.Clusters[0].Stop, err)
			}
		}
	})
}

// TestStopByAttribute: where tags cannot be read the custom attribute says stop.
func TestStopByAttribute(t *testing.T) {
	bubble(t, labConfig(), func(t *testing.T, l *lab.Lab, r *rig) {
		o := r.until(t, func(engine.Observation) bool { return true })
		l.SetFaults(func(c lab.Call) lab.Fault {
			if strings.HasPrefix(c.Path, "/rest") {
				return lab.Fault{Refuse: 503}
			}
			return lab.Fault{}
		})
		c := mover(t, l)
		m := *c.ServiceContent.CustomFieldsManager
		def, err := methods.AddCustomFieldDef(t.Context(), c, &types.AddCustomFieldDef{This: m, Name: stopField})
		if err != nil {
			t.Fatal(err)
		}
		set := func(ref types.ManagedObjectReference, value string) {
			if _, err := methods.SetField(context.WithoutCancel(t.Context()), c, &types.SetField{This: m, Entity: ref, Key: def.Returnval.Key, Value: value}); err != nil {
				t.Fatal(err)
			}
		}
		_, moid := engine.SplitRef(o.Inventory.Clusters[0].ID)
		cluster := types.ManagedObjectReference{Type: "ClusterComputeResource", Value: moid}
		set(cluster, "firmware, ann")
		o = r.until(t, func(o engine.Observation) bool { return o.Inventory.Clusters[0].Stop != "" })
		if want := "attribute heliostat.stop=firmware, ann on "; !strings.HasPrefix(o.Inventory.Clusters[0].Stop, want) || o.Inventory.VCenter.Stop != "" {
			t.Errorf("cluster %q, vCenter %q", o.Inventory.Clusters[0].Stop, o.Inventory.VCenter.Stop)
		}
		if !gapOn(o, "feed", r.source.Name()) {
			t.Errorf("gaps: %+v", o.Gaps)
		}
		set(cluster, "false")
		set(c.ServiceContent.RootFolder, "true")
		l.SetFaults(nil)
		r.until(t, func(o engine.Observation) bool {
			return o.Inventory.VCenter.Stop == "attribute heliostat.stop=true on the root folder" && o.Inventory.Clusters[0].Stop == ""
		})
	})
}
