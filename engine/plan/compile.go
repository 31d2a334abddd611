package plan

import (
	"cmp"
	"slices"

	"heliostat/engine"
)

// A builder is the state of one Build.
type builder struct {
	in engine.Input
	s  *engine.Snapshot
	d  *engine.Decision
	hy *engine.History
	c  engine.Config
	st *engine.State

	// What is kept for the next Input: see planner.go.
	ground     *engine.State  // before anything is under way
	own        []load2        // by host: what its hypervisor will take once it is woken
	lodgers    []lodgers      // by host
	pack       []int32        // by VM: the percentile of its load that counts, Unknown
	carried    [][2]int64     // by cluster: MHz and MiB
	oldest     [2]engine.Unix // when the oldest load was read of a VM and of a host, of what is on and seen
	over       []int32        // hosts that use more than they have
	resting    []int32        // hosts in maintenance
	broke      []bool         // by constraint: it is violated
	sentOff    []int32        // by host: VMs that this plan moves off it
	surge      []int64        // by cluster: MHz for which its hosts that are on keep room
	rise       []int64        // by cluster: MHz that its VMs may soon ask for beyond what they do
	lasting    []int32        // by cluster: MHz that its VMs have taken for a while, Unknown
	recent     []int64        // by cluster: MHz that it ran in the last hours
	parts      []part         // by VM: what it takes and may take of the surge
	partsOn    []part         // by host
	partsIn    []part         // by cluster
	soonHere   []int32        // by host: soonOn, before anything comes
	net        []int32        // by host: MHz that it leaves to VMs
	quiet      []bool         // by host: nothing of its own is known to keep it on, see stateReason
	hindrance  []hindrance    // by host: what is known of that; see stuckOn
	heldBefore int            // holds of the last plan
	stirred    []int32        // VMs that this plan has touched in any of the arrays below
	wide       bool           // more than are in stirred

	budget, evaluated int64

	// What the Decision, the gaps and the open actions say, by index.
	fleetFreeze freezeMark
	freezeTexts []string
	hostFreeze  []freezeMark // folded: the host, its cluster, its site
	vmFreeze    []freezeMark // the VM alone; nil when no VM is frozen
	vmHist      []int32      // by VM: index in History.VMs, None
	hostHist    []int32      // by host: index in History.Hosts, None
	restless    []int32      // VMs that moved or failed to within memory
	gapVM       []bool
	gapHost     []int32 // by host: index of a gap of it, its cluster or its vCenter + 1
	gapDS       []bool
	fleetGap    int                  // index of a gap of the whole fleet + 1
	lostVM      []*engine.Quarantine // nil when no VM is in quarantine
	lostHost    []*engine.Quarantine // likewise
	broken      []*engine.Hold       // by vCenter: why nothing is started there; nil when there is none
	kept        []*engine.Hold       // by vCenter: why no host's state is changed there; nil when there is none
	openVM      []bool
	openHost    []bool
	openTo      []bool    // an open action changes the host's power or maintenance
	traits      []traits  // by VM; nil until a stage asks for them
	tenants     []tenants // by host; with traits
	unseen      []bool    // by host: a VM that no inventory shows is on its way to it; nil when there is none
	vetoes      []vmVeto  // sorted by VM, then host
	cons        []con
	conStart    []int32
	conItems    []int32
	macDup      []int32   // by VM: another VM with a MAC of its own on one segment, None; nil when there is none
	hostSegs    csr       // by host: segments reachable
	netSeg      []int32   // by network: segment, None
	twins       [][]int32 // by datastore: the same volume as other vCenters see it; nil when there is none
	stopMask    [4]engine.Obstacles
	toSite      []string // by site: the wish to be there, for people
	tariff      []int64  // by site: micro-euros per kWh at the meter, carbon and PUE included; -1 unknown
	siteClust   [][]int32
	siteOf      []int32 // by cluster: where all its hosts stand, None where that is several
	threatened  engine.SiteMask

	// Demands.
	demands    []demand
	hostDemand []int32 // by host: index in demands, None
	doomed     []bool  // by host: an evacuation or drain empties it
	doomedSite engine.SiteMask
	doomedDS   []int32 // by datastore: index in demands + 1
	order      *order  // in which VMs flee; nil: the smallest first

	// What this plan has decided so far.
	dest    []int32 // by VM: where a planned or open move takes it, None
	moved   []int32 // by VM: index in actions + 1
	held    []bool  // by VM: a hold names it already
	leaving []bool  // by VM: a demand wants it away
	waking  []int32 // by host: index of its wake in actions + 1
	drained []bool  // by host: this plan empties or switches it
	sleepy  []bool  // by host: a policy permits its standby
	going   []bool  // by host: its reserve allows the cluster to lose it as well
	rooms   []room  // by cluster
	soonOn  []int32 // by host: what its VMs have of the surge, those that come counted
	work    []int64 // by host: slot-seconds planned
	queue   []int64 // by link: MiB planned
	bars    [2][]bar
	asleep  []int32     // hosts that an evacuation may wake, once asked for
	unmet   []unmetWish // by cluster: wishes that found no room
	aim     []int32     // by VM: the host where the search of its cluster sends it, None
	astir   bool        // a host is being woken
	aimed   bool        // searches have sent VMs somewhere, perhaps
	gone    []load      // by host that stays on: what has left it before those arrive that wait for it
	goneBy  [][]int32   // by host: the actions that do so
	ejected [][]int32   // by host that stays on: VMs that the search sends away to make room
	power   engine.PowerCost
	granted engine.WishGain
	stuck   []int32 // VMs of overloaded hosts that no host has room for as things stand
	left    engine.BudgetLeft
	wishes  int32 // moves outside demands still allowed in this cycle
	// budgetName is which budget ended the wishes.
	budgetName string

	acts    []act
	actions []engine.Action // the same for others, once all stages are through
	holds   []engine.Hold

	// A confined builder plans one block of clusters while others do theirs: it may not
	// ask for room on datastores that others may, and has strayed where it would have
	// to. Those of the site at home are the block's own.
	confined, strayed bool
	home              engine.SiteMask

	// Scratch of one search.
	mark scratch
	said *sayings
	beds []sleeper // hosts that may sleep
}

