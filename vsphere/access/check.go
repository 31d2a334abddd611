package access

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"

	"heliostat/vsphere"
)

// A Lack is a feature that an account cannot provide.
type Lack struct {
	Feature

	Privileges []string // that are granted nowhere
}

// String says what is missing and what fails.
func (l Lack) String() string {
	return fmt.Sprintf("lacks %s: %s", strings.Join(l.Privileges, ", "), l.Effect)
}

// A Report is what an account may not do and should, and the other way round.
type Report struct {
	User   string // as the vCenter names it
	Lacks  []Lack
	Excess []string // privileges that no account of the daemon needs
}

// where are the kinds of objects at which an operator may grant a role.
var where = []string{"Folder", "Datacenter", "ComputeResource", "ResourcePool", "Datastore", "Network"}

// perCall is how many objects are asked about at once: an answer holds a line for
// each object and privilege.
const perCall = 200

// Check asks the vCenter what the account that c is logged in with may do. A
// privilege counts as granted when it is so somewhere: where, is the operator's
// choice. It changes nothing.
func Check(ctx context.Context, c *vsphere.Conn, roles ...string) (Report, error) {
	l := read()
	var need []Privilege
	for _, r := range roles {
		need = append(need, l.needed(r)...)
	}
	has, err := granted(ctx, c, slices.Concat(ids(need), l.Never))
	if err != nil {
		return Report{}, fmt.Errorf("ask vCenter %s what %s may do: %w", c.VCenter, c.User, err)
	}
	report := Report{User: c.User}
	for _, p := range need {
		if has[p.ID] {
			continue
		}
		i := slices.IndexFunc(report.Lacks, func(x Lack) bool { return x.Name == p.For })
		if i < 0 {
			i = len(report.Lacks)
			f := l.Features[p.For]
			f.Name = p.For
			report.Lacks = append(report.Lacks, Lack{Feature: f})
		}
		if x := &report.Lacks[i]; !slices.Contains(x.Privileges, p.ID) {
			x.Privileges = append(x.Privileges, p.ID)
		}
	}
	// What stops most comes first.
	slices.SortStableFunc(report.Lacks, func(a, b Lack) int { return slices.Index(stops, b.Stops) - slices.Index(stops, a.Stops) })
	for _, id := range l.Never {
		if has[id] {
			report.Excess = append(report.Excess, id)
		}
	}
	return report, nil
}

// granted finds which of the privileges the session has at some object.
func granted(ctx context.Context, c *vsphere.Conn, privileges []string) (map[string]bool, error) {
	manager := c.ServiceContent.AuthorizationManager
	if manager == nil {
		return nil, errors.New("it has no authorization manager")
	}
	objects, err := places(ctx, c)
	if err != nil {
		return nil, err
	}
	has := map[string]bool{}
	for part := range slices.Chunk(objects, perCall) {
		res, err := methods.HasPrivilegeOnEntities(ctx, c, &types.HasPrivilegeOnEntities{This: *manager, Entity: part, SessionId: c.Key, PrivId: privileges})
		if err != nil {
			return nil, err
		}
		for _, e := range res.Returnval {
			for _, p := range e.PrivAvailability {
				has[p.PrivId] = has[p.PrivId] || p.IsGranted
			}
		}
	}
	return has, nil
}

// places are the root and all that the account sees of the inventory's skeleton.
func places(ctx context.Context, c *vsphere.Conn) ([]types.ManagedObjectReference, error) {
	out := []types.ManagedObjectReference{c.ServiceContent.RootFolder}
	view, err := c.ContainerView(ctx, where...)
	if err != nil {
		return nil, err
	}
	props := make([]types.PropertySpec, len(where))
	for i, kind := range where {
		props[i] = types.PropertySpec{Type: kind, PathSet: []string{"name"}}
	}
	err = c.Retrieve(ctx, vsphere.Viewed(view, props...), func(objects []types.ObjectContent) error {
		for _, o := range objects {
			out = append(out, o.Obj)
		}
		return nil
	})
	return out, errors.Join(err, c.DestroyView(view))
}
