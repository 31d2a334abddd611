package plan

import "heliostat/engine"

// compileQuarantine finds what a person must look at before it is touched again,
// and the vCenters that are left alone for a while.
func (b *builder) compileQuarantine() {
	b.lostVM, b.lostHost = nil, nil
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
	b.broken, b.kept = b.byVCenter(b.in.Broken), b.byVCenter(b.in.KeepHosts)
}

// byVCenter sorts holds by the vCenter that they are about; nil when there is none.
func (b *builder) byVCenter(holds []engine.Hold) []*engine.Hold {
	if len(holds) == 0 {
		return nil
	}
	out := make([]*engine.Hold, len(b.s.VCenters))
	for i := range holds {
		if k, ok := b.s.FindVCenter(engine.VCenterID(holds[i].Subject.ID)); ok {
			out[k] = &holds[i]
		}
	}
	return out
}

// brokenAt says why nothing is started at the vCenter of host h, nil when it may be.
func (b *builder) brokenAt(h int32) *engine.Hold {
	if b.broken == nil {
		return nil
	}
	return b.broken[b.s.Hosts[h].VCenter]
}

// keptAt says why the state of host h is not changed, nil when it may be.
func (b *builder) keptAt(h int32) *engine.Hold {
	if x := b.brokenAt(h); x != nil || b.kept == nil {
		return x
	}
	return b.kept[b.s.Hosts[h].VCenter]
}

// vcenterReason is what bars a whole vCenter.
func (b *builder) vcenterReason(h int32, x *engine.Hold) reason {
	return reason{code: x.Code, form: "vCenter %[1]s: %[2]s", where: b.s.VCenters[b.s.Hosts[h].VCenter].Name, other: x.Detail}
}

// quarantined reports whether host h is in quarantine: no action is taken on it
// and nothing goes to it. What is on it may leave.
func (b *builder) quarantined(h int32) bool { return b.lostHost != nil && b.lostHost[h] != nil }