// An act is an action by index.
type act struct {
	vm, from, to int32 // hosts
	link         int32
	demand       int32
	mw           int64   // change of power, milliwatts
	after        []int32 // by index
	action       *engine.Action

	// Without an action it is a live move inside a cluster, of which there may be very
	// many: this is all that they do not have in common.
	pace pace
	once int64 // micro-euros
	why  []engine.Why
}

// A pace is what matters of the estimate of a live move without disks.
type pace struct {
	secs, mib  int64
	stun, mbps int32
}

func paceOf(e *engine.Estimate) pace { return pace{e.Seconds, e.MemoryMiB, int32(e.StunMS), e.Mbps} }

func (p *pace) estimate() engine.Estimate {
	return engine.Estimate{Seconds: p.secs, MemoryMiB: p.mib, StunMS: int64(p.stun), Mbps: p.mbps}
}

// A freezeMark holds indices + 1 of freezes: one that yields to nothing and one
// that yields to evacuations.
type freezeMark struct{ hard, soft int32 }

func (f freezeMark) or(x freezeMark) freezeMark {
	return freezeMark{cmp.Or(f.hard, x.hard), cmp.Or(f.soft, x.soft)}
}

// binds returns the freeze that holds, index + 1, or 0.
func (f freezeMark) binds(evac bool) int32 {
	if f.hard > 0 || evac {
		return f.hard
	}
	return f.soft
}

// A vmVeto denies VM vm a host, None for any.
type vmVeto struct{ vm, host, index int32 }

// csr is lists in one slice.
type csr struct{ start, items []int32 }

func (x *csr) of(i int32) []int32 { return x.items[x.start[i]:x.start[i+1]] }

// group sorts pairs (bucket, item) into lists; add is called twice by each.
func newCSR(buckets int, each func(add func(bucket, item int32))) csr {
	x := csr{start: make([]int32, buckets+1)}
	each(func(k, _ int32) { x.start[k+1]++ })
	for i := range buckets {
		x.start[i+1] += x.start[i]
	}
	x.items = make([]int32, x.start[buckets])
	next := slices.Clone(x.start[:buckets])
	each(func(k, v int32) {
		x.items[next[k]] = v
		next[k]++
	})
	return x
}

// nones is n indices that refer to nothing.
func nones(n int) []int32 {
	x := make([]int32, n)
	for i := range x {
		x[i] = engine.None
	}
	return x
}

