package plan

import (
	"slices"

	"heliostat/engine"
	"heliostat/internal/parallel"
)

// A wish is one VM that would be better elsewhere.
type wish struct {
	v       int32
	site    int32
	cluster int32 // None for any
	host    int32 // None for any
	saves   int64 // micro-euros an hour
	net     int64 // micro-euros while it holds, the cost deducted
	mib     int64 // to be copied
	density int64 // net gain per copied GiB
}

// An unmetWish is what VMs that found no room in a cluster would bring.
type unmetWish struct {
	cpu, mem, saves int64
	vms             int32
}

// A siteView is what the policies' scores make of the sites.
type siteView struct {
	premium []int64 // by site: micro-euros an hour and vCPU
	why     [][]engine.Why
	perGHz  []int64 // by site: milliwatts that a GHz of load costs there
}

func (b *builder) siteView() siteView {
	n := len(b.s.Sites)
	x := siteView{premium: make([]int64, n), why: make([][]engine.Why, n), perGHz: make([]int64, n)}
	for i := range b.d.SiteScores {
		sc := &b.d.SiteScores[i]
		x.premium[sc.Site] += b.d.Voices[sc.By.Voice].WeightMicroEUR * int64(sc.Milli) / 1000
		x.why[sc.Site] = append(x.why[sc.Site], b.d.Why(sc.By))
	}
	count := make([]int64, n)
	for i := range b.s.Hosts {
		h := &b.s.Hosts[i]
		if h.Site >= 0 && h.MaxW > 0 && h.IdleW >= 0 && h.CPUMHz > 0 {
			x.perGHz[h.Site] += int64(h.MaxW-h.IdleW) * 1_000_000 / int64(h.CPUMHz)
			count[h.Site]++
		}
	}
	for i := range x.perGHz {
		x.perGHz[i] /= max(count[i], 1)
	}
	return x
}

// wishStage moves VMs to where policies would rather have them, as far as it is
// worth it.
func (b *builder) wishStage() {
	if len(b.d.SiteScores)+len(b.d.Prefers) == 0 {
		return
	}
	view := b.siteView()
	m, bids := b.compete(b.wishList(&view))
	for i := range bids {
		if r := b.spent(); !r.ok() {
			b.tooLate(bids[i:], r, m.aMove(b.c.HoldsS), &view)
			return
		}
		x := &bids[i].wish
		r := b.grant(x, &view)
		if r.ok() {
			b.granted.Granted += x.net
			continue
		}
		b.holdVM(x.v, r, b.wishText(x), engine.Subject{}, b.wishWhy(x, &view))
		if r.code == engine.HoldReserve || r.code == engine.HoldCapacity || r.code == engine.HoldBandwidth {
			b.holds[len(b.holds)-1].Worth = m.scarce(b, x)
		}
	}
}

// wishList lists the wishes that are worth it, the best gain for the bytes first.
func (b *builder) wishList(view *siteView) []wish {
	b.readTraits()
	b.wide = true
	type part struct {
		wishes []wish
		holds  []engine.Hold
	}
	out := make([]part, parts(len(b.s.VMs)))
	parallel.Each(len(out), b.apart(func(n *builder, k int) {
		p := &out[k]
		for v := k * partSize; v < min((k+1)*partSize, len(b.s.VMs)); v++ {
			if w, ok := n.wishOf(int32(v), view); ok {
				p.wishes = append(p.wishes, w)
			}
		}
		p.holds, n.holds = n.holds, nil
	}))
	var wishes []wish
	for i := range out {
		wishes, b.holds = append(wishes, out[i].wishes...), append(b.holds, out[i].holds...)
	}
	slices.SortFunc(wishes, byDensity)
	return wishes
}

