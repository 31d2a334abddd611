package actuator

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vmware/govmomi/event"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"heliostat/engine"
	"heliostat/engine/execute"
	"heliostat/lab"
	"heliostat/vsphere"
)

// ref refers to an action's VM.
func ref(a *engine.Action) types.ManagedObjectReference {
	return types.ManagedObjectReference{Type: "VirtualMachine", Value: a.Moid}
}

func TestCheck(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		ctx, act := t.Context(), r.act
		a := r.move(t, lab.VMName("hou", 0), "hou-esx03.lab")
		if err := act.Check(ctx, a); err != nil {
			t.Errorf("nothing is in the way: %v", err)
		}
		if err := act.Check(ctx, r.move(t, lab.VMName("hou", 1), "fra-esx02.lab")); err != nil {
			t.Errorf("nothing is in the way to another vCenter: %v", err)
		}
		p, _ := r.host(t, "fra-esx04.lab")
		r.do(t, &engine.Action{ID: "c1-0", Kind: engine.EnterMaintenance, Name: "fra-esx04.lab", From: p})
		err := act.Check(ctx, r.move(t, lab.VMName("hou", 1), "fra-esx04.lab"))
		if !errors.Is(err, execute.ErrRejected) || !strings.Contains(err.Error(), "InvalidHostState: ") {
			t.Errorf("to a host in maintenance: %v", err)
		}
		if _, err := act.Submit(ctx, "", a); err != nil {
			t.Fatal(err)
		}
		if err := act.Check(ctx, a); !errors.Is(err, execute.ErrBusy) {
			t.Errorf("while it moves: %v", err)
		}
		if _, err := act.Submit(ctx, "", a); !errors.Is(err, execute.ErrBusy) || errors.Is(err, execute.ErrRejected) {
			t.Errorf("called while it moves: %v", err)
		}
	})
}

// A vCenter that cannot be asked keeps nothing from being done; one that does not
// answer does.
func TestCheckCannotBeAsked(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		a := r.move(t, lab.VMName("hou", 0), "hou-esx03.lab")
		fault := lab.Fault{}
		r.lab.SetFaults(func(c lab.Call) lab.Fault {
			if c.Method == "CheckRelocate_Task" {
				return fault
			}
			return lab.Fault{}
		})
		fault = lab.Fault{Refuse: 503}
		if err := r.act.Check(t.Context(), a); err == nil || errors.Is(err, execute.ErrRejected) {
			t.Errorf("not answered: %v", err)
		}
		fault = lab.Fault{Late: 10 * time.Minute}
		if err := r.act.Check(t.Context(), a); err != nil {
			t.Errorf("not answered in time: %v", err)
		}
	})
	bubble(t, func(cfgs []vsphere.Config) { cfgs[0].Mover = cfgs[0].Reader }, func(t *testing.T, r *rig) {
		if err := r.act.Check(t.Context(), r.move(t, lab.VMName("hou", 0), "hou-esx03.lab")); err != nil {
			t.Errorf("not permitted: %v", err)
		}
	})
}

// What a person has put on a host since the plan was made keeps it from sleeping.
func TestHostThatIsNotEmpty(t *testing.T) {
	for name, c := range map[string]struct {
		host string
		off  bool // what is on it is powered off first
		left int  // VMs that stay on it
		may  bool // the configuration permits what is off
		code engine.HoldCode
	}{
		"runs":                          {"hou-esx01.lab", false, 1, true, engine.HoldNotEmpty},
		"off":                           {"hou-esx01.lab", true, 1, false, engine.HoldPoweredOff},
		"off, permitted":                {"hou-esx01.lab", true, 1, true, ""},
		"empty":                         {"hou-esx01.lab", false, 0, false, ""},
		"runs, the cluster empties it":  {"fra-esx01.lab", false, 1, false, ""},
		"off, the cluster leaves it":    {"fra-esx01.lab", true, 1, false, engine.HoldPoweredOff},
		"off, left behind as permitted": {"fra-esx01.lab", true, 1, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, nil, func(t *testing.T, r *rig) {
				r.act.leave = c.may
				p, _ := r.host(t, c.host)
				r.empty(t, c.host, c.left)
				w := r.lab.World()
				for i := range w.VMs {
					if c.off && w.Hosts[w.VMs[i].Host].Name == c.host {
						r.powerOff(t, p.VCenter, engine.VMID(w.VMs[i].UUID))
					}
				}
				a := &engine.Action{ID: "c1-0", Kind: engine.Standby, Name: c.host, From: p}
				s, err := r.act.Look(t.Context(), a)
				if err != nil || s.Code != c.code || s.Source != (c.code == "") {
					t.Fatalf("%+v, %v", s, err)
				}
				if c.code != "" && !strings.Contains(s.Detail, "-") {
					t.Errorf("no VM is named: %s", s.Detail)
				}
				a.Kind = engine.EnterMaintenance // which waits for what runs
				if s, err := r.act.Look(t.Context(), a); err != nil || !s.Source {
					t.Errorf("maintenance: %+v, %v", s, err)
				}
			})
		})
	}
}