// compileHistory joins the sorted memories with the sorted snapshot.
func (b *builder) compileHistory() {
	b.restless = b.restless[:0]
	j := 0
	for i := range b.s.VMs {
		b.vmHist[i] = engine.None
		for j < len(b.hy.VMs) && b.hy.VMs[j].ID < b.s.VMs[i].ID {
			j++
		}
		if j == len(b.hy.VMs) || b.hy.VMs[j].ID != b.s.VMs[i].ID {
			continue
		}
		b.vmHist[i] = int32(j)
		if x := &b.hy.VMs[j]; x.MovedAt != 0 || x.ForeignAt != 0 || x.Failures != 0 {
			b.restless = append(b.restless, int32(i))
		}
	}
	j = 0
	for i := range b.s.Hosts {
		b.hostHist[i] = engine.None
		for j < len(b.hy.Hosts) && b.hy.Hosts[j].ID < b.s.Hosts[i].ID {
			j++
		}
		if j < len(b.hy.Hosts) && b.hy.Hosts[j].ID == b.s.Hosts[i].ID {
			b.hostHist[i] = int32(j)
		}
	}
}

var noHost engine.HostHistory

func (b *builder) ofHost(h int32) *engine.HostHistory {
	if i := b.hostHist[h]; i >= 0 {
		return &b.hy.Hosts[i]
	}
	return &noHost
}

// hypervisor is what host h, which sleeps, will take itself once it is woken: what
// it took when it last ran, or the most that one of its cluster does. Of a host
// that runs that is in the snapshot.
func (b *builder) hypervisor(h int32) (cpu, mem int32) {
	if b.s.Hosts[h].Power != engine.HostStandby {
		return 0, 0
	}
	if x := b.ofHost(h); x.SameSince != 0 {
		return x.OwnMHz, x.OwnMiB
	}
	for _, o := range b.s.HostsOf(b.s.Hosts[h].Cluster) {
		x := b.ofHost(o)
		cpu, mem = max(cpu, x.OwnMHz), max(mem, x.OwnMiB)
	}
	return cpu, mem
}

var noVM engine.VMHistory

func (b *builder) ofVM(v int32) *engine.VMHistory {
	if i := b.vmHist[v]; i >= 0 {
		return &b.hy.VMs[i]
	}
	return &noVM
}

func (b *builder) compileFreezes() {
	nc, ns := len(b.s.Clusters), len(b.s.Sites)
	b.fleetFreeze, b.vmFreeze, b.freezeTexts = freezeMark{}, nil, make([]string, len(b.d.Freezes))
	site, cluster, host := make([]freezeMark, ns), make([]freezeMark, nc), make([]freezeMark, len(b.s.Hosts))
	for i := range b.d.Freezes {
		f := &b.d.Freezes[i]
		if f.Until != 0 && f.Until <= b.in.Now {
			continue
		}
		b.freezeTexts[i] = b.textOf(f)
		m := freezeMark{hard: int32(i) + 1}
		if b.d.Voices[f.By.Voice].Yields {
			m = freezeMark{soft: int32(i) + 1}
		}
		set := func(marks []freezeMark, k int32, ok bool) {
			if ok {
				marks[k] = marks[k].or(m)
			}
		}
		switch f.Place.Kind {
		case "fleet":
			b.fleetFreeze = b.fleetFreeze.or(m)
		case "site":
			k, ok := b.s.FindSite(engine.SiteID(f.Place.ID))
			set(site, k, ok)
		case "cluster":
			k, ok := b.s.FindCluster(engine.ClusterID(f.Place.ID))
			set(cluster, k, ok)
		case "host":
			k, ok := b.s.FindHost(engine.HostID(f.Place.ID))
			set(host, k, ok)
		case "vm":
			if b.vmFreeze == nil {
				b.vmFreeze = make([]freezeMark, len(b.s.VMs))
			}
			k, ok := b.s.FindVM(engine.VMID(f.Place.ID))
			set(b.vmFreeze, k, ok)
		}
	}
	for h := range host {
		x := &b.s.Hosts[h]
		m := host[h].or(cluster[x.Cluster])
		if x.Site >= 0 {
			m = m.or(site[x.Site])
		}
		host[h] = m.or(b.fleetFreeze)
	}
	b.hostFreeze = host
}

// freezeText says who freezes what, for a freeze's index + 1.
func (b *builder) freezeText(i int32) string { return b.freezeTexts[i-1] }

// textOf puts a freeze into words.
func (b *builder) textOf(f *engine.Freeze) string {
	text := f.Place.String() + " is frozen by " + b.d.Why(f.By).String()
	if f.Until != 0 {
		text += ", until " + f.Until.String()
	}
	return text
}

