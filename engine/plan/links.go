package plan

import (
	"cmp"
	"slices"

	"heliostat/engine"
)

// linkReason applies the limits on round trip, bandwidth and dirty rate.
func (b *builder) linkReason(w *want, h int32, storage bool) reason {
	vm := &b.s.VMs[w.v]
	from, to := b.s.Hosts[vm.Host].Site, b.s.Hosts[h].Site
	if from != to {
		if r := b.siteLinkReason(from, to, w.live(b)); !r.ok() {
			return r
		}
	}
	if h == vm.Host {
		return reason{}
	}
	rate := b.rate(vm.Host, h, storage, !w.live(b))
	if rate <= 0 {
		return reason{code: engine.HoldBandwidth, stage: stLink, form: "the speed of the vMotion network between %[1]s and %[2]s is unknown", where: b.s.Hosts[vm.Host].Name, other: b.s.Hosts[h].Name}
	}
	if w.live(b) && !b.c.Cost.Converges(vm, rate) {
		return reason{
			code: engine.HoldConverge, stage: stLink, form: "it dirties %[3]d Mbit/s, and the way to %[1]s gives it %[4]d Mbit/s",
			where: b.s.Hosts[h].Name, a: int64(b.c.Cost.Dirty(vm)), b: int64(rate),
		}
	}
	return reason{}
}

// siteLinkReason says why no move can cross between two sites.
func (b *builder) siteLinkReason(from, to int32, live bool) reason {
	r := reason{stage: stLink, where: string(b.s.Sites[from].ID), other: string(b.s.Sites[to].ID)}
	k, ok := b.s.Link(from, to)
	l := b.c.Limits
	switch {
	case !ok || k.RTTMicros == engine.Unknown:
		r.code, r.form = engine.HoldRTT, "the round trip between %[1]s and %[2]s is not known"
	case b.c.LinkMaxAgeS > 0 && b.in.Now-k.At > engine.Unix(b.c.LinkMaxAgeS):
		r.code, r.form, r.a = engine.HoldRTT, "the round trip between %[1]s and %[2]s was last measured %[3]d s ago", int64(b.in.Now-k.At)
	case live && k.RTTMicros > l.MaxRTTMicros:
		r.code, r.form = engine.HoldRTT, "the round trip between %[1]s and %[2]s is %[3]d ms, at most %[4]d ms is supported"
		r.a, r.b = int64(k.RTTMicros+500)/1000, int64(l.MaxRTTMicros)/1000
	case k.Mbps == engine.Unknown:
		r.code, r.form = engine.HoldBandwidth, "the bandwidth between %[1]s and %[2]s is not known"
	case engine.LinkMoves(l, k) == 0:
		r.code, r.form = engine.HoldBandwidth, "the link between %[1]s and %[2]s has %[3]d Mbit/s, a move needs %[4]d"
		r.a, r.b = int64(k.Mbps), int64(l.MinMbpsPerMove)
	}
	return r
}

// rate is the line rate in Mbit/s that one move gets when as many run beside it
// as slots and links admit.
func (b *builder) rate(from, to int32, storage, cold bool) int32 {
	class := engine.ClassVMotion
	switch {
	case cold:
		class = engine.ClassCold
	case storage && from == to:
		class = engine.ClassStorage
	case storage:
		class = engine.ClassBoth
	}
	l := &b.c.Limits
	cost := l.Cost[class]
	rate := int32(0)
	for _, h := range [2]int32{from, to} {
		x := &b.s.Hosts[h]
		if x.NICMbps <= 0 {
			return 0
		}
		sharers := max(l.HostUnits/max(cost.Host, 1), 1)
		if cost.NIC > 0 {
			sharers = min(sharers, b.nicUnits(h)/cost.NIC)
		}
		if r := x.NICMbps / max(sharers, 1); rate == 0 || r < rate {
			rate = r
		}
	}
	if k, ok := b.s.Link(b.s.Hosts[from].Site, b.s.Hosts[to].Site); ok {
		rate = min(rate, k.Mbps/max(engine.LinkMoves(*l, k), 1))
	}
	return rate
}

// nicUnits is how many units the vMotion network of host h carries.
func (b *builder) nicUnits(h int32) int32 {
	if b.s.Hosts[h].NICMbps >= 10_000 {
		return b.c.Limits.NICUnitsFast
	}
	return b.c.Limits.NICUnitsSlow
}

// linkIndex is the index of the link between two sites, or None.
func (b *builder) linkIndex(x, y int32) int32 { return findLink(b.s, x, y) }

func findLink(s *engine.Snapshot, x, y int32) int32 {
	if x > y {
		x, y = y, x
	}
	i, ok := slices.BinarySearchFunc(s.Links, [2]int32{x, y}, func(l engine.Link, t [2]int32) int {
		return cmp.Or(cmp.Compare(l.A, t[0]), cmp.Compare(l.B, t[1]))
	})
	if !ok {
		return engine.None
	}
	return int32(i)
}