// empty moves VMs from a host to the next until so many are left.
func (r *rig) empty(t *testing.T, host string, left int) {
	t.Helper()
	w := r.lab.World()
	for i := range w.VMs {
		if w.Hosts[w.VMs[i].Host].Name != host {
			continue
		}
		if left--; left >= 0 {
			continue
		}
		r.do(t, r.move(t, w.VMs[i].Name, host[:3]+"-esx02.lab"))
	}
}

func (r *rig) powerOff(t *testing.T, vc engine.VCenterID, id engine.VMID) {
	t.Helper()
	c := r.conn(t, vc)
	vm, err := findVM(t.Context(), c, id)
	if err != nil || vm == nil {
		t.Fatal(vm, err)
	}
	res, err := methods.PowerOffVM_Task(t.Context(), c, &types.PowerOffVM_Task{This: *vm})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.act.Wait(t.Context(), taskKey(vc, res.Returnval), nil); err != nil {
		t.Fatal(err)
	}
}

// How a VM is shows in what is seen of it.
func TestHealthIsSeen(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		a := r.move(t, lab.VMName("hou", 0), "hou-esx03.lab")
		s, err := r.act.Look(t.Context(), a)
		if err != nil || !s.Health.On || !s.Health.Connected {
			t.Errorf("%+v, %v", s, err)
		}
		r.powerOff(t, a.From.VCenter, a.VM)
		if s, err = r.act.Look(t.Context(), a); err != nil || s.Health.On {
			t.Errorf("powered off: %+v, %v", s, err)
		}
	})
	for status, want := range map[types.ManagedEntityStatus]int32{"green": 2, "yellow": 1, "red": 0, "gray": 0, "": 0} {
		if h := healthOf(map[string]any{"guestHeartbeatStatus": status, "guest.toolsRunningStatus": "guestToolsRunning"}); h.Heartbeat != want || !h.Tools {
			t.Errorf("%s: %+v", status, h)
		}
	}
}

// A refusal to end a session is told from an answer that may yet come.
func TestSessionNotEnded(t *testing.T) {
	for _, c := range []struct {
		err error
		is  bool
	}{
		{soap.WrapVimFault(&types.NoPermission{PrivilegeId: "Sessions.TerminateSession"}), true},
		{soap.WrapVimFault(&types.NotAuthenticated{}), false},
		{io.ErrUnexpectedEOF, false},
	} {
		if err := notEnded(c.err); errors.Is(err, execute.ErrNotEnded) != c.is || !errors.Is(err, c.err) {
			t.Errorf("%v: %v", c.err, err)
		}
	}
}

// Who looks in vCenter alone reads what was done and why: in the events of the
// object, and in its attributes.
func TestStoryInVSphere(t *testing.T) {
	bubble(t, nil, func(t *testing.T, r *rig) {
		a := r.move(t, lab.VMName("hou", 0), "hou-esx03.lab")
		r.do(t, a)
		p, _ := r.host(t, "fra-esx04.lab")
		sleeps := &engine.Action{ID: "c1-1", Kind: engine.Standby, Name: "fra-esx04.lab", From: p}
		r.do(t, sleeps)
		wakes := &engine.Action{ID: "c1-2", Kind: engine.Wakeup, Name: "fra-esx04.lab", From: p}
		for _, x := range []struct {
			a      *engine.Action
			entity types.ManagedObjectReference
			mark   string
		}{{a, ref(a), ""}, {sleeps, object("HostSystem", p.Host), "standby c1-1"}, {wakes, object("HostSystem", p.Host), ""}} {
			text := "heliostat " + x.a.ID + ": because"
			if err := r.act.Mark(t.Context(), x.a, text); err != nil {
				t.Fatal(err)
			}
			c := r.conn(t, x.a.From.VCenter)
			if got := attribute(t.Context(), t, c, x.entity, reasonField); got != text {
				t.Errorf("%s: the reason says %q", x.a.ID, got)
			}
			if got := attribute(t.Context(), t, c, x.entity, markField); got != x.mark {
				t.Errorf("%s: the mark says %q", x.a.ID, got)
			}
			list, err := event.NewManager(c.Client).QueryEvents(t.Context(), types.EventFilterSpec{Entity: &types.EventFilterSpecByEntity{Entity: x.entity, Recursion: types.EventFilterSpecRecursionOptionSelf}})
			if err != nil || !slices.ContainsFunc(list, func(e types.BaseEvent) bool { return strings.Contains(e.GetEvent().FullFormattedMessage, text) }) {
				t.Errorf("%s: no event says so among %d: %v", x.a.ID, len(list), err)
			}
		}
	})
}

// attribute reads a custom attribute of an object, "" where it has none.
func attribute(ctx context.Context, t *testing.T, c *vsphere.Conn, ref types.ManagedObjectReference, name string) string {
	t.Helper()
	key, ok, err := fieldKey(ctx, c, *c.ServiceContent.CustomFieldsManager, ref.Type, name)
	if err != nil {
		t.Fatal(err)
	}
	if !ok {
		return ""
	}
	props, err := properties(ctx, c, ref, "customValue")
	if err != nil {
		t.Fatal(err)
	}
	list, _ := props["customValue"].(types.ArrayOfCustomFieldValue)
	for _, v := range list.CustomFieldValue {
		if s, ok := v.(*types.CustomFieldStringValue); ok && s.Key == key {
			return s.Value
		}
	}
	return ""
}
