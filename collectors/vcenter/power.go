package vcenter

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/types"

	"heliostat/engine"
	"heliostat/vsphere"
)

const (
	// powerName is the counter of a host's power. Its number differs between versions.
	powerName = "power.power.average"
	// powerInterval is the sampling period of real-time statistics, in seconds.
	powerInterval = 20
	// powerBatch keeps a query under vCenter's limit on metrics in one query,
	// 64 by default (config.vpxd.stats.maxQueryMetrics).
	powerBatch = 50
)

// A powerCounter is the number of the counter at one vCenter.
type powerCounter struct {
	vc  engine.VCenterID
	gen uint64
	id  int32
}

var errNoCounter = errors.New("there is no counter " + powerName)

func (p *powerCounter) get(ctx context.Context, conn *vsphere.Conn) (int32, error) {
	if p.gen == conn.Gen && p.vc == conn.VCenter {
		return p.id, nil
	}
	m := conn.ServiceContent.PerfManager
	if m == nil {
		return 0, errNoCounter
	}
	id := int32(0)
	err := conn.Retrieve(ctx, vsphere.Objects(m.Type, []types.ManagedObjectReference{*m}, "perfCounter"), func(objects []types.ObjectContent) error {
		for _, o := range objects {
			for _, prop := range o.PropSet {
				a, _ := prop.Val.(types.ArrayOfPerfCounterInfo)
				for i := range a.PerfCounterInfo {
					if counterName(&a.PerfCounterInfo[i]) == powerName {
						id = a.PerfCounterInfo[i].Key
					}
				}
			}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	if id == 0 {
		return 0, errNoCounter
	}
	p.vc, p.gen, p.id = conn.VCenter, conn.Gen, id
	return id, nil
}

func counterName(c *types.PerfCounterInfo) string {
	return c.GroupInfo.GetElementDescription().Key + "." + c.NameInfo.GetElementDescription().Key + "." + string(c.RollupType)
}

// pollPower reads the newest sample of every host that runs. A host that shows
// 0 W has no meter.
func (s *Source) pollPower(ctx context.Context, conn *vsphere.Conn, b *inventory, inv *engine.Inventory, now engine.Unix) error {
	id, err := s.counter.get(ctx, conn)
	if err != nil {
		return err
	}
	var specs []types.PerfQuerySpec
	for i := range inv.Hosts {
		h := &inv.Hosts[i]
		if h.Power != engine.HostOn || !h.Connected {
			continue
		}
		_, moid := engine.SplitRef(h.ID)
		specs = append(specs, types.PerfQuerySpec{
			Entity: types.ManagedObjectReference{Type: "HostSystem", Value: moid}, MaxSample: 1, IntervalId: powerInterval,
			MetricId: []types.PerfMetricId{{CounterId: id}}, Format: string(types.PerfFormatCsv),
		})
	}
	for batch := range slices.Chunk(specs, powerBatch) {
		res, err := methods.QueryPerf(ctx, conn, &types.QueryPerf{This: *conn.ServiceContent.PerfManager, QuerySpec: batch})
		if err != nil {
			return err
		}
		for _, r := range res.Returnval {
			csv, ok := r.(*types.PerfEntityMetricCSV)
			if !ok {
				continue
			}
			if k := at(b.hosts, csv.Entity.Value); k >= 0 {
				if w := newest(csv.Value); w > 0 {
					inv.Hosts[k].PowerW, inv.Hosts[k].PowerAt = w, now
				}
			}
		}
	}
	return nil
}

// newest is the last sample of a series, 0 when there is none.
func newest(series []types.PerfMetricSeriesCSV) int32 {
	for i := range series {
		s := series[i].Value
		if n, err := strconv.ParseInt(s[strings.LastIndexByte(s, ',')+1:], 10, 32); err == nil {
			return int32(n)
		}
	}
	return 0
}
