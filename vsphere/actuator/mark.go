package actuator

import (
	"context"
	"errors"
	"fmt"

	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"

	"heliostat/engine"
	"heliostat/vsphere"
)

// The custom attributes: by the first the daemon knows the hosts whose state is
// its own doing, in the second it tells why it moved a VM or changed a host.
const (
	markField   = "heliostat"
	reasonField = "heliostat.reason"
)

// Mark implements [execute.Actuator].
func (a *Actuator) Mark(ctx context.Context, act *engine.Action, text string) error {
	vc, entity := act.From.VCenter, object("HostSystem", act.HostOf())
	if act.Kind == engine.Move {
		vc = act.To.VCenter
	}
	_, definer, err := a.acting(ctx, vc, engine.Move)
	if err != nil {
		return fmt.Errorf("mark %s: %w", act.Name, err)
	}
	_, c, err := a.acting(ctx, vc, act.Kind)
	if err != nil {
		return fmt.Errorf("mark %s: %w", act.Name, err)
	}
	if act.Kind == engine.Move {
		vm, err := findVM(ctx, c, act.VM)
		if err != nil {
			return fmt.Errorf("mark %s: %w", act.Name, err)
		}
		if vm == nil {
			return fmt.Errorf("mark %s: it is not at vCenter %s", act.Name, vc)
		}
		entity = *vm
	}
	err = errors.Join(logEvent(ctx, c, entity, text), setField(ctx, c, definer, entity, reasonField, text))
	if act.Kind != engine.Move {
		err = errors.Join(err, setField(ctx, c, definer, entity, markField, mark(act)))
	}
	if err != nil {
		return fmt.Errorf("mark %s: %w", act.Name, err)
	}
	return nil
}

// mark is what the host's attribute says after the action: whose doing its state
// is, or nothing once it is back in service.
func mark(act *engine.Action) string {
	switch act.Kind {
	case engine.Standby:
		return "standby " + act.ID
	case engine.EnterMaintenance:
		return "maintenance " + act.ID
	case engine.Wakeup, engine.ExitMaintenance, engine.Move:
	}
	return ""
}

// logEvent writes an event where operators look. It needs Global.LogEvent.
func logEvent(ctx context.Context, c *vsphere.Conn, entity types.ManagedObjectReference, text string) error {
	if c.ServiceContent.EventManager == nil {
		return errors.New("the vCenter has no event manager")
	}
	_, err := methods.LogUserEvent(ctx, c, &types.LogUserEvent{This: *c.ServiceContent.EventManager, Entity: entity, Msg: text})
	if err != nil {
		return fmt.Errorf("log an event: %w", err)
	}
	return nil
}

// setField sets a custom attribute, defining it first where it does not exist. It
// needs Global.SetCustomField, and the definer Global.ManageCustomFields.
func setField(ctx context.Context, c, definer *vsphere.Conn, entity types.ManagedObjectReference, name, value string) error {
	m := c.ServiceContent.CustomFieldsManager
	if m == nil {
		return errors.New("the vCenter has no custom attributes")
	}
	key, err := defineField(ctx, definer, *m, entity.Type, name)
	if err != nil {
		return err
	}
	if _, err := methods.SetField(ctx, c, &types.SetField{This: *m, Entity: entity, Key: key, Value: value}); err != nil {
		return fmt.Errorf("set the custom attribute %s: %w", name, err)
	}
	return nil
}

// defineField finds an attribute, or defines it. Two that define one at once are
// told apart by the server: the loser finds what the winner defined.
func defineField(ctx context.Context, c *vsphere.Conn, m types.ManagedObjectReference, kind, name string) (int32, error) {
	key, ok, err := fieldKey(ctx, c, m, kind, name)
	if ok || err != nil {
		return key, err
	}
	res, addErr := methods.AddCustomFieldDef(ctx, c, &types.AddCustomFieldDef{This: m, Name: name, MoType: kind})
	if addErr == nil {
		return res.Returnval.Key, nil
	}
	if _, taken := vsphere.Fault(addErr).(*types.DuplicateName); taken {
		if key, ok, err = fieldKey(ctx, c, m, kind, name); ok && err == nil {
			return key, nil
		}
	}
	return 0, errors.Join(fmt.Errorf("define the custom attribute %s: %w", name, addErr), err)
}

// fieldKey finds an attribute by name for objects of a type.
func fieldKey(ctx context.Context, c *vsphere.Conn, m types.ManagedObjectReference, kind, name string) (key int32, ok bool, err error) {
	props, err := properties(ctx, c, m, "field")
	if err != nil {
		return 0, false, fmt.Errorf("read the custom attributes: %w", err)
	}
	list, _ := props["field"].(types.ArrayOfCustomFieldDef)
	for _, d := range list.CustomFieldDef {
		if d.Name == name && (d.ManagedObjectType == "" || d.ManagedObjectType == kind) {
			return d.Key, true, nil
		}
	}
	return 0, false, nil
}