func (b *builder) compileGaps() {
	b.fleetGap = 0
	b.gapVM, b.gapHost, b.gapDS = make([]bool, len(b.s.VMs)), make([]int32, len(b.s.Hosts)), make([]bool, len(b.s.Datastores))
	clusters, centers := make([]int32, len(b.s.Clusters)), make([]int32, len(b.s.VCenters))
	for i := range b.s.Gaps {
		switch id := b.s.Gaps[i].Subject.ID; b.s.Gaps[i].Subject.Kind {
		case "fleet":
			b.fleetGap = i + 1
		case "datastore":
			if k, ok := b.s.FindDatastore(engine.DatastoreID(id)); ok {
				b.gapDS[k] = true
			}
		case "vm":
			if k, ok := b.s.FindVM(engine.VMID(id)); ok {
				b.gapVM[k] = true
			}
		case "host":
			if k, ok := b.s.FindHost(engine.HostID(id)); ok {
				b.gapHost[k] = int32(i) + 1
			}
		case "cluster":
			if k, ok := b.s.FindCluster(engine.ClusterID(id)); ok {
				clusters[k] = int32(i) + 1
			}
		case "vcenter":
			if k, ok := b.s.FindVCenter(engine.VCenterID(id)); ok {
				centers[k] = int32(i) + 1
			}
		}
	}
	for h := range b.s.Hosts {
		x := &b.s.Hosts[h]
		b.gapHost[h] = cmp.Or(b.gapHost[h], clusters[x.Cluster], centers[x.VCenter])
	}
}

func (b *builder) compileVetoes() {
	b.vetoes = b.vetoes[:0]
	for i := range b.in.Vetoes {
		x := &b.in.Vetoes[i]
		if b.weak(x.Mode) && (b.in.Shadow == "" || x.Policy != b.in.Shadow) {
			continue
		}
		v, ok1 := b.s.FindVM(x.VM)
		h, ok2 := b.s.FindHost(x.To) // None for anywhere, which no destination gets round
		if ok1 && (ok2 || x.To == "") {
			b.vetoes = append(b.vetoes, vmVeto{v, h, int32(i)})
		}
	}
	slices.SortFunc(b.vetoes, func(x, y vmVeto) int {
		return cmp.Or(cmp.Compare(x.vm, y.vm), cmp.Compare(x.host, y.host), cmp.Compare(x.index, y.index))
	})
}

// of returns the items of a slice sorted by VM that are about VM v.
func of[T any](items []T, v int32, key func(*T) int32) []T {
	lo, _ := slices.BinarySearchFunc(items, v, func(t T, v int32) int { return cmp.Compare(key(&t), v) })
	hi := lo
	for hi < len(items) && key(&items[hi]) == v {
		hi++
	}
	return items[lo:hi]
}

// compileSites lists the clusters of each site.
func (b *builder) compileSites() {
	b.siteClust, b.siteOf = make([][]int32, len(b.s.Sites)), make([]int32, len(b.s.Clusters))
	for c := range b.s.Clusters {
		b.siteOf[c] = b.s.ClusterSite(int32(c))
		var sites engine.SiteMask
		for _, h := range b.s.HostsOf(int32(c)) {
			if site := b.s.Hosts[h].Site; site >= 0 && !sites.Has(site) {
				sites = sites.With(site)
				b.siteClust[site] = append(b.siteClust[site], int32(c))
			}
		}
	}
}

// compilePrices puts price, carbon and PUE of each site into one figure, and lists
// the sites under a hazard.
func (b *builder) compilePrices() {
	b.tariff, b.toSite = make([]int64, len(b.s.Sites)), make([]string, len(b.s.Sites))
	for i := range b.s.Sites {
		x := &b.s.Sites[i]
		b.toSite[i] = "move to site " + string(x.ID)
		if x.PriceMicroEURPerKWh == engine.Unknown {
			b.tariff[i] = -1
			continue
		}
		t := int64(x.PriceMicroEURPerKWh)
		if x.CarbonGPerKWh != engine.Unknown {
			t += int64(x.CarbonGPerKWh) * b.c.CarbonMicroPerKg / 1000
		}
		if x.PUEMilli > 0 {
			t = t * int64(x.PUEMilli) / 1000
		}
		b.tariff[i] = t
	}
	b.threatened = 0
	for i := range b.s.Hazards {
		z := &b.s.Hazards[i]
		if z.Severity == "minor" || (z.ValidUntil != 0 && z.ValidUntil <= b.in.Now) || (z.End != 0 && z.End <= b.in.Now) {
			continue
		}
		if site, ok := b.s.FindSite(z.Site); ok {
			b.threatened = b.threatened.With(site)
		}
	}
}