// tooLate holds the wishes that came when the budget was used up, for the same reason.
func (b *builder) tooLate(wishes []bid, r reason, worth engine.Scarcity, view *siteView) {
	held := make([]engine.Hold, len(wishes))
	parallel.Each(parts(len(wishes)), b.apart(func(n *builder, k int) {
		lo, hi := k*partSize, min((k+1)*partSize, len(wishes))
		n.holds = held[lo:lo:hi]
		for i := lo; i < hi; i++ {
			n.holdVM(wishes[i].v, r, n.wishText(&wishes[i].wish), engine.Subject{}, n.wishWhy(&wishes[i].wish, view))
			n.holds[i-lo].Worth = worth
		}
	}))
	b.holds = append(b.holds, held...)
}

// partSize is how many VMs a part has: enough that starting it costs nothing.
const partSize = 4096

// parts is how many parts n VMs make.
func parts(n int) int { return (n + partSize - 1) / partSize }

// apart is the builder as one of several that look at different things at once:
// each notes holds and counts in a copy of its own, and decides nothing.
func (b *builder) apart(f func(n *builder, part int)) func() func(part int) {
	return func() func(part int) {
		n := *b
		n.holds, n.said, n.mark = nil, nil, scratch{}
		n.mark.init(b.s)
		return func(part int) { f(&n, part) }
	}
}

// wishOf finds the best place for VM v, when that is elsewhere. It holds what
// may not move or is not worth it.
func (b *builder) wishOf(v int32, view *siteView) (wish, bool) {
	vm := &b.s.VMs[v]
	from := b.s.VMSite(v)
	if vm.Power != engine.VMOn || vm.Obstacles&engine.ObAgent != 0 || from < 0 || b.dest[v] >= 0 || b.leaving[v] || b.held[v] {
		return wish{}, false
	}
	best, refused := b.bestPlace(v, from, view)
	if best.saves <= 0 {
		if refused.saves > 0 {
			// Something wants it at a site that is not allowed, and nothing else beats here.
			x := b.deniedSite(v, refused.site)
			b.holdVM(v, x, b.wishText(&refused), engine.Subject{}, b.wishWhy(&refused, view))
		}
		return wish{}, false
	}
	w := want{v: v, demand: engine.None, cluster: engine.None, host: engine.None, avoid: engine.None}
	if r := b.vmReason(&w); !r.ok() {
		b.holdVM(v, r, b.wishText(&best), engine.Subject{}, b.wishWhy(&best, view))
		return wish{}, false
	}
	if r := b.coolReason(v, best.site); !r.ok() {
		b.holdVM(v, r, b.wishText(&best), engine.Subject{}, b.wishWhy(&best, view))
		return wish{}, false
	}
	ledger := b.forecast(v, from, &best)
	if !worth(ledger, b.c.PaybackS) {
		b.holdVM(v, reason{code: engine.HoldWorth, form: ledger.String()}, b.wishText(&best), engine.Subject{}, b.wishWhy(&best, view))
		return wish{}, false
	}
	best.net = ledger.SavesPerH*ledger.HoldsS/3600 - ledger.CostOnce
	best.density = best.net * 1024 / (best.mib + 1)
	return best, true
}

// bestPlace finds the place that the policies' sum values most above where VM v
// is, and the best that allow_sites refuses.
func (b *builder) bestPlace(v, from int32, view *siteView) (best, refused wish) {
	vm := &b.s.VMs[v]
	allowed := ^(b.doomedSite | b.threatened)
	for _, x := range of(b.d.AllowSites, v, func(x *engine.AllowSites) int32 { return x.VM }) {
		allowed &= x.Sites
	}
	prefers := of(b.d.Prefers, v, func(x *engine.Prefer) int32 { return x.VM })
	here := view.premium[from]*int64(vm.VCPUs) + b.preferred(prefers, vm.Host)
	best, refused = wish{v: v, site: engine.None, cluster: engine.None, host: engine.None}, wish{v: v, site: engine.None, cluster: engine.None, host: engine.None}
	try := func(x wish, value int64) {
		x.v = v
		x.saves = value - here
		if x.saves > 0 && x.site != from {
			x.saves += b.energySaved(v, from, x.site, view)
		}
		switch {
		case !allowed.Has(x.site):
			if x.saves > refused.saves {
				refused = x
			}
		case x.saves > best.saves:
			best = x
		}
	}
	for s := range b.s.Sites {
		site := int32(s)
		if site == from {
			continue
		}
		value := view.premium[s]*int64(vm.VCPUs) + preferOf(prefers, "site", string(b.s.Sites[s].ID))
		try(wish{site: site, cluster: engine.None, host: engine.None}, value)
	}
	for i := range prefers {
		b.tryPrefer(&prefers[i], prefers, vm, view, try)
	}
	return best, refused
}

