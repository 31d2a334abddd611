package lab

import (
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// maxUpdates is how many object updates one answer holds. Source: vSphere API,
// WaitOptions.maxObjectUpdates and what vCenter sends.
const maxUpdates = 100

// gather is how long changes pile up before a waiting call answers.
const gather = 5 * time.Millisecond

// wait answers what has changed since version, waiting up to patience for it
// (negative: for ever). It returns nil when nothing has. The lab's lock is held
// on entry and on return, and let go while it waits.
func (pc *collector) wait(ctx *simulator.Context, version string, limit int, patience time.Duration) (*types.UpdateSet, *soap.Fault) {
	pc.bind(ctx)
	if limit <= 0 || limit > maxUpdates {
		limit = maxUpdates
	}
	switch version {
	case "":
		for _, f := range pc.filters {
			f.fresh = true
		}
		pc.pending, pc.last = nil, nil
	case strconv.Itoa(pc.version):
	case strconv.Itoa(pc.version - 1):
		if pc.last != nil { // the client did not get the last answer
			return pc.last, nil
		}
	default:
		return nil, simulator.Fault("", &types.InvalidCollectorVersion{})
	}
	var timeout <-chan time.Time
	if patience > 0 {
		// Real clocks wait here: the client counts in its own time.
		timer := time.NewTimer(patience)
		defer timer.Stop()
		timeout = timer.C
	}
	gone := pc.v.request.Done()
	for {
		if pc.closed {
			return nil, simulator.Fault("", &types.NotAuthenticated{NoPermission: types.NoPermission{Object: &pc.Self, PrivilegeId: "System.View"}})
		}
		if len(pc.pending) == 0 {
			if fault := pc.refresh(ctx); fault != nil {
				return nil, simulator.Fault("", fault)
			}
		}
		if len(pc.pending) > 0 {
			return pc.answer(limit), nil
		}
		if patience == 0 {
			return nil, nil // nothing has changed
		}
		cancel := make(chan struct{})
		pc.cancel = cancel
		pc.v.lab.unlock()
		expired, cancelled := false, false
		select {
		case <-pc.wake:
			time.Sleep(gather)
		case <-timeout:
			expired = true
		case <-gone:
			expired = true
		case <-cancel:
			cancelled = true
		case <-pc.done:
		}
		pc.v.lab.lock()
		if cancelled {
			return nil, simulator.Fault("", &types.RequestCanceled{})
		}
		pc.cancel = nil
		if expired {
			patience = 0
		}
	}
}

func (pc *collector) poke() {
	select {
	case pc.wake <- struct{}{}:
	default:
	}
}

// answer takes up to limit object updates off what is pending.
func (pc *collector) answer(limit int) *types.UpdateSet {
	pc.version++
	set := &types.UpdateSet{Version: strconv.Itoa(pc.version)}
	for len(pc.pending) > 0 && limit > 0 {
		p := &pc.pending[0]
		n := min(limit, len(p.ObjectSet))
		set.FilterSet = append(set.FilterSet, types.PropertyFilterUpdate{Filter: p.Filter, ObjectSet: p.ObjectSet[:n]})
		limit -= n
		if p.ObjectSet = p.ObjectSet[n:]; len(p.ObjectSet) == 0 {
			pc.pending = pc.pending[1:]
		}
	}
	if len(pc.pending) > 0 {
		set.Truncated = new(true)
	}
	pc.last = set
	return set
}

// refresh moves what the filters have marked to pending.
func (pc *collector) refresh(ctx *simulator.Context) types.BaseMethodFault {
	for _, f := range pc.filters {
		updates, fault := f.updates(ctx)
		if fault != nil {
			return fault
		}
		if len(updates) > 0 {
			pc.pending = append(pc.pending, types.PropertyFilterUpdate{Filter: f.Self, ObjectSet: updates})
		}
	}
	return nil
}

// updates takes the filter's marks and reads what they are about.
func (f *filter) updates(ctx *simulator.Context) (out []types.ObjectUpdate, fault types.BaseMethodFault) {
	hub := &f.pc.v.hub
	hub.mu.Lock()
	dirty, order, gone, resync := f.dirty, f.order, f.gone, f.resync
	f.dirty, f.order, f.gone, f.resync = map[types.ManagedObjectReference][]string{}, nil, nil, false
	hub.mu.Unlock()
	for _, ref := range gone {
		if f.members[ref] {
			delete(f.members, ref)
			out = append(out, types.ObjectUpdate{Obj: ref, Kind: types.ObjectUpdateKindLeave})
		}
	}
	if f.fresh {
		clear(f.members)
		out, resync = nil, true
	}
	if resync {
		entered, fault := f.sync(ctx, f.fresh)
		if fault != nil {
			return nil, fault
		}
		out = append(out, entered...)
		f.fresh = false
	}
	for _, ref := range order {
		if f.members[ref] && !slices.ContainsFunc(out, func(u types.ObjectUpdate) bool {
			return u.Obj == ref && u.Kind == types.ObjectUpdateKindEnter
		}) {
			out = append(out, modified(ctx, ref, dirty[ref])...)
		}
	}
	return out, nil
}

// sync compares what the filter selects with its members: enter and leave.
func (f *filter) sync(ctx *simulator.Context, first bool) (out []types.ObjectUpdate, fault types.BaseMethodFault) {
	spec := f.Spec
	if !first {
		spec.ReportMissingObjectsInResults = new(true)
	}
	refs, fault := selectObjects(ctx, &spec)
	if fault != nil {
		return nil, fault
	}
	now := make(map[types.ManagedObjectReference]bool, len(refs))
	for _, ref := range refs {
		if f.members[ref] {
			now[ref] = true
			continue
		}
		c, ok := content(ctx, &f.Spec, ref)
		if !ok {
			continue
		}
		now[ref] = true
		u := types.ObjectUpdate{Obj: ref, Kind: types.ObjectUpdateKindEnter, MissingSet: c.MissingSet}
		for _, p := range c.PropSet {
			u.ChangeSet = append(u.ChangeSet, types.PropertyChange{Name: p.Name, Op: types.PropertyChangeOpAssign, Val: p.Val})
		}
		out = append(out, u)
	}
	var left []types.ObjectUpdate
	for ref := range f.members {
		if !now[ref] {
			left = append(left, types.ObjectUpdate{Obj: ref, Kind: types.ObjectUpdateKindLeave})
		}
	}
	slices.SortFunc(left, func(a, b types.ObjectUpdate) int { return strings.Compare(a.Obj.Value, b.Obj.Value) })
	f.members = now
	return append(left, out...), nil
}

// modified reads the changed properties of an object.
func modified(ctx *simulator.Context, ref types.ManagedObjectReference, names []string) []types.ObjectUpdate {
	v, ok := managed(ctx, ref)
	if !ok {
		return nil
	}
	u := types.ObjectUpdate{Obj: ref, Kind: types.ObjectUpdateKindModify}
	for _, name := range names {
		val, ok := pathValue(v, name)
		if !ok {
			continue
		}
		change := types.PropertyChange{Name: name, Op: types.PropertyChangeOpAssign, Val: val}
		if val == nil && strings.Contains(name, ".") {
			change.Op = types.PropertyChangeOpIndirectRemove
		}
		u.ChangeSet = append(u.ChangeSet, change)
	}
	if len(u.ChangeSet) == 0 {
		return nil
	}
	return []types.ObjectUpdate{u}
}

// A hub hears every change in a vCenter's registry and marks the filters that
// it concerns. Its lock is its own, since the simulator's tasks change things
// without the lab's.
type hub struct {
	mu         sync.Mutex
	collectors []*collector
	foreign    []*simulator.Task // of the simulator's own, started by the call being served
}

func (h *hub) addCollector(pc *collector) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.collectors = append(h.collectors, pc)
}

