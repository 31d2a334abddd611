package check

import (
	"slices"

	"heliostat/engine"
)

// quarantine refuses what a person must look at first: a VM to be moved, by us or
// by the scheduler of a cluster whose host we empty, and a host to be acted on or
// to be moved to.
func (c *checker) quarantine(i int32, a *engine.Action) {
	if len(c.in.Broken)+len(c.in.KeepHosts)+len(c.h.Quarantine) == 0 {
		return
	}
	barred := c.in.Broken
	if a.Kind != engine.Move {
		barred = slices.Concat(barred, c.in.KeepHosts)
	}
	for _, x := range barred {
		if id := engine.VCenterID(x.Subject.ID); id == a.From.VCenter || id == a.To.VCenter {
			c.refuse(i, x.Code, "vCenter %s: %s", x.Name, x.Detail)
		}
	}
	s := engine.Subject{Kind: "host", ID: string(a.To.Host)}
	if a.Kind != engine.Move {
		s.ID = string(a.HostOf())
	} else if q := c.h.QuarantineOf(engine.Subject{Kind: "vm", ID: string(a.VM)}); q != nil {
		c.refuse(i, engine.HoldQuarantine, "the VM is %s", q.Text())
	}
	if q := c.h.QuarantineOf(s); q != nil && (a.Kind != engine.Move || a.From.Host != a.To.Host) {
		c.refuse(i, engine.HoldQuarantine, "host %s is %s", q.Name, q.Text())
	}
}
