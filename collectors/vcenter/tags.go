package vcenter

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/vmware/govmomi/vapi/rest"
	"github.com/vmware/govmomi/vapi/tags"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/types"

	"heliostat/engine"
	"heliostat/vsphere"
)

const (
	// tagsEvery is how old the tags of a VM may become. vCenter does not report
	// their changes.
	tagsEvery = 10 * time.Minute
	// tagsStale is when tags are too old to trust: a person may have pinned VMs since.
	tagsStale = 3 * tagsEvery
	// tagsRetry is how long a vCenter that refused is left alone.
	tagsRetry = time.Minute
	// tagsBatch is the most objects that one call may name. Source: vSphere
	// Automation API, tag association, list attached tags on objects.
	tagsBatch = 2000
)

// A tagCache is the tags of all VMs, "category:name", sorted.
type tagCache struct {
	version uint64
	at      time.Time // of the last complete reading
	tried   time.Time
	err     error
	byVM    map[string][]string // by moid; a VM whose tags were not read is not in it
}

// refresh reads the tags of VMs that are new, and of all when they are old. It
// keeps what it has where that fails.
func (t *tagCache) refresh(ctx context.Context, conn *vsphere.Conn, vms []types.ManagedObjectReference) {
	now := time.Now()
	want := vms
	if now.Sub(t.at) < tagsEvery {
		want = slices.DeleteFunc(vms, func(r types.ManagedObjectReference) bool { _, ok := t.byVM[r.Value]; return ok })
	}
	if len(want) == 0 || (t.err != nil && now.Sub(t.tried) < tagsRetry) {
		return
	}
	t.tried = now
	whole := len(want) == len(vms)
	t.err = conn.REST(ctx, func(c *rest.Client) error { return t.read(ctx, c, want, whole) })
	if t.err == nil && whole {
		t.at = now
	}
}

func (t *tagCache) read(ctx context.Context, c *rest.Client, vms []types.ManagedObjectReference, whole bool) error {
	m := tags.NewManager(c)
	names := map[string]string{} // read anew each time: tags are renamed
	byVM := make(map[string][]string, len(vms))
	for batch := range slices.Chunk(vms, tagsBatch) {
		objects := make([]mo.Reference, len(batch))
		for i := range batch {
			objects[i] = batch[i]
			byVM[batch[i].Value] = nil // those without a tag are not in the answer
		}
		attached, err := m.ListAttachedTagsOnObjects(ctx, objects)
		if err != nil {
			return err
		}
		for _, a := range attached {
			list := make([]string, 0, len(a.TagIDs))
			for _, id := range a.TagIDs {
				name, err := tagName(ctx, m, names, id)
				if err != nil {
					return err
				}
				list = append(list, name)
			}
			slices.Sort(list)
			byVM[a.ObjectID.Reference().Value] = list
		}
	}
	// Only what was read to its end counts: a VM of a broken reading has no tags
	// that are known, rather than none.
	if !whole {
		maps.Copy(t.byVM, byVM)
		byVM = t.byVM
	}
	t.byVM = byVM
	t.version++
	return nil
}

// tagName gives "category:name" of a tag.
func tagName(ctx context.Context, m *tags.Manager, names map[string]string, id string) (string, error) {
	if n, ok := names[id]; ok {
		return n, nil
	}
	tag, err := m.GetTag(ctx, id)
	if err != nil {
		return "", err
	}
	category, ok := names[tag.CategoryID]
	if !ok {
		c, err := m.GetCategory(ctx, tag.CategoryID)
		if err != nil {
			return "", err
		}
		category = c.Name
		names[tag.CategoryID] = category
	}
	names[id] = category + ":" + tag.Name
	return names[id], nil
}

// The tag category by which people say how far the daemon may go with a VM.
const ownTags = "heliostat:"

// wishes reads what the tags say about the VM itself. Of several modes the
// weakest counts.
func wishes(list []string) (mode engine.Mode, across bool) {
	mode = engine.Enforce
	for _, t := range list {
		name, ok := strings.CutPrefix(t, ownTags)
		if !ok {
			continue
		}
		switch name {
		case "never":
			mode = engine.Off
		case "advise":
			mode = min(mode, engine.Advise)
		case "across":
			across = true
		}
	}
	return mode, across
}
