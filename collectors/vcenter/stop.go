package vcenter

import (
	"context"
	"maps"
	"reflect"
	"time"

	"github.com/vmware/govmomi/vapi/rest"
	"github.com/vmware/govmomi/vapi/tags"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"

	"heliostat/vsphere"
)

// How a person stops the daemon from inside vCenter: the tag, or the custom
// attribute with any value but false, on the root folder, a datacentre or a cluster.
const (
	stopTag   = ownTags + "stop"
	stopField = "heliostat.stop"
)

// A stopCache is where in one vCenter the tag is, and the root folder's custom
// attributes, which no view of the topology has. It is read at each look: vCenter
// does not report changes of tags, and who says stop must not wait.
type stopCache struct {
	version uint64
	err     error // of the last reading; what was known before stays in force
	tried   time.Time
	named   time.Time         // when names was emptied last: tags are renamed
	names   map[string]string // as of tagName
	tagged  map[types.ManagedObjectReference]bool
	root    []types.BaseCustomFieldValue
}

func (t *stopCache) refresh(ctx context.Context, conn *vsphere.Conn, places []types.ManagedObjectReference, noTags bool) {
	root, before, tagged := conn.ServiceContent.RootFolder, t.root, t.tagged
	err := conn.Retrieve(ctx, vsphere.Objects(root.Type, []types.ManagedObjectReference{root}, "customValue"), func(objects []types.ObjectContent) error {
		for _, o := range objects {
			for _, p := range o.PropSet {
				t.root = customValues(p.Val)
			}
		}
		return nil
	})
	switch {
	case err != nil || noTags:
		t.err, t.tried = err, time.Time{}
	case t.err == nil || time.Since(t.tried) >= tagsRetry:
		t.tried = time.Now()
		t.err = conn.REST(ctx, func(c *rest.Client) error { return t.read(ctx, c, append(places, root)) })
	}
	if !maps.Equal(tagged, t.tagged) || !reflect.DeepEqual(before, t.root) {
		t.version++
	}
}

func (t *stopCache) read(ctx context.Context, c *rest.Client, places []types.ManagedObjectReference) error {
	if time.Since(t.named) >= tagsEvery {
		t.named, t.names = time.Now(), map[string]string{}
	}
	m := tags.NewManager(c)
	objects := make([]mo.Reference, len(places))
	for i := range places {
		objects[i] = places[i]
	}
	attached, err := m.ListAttachedTagsOnObjects(ctx, objects)
	if err != nil {
		return err
	}
	tagged := map[types.ManagedObjectReference]bool{}
	for _, a := range attached {
		for _, id := range a.TagIDs {
			name, err := tagName(ctx, m, t.names, id)
			if err != nil {
				return err
			}
			if name == stopTag {
				tagged[a.ObjectID.Reference()] = true
			}
		}
	}
	t.tagged = tagged
	return nil
}

// stopPlaces lists what can be stopped below the root folder.
func (s *Source) stopPlaces() []types.ManagedObjectReference {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []types.ManagedObjectReference
	for ref := range s.topo.records {
		switch ref.Type {
		case "Datacenter", "ClusterComputeResource", "ComputeResource":
			out = append(out, ref)
		}
	}
	return out
}

// addStops writes down where nothing may be started: at the whole vCenter, or in
// a cluster, for its own sake or for its datacentre's.
func (b *builder) addStops() {
	root := types.ManagedObjectReference{}
	for ref := range b.s.stops.tagged {
		if _, known := b.topo.records[ref]; !known {
			root = ref
		}
	}
	b.inv.VCenter.Stop = b.stopped(root, b.s.stops.root, "the root folder")
	for i, r := range b.computes {
		c := &b.inv.Clusters[i]
		c.Stop = b.stopped(r.ref, r.custom, c.Path)
		for rec := b.topo.records[r.parent]; rec != nil && c.Stop == ""; rec = b.topo.records[rec.base().parent] {
			if p, ok := rec.(*place); ok && p.ref.Type == "Datacenter" {
				c.Stop = b.stopped(p.ref, p.custom, b.folder(p.ref))
			}
		}
	}
}

// stopped says what on a place says stop, "" when nothing does.
func (b *builder) stopped(ref types.ManagedObjectReference, values []types.BaseCustomFieldValue, path string) string {
	if b.s.stops.tagged[ref] {
		return "tag " + stopTag + " on " + path
	}
	list, ok := b.s.fields.attributes(values)
	b.strange = b.strange || !ok
	if v := attribute(list, stopField); v != "" && !isFalse(v) {
		return "attribute " + stopField + "=" + v + " on " + path
	}
	return ""
}