// tryPrefer offers the cluster or host that a policy prefers.
func (b *builder) tryPrefer(p *engine.Prefer, all []engine.Prefer, vm *engine.VM, view *siteView, try func(wish, int64)) {
	switch p.To.Kind {
	case "cluster":
		c, ok := b.s.FindCluster(engine.ClusterID(p.To.ID))
		if !ok || b.s.Hosts[vm.Host].Cluster == c {
			return
		}
		if site := b.s.ClusterSite(c); site >= 0 {
			value := view.premium[site]*int64(vm.VCPUs) + preferOf(all, "site", string(b.s.Sites[site].ID)) + preferOf(all, "cluster", p.To.ID)
			try(wish{site: site, cluster: c, host: engine.None}, value)
		}
	case "host":
		h, ok := b.s.FindHost(engine.HostID(p.To.ID))
		if !ok || h == vm.Host || b.s.Hosts[h].Site < 0 {
			return
		}
		value := view.premium[b.s.Hosts[h].Site]*int64(vm.VCPUs) + b.preferred(all, h)
		try(wish{site: b.s.Hosts[h].Site, cluster: b.s.Hosts[h].Cluster, host: h}, value)
	}
}

// preferOf sums what the policies pay for one place.
func preferOf(prefers []engine.Prefer, kind, id string) int64 {
	var sum int64
	for i := range prefers {
		if prefers[i].To.Kind == kind && prefers[i].To.ID == id {
			sum += prefers[i].MicroEUR
		}
	}
	return sum
}

// preferred sums what the policies pay for host h and all that it is in.
func (b *builder) preferred(prefers []engine.Prefer, h int32) int64 {
	if len(prefers) == 0 {
		return 0
	}
	host := &b.s.Hosts[h]
	sum := preferOf(prefers, "host", string(host.ID)) + preferOf(prefers, "cluster", string(b.s.Clusters[host.Cluster].ID))
	if host.Site >= 0 {
		sum += preferOf(prefers, "site", string(b.s.Sites[host.Site].ID))
	}
	return sum
}

// energySaved is what the energy of v's load costs less at another site. Where
// either price is not known, nothing is claimed.
func (b *builder) energySaved(v, from, to int32, view *siteView) int64 {
	if b.tariff[from] < 0 || b.tariff[to] < 0 {
		return 0
	}
	mhz := int64(max(b.s.VMs[v].UsedMHz, 0))
	return b.energyPerH(from, mhz*view.perGHz[from]/1000) - b.energyPerH(to, mhz*view.perGHz[to]/1000)
}

// deniedSite is what keeps v from the site: a danger there, or an allow_sites.
func (b *builder) deniedSite(v, site int32) reason {
	switch where := string(b.s.Sites[site].ID); {
	case b.doomedSite.Has(site):
		return reason{code: engine.HoldNowhere, form: "site %[1]s is being evacuated", where: where}
	case b.threatened.Has(site):
		return reason{code: engine.HoldNowhere, form: "a hazard threatens site %[1]s", where: where}
	}
	for _, x := range of(b.d.AllowSites, v, func(x *engine.AllowSites) int32 { return x.VM }) {
		if !x.Sites.Has(site) {
			return reason{code: engine.HoldSites, form: "site %[1]s is not allowed by %[2]s", where: string(b.s.Sites[site].ID), other: b.d.Why(x.By).String()}
		}
	}
	return reason{}
}

