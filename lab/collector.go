package lab

import (
	"slices"
	"strconv"
	"time"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// A collector replaces the simulator's PropertyCollector. That one reads every
// object of a filter again for each change, mixes up the sessions that use the
// default collector, and races; this one reads what changed. All of it is used
// under the lab's lock, but for the marks, which the hub's lock guards.
type collector struct {
	simulator.PropertyCollector

	v       *vcenter
	session string
	filters []*filter // in order of creation
	version int
	last    *types.UpdateSet // answered as version
	pending []types.PropertyFilterUpdate
	wake    chan struct{}
	done    chan struct{}
	closed  bool
	cancel  chan struct{} // closed to end the waiting call
	pages   map[string]page
	tokens  int
}

// A page is what of a retrieval has not been sent yet.
type page struct {
	refs []types.ManagedObjectReference
	spec types.PropertyFilterSpec
	max  int
}

// A filter watches the objects that one specification selects.
type filter struct {
	mo.PropertyFilter

	pc      *collector
	fresh   bool // not yet reported at all
	members map[types.ManagedObjectReference]bool

	// Under the hub's lock:
	resync bool // what it selects may have changed
	dirty  map[types.ManagedObjectReference][]string
	order  []types.ManagedObjectReference
	gone   []types.ManagedObjectReference
}

func installCollector(v *vcenter) {
	pc := &collector{v: v}
	pc.Self = v.registry().Get(vcContent(v).PropertyCollector).Reference()
	v.registry().Put(pc)
}

func vcContent(v *vcenter) types.ServiceContent {
	return lookup[*simulator.ServiceInstance](v.registry(), types.ManagedObjectReference{Type: "ServiceInstance", Value: "ServiceInstance"}).Content
}

// bind tells a collector where it belongs: the simulator makes one for each
// session by reflection, empty.
func (pc *collector) bind(ctx *simulator.Context) {
	if pc.v != nil && pc.wake != nil {
		return
	}
	pc.v = lookup[*control](ctx.Map, controlRef).v
	pc.session = ctx.Session.Key
	pc.wake, pc.done = make(chan struct{}, 1), make(chan struct{})
	pc.v.hub.addCollector(pc)
}

// close ends the collector and whoever waits on it.
func (pc *collector) close() {
	if !pc.closed && pc.done != nil {
		pc.closed = true
		close(pc.done)
	}
}

// CreatePropertyCollector implements the method of vSphere's PropertyCollector.
func (pc *collector) CreatePropertyCollector(ctx *simulator.Context, _ *types.CreatePropertyCollector) soap.HasFault {
	n := &collector{}
	n.Self.Type = "PropertyCollector"
	ctx.Session.Put(n)
	n.bind(ctx)
	return &methods.CreatePropertyCollectorBody{Res: &types.CreatePropertyCollectorResponse{Returnval: n.Self}}
}

// DestroyPropertyCollector implements the method of vSphere's PropertyCollector.
func (pc *collector) DestroyPropertyCollector(ctx *simulator.Context, req *types.DestroyPropertyCollector) soap.HasFault {
	pc.bind(ctx)
	pc.close()
	pc.v.hub.removeCollector(pc)
	for _, f := range pc.filters {
		ctx.Session.Remove(ctx, f.Self)
	}
	ctx.Session.Remove(ctx, req.This)
	return &methods.DestroyPropertyCollectorBody{Res: &types.DestroyPropertyCollectorResponse{}}
}

// CreateFilter implements the method of vSphere's PropertyCollector.
func (pc *collector) CreateFilter(ctx *simulator.Context, req *types.CreateFilter) soap.HasFault {
	pc.bind(ctx)
	f := &filter{pc: pc, fresh: true, members: map[types.ManagedObjectReference]bool{}, dirty: map[types.ManagedObjectReference][]string{}}
	f.Spec, f.PartialUpdates = req.Spec, req.PartialUpdates
	f.Self.Type = "PropertyFilter"
	ctx.Session.Put(f)
	pc.v.hub.mu.Lock()
	pc.filters = append(pc.filters, f)
	pc.v.hub.mu.Unlock()
	pc.Filter = append(pc.Filter, f.Self)
	pc.poke()
	return &methods.CreateFilterBody{Res: &types.CreateFilterResponse{Returnval: f.Self}}
}

// DestroyPropertyFilter implements the method of vSphere's PropertyFilter.
func (f *filter) DestroyPropertyFilter(ctx *simulator.Context, req *types.DestroyPropertyFilter) soap.HasFault {
	pc := f.pc
	pc.v.hub.mu.Lock()
	pc.filters = slices.DeleteFunc(slices.Clone(pc.filters), func(x *filter) bool { return x == f })
	pc.v.hub.mu.Unlock()
	pc.Filter = slices.DeleteFunc(slices.Clone(pc.Filter), func(r types.ManagedObjectReference) bool { return r == req.This })
	pc.pending = slices.DeleteFunc(pc.pending, func(u types.PropertyFilterUpdate) bool { return u.Filter == req.This })
	ctx.Session.Remove(ctx, req.This)
	return &methods.DestroyPropertyFilterBody{Res: &types.DestroyPropertyFilterResponse{}}
}

// CancelWaitForUpdates implements the method of vSphere's PropertyCollector.
func (pc *collector) CancelWaitForUpdates(*types.CancelWaitForUpdates) soap.HasFault {
	if pc.cancel != nil {
		close(pc.cancel)
		pc.cancel = nil
	}
	return &methods.CancelWaitForUpdatesBody{Res: &types.CancelWaitForUpdatesResponse{}}
}

// RetrieveProperties implements the method of vSphere's PropertyCollector.
func (pc *collector) RetrieveProperties(ctx *simulator.Context, req *types.RetrieveProperties) soap.HasFault {
	body := &methods.RetrievePropertiesBody{}
	res, fault := pc.retrieve(ctx, req.SpecSet, 0)
	if fault != nil {
		body.Fault_ = fault
		return body
	}
	body.Res = &types.RetrievePropertiesResponse{Returnval: res.Objects}
	return body
}

// RetrievePropertiesEx implements the method of vSphere's PropertyCollector.
func (pc *collector) RetrievePropertiesEx(ctx *simulator.Context, req *types.RetrievePropertiesEx) soap.HasFault {
	body := &methods.RetrievePropertiesExBody{}
	res, fault := pc.retrieve(ctx, req.SpecSet, int(req.Options.MaxObjects))
	if fault != nil {
		body.Fault_ = fault
		return body
	}
	body.Res = &types.RetrievePropertiesExResponse{}
	if len(res.Objects) > 0 {
		body.Res.Returnval = res
	}
	return body
}

func (pc *collector) retrieve(ctx *simulator.Context, specs []types.PropertyFilterSpec, limit int) (*types.RetrieveResult, *soap.Fault) {
	if ctx.Session == nil { // the simulator knows what may be read without one
		res := pc.PropertyCollector.RetrievePropertiesEx(ctx, &types.RetrievePropertiesEx{SpecSet: specs})
		if f := res.Fault(); f != nil {
			return nil, f
		}
		return res.(*methods.RetrievePropertiesExBody).Res.Returnval, nil
	}
	pc.bind(ctx)
	result := &types.RetrieveResult{}
	for i := range specs {
		refs, fault := selectObjects(ctx, &specs[i])
		if fault != nil {
			return nil, simulator.Fault("The object has already been deleted or has not been completely created", fault)
		}
		rest := pc.fill(ctx, result, page{refs: refs, spec: specs[i], max: limit})
		if rest != nil && len(specs) == 1 {
			result.Token = pc.keep(*rest)
		}
	}
	return result, nil
}

// fill reads a page's objects into result and returns what is left over.
func (pc *collector) fill(ctx *simulator.Context, result *types.RetrieveResult, p page) *page {
	for i, ref := range p.refs {
		if p.max > 0 && len(result.Objects) >= p.max {
			return &page{refs: p.refs[i:], spec: p.spec, max: p.max}
		}
		if c, ok := content(ctx, &p.spec, ref); ok {
			result.Objects = append(result.Objects, c)
		}
	}
	return nil
}

func (pc *collector) keep(p page) string {
	if pc.pages == nil {
		pc.pages = map[string]page{}
	}
	pc.tokens++
	token := pc.session + "-" + strconv.Itoa(pc.tokens)
	pc.pages[token] = p
	return token
}

// ContinueRetrievePropertiesEx implements the method of vSphere's PropertyCollector.
func (pc *collector) ContinueRetrievePropertiesEx(ctx *simulator.Context, req *types.ContinueRetrievePropertiesEx) soap.HasFault {
	body := &methods.ContinueRetrievePropertiesExBody{}
	p, ok := pc.pages[req.Token]
	if !ok {
		body.Fault_ = simulator.Fault("", &types.InvalidArgument{InvalidProperty: "token"})
		return body
	}
	delete(pc.pages, req.Token)
	body.Res = &types.ContinueRetrievePropertiesExResponse{}
	if rest := pc.fill(ctx, &body.Res.Returnval, p); rest != nil {
		body.Res.Returnval.Token = pc.keep(*rest)
	}
	return body
}

// CancelRetrievePropertiesEx implements the method of vSphere's PropertyCollector.
func (pc *collector) CancelRetrievePropertiesEx(req *types.CancelRetrievePropertiesEx) soap.HasFault {
	delete(pc.pages, req.Token)
	return &methods.CancelRetrievePropertiesExBody{Res: &types.CancelRetrievePropertiesExResponse{}}
}

// WaitForUpdates implements the method of vSphere's PropertyCollector.
func (pc *collector) WaitForUpdates(ctx *simulator.Context, req *types.WaitForUpdates) soap.HasFault {
	body := &methods.WaitForUpdatesBody{}
	set, fault := pc.wait(ctx, req.Version, 0, -1)
	if fault != nil || set == nil {
		body.Fault_ = fault
		return body
	}
	body.Res = &types.WaitForUpdatesResponse{Returnval: *set}
	return body
}

// CheckForUpdates implements the method of vSphere's PropertyCollector.
func (pc *collector) CheckForUpdates(ctx *simulator.Context, req *types.CheckForUpdates) soap.HasFault {
	body := &methods.CheckForUpdatesBody{}
	set, fault := pc.wait(ctx, req.Version, 0, 0)
	body.Fault_ = fault
	if fault == nil {
		body.Res = &types.CheckForUpdatesResponse{Returnval: set}
	}
	return body
}

// WaitForUpdatesEx implements the method of vSphere's PropertyCollector.
func (pc *collector) WaitForUpdatesEx(ctx *simulator.Context, req *types.WaitForUpdatesEx) soap.HasFault {
	body := &methods.WaitForUpdatesExBody{}
	limit, patience := 0, time.Duration(-1)
	if o := req.Options; o != nil {
		limit = int(o.MaxObjectUpdates)
		if o.MaxWaitSeconds != nil {
			patience = time.Duration(*o.MaxWaitSeconds) * time.Second
		}
	}
	set, fault := pc.wait(ctx, req.Version, limit, patience)
	body.Fault_ = fault
	if fault == nil {
		body.Res = &types.WaitForUpdatesExResponse{Returnval: set}
	}
	return body
}
