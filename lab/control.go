package lab

import (
	"slices"
	"strings"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/mo"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// controlRef names the control among the registry's objects.
var controlRef = types.ManagedObjectReference{Type: "LabControl", Value: "lab-control"}

// A control carries out the methods that the simulator lacks or gets wrong. The
// registry's Handler sends them here by rewriting the call's target; the
// request still names the object that was meant. Every method runs under the
// lab's lock.
type control struct {
	mo.ExtensibleManagedObject // the simulator looks for a managed object in whatever is registered

	v        *vcenter
	sessions map[string]*simulator.Session
}

// Lock and Unlock keep the simulator from serialising calls to the control: the lab's lock does.
func (*control) Lock() {}

// Unlock is Lock's other half.
func (*control) Unlock() {}

// redirected are the control's methods.
var redirected = map[string]bool{
	"RelocateVM_Task": true, "CancelTask": true, "PlaceVm": true, "CheckRelocate_Task": true, "QueryVMotionCompatibilityEx_Task": true,
	"EvcManager": true, "ConfigureEvcMode_Task": true, "DisableEvcMode_Task": true,
	"EnterMaintenanceMode_Task": true, "ExitMaintenanceMode_Task": true, "PowerDownHostToStandBy_Task": true, "PowerUpHostFromStandBy_Task": true,
	"PowerOnVM_Task": true, "PowerOffVM_Task": true, "ReconfigVM_Task": true,
	"FindByUuid": true, "FindAllByUuid": true,
	"TerminateSession": true, "Logout": true, "CurrentTime": true, "LogUserEvent": true, "SetField": true, "QueryPerf": true,
}

// foreign are the tasks that the simulator may carry out: they change nothing
// that the lab keeps a model of, and do not panic, which would end the process.
var foreign = []string{"ReconfigureComputeResource_Task"}

// changing are the methods that a reader may not call, beside all tasks.
var changing = []string{"CancelTask", "SetField", "AddCustomFieldDef", "RemoveCustomFieldDef", "RenameCustomFieldDef", "LogUserEvent", "PostEvent", "CreateTask"}

func newControl(v *vcenter) *control {
	c := &control{v: v, sessions: map[string]*simulator.Session{}}
	c.Self = controlRef
	r := v.registry()
	r.Put(c)
	r.Handler = c.handle
	return c
}

// handle sees each call before it is dispatched.
func (c *control) handle(ctx *simulator.Context, m *simulator.Method) (mo.Reference, types.BaseMethodFault) {
	if ctx.Session == nil {
		if m.Name == "Login" {
			return c, nil
		}
		return nil, nil
	}
	c.sessions[ctx.Session.Key] = ctx.Session
	if ctx.Session.Get(m.This) == nil || c.v.hides(m.This) {
		return nil, &types.ManagedObjectNotFound{Obj: m.This}
	}
	task := strings.HasSuffix(m.Name, "_Task")
	if (task || slices.Contains(changing, m.Name)) && (!c.v.lab.permits(ctx.Session.UserName, m.Name) || c.v.denies(ctx.Session.UserName)) {
		return nil, &types.NoPermission{Object: &m.This, PrivilegeId: "lab." + m.Name}
	}
	if task && (c.v.recorded || !redirected[m.Name] && !slices.Contains(foreign, m.Name)) {
		return nil, &types.NotSupported{}
	}
	if redirected[m.Name] {
		m.This = controlRef
	}
	return nil, nil
}

// permits reports whether an account may call a method that changes something.
func (l *Lab) permits(user, method string) bool {
	host := false
	for _, names := range opNames {
		host = host || names[0] == method
	}
	switch l.role(user) {
	case RolePower:
		return host || method == "SetField" || method == "LogUserEvent"
	case RoleMover:
		return !host || !slices.ContainsFunc(l.cfg.accounts(), func(a Account) bool { return a.Role == RolePower })
	}
	return false
}

func (l *Lab) role(user string) string {
	for _, a := range l.cfg.accounts() {
		if a.Username == user {
			return a.Role
		}
	}
	return ""
}

// asFault makes a fault what a method's answer holds.
func asFault(f types.BaseMethodFault) *soap.Fault { return simulator.Fault("", f) }

// CurrentTime is the lab's time, or what the vCenter takes for it.
func (c *control) CurrentTime(*types.CurrentTime) soap.HasFault {
	return &methods.CurrentTimeBody{Res: &types.CurrentTimeResponse{Returnval: c.v.now()}}
}

// endSession ends everything that a session has open: who waits for updates,
// its collectors' and views' ears, its history collectors, of which the
// simulator allows 32 in all.
func (c *control) endSession(key string) {
	for _, pc := range c.v.hub.ofSession(key) {
		pc.close()
		c.v.hub.removeCollector(pc)
	}
	s := c.sessions[key]
	delete(c.sessions, key)
	if s == nil {
		return
	}
	ctx := c.v.ctx("")
	ctx.Session = s
	for _, kind := range []string{"TaskHistoryCollector", "EventHistoryCollector"} {
		for _, o := range s.AllReference(kind) {
			if d, ok := o.(interface {
				DestroyCollector(*simulator.Context, *types.DestroyCollector) soap.HasFault
			}); ok {
				d.DestroyCollector(ctx, &types.DestroyCollector{This: o.Reference()})
			}
		}
	}
	for _, o := range s.AllReference("ContainerView") {
		if h, ok := o.(simulator.RegisterObject); ok {
			ctx.Map.RemoveHandler(h)
		}
	}
}

// TerminateSession ends other sessions, with all that waits in them.
func (c *control) TerminateSession(ctx *simulator.Context, req *types.TerminateSession) soap.HasFault {
	for _, id := range req.SessionId {
		if id != ctx.Session.Key {
			c.endSession(id)
		}
	}
	return ctx.Map.SessionManager().TerminateSession(ctx, req)
}

// Logout ends the caller's session.
func (c *control) Logout(ctx *simulator.Context, req *types.Logout) soap.HasFault {
	c.endSession(ctx.Session.Key)
	return ctx.Map.SessionManager().Logout(ctx, req)
}

// SetField sets a custom attribute and tells whoever watches the object.
func (c *control) SetField(ctx *simulator.Context, req *types.SetField) soap.HasFault {
	obj := ctx.Map.Get(req.Entity)
	e, ok := obj.(mo.Entity)
	if !ok {
		return &methods.SetFieldBody{Fault_: asFault(&types.ManagedObjectNotFound{Obj: req.Entity})}
	}
	res := ctx.Map.CustomFieldsManager().SetField(ctx, req)
	if res.Fault() == nil {
		ctx.Map.AtomicUpdate(ctx, obj, []types.PropertyChange{{Name: "customValue", Val: e.Entity().CustomValue}, {Name: "value", Val: e.Entity().Value}})
	}
	return res
}

// LogUserEvent writes an event on an object.
func (c *control) LogUserEvent(ctx *simulator.Context, req *types.LogUserEvent) soap.HasFault {
	body := &methods.LogUserEventBody{}
	e, ok := ctx.Map.Get(req.Entity).(mo.Entity)
	if !ok {
		body.Fault_ = asFault(&types.ManagedObjectNotFound{Obj: req.Entity})
		return body
	}
	event := &types.GeneralUserEvent{GeneralEvent: types.GeneralEvent{Message: req.Msg}}
	event.Entity = &types.ManagedEntityEventArgument{EntityEventArgument: types.EntityEventArgument{Name: e.Entity().Name}, Entity: req.Entity}
	switch req.Entity.Type {
	case "VirtualMachine":
		event.Vm = &types.VmEventArgument{EntityEventArgument: event.Entity.EntityEventArgument, Vm: req.Entity}
	case "HostSystem":
		event.Host = &types.HostEventArgument{EntityEventArgument: event.Entity.EntityEventArgument, Host: req.Entity}
	}
	c.v.post(ctx.Session.UserName, event)
	body.Res = &types.LogUserEventResponse{}
	return body
}

// post writes an event into the vCenter's history, at the lab's time.
func (v *vcenter) post(user string, event types.BaseEvent) {
	ctx := v.ctx(user)
	m := v.registry().EventManager()
	ctx.WithLock(m, func() { m.PostEvent(ctx, &types.PostEvent{EventToPost: event}) })
	event.GetEvent().CreatedTime = v.now()
	if g, ok := event.(*types.GeneralUserEvent); ok {
		g.FullFormattedMessage = g.Message
	}
}

// machine finds the lab's VM behind an object of this vCenter.
func (v *vcenter) machine(ref types.ManagedObjectReference) *machine {
	for _, m := range v.lab.machines {
		if m.vc == v && m.obj.Self == ref {
			return m
		}
	}
	return nil
}

func (v *vcenter) host(ref *types.ManagedObjectReference) *host {
	for _, h := range v.lab.hosts {
		if ref != nil && h.vc == v && h.obj.Self == *ref {
			return h
		}
	}
	return nil
}

func (v *vcenter) store(ref *types.ManagedObjectReference) *store {
	for _, s := range v.lab.stores {
		if ref != nil && s.vc == v && s.obj.Self == *ref {
			return s
		}
	}
	return nil
}

// settle waits for the simulator's own tasks, so that what they change is done
// under the lab's lock, which the call that started them still holds, and tells
// of it, which the simulator does not.
func (v *vcenter) settle() {
	v.hub.mu.Lock()
	tasks := v.hub.foreign
	v.hub.foreign = nil
	v.hub.mu.Unlock()
	for _, t := range tasks {
		t.Wait()
		if k := lookup[*simulator.ClusterComputeResource](v.registry(), *t.Info.Entity); k != nil {
			v.update(k, types.PropertyChange{Name: "configurationEx", Val: k.ConfigurationEx})
		}
	}
}

// ReconfigVMTask sets what a client may change of a VM without touching its
// devices: advanced settings, the annotation, latency sensitivity, its manager.
func (c *control) ReconfigVMTask(ctx *simulator.Context, req *types.ReconfigVM_Task) soap.HasFault {
	body := &methods.ReconfigVM_TaskBody{}
	m := c.v.machine(req.This)
	switch {
	case m == nil:
		body.Fault_ = asFault(&types.ManagedObjectNotFound{Obj: req.This})
		return body
	case m.move != nil:
		body.Fault_ = asFault(&types.TaskInProgress{Task: m.move.task.Self})
		return body
	case len(req.Spec.DeviceChange) > 0 || req.Spec.NumCPUs != 0 || req.Spec.MemoryMB != 0:
		body.Fault_ = asFault(because(&types.NotSupported{}, "the lab does not change devices"))
		return body
	}
	t := c.v.newTask(ctx.Session.UserName, m.obj, "ReconfigVM_Task", "VirtualMachine.reconfigure")
	c.v.startTask(t)
	cfg := m.obj.Config
	for _, o := range req.Spec.ExtraConfig {
		key := o.GetOptionValue().Key
		cfg.ExtraConfig = append(slices.DeleteFunc(slices.Clone(cfg.ExtraConfig), func(b types.BaseOptionValue) bool { return b.GetOptionValue().Key == key }), o)
	}
	changes := []types.PropertyChange{{Name: "config.extraConfig", Val: cfg.ExtraConfig}}
	if req.Spec.Annotation != "" {
		changes = append(changes, types.PropertyChange{Name: "config.annotation", Val: req.Spec.Annotation})
	}
	if s := req.Spec.LatencySensitivity; s != nil {
		changes = append(changes, types.PropertyChange{Name: "config.latencySensitivity", Val: *s})
	}
	if b := req.Spec.ManagedBy; b != nil {
		changes = append(changes, types.PropertyChange{Name: "config.managedBy", Val: *b})
	}
	c.v.update(m.obj, changes...)
	c.v.endTask(t, nil)
	body.Res = &types.ReconfigVM_TaskResponse{Returnval: t.Self}
	return body
}

// PlaceVm recommends the host of the cluster with the most free memory, and the
// datastore with the most room, among those that the caller allows.
//
//nolint:staticcheck // the simulator finds methods by the API's names
func (c *control) PlaceVm(ctx *simulator.Context, req *types.PlaceVm) soap.HasFault {
	l := c.v.lab
	body := &methods.PlaceVmBody{}
	ci := slices.IndexFunc(l.clusters, func(k *cluster) bool { return k.vc == c.v && k.obj.Self == req.This })
	if ci < 0 {
		body.Fault_ = asFault(&types.ManagedObjectNotFound{Obj: req.This})
		return body
	}
	k := l.clusters[ci]
	spec := &types.VirtualMachineRelocateSpec{}
	if s := req.PlacementSpec.RelocateSpec; s != nil {
		*spec = *s
	}
	need, m := int64(0), (*machine)(nil)
	if vm := req.PlacementSpec.Vm; vm != nil {
		m = c.v.machine(*vm)
	}
	if m != nil {
		need = m.consumed
	} else if s := req.PlacementSpec.ConfigSpec; s != nil {
		need = s.MemoryMB
	}
	h := l.roomiestOf(k, need, func(h *host) bool {
		return len(req.PlacementSpec.Hosts) == 0 || slices.Contains(req.PlacementSpec.Hosts, h.obj.Self)
	})
	if h == nil {
		body.Fault_ = asFault(&types.InvalidState{})
		return body
	}
	spec.Host, spec.Pool = &h.obj.Self, &k.pool
	if spec.Datastore == nil && (m == nil || m.vc != c.v || !slices.Contains(h.stores, m.home)) {
		var best *store
		for _, i := range h.stores {
			s := l.stores[i]
			allowed := len(req.PlacementSpec.Datastores) == 0 || slices.Contains(req.PlacementSpec.Datastores, s.obj.Self)
			if s.shared && allowed && (best == nil || s.free() > best.free()) {
				best = s
			}
		}
		if best != nil {
			spec.Datastore = &best.obj.Self
		}
	}
	reason := string(types.RecommendationReasonCodeXvmotionPlacement)
	body.Res = &types.PlaceVmResponse{Returnval: types.PlacementResult{Recommendations: []types.ClusterRecommendation{{
		Key: "1", Type: "V1", Time: l.now, Rating: 1, Reason: reason, ReasonText: reason, Target: &k.obj.Self,
		Action: []types.BaseClusterAction{&types.PlacementAction{Vm: req.PlacementSpec.Vm, TargetHost: spec.Host, RelocateSpec: spec}},
	}}}}
	return body
}

// roomiest is the cluster's host, other than but, with the most free memory
// that has room for the VM; nil when none has.
func (l *Lab) roomiest(k *cluster, m *machine, but *host) *host {
	return l.roomiestOf(k, m.consumed, func(h *host) bool { return h != but })
}

func (l *Lab) roomiestOf(k *cluster, need int64, allowed func(*host) bool) (best *host) {
	var most int64
	for _, h := range l.hosts {
		if l.clusters[h.cluster] != k || !h.ready() || !allowed(h) {
			continue
		}
		if free := h.memMiB - l.promised(h); free >= need && (best == nil || free > most) {
			best, most = h, free
		}
	}
	return best
}

// promised is the memory that a host's VMs consume, arriving ones included.
func (l *Lab) promised(h *host) (mib int64) {
	for _, m := range l.machines {
		if m.on && (m.host == h.index || (m.move != nil && m.move.to == h)) {
			mib += m.consumed
		}
	}
	return mib
}

// ready reports whether a host runs and takes VMs.
func (h *host) ready() bool {
	return h.phase == hostUp && !h.maint && !h.unplug && h.op == nil
}
