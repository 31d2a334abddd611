package vcenter

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vmware/govmomi/vim25/types"

	"heliostat/vsphere"
)

// A topology is every managed object that is watched, by reference.
type topology struct {
	records map[types.ManagedObjectReference]record
	version uint64 // grows with every change
	at      time.Time
}

// apply takes one update and reports whether the loop should wake. stale says
// that the update does not carry the whole value of a property: the object has
// to be read again.
func (t *topology) apply(u *types.ObjectUpdate) (wake, stale bool) {
	if u.Kind == types.ObjectUpdateKindLeave {
		_, known := t.records[u.Obj]
		delete(t.records, u.Obj)
		t.version++
		return known, false
	}
	r := t.records[u.Obj]
	if r == nil || u.Kind == types.ObjectUpdateKindEnter {
		if r = newRecord(u.Obj); r == nil {
			return false, false
		}
		t.records[u.Obj] = r
		wake = true
	}
	for i := range u.ChangeSet {
		c := &u.ChangeSet[i]
		val := c.Val
		switch c.Op {
		case types.PropertyChangeOpIndirectRemove: // the property, or what holds it, is unset
			val = nil
		case types.PropertyChangeOpAdd, types.PropertyChangeOpRemove: // one element of a list
			stale = true
			continue
		default: // assigned
		}
		if !r.set(c.Name, val) {
			stale = true // a change below a property that is watched
			continue
		}
		r.base().refuse(c.Name, "")
		wake = wake || !quiet[c.Name]
	}
	for _, m := range u.MissingSet {
		t.miss(r, m)
	}
	t.version++
	return wake, stale
}

// miss notes a property that was not given. One that the server's version does
// not know is merely unset.
func (t *topology) miss(r record, m types.MissingProperty) {
	r.set(m.Path, nil)
	switch f := m.Fault.Fault.(type) {
	case *types.InvalidProperty:
	case *types.NoPermission:
		r.base().refuse(m.Path, "no permission ("+f.PrivilegeId+")")
	default:
		r.base().refuse(m.Path, fmt.Sprintf("%T", f))
	}
}

// content takes an object that was read whole.
func (t *topology) content(o *types.ObjectContent) bool {
	u := types.ObjectUpdate{Kind: types.ObjectUpdateKindEnter, Obj: o.Obj, MissingSet: o.MissingSet}
	for _, p := range o.PropSet {
		u.ChangeSet = append(u.ChangeSet, types.PropertyChange{Name: p.Name, Op: types.PropertyChangeOpAssign, Val: p.Val})
	}
	wake, _ := t.apply(&u)
	return wake
}

// resyncPause is how long to wait before a lost watch is built again: long
// enough not to burden a vCenter that is starting, short against a cycle.
const resyncPause = 5 * time.Second

// Run keeps the topology until ctx ends. Losing the session, the collector or
// the connection is normal: it logs, waits and starts again from nothing, and
// what was known stays in service, growing older.
func (s *Source) Run(ctx context.Context) error {
	for {
		err := s.watch(ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		s.fail(err)
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(resyncPause):
		}
	}
}

// watch builds the watch and follows it until it breaks.
func (s *Source) watch(ctx context.Context) (err error) {
	conn, err := s.session.Conn(ctx)
	if err != nil {
		return err
	}
	view, err := conn.ContainerView(ctx, viewKinds...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.DestroyView(view)) }()
	keyed := true
	w, err := conn.Watch(ctx, vsphere.Viewed(view, watched(keyed)...))
	if err != nil && vsphere.Answered(err) && !vsphere.IsNotAuthenticated(err) {
		// The one thing in the specification that a server may not know is paths with keys.
		keyed = false
		w, err = conn.Watch(ctx, vsphere.Viewed(view, watched(keyed)...))
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()

	fresh := &topology{records: map[types.ManagedObjectReference]record{}}
	for complete := false; ; {
		updates, more, err := w.Next(ctx)
		if err != nil {
			return err
		}
		wake, err := s.take(ctx, conn, fresh, updates, keyed)
		if err != nil {
			return err
		}
		complete = complete || !more
		if !complete {
			continue // the first state comes in pages of a hundred objects
		}
		s.publish(conn, fresh)
		if wake {
			s.wake("topology of " + s.session.Name() + " changed")
		}
	}
}

// take applies updates to the topology, reading again what they do not carry whole.
func (s *Source) take(ctx context.Context, conn *vsphere.Conn, t *topology, updates []types.ObjectUpdate, keyed bool) (wake bool, err error) {
	var again []types.ManagedObjectReference
	s.mu.Lock()
	for i := range updates {
		w, stale := t.apply(&updates[i])
		wake = wake || w
		if stale {
			again = append(again, updates[i].Obj)
		}
	}
	s.mu.Unlock()
	if len(again) == 0 {
		return wake, nil
	}
	set := make([]types.ObjectSpec, len(again))
	for i := range again {
		set[i].Obj = again[i]
	}
	err = conn.Retrieve(ctx, types.PropertyFilterSpec{ObjectSet: set, PropSet: watched(keyed)}, func(objects []types.ObjectContent) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		for i := range objects {
			wake = t.content(&objects[i]) || wake
		}
		return nil
	})
	return wake, err
}
