package vcenter

import (
	"context"
	"errors"
	"strconv"
	"time"

	"heliostat/vsphere"
)

const (
	// profilesEvery is how old the storage policies of disks may become.
	profilesEvery = 10 * time.Minute
	// profilesRetry is how long a vCenter that refused is left alone, and how
	// soon after one reading new VMs cause another.
	profilesRetry = time.Minute
)

// A profileCache is the storage policy of every disk that has one.
type profileCache struct {
	version uint64
	tried   time.Time
	err     error
	read    bool
	vms     int               // how many VMs there were
	byDisk  map[string]string // by "moid:key"
}

// refresh reads the policies where they are old, or where VMs have come. It
// keeps what it has where that fails.
func (p *profileCache) refresh(ctx context.Context, conn *vsphere.Conn, vms int) {
	age := time.Since(p.tried)
	if age < profilesRetry || (age < profilesEvery && p.err == nil && vms == p.vms) {
		return
	}
	p.tried = time.Now()
	byDisk, err := conn.DiskProfiles(ctx)
	if p.err = err; errors.Is(err, vsphere.ErrNoPolicies) {
		byDisk, p.err = nil, nil
	}
	if p.err == nil {
		p.read, p.vms, p.byDisk = true, vms, byDisk
		p.version++
	}
}

// of gives a disk's storage policy, "" for none.
func (p *profileCache) of(moid string, key int32) string {
	if len(p.byDisk) == 0 {
		return ""
	}
	return p.byDisk[moid+":"+strconv.Itoa(int(key))]
}
