package vsphere

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/vmware/govmomi/pbm"
	"github.com/vmware/govmomi/pbm/types"
)

// ErrNoPolicies means that the server has no service for storage policies.
var ErrNoPolicies = errors.New("the server has no storage policies")

// DiskProfiles lists which storage policy each disk has, by the disk's
// "moid:key". Disks without one are not listed. It asks the policies for their
// disks: two calls, where asking each disk for its policy would be thousands.
func (c *Conn) DiskProfiles(ctx context.Context) (map[string]string, error) {
	ctx, cancel := context.WithTimeout(ctx, c.session.opts.CallTimeout)
	defer cancel()
	p, err := pbm.NewClient(ctx, c.Client)
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok && strings.HasPrefix(e.Err.Error(), "404") {
			return nil, ErrNoPolicies
		}
		return nil, fmt.Errorf("connect to the storage policy service: %w", err)
	}
	ids, err := p.QueryProfile(ctx, types.PbmProfileResourceType{ResourceType: string(types.PbmProfileResourceTypeEnumSTORAGE)}, string(types.PbmProfileCategoryEnumREQUIREMENT))
	if err != nil {
		return nil, fmt.Errorf("list storage policies: %w", err)
	}
	if len(ids) == 0 {
		return map[string]string{}, nil
	}
	results, err := p.QueryAssociatedEntities(ctx, ids)
	if err != nil {
		return nil, fmt.Errorf("list the disks of storage policies: %w", err)
	}
	return diskProfiles(results), nil
}

// diskProfiles picks the disks out of what the policies are attached to.
func diskProfiles(results []types.PbmQueryProfileResult) map[string]string {
	out := make(map[string]string, len(results))
	for i := range results {
		r := &results[i]
		if r.Object.ObjectType == string(types.PbmObjectTypeVirtualDiskId) && len(r.ProfileId) > 0 {
			out[r.Object.Key] = r.ProfileId[0].UniqueId
		}
	}
	return out
}