func (h *hub) removeCollector(pc *collector) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.collectors = slices.DeleteFunc(h.collectors, func(x *collector) bool { return x == pc })
}

// ofSession lists the collectors of a session.
func (h *hub) ofSession(key string) (out []*collector) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, pc := range h.collectors {
		if pc.session == key {
			out = append(out, pc)
		}
	}
	return out
}

// Reference names the hub among the registry's handlers.
func (h *hub) Reference() types.ManagedObjectReference {
	return types.ManagedObjectReference{Type: "LabHub", Value: "lab-hub"}
}

// PutObject hears of a new object: any filter that asks for its type may select it.
func (h *hub) PutObject(_ *simulator.Context, o mo.Reference) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if t, ok := o.(*simulator.Task); ok && t.Execute != nil {
		h.foreign = append(h.foreign, t)
	}
	t := moValue(o).Type()
	for _, pc := range h.collectors {
		for _, f := range pc.filters {
			if _, _, match := paths(&f.Spec, t); match {
				f.resync = true
				pc.poke()
			}
		}
	}
}

// UpdateObject hears of a change.
func (h *hub) UpdateObject(_ *simulator.Context, o mo.Reference, changes []types.PropertyChange) {
	h.mu.Lock()
	defer h.mu.Unlock()
	ref, t := o.Reference(), reflect.TypeOf(o).Elem()
	for _, pc := range h.collectors {
		for _, f := range pc.filters {
			if f.mark(ref, t, changes) {
				pc.poke()
			}
		}
	}
}

// RemoveObject hears of an object's end.
func (h *hub) RemoveObject(_ *simulator.Context, ref types.ManagedObjectReference) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, pc := range h.collectors {
		for _, f := range pc.filters {
			f.gone = append(f.gone, ref)
			pc.poke()
		}
	}
}

// mark notes which of the filter's properties a change touches.
func (f *filter) mark(ref types.ManagedObjectReference, t reflect.Type, changes []types.PropertyChange) (marked bool) {
	names, all, match := paths(&f.Spec, t)
	for i := range changes {
		changed := changes[i].Name
		if f.traverses(changed) {
			f.resync, marked = true, true
		}
		if !match {
			continue
		}
		if all {
			top, _, _ := strings.Cut(changed, ".")
			f.note(ref, top)
			marked = true
		}
		for _, p := range names {
			if within(p, changed) || within(changed, p) {
				f.note(ref, p)
				marked = true
			}
		}
	}
	return marked
}

// within reports whether a path is the other or leads into it.
func within(path, other string) bool {
	return strings.HasPrefix(path, other) && (len(path) == len(other) || path[len(other)] == '.' || path[len(other)] == '[')
}

func (f *filter) note(ref types.ManagedObjectReference, path string) {
	list, ok := f.dirty[ref]
	if !ok {
		f.order = append(f.order, ref)
	}
	if !slices.Contains(list, path) {
		f.dirty[ref] = append(list, path)
	}
}

// traverses reports whether the filter follows a property of that name.
func (f *filter) traverses(name string) bool {
	for _, o := range f.Spec.ObjectSet {
		if follows(o.SelectSet, name) {
			return true
		}
	}
	return false
}

func follows(set []types.BaseSelectionSpec, name string) bool {
	for _, s := range set {
		if t, ok := s.(*types.TraversalSpec); ok && (t.Path == name || follows(t.SelectSet, name)) {
			return true
		}
	}
	return false
}