// meddled reports whether somebody else moved v too recently for us to move it for
// anything but a demand.
func (b *builder) meddled(v int32) bool {
	x := b.ofVM(v)
	return !b.has(v, trFresh) && x.ForeignAt != 0 && int64(b.in.Now-x.ForeignAt) < engine.Longer(b.c.CooldownS, x.Returns)
}

// coolReason says that v moved too recently to move again for a wish.
func (b *builder) coolReason(v, site int32) reason {
	if b.has(v, trFresh) {
		return reason{}
	}
	x := b.ofVM(v)
	if b.meddled(v) {
		return reason{code: engine.HoldCooldown, stage: stAllowed, form: "somebody else moved it %[3]d s ago, we may after %[4]d s", a: int64(b.in.Now - x.ForeignAt), b: engine.Longer(b.c.CooldownS, x.Returns)}
	}
	if x.MovedAt == 0 {
		return reason{}
	}
	age := int64(b.in.Now - x.MovedAt)
	switch {
	case age < b.c.CooldownS:
		return reason{code: engine.HoldCooldown, stage: stAllowed, form: "it moved %[3]d s ago, it may move again after %[4]d s", a: age, b: b.c.CooldownS}
	case x.LeftSite == b.s.Sites[site].ID && site != b.s.VMSite(v) && age < engine.Longer(b.c.ReturnS, x.Returns):
		return reason{code: engine.HoldCooldown, stage: stAllowed, form: "it left %[1]s %[3]d s ago, it may return after %[4]d s", where: string(x.LeftSite), a: age, b: engine.Longer(b.c.ReturnS, x.Returns)}
	}
	return reason{}
}

// leftRecently is the host that v left too recently to return to, or None.
func (b *builder) leftRecently(v int32) int32 { return b.leftWithin(v, b.c.ReturnS) }

// leftForGain is the same for a move that is to save power: its way there may not
// have paid back yet, and there and back costs twice and brings nothing.
func (b *builder) leftForGain(v int32) int32 {
	return b.leftWithin(v, max(b.c.ReturnS, b.powerHolds()))
}

func (b *builder) leftWithin(v int32, s int64) int32 {
	if b.has(v, trFresh) {
		return engine.None
	}
	x := b.ofVM(v)
	if x.MovedAt == 0 || int64(b.in.Now-x.MovedAt) >= engine.Longer(s, x.Returns) {
		return engine.None
	}
	h, _ := b.s.FindHost(x.LeftHost)
	return h
}

// forecast accounts for a wish before a host is chosen: with a host like its
// own at the other end, and its disks along unless the site reads them.
func (b *builder) forecast(v, from int32, w *wish) engine.Ledger {
	vm := &b.s.VMs[v]
	disk := int64(0)
	storage := false
	for i := range vm.Disks {
		d := &vm.Disks[i]
		if w.site != from && d.Datastore >= 0 && !b.s.Datastores[d.Datastore].Sites.Has(w.site) {
			disk += d.CopyMiB()
			storage = true
		}
	}
	rate := b.rate(vm.Host, vm.Host, false, false)
	rtt := int32(0)
	if w.site != from {
		rate = b.rate(vm.Host, vm.Host, storage, false)
		// Of a link that is not known nothing can be accounted: find says so.
		if k, ok := b.s.Link(from, w.site); ok && k.Mbps != engine.Unknown && k.RTTMicros != engine.Unknown {
			rate = min(rate, k.Mbps/max(engine.LinkMoves(b.c.Limits, k), 1))
			rtt = k.RTTMicros
		}
	}
	e := b.learnt(v, w.site, storage, max(rate, 1), rtt, disk)
	w.mib = e.MemoryMiB + e.DiskMiB
	to := b.anyHost(w)
	if to < 0 {
		to = vm.Host
	}
	return account(w.saves, b.moveCost(v, vm.Host, to, &e, max(rate, 1)), b.c.HoldsS)
}

