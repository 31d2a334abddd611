package vcenter

import (
	"context"
	"slices"
	"time"

	"github.com/vmware/govmomi/vim25/types"

	"heliostat/vsphere"
)

const (
	// fieldsEvery is how old the names of custom attributes may become; a key that
	// is not known is looked up at once.
	fieldsEvery = 10 * time.Minute
	// fieldsRetry is how long a vCenter that refused is left alone.
	fieldsRetry = time.Minute
)

// A fieldCache is the names of custom attributes by key.
type fieldCache struct {
	version uint64
	at      time.Time // of the last attempt; zero to force one
	err     error
	names   map[int32]string
}

func (f *fieldCache) refresh(ctx context.Context, conn *vsphere.Conn) {
	m := conn.ServiceContent.CustomFieldsManager
	every := fieldsEvery
	if f.err != nil {
		every = fieldsRetry
	}
	if m == nil || time.Since(f.at) < every {
		return
	}
	f.at = time.Now()
	f.err = conn.Retrieve(ctx, vsphere.Objects(m.Type, []types.ManagedObjectReference{*m}, "field"), func(objects []types.ObjectContent) error {
		names := map[int32]string{}
		for _, o := range objects {
			for _, p := range o.PropSet {
				a, _ := p.Val.(types.ArrayOfCustomFieldDef)
				for _, d := range a.CustomFieldDef {
					names[d.Key] = d.Name
				}
			}
		}
		f.names = names
		f.version++
		return nil
	})
}

// attributes gives an object's custom attributes as "name=value", sorted. ok is
// false when a name is not known.
func (f *fieldCache) attributes(values []types.BaseCustomFieldValue) (list []string, ok bool) {
	ok = true
	for _, v := range values {
		s, isString := v.(*types.CustomFieldStringValue)
		if !isString || s.Value == "" {
			continue
		}
		name, known := f.names[s.Key]
		if !known {
			ok = false
			continue
		}
		list = append(list, name+"="+s.Value)
	}
	slices.Sort(list)
	return list, ok
}
