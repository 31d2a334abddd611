package plan

import "heliostat/engine"

// compileQuarantine finds what a person must look at before it is touched again.
func (b *builder) compileQuarantine() {
	for i := range b.hy.Quarantine {
		q := &b.hy.Quarantine[i]
		switch q.Subject.Kind {
		case "vm":
			if v, ok := b.s.FindVM(engine.VMID(q.Subject.ID)); ok {
				if b.lostVM == nil {
					b.lostVM = make([]*engine.Quarantine, len(b.s.VMs))
				}
				b.lostVM[v] = q
			}
		case "host":
			if h, ok := b.s.FindHost(engine.HostID(q.Subject.ID)); ok {
				if b.lostHost == nil {
					b.lostHost = make([]*engine.Quarantine, len(b.s.Hosts))
				}
				b.lostHost[h] = q
			}
		}
	}
}

// quarantined reports whether host h is in quarantine: no action is taken on it
// and nothing goes to it. What is on it may leave.
func (b *builder) quarantined(h int32) bool { return b.lostHost != nil && b.lostHost[h] != nil }

// quarantine refuses what a person must look at first: a VM to be moved, by us or
// by the scheduler of a cluster whose host we empty, and a host to be acted on or
// to be moved to.
func (c *checker) quarantine(i int32, a *engine.Action) {
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