// anyHost is some host of the wish's place, for its prices.
func (b *builder) anyHost(w *wish) int32 {
	if w.host >= 0 {
		return w.host
	}
	if cs := b.siteClust[w.site]; len(cs) > 0 {
		for _, h := range b.s.HostsOf(cs[0]) {
			if b.s.Hosts[h].Site == w.site {
				return h
			}
		}
	}
	return engine.None
}

// grant plans a wish, or says what binds.
func (b *builder) grant(x *wish, view *siteView) reason {
	w := want{v: x.v, demand: engine.None, cluster: x.cluster, host: x.host, avoid: b.leftRecently(x.v)}
	w.sites = w.sites.With(x.site)
	h, r := b.find(&w)
	if !r.ok() {
		if r.code == engine.HoldReserve || r.code == engine.HoldCapacity || r.code == engine.HoldUnavailable {
			b.missed(x)
		}
		return r
	}
	if r = b.queueReason(x); !r.ok() {
		return r
	}
	vm := &b.s.VMs[x.v]
	storage := b.storageNeeded(&w, h)
	e := b.estimate(x.v, h, storage, b.diskCopy(&w, h))
	ledger := account(x.saves, b.moveCost(x.v, vm.Host, h, &e, b.rate(vm.Host, h, storage, false)), b.c.HoldsS)
	if !worth(ledger, b.c.PaybackS) {
		return reason{code: engine.HoldWorth, form: ledger.String()}
	}
	b.commit(&w, h, b.wishWhy(x, view), ledger)
	b.wishes--
	return reason{}
}

// queueReason says that a wish would come too late over its link.
func (b *builder) queueReason(x *wish) reason {
	k := b.linkIndex(b.s.VMSite(x.v), x.site)
	if k < 0 || b.s.VMSite(x.v) == x.site || b.s.Links[k].Mbps <= 0 || b.queue[k]+x.mib <= b.linkHolds(k) {
		return reason{}
	}
	l := &b.s.Links[k]
	return reason{
		code: engine.HoldBandwidth, stage: stLink, form: "the link %[1]s-%[2]s would have %[3]d GiB to carry with it, and carries %[4]d in the %[5]d s for which a choice is expected to hold",
		where: string(b.s.Sites[l.A].ID), other: string(b.s.Sites[l.B].ID), a: (b.queue[k] + x.mib) / 1024, b: b.linkHolds(k) / 1024, c: b.c.HoldsS,
	}
}

// missed remembers that a wish found no room: a host may be woken for it.
func (b *builder) missed(x *wish) {
	for _, c := range b.siteClust[x.site] {
		if x.cluster >= 0 && x.cluster != c {
			continue
		}
		u := &b.unmet[c]
		u.cpu += int64(b.st.Foot[x.v].CPUMHz)
		u.mem += int64(b.st.Foot[x.v].MiB)
		u.saves += x.saves
		u.vms++
	}
}

func (b *builder) wishText(w *wish) string {
	switch {
	case w.host >= 0:
		return "move to host " + b.s.Hosts[w.host].Name
	case w.cluster >= 0:
		return "move to cluster " + b.s.Clusters[w.cluster].Name
	}
	return b.toSite[w.site]
}

// wishWhy is who wants it: who scores the sites, and who prefers a place.
func (b *builder) wishWhy(w *wish, view *siteView) []engine.Why {
	from := b.s.VMSite(w.v)
	prefers := of(b.d.Prefers, w.v, func(x *engine.Prefer) int32 { return x.VM })
	if len(prefers) == 0 {
		return b.pairWhy(from, w.site, view)
	}
	out := slices.Clone(b.pairWhy(from, w.site, view))
	for i := range prefers {
		out = append(out, b.d.Why(prefers[i].By))
	}
	return out
}

// pairWhy joins what was said about both sites. The common case shares one slice.
func (b *builder) pairWhy(from, to int32, view *siteView) []engine.Why {
	if to >= 0 && len(view.why[to]) > 0 {
		return view.why[to]
	}
	return view.why[from]
}
