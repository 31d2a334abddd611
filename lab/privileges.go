package lab

import (
	"slices"
	"strings"

	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// administrative are privileges that a mover does not have unless its account
// lists them: with one of these whoever holds it owns the vCenter or the data in it.
var administrative = []string{"Authorization.", "Global.Settings", "Host.Config.Patch", "VirtualMachine.Interact.GuestControl", "VirtualMachine.Inventory.Delete", "Datastore.DeleteFile"}

// may reports whether an account has a privilege. Every account may look.
func (a *Account) may(id string) bool {
	switch {
	case strings.HasPrefix(id, "System."):
		return true
	case a.Privileges != nil:
		return slices.Contains(a.Privileges, id) || slices.Contains(a.Privileges, "*")
	case a.Role == RoleReader:
		return id == "StorageProfile.View"
	case a.Role == RolePower:
		return slices.Contains([]string{"StorageProfile.View", "Host.Config.Maintenance", "Global.SetCustomField", "Global.LogEvent"}, id)
	}
	return !slices.ContainsFunc(administrative, func(x string) bool { return strings.HasPrefix(id, x) })
}

// authorization answers what sessions may do, which the simulator's own says of
// everybody and everything. An account has its privileges everywhere.
type authorization struct {
	simulator.AuthorizationManager

	lab *Lab
}

// installAuthorization puts it in the simulator's place.
func installAuthorization(v *vcenter) {
	r := v.registry()
	ref := *vcContent(v).AuthorizationManager
	r.Put(&authorization{AuthorizationManager: *lookup[*simulator.AuthorizationManager](r, ref), lab: v.lab})
}

// HasPrivilegeOnEntities implements the method of that name.
func (m *authorization) HasPrivilegeOnEntities(ctx *simulator.Context, req *types.HasPrivilegeOnEntities) soap.HasFault {
	body := &methods.HasPrivilegeOnEntitiesBody{}
	if ctx.Session == nil || req.SessionId != ctx.Session.Key {
		body.Fault_ = asFault(&types.NotFound{}) // of another session the lab does not tell
		return body
	}
	var account Account
	for _, a := range m.lab.cfg.accounts() {
		if a.Username == ctx.Session.UserName {
			account = a
		}
	}
	out := make([]types.EntityPrivilege, len(req.Entity))
	for i, e := range req.Entity {
		out[i].Entity = e
		for _, id := range req.PrivId {
			out[i].PrivAvailability = append(out[i].PrivAvailability, types.PrivilegeAvailability{PrivId: id, IsGranted: account.may(id)})
		}
	}
	body.Res = &types.HasPrivilegeOnEntitiesResponse{Returnval: out}
	return body
}
