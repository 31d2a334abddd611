package vsphere

import (
	"context"
	"errors"
	"fmt"

	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// maxWait is how long the server holds an idle poll, in seconds. Shorter than
// what firewalls forget idle connections after, and far below the idle expiry
// of sessions.
const maxWait = 60

func wrapFault(f types.BaseMethodFault) error { return soap.WrapVimFault(f) }

// A Watcher is a property collector of one's own.
type Watcher struct {
	conn *Conn
	pc   types.ManagedObjectReference
	req  types.WaitForUpdatesEx
}

// NewWatcher makes a property collector that watches nothing yet.
func (c *Conn) NewWatcher(ctx context.Context) (*Watcher, error) {
	pc, err := methods.CreatePropertyCollector(ctx, c, &types.CreatePropertyCollector{This: c.ServiceContent.PropertyCollector})
	if err != nil {
		return nil, fmt.Errorf("create a property collector: %w", err)
	}
	w := &Watcher{conn: c, pc: pc.Returnval}
	w.req = types.WaitForUpdatesEx{This: w.pc, Options: &types.WaitOptions{MaxWaitSeconds: types.NewInt32(maxWait)}}
	return w, nil
}

// Watch makes a property collector that watches what the specification names.
func (c *Conn) Watch(ctx context.Context, spec types.PropertyFilterSpec) (*Watcher, error) {
	w, err := c.NewWatcher(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := w.Add(ctx, spec); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return w, nil
}

// Add watches what the specification names as well, also while Next waits.
// Changes name the properties of the specification, whole.
func (w *Watcher) Add(ctx context.Context, spec types.PropertyFilterSpec) (filter types.ManagedObjectReference, err error) {
	spec.ReportMissingObjectsInResults = new(true)
	res, err := methods.CreateFilter(ctx, w.conn, &types.CreateFilter{This: w.pc, Spec: spec})
	if err != nil {
		return filter, fmt.Errorf("create a property filter: %w", err)
	}
	return res.Returnval, nil
}

// Remove ends what Add began.
func (w *Watcher) Remove(ctx context.Context, filter types.ManagedObjectReference) error {
	_, err := methods.DestroyPropertyFilter(ctx, w.conn, &types.DestroyPropertyFilter{This: filter})
	if err != nil && !IsGone(err) {
		return fmt.Errorf("destroy a property filter: %w", err)
	}
	return nil
}

// Next waits for the next page of updates. more says that the moment is not
// complete yet: further pages are ready. An empty answer means that nothing
// changed for a while. After an error the watcher is of no more use: make
// another one and start from nothing.
func (w *Watcher) Next(ctx context.Context) (updates []types.ObjectUpdate, more bool, err error) {
	res, err := methods.WaitForUpdatesEx(ctx, w.conn, &w.req)
	if err != nil {
		return nil, false, fmt.Errorf("wait for updates: %w", err)
	}
	set := res.Returnval
	if set == nil {
		return nil, false, nil
	}
	w.req.Version = set.Version
	for _, f := range set.FilterSet {
		if len(updates) == 0 {
			updates = f.ObjectSet
		} else {
			updates = append(updates, f.ObjectSet...)
		}
		for _, m := range f.MissingSet { // objects named by reference that are gone
			updates = append(updates, types.ObjectUpdate{Kind: types.ObjectUpdateKindLeave, Obj: m.Obj})
		}
	}
	return updates, set.Truncated != nil && *set.Truncated, nil
}

// Close destroys the collector, which also ends a poll that the server may
// still hold. It has a deadline of its own, so it may follow a cancelled ctx.
func (w *Watcher) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), logoutTimeout)
	defer cancel()
	_, err := methods.DestroyPropertyCollector(ctx, w.conn, &types.DestroyPropertyCollector{This: w.pc})
	if err != nil && !IsGone(err) && !IsNotAuthenticated(err) {
		return fmt.Errorf("destroy a property collector: %w", err)
	}
	return nil
}
