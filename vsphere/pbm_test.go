package vsphere

import (
	"errors"
	"maps"
	"testing"

	"github.com/vmware/govmomi/pbm/types"
)

func TestDiskProfiles(t *testing.T) {
	ref := func(kind types.PbmObjectType, key, profile string) types.PbmQueryProfileResult {
		return types.PbmQueryProfileResult{Object: types.PbmServerObjectRef{ObjectType: string(kind), Key: key}, ProfileId: []types.PbmProfileId{{UniqueId: profile}}}
	}
	got := diskProfiles([]types.PbmQueryProfileResult{
		ref(types.PbmObjectTypeVirtualDiskId, "vm-1:2000", "gold"), ref(types.PbmObjectTypeVirtualMachine, "vm-1", "silver"),
		ref(types.PbmObjectTypeVirtualDiskId, "vm-2:2001", "silver"),
		{Object: types.PbmServerObjectRef{ObjectType: string(types.PbmObjectTypeVirtualDiskId), Key: "vm-3:2000"}},
	})
	if want := map[string]string{"vm-1:2000": "gold", "vm-2:2001": "silver"}; !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	srv := newServer(t)
	if _, err := conn(t, srv.dial(t, srv.config())).DiskProfiles(t.Context()); !errors.Is(err, ErrNoPolicies) {
		t.Errorf("of a server without the service: %v", err)
	}
}
