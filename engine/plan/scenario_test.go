package plan

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"heliostat/engine"
)

// A scenario is an Input in text: one thing a line, "kind name key=value word".
//
//	site NAME price= mode= frozen hazard=SEVERITY
//	link A B rtt=MS mbps=
//	cluster NAME site= vc= hosts=N drs= evc= ha=N dpm lone failon=HOST
//	host NAME ...       changes a host that its cluster made: NAME-1, NAME-2, ...
//	ds NAME ...         changes CLUSTER-ds
//	net NAME seg=       changes CLUSTER-net
//	vm NAME host= ...
//	rule NAME cluster= kind= vms= hosts=
//
// then what is remembered, open, and decided; see the switches below. MiB and
// MHz as in the nouns; disk and memory of VMs in GiB.
type scenario struct {
	t     *testing.T
	lines []line
	in    engine.Input
	s     *engine.Snapshot
	o     opinions
}

type line struct {
	kind string
	args []string
	opts map[string]string
}

// has reports whether the word is among the line's words.
func (l *line) has(word string) bool { return slices.Contains(l.args, word) }

func (l *line) num(key string, def int64) int64 {
	v, ok := l.opts[key]
	if !ok {
		return def
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil {
		panic(fmt.Sprintf("%s: %s=%s: %v", l.kind, key, v, err))
	}
	return n
}

func (l *line) list(key string) []string {
	if l.opts[key] == "" {
		return nil
	}
	return strings.Split(l.opts[key], ",")
}

// parseScenario reads the text above the rule.
func parseScenario(t *testing.T, text string) engine.Input {
	t.Helper()
	x := &scenario{t: t, s: &engine.Snapshot{At: 1_800_000_000}}
	x.in = engine.Input{Cycle: 1, Now: x.s.At, Seed: 1, Level: engine.Enforce, Snapshot: x.s, Config: enforcing()}
	for raw := range strings.Lines(text) {
		raw, _, _ = strings.Cut(strings.TrimSpace(raw), "#")
		f := strings.Fields(raw)
		if len(f) == 0 {
			continue
		}
		l := line{kind: f[0], opts: map[string]string{}}
		for _, w := range f[1:] {
			if k, v, ok := strings.Cut(w, "="); ok {
				l.opts[k] = v
			} else {
				l.args = append(l.args, w)
			}
		}
		x.lines = append(x.lines, l)
	}
	x.fleet()
	x.in.History = engine.Fold(&engine.History{}, x.s, nil, x.in.Config.Low)
	x.in.Decision = &x.o.Decision
	for i := range x.lines {
		x.said(&x.lines[i])
	}
	for i := range x.lines {
		x.remembered(&x.lines[i])
	}
	x.sort()
	if err := x.s.Validate(); err != nil {
		t.Fatal(err)
	}
	return x.in
}

// each calls f for the lines of a kind, sorted by key.
func (x *scenario) each(kind string, key func(*line) string, f func(*line)) {
	var ls []*line
	for i := range x.lines {
		if x.lines[i].kind == kind {
			ls = append(ls, &x.lines[i])
		}
	}
	slices.SortStableFunc(ls, func(a, b *line) int { return cmp.Compare(key(a), key(b)) })
	for _, l := range ls {
		f(l)
	}
}

func name(l *line) string { return l.args[0] }

func (x *scenario) vc(l *line) string { return cmp.Or(l.opts["vc"], "vc-"+l.opts["site"]) }

// fleet makes the snapshot.
func (x *scenario) fleet() {
	s := x.s
	x.each("site", name, func(l *line) {
		site := engine.Site{ID: engine.SiteID(name(l)), Mode: engine.Enforce, PUEMilli: 1000, PriceMicroEURPerKWh: int32(l.num("price", 100_000)), CarbonGPerKWh: engine.Unknown, Frozen: l.has("frozen")}
		if m, ok := engine.ParseMode(l.opts["mode"]); ok {
			site.Mode = m
		}
		if l.has("noprice") {
			site.PriceMicroEURPerKWh = engine.Unknown
		}
		s.Sites = append(s.Sites, site)
		if h := l.opts["hazard"]; h != "" {
			s.Hazards = append(s.Hazards, engine.Hazard{ID: "storm", Site: site.ID, Kind: "hurricane", Severity: h})
		}
	})
	x.each("cluster", x.vc, func(l *line) {
		if id := engine.VCenterID(x.vc(l)); len(s.VCenters) == 0 || s.VCenters[len(s.VCenters)-1].ID != id {
			s.VCenters = append(s.VCenters, engine.VCenter{ID: id, Name: string(id)})
		}
	})
	x.each("cluster", func(l *line) string { return x.vc(l) + "/" + name(l) }, x.cluster)
	x.each("link", func(l *line) string { return l.args[0] + l.args[1] }, func(l *line) {
		a, b := x.site(l.args[0]), x.site(l.args[1])
		k := engine.Link{A: min(a, b), B: max(a, b), RTTMicros: int32(l.num("rtt", 20)) * 1000, Mbps: int32(l.num("mbps", 10_000)), At: s.At - engine.Unix(l.num("age", 0)), Source: "test"}
		if l.has("unmeasured") {
			k.RTTMicros = engine.Unknown
		}
		s.Links = append(s.Links, k)
	})
	slices.SortFunc(s.Links, func(a, b engine.Link) int { return cmp.Or(cmp.Compare(a.A, b.A), cmp.Compare(a.B, b.B)) })
	x.each("host", name, x.host)
	x.each("ds", name, func(l *line) {
		d := &s.Datastores[x.find("ds", name(l))]
		d.FreeMiB, d.Replicated, d.URL = l.num("free", d.FreeMiB), l.has("replicated"), l.opts["url"]
		for _, n := range l.list("sites") { // stretched: readable and surviving at all of them
			d.Sites = d.Sites.With(x.site(n))
		}
		d.Survives = d.Sites
		for _, h := range x.hosts(l) {
			host := &s.Hosts[h]
			host.Datastores = append(slices.Clone(host.Datastores), x.find("ds", name(l)))
			slices.Sort(host.Datastores)
		}
	})
	x.each("net", name, func(l *line) {
		s.Networks[x.find("net", name(l))].Segment = l.opts["seg"]
	})
	x.each("vm", name, x.vm)
	x.each("rule", name, x.rule)
	x.load()
}

func (x *scenario) cluster(l *line) {
	s := x.s
	vc, _ := s.FindVCenter(engine.VCenterID(x.vc(l)))
	site, id := x.site(l.opts["site"]), x.vc(l)+"/"+name(l)
	k := int32(len(s.Clusters))
	c := engine.Cluster{ID: engine.ClusterID(id), Name: name(l), VCenter: vc, EVC: l.opts["evc"], DPM: l.has("dpm"), Lone: l.has("lone"), Pool: "pool-" + name(l), Folder: "folder-" + x.vc(l)}
	if l.opts["drs"] == "full" {
		c.DRS = engine.DRSFull
	}
	if n := l.num("ha", 0); n > 0 {
		c.HA = engine.HA{Enabled: true, Admission: true, HostFailures: int32(n)}
	}
	ds, net := int32(len(s.Datastores)), int32(len(s.Networks))
	mask := engine.SiteMask(0).With(site)
	s.Datastores = append(s.Datastores, engine.Datastore{ID: engine.DatastoreID(id + "-ds"), Name: name(l) + "-ds", VCenter: vc, CapacityMiB: 4 << 20, FreeMiB: 3 << 20, Accessible: true, Shared: true, Sites: mask, Survives: mask})
	s.Networks = append(s.Networks, engine.Network{ID: engine.NetworkID(id + "-net"), Name: name(l) + "-net", VCenter: vc, Segment: "seg", Gateway: engine.None})
	hosts := l.num("hosts", 2)
	width := len(strconv.FormatInt(hosts, 10))
	for i := range hosts {
		h := engine.Host{
			ID: engine.HostID(fmt.Sprintf("%s-%0*d", id, width, i+1)), Name: fmt.Sprintf("%s-%0*d", name(l), width, i+1), VCenter: vc, Cluster: k, Site: site, Power: engine.HostOn, Connected: true,
			CPUMHz: 20_000, Cores: 8, Threads: 16, MemoryMiB: 64 << 10, CPUModel: "X", EVCMax: "icelake", LoadAt: s.At, PowerW: engine.Unknown, IdleW: 150, MaxW: 350,
			VMotion: true, NICMbps: 10_000, Standby: true, Datastores: []int32{ds}, Networks: []int32{net},
		}
		if h.Name == l.opts["failon"] {
			c.FailOn = append(c.FailOn, int32(len(s.Hosts)))
		}
		s.Hosts = append(s.Hosts, h)
	}
	s.Clusters = append(s.Clusters, c)
}

func (x *scenario) host(l *line) {
	h := &x.s.Hosts[x.find("host", name(l))]
	h.CPUMHz, h.MemoryMiB, h.NICMbps, h.Tasks = int32(l.num("cpu", int64(h.CPUMHz))), int32(l.num("mem", int64(h.MemoryMiB))), int32(l.num("nic", int64(h.NICMbps))), int32(l.num("tasks", 0))
	h.EVCMax = cmp.Or(l.opts["evcmax"], h.EVCMax)
	h.Mark, h.USB, h.VSANData, h.Maintenance = strings.ReplaceAll(l.opts["mark"], "_", " "), l.has("usb"), l.has("vsan"), l.has("maintenance")
	h.Standby, h.VMotion, h.Connected = !l.has("nowake"), !l.has("novmotion"), !l.has("disconnected")
	h.LoadAt -= engine.Unix(l.num("age", 0))
	if l.has("standby") {
		h.Power = engine.HostStandby
	}
}

func (x *scenario) vm(l *line) {
	s := x.s
	for i := range l.num("copies", 1) {
		id := name(l)
		if l.num("copies", 1) > 1 {
			id = fmt.Sprintf("%s-%02d", id, i+1)
		}
		h := x.find("host", l.opts["host"])
		host := &s.Hosts[h]
		mem := int32(l.num("mem", 4)) << 10
		v := engine.VM{
			ID: engine.VMID(id), Name: id, Moid: "moid-" + id, VCenter: host.VCenter, Host: h, Folder: "folder-app", Pool: s.Clusters[host.Cluster].Pool, Power: engine.VMOn,
			VCPUs: int32(l.num("vcpus", 2)), MemoryMiB: mem, UsedMHz: int32(l.num("cpu", 500)), UsedMiB: mem, ActiveMiB: mem / 8, DirtyMbps: int32(l.num("dirty", 40)),
			LoadAt: s.At - engine.Unix(l.num("age", 0)), Home: host.Datastores[0], Mode: engine.Enforce, Across: l.has("across"), Template: l.has("template"), Task: l.opts["task"],
			Disks: []engine.Disk{{Key: 2000, Datastore: host.Datastores[0], MiB: l.num("disk", 20) << 10, Used: l.num("disk", 20) << 10, Thin: true, Profile: l.opts["profile"]}},
			NICs:  []engine.NIC{{Key: 4000, Network: host.Networks[0], MAC: cmp.Or(l.opts["mac"], "00:"+id)}},
		}
		if l.has("off") || v.Template {
			v.Power, v.UsedMHz, v.UsedMiB, v.ActiveMiB = engine.VMOff, 0, 0, 0
		}
		switch l.opts["mode"] {
		case "never":
			v.Mode = engine.Off
		case "advise":
			v.Mode = engine.Advise
		}
		for _, row := range engine.ObstacleTable {
			if slices.Contains(l.list("obstacle"), row.Name) {
				v.Obstacles |= row.Bit
			}
		}
		s.VMs = append(s.VMs, v)
	}
}

func (x *scenario) rule(l *line) {
	r := engine.Rule{Cluster: x.find("cluster", l.opts["cluster"]), Name: name(l), Mandatory: true, Disabled: l.has("disabled"), VMs: x.vms(l), Hosts: x.hosts(l)}
	if err := r.Kind.UnmarshalText([]byte(l.opts["kind"])); err != nil {
		x.t.Fatal(err)
	}
	x.s.Rules = append(x.s.Rules, r)
}

// load sets the use of hosts from their VMs, 100 MHz and 1 GiB of their own, or as said.
func (x *scenario) load() {
	slices.SortFunc(x.s.VMs, func(a, b engine.VM) int { return cmp.Compare(a.ID, b.ID) })
	for h := range x.s.Hosts {
		if host := &x.s.Hosts[h]; host.Power == engine.HostOn {
			host.UsedMHz, host.UsedMiB = 100, 1<<10
		}
	}
	for i := range x.s.VMs {
		v := &x.s.VMs[i]
		x.s.Hosts[v.Host].UsedMHz += v.UsedMHz
		x.s.Hosts[v.Host].UsedMiB += v.UsedMiB
	}
	for i := range x.s.Hosts {
		for k := range x.lines {
			if l := &x.lines[k]; l.kind == "host" && name(l) == x.s.Hosts[i].Name && l.has("unseen") {
				x.s.Hosts[i].UsedMHz = engine.Unknown
			}
		}
	}
}

// find returns the index of the thing with the name.
func (x *scenario) find(kind, name string) int32 {
	n := -1
	switch kind {
	case "cluster":
		n = slices.IndexFunc(x.s.Clusters, func(c engine.Cluster) bool { return c.Name == name })
	case "host":
		n = slices.IndexFunc(x.s.Hosts, func(h engine.Host) bool { return h.Name == name })
	case "ds":
		n = slices.IndexFunc(x.s.Datastores, func(d engine.Datastore) bool { return d.Name == name })
	case "net":
		n = slices.IndexFunc(x.s.Networks, func(d engine.Network) bool { return d.Name == name })
	case "vm":
		n = slices.IndexFunc(x.s.VMs, func(v engine.VM) bool { return v.Name == name })
	}
	if n < 0 {
		x.t.Fatalf("no %s %s", kind, name)
	}
	return int32(n)
}

func (x *scenario) site(name string) int32 {
	i, ok := x.s.FindSite(engine.SiteID(name))
	if !ok {
		x.t.Fatalf("no site %s", name)
	}
	return i
}

func (x *scenario) indices(kind string, names []string) []int32 {
	var out []int32
	for _, n := range names {
		out = append(out, x.find(kind, n))
	}
	slices.Sort(out)
	return out
}

func (x *scenario) vms(l *line) []int32   { return x.indices("vm", l.list("vms")) }
func (x *scenario) hosts(l *line) []int32 { return x.indices("host", l.list("hosts")) }

// subject names a place by the names of a scenario.
func (x *scenario) subject(kind, name string) engine.Subject {
	p := engine.Subject{Kind: kind, ID: name}
	switch kind {
	case "cluster":
		p.ID = string(x.s.Clusters[x.find(kind, name)].ID)
	case "host":
		p.ID = string(x.s.Hosts[x.find(kind, name)].ID)
	case "datastore":
		p.ID = string(x.s.Datastores[x.find("ds", name)].ID)
	}
	return p
}

// said adds what a line decides.
func (x *scenario) said(l *line) {
	by := func(rule string) engine.By {
		policy := cmp.Or(l.opts["policy"], rule)
		return x.o.by(policy, rule, "as "+policy+" says", l.num("weight", 10_000), l.has("yields"))
	}
	deadline := engine.Unix(0)
	if l.opts["by"] != "" {
		deadline = x.in.Now + engine.Unix(l.num("by", 0))
	}
	d := &x.o.Decision
	switch l.kind {
	case "score":
		d.SiteScores = append(d.SiteScores, engine.SiteScore{Site: x.site(l.args[0]), Milli: int32(l.num("milli", 1000)), By: by(engine.RuleSiteScore)})
	case "prefer":
		d.Prefers = append(d.Prefers, engine.Prefer{VM: x.find("vm", l.args[0]), To: x.subject(l.args[1], l.args[2]), MicroEUR: l.num("eur", 100_000), By: by(engine.RulePrefer)})
	case "evacuate":
		d.Evacuations = append(d.Evacuations, engine.Evacuation{Place: x.subject(l.args[0], l.args[1]), Deadline: deadline, By: by(engine.RuleEvacuate)})
	case "drain":
		dr := engine.Drain{Host: x.find("host", l.args[0]), Deadline: deadline, By: by(engine.RuleDrain)}
		if err := dr.Then.UnmarshalText([]byte(l.args[1])); err != nil {
			x.t.Fatal(err)
		}
		d.Drains = append(d.Drains, dr)
	case "wake":
		d.Wakes = append(d.Wakes, engine.Wake{Host: x.find("host", l.args[0]), By: by(engine.RuleWake)})
	case "priority":
		d.Priorities = append(d.Priorities, engine.Priority{VM: x.find("vm", l.args[0]), Tier: int32(l.num("tier", 1)), By: by(engine.RulePriority)})
	case "group":
		g := engine.Group{Name: l.args[1], Scope: cmp.Or(l.opts["scope"], "host"), MaxRTTMicros: int32(l.num("rtt", 0)) * 1000, MaxSplitS: int32(l.num("split", 0)), VMs: x.vms(l), By: by(l.args[0])}
		if err := g.Kind.UnmarshalText([]byte(l.args[0])); err != nil {
			x.t.Fatal(err)
		}
		d.Groups = append(d.Groups, g)
	case "allow_sites":
		var m engine.SiteMask
		for _, s := range l.args[1:] {
			m = m.With(x.site(s))
		}
		d.AllowSites = append(d.AllowSites, engine.AllowSites{VM: x.find("vm", l.args[0]), Sites: m, By: by(engine.RuleAllowSites)})
	case "allow_hosts":
		d.AllowHosts = append(d.AllowHosts, engine.AllowHosts{VM: x.find("vm", l.args[0]), Hosts: x.hosts(l), By: by(engine.RuleAllowHosts)})
	case "pin":
		d.Pins = append(d.Pins, engine.Pin{VM: x.find("vm", l.args[0]), By: by(engine.RulePin)})
	case "keep_on":
		d.KeepOns = append(d.KeepOns, engine.KeepOn{Host: x.find("host", l.args[0]), By: by(engine.RuleKeepOn)})
	case "freeze":
		p := engine.Subject{Kind: l.args[0]}
		if l.args[0] != "fleet" {
			p = x.subject(l.args[0], l.args[1])
		}
		d.Freezes = append(d.Freezes, engine.Freeze{Place: p, By: by(engine.RuleFreeze)})
	}
}

// remembered adds what a line says of the past, of open actions and of the configuration.
func (x *scenario) remembered(l *line) {
	switch l.kind {
	case "own":
		h := &x.in.History.Hosts[x.find("host", l.args[0])]
		if err := h.Own.UnmarshalText([]byte(l.args[1])); err != nil {
			x.t.Fatal(err)
		}
		if l.opts["changed"] != "" {
			h.ChangeAt = x.in.Now - engine.Unix(l.num("changed", 0))
		}
	case "past":
		v := &x.in.History.VMs[x.find("vm", l.args[0])]
		if l.opts["moved"] != "" {
			v.MovedAt, v.LeftSite = x.in.Now-engine.Unix(l.num("moved", 0)), engine.SiteID(l.opts["from"])
		}
		v.Returns = int32(l.num("returns", 0))
		if l.opts["foreign"] != "" {
			v.ForeignAt = x.in.Now - engine.Unix(l.num("foreign", 0))
		}
		if l.opts["failed"] != "" {
			v.FailedAt, v.Failures = x.in.Now-engine.Unix(l.num("failed", 0)), int32(l.num("failures", 1))
		}
	case "veto":
		v := engine.Veto{VM: engine.VMID(l.args[0]), Code: "no", Reason: "not there", Policy: "licences", Mode: engine.Enforce, Yields: l.has("yields")}
		if !l.has("anywhere") {
			v.To = x.s.Hosts[x.find("host", l.args[1])].ID
		}
		x.in.Vetoes = append(x.in.Vetoes, v)
	case "gap":
		p := engine.Subject{Kind: l.args[0]}
		if len(l.args) > 1 {
			p = x.subject(l.args[0], l.args[1])
		}
		x.s.Gaps = append(x.s.Gaps, engine.Gap{Source: "vcenter", Subject: p, Reason: "timed out"})
	case "open":
		x.open(l)
	case "person":
		x.in.Drain = append(x.in.Drain, x.s.Hosts[x.find("host", l.args[0])].ID)
	case "window":
		x.in.Windows = append(x.in.Windows, engine.Window{ID: "w", Kind: "maintenance", Place: x.subject("host", l.args[0]), From: x.in.Now - 60, To: x.in.Now + 3600})
	case "broken":
		x.in.Broken = append(x.in.Broken, engine.Hold{Subject: engine.Subject{Kind: "vcenter", ID: l.args[0]}, Name: l.args[0], Code: engine.HoldBreaker, Detail: "2 of the first 2 actions ended badly"})
	case "keep_hosts":
		x.in.KeepHosts = append(x.in.KeepHosts, engine.Hold{Subject: engine.Subject{Kind: "vcenter", ID: l.args[0]}, Name: l.args[0], Code: engine.HoldPrivilege, Detail: "the mover lacks Host.Config.Maintenance"})
	case "quarantine":
		q := engine.Quarantine{Subject: x.subject(l.args[0], l.args[1]), Name: l.args[1], Since: x.in.Now - 600, Action: "c0-1", Reason: "no answer"}
		x.in.History.Quarantine = append(x.in.History.Quarantine, q)
		slices.SortFunc(x.in.History.Quarantine, func(a, b engine.Quarantine) int { return strings.Compare(a.Subject.String(), b.Subject.String()) })
	case "paused":
		x.in.Paused = strings.Join(l.args, " ")
	case "level":
		x.in.Level, _ = engine.ParseMode(l.args[0])
	case "stale":
		x.s.At -= engine.Unix(l.num("age", 3600))
	case "budget":
		x.in.Budget = l.num("evaluations", 0)
	case "config":
		for k, v := range l.opts {
			if err := json.Unmarshal(fmt.Appendf(nil, `{%q: %s}`, k, v), &x.in.Config); err != nil {
				x.t.Fatal(err)
			}
		}
	}
}

// open puts an action under way: of a VM to a host, or on a host.
func (x *scenario) open(l *line) {
	b := compile(engine.Input{Snapshot: x.s, Now: x.in.Now, Config: x.in.Config})
	b.hostBars()
	var a engine.Action
	if k, ok := map[string]engine.ActionKind{"standby": engine.Standby, "wake": engine.Wakeup, "enter_maintenance": engine.EnterMaintenance}[l.args[0]]; ok {
		a = *b.hostAction(k, x.find("host", l.args[1]), nil)
	} else {
		w := want{v: x.find("vm", l.args[0]), demand: engine.None, cluster: engine.None, host: engine.None, avoid: engine.None}
		a = *b.action(&w, x.find("host", l.args[1]))
	}
	a.ID = "c0-1"
	if l.has("unseen") {
		a.VM = "between-two-inventories"
	}
	if from := l.opts["from"]; from != "" {
		a.From = b.place(x.find("host", from))
	}
	x.in.Open = append(x.in.Open, engine.ActionRecord{Action: a, State: engine.StateStarted, Started: x.in.Now - 5})
}

// sort puts the decision into the order that a Decision has.
func (x *scenario) sort() {
	d := &x.o.Decision
	slices.SortStableFunc(d.SiteScores, func(a, b engine.SiteScore) int { return cmp.Compare(a.Site, b.Site) })
	slices.SortStableFunc(d.Prefers, func(a, b engine.Prefer) int { return cmp.Compare(a.VM, b.VM) })
	slices.SortStableFunc(d.Drains, func(a, b engine.Drain) int { return cmp.Compare(a.Host, b.Host) })
	slices.SortStableFunc(d.Wakes, func(a, b engine.Wake) int { return cmp.Compare(a.Host, b.Host) })
	slices.SortStableFunc(d.AllowSites, func(a, b engine.AllowSites) int { return cmp.Compare(a.VM, b.VM) })
	slices.SortStableFunc(d.AllowHosts, func(a, b engine.AllowHosts) int { return cmp.Compare(a.VM, b.VM) })
	slices.SortStableFunc(d.Pins, func(a, b engine.Pin) int { return cmp.Compare(a.VM, b.VM) })
}

// renderPlan writes a plan for people: actions in order, holds, effect.
func renderPlan(p *engine.Plan) string {
	var b strings.Builder
	for i := range p.Actions {
		a := &p.Actions[i]
		fmt.Fprintf(&b, "%s %s", a.ID, a.Kind)
		if a.Kind == engine.Move {
			_, from := engine.SplitRef(a.From.Host)
			_, to := engine.SplitRef(a.To.Host)
			fmt.Fprintf(&b, " %s %s -> %s", a.Name, from, to)
			for _, f := range []struct {
				on   bool
				text string
			}{{a.To.DRS, "drs"}, {a.Storage, "storage"}, {a.Across, "across"}, {a.Cold, "cold"}} {
				if f.on {
					b.WriteString(" " + f.text)
				}
			}
			fmt.Fprintf(&b, ", %d MiB", a.Estimate.MemoryMiB+a.Estimate.DiskMiB)
		} else {
			fmt.Fprintf(&b, " %s", a.Name)
		}
		fmt.Fprintf(&b, ", %d s", a.Estimate.Seconds)
		if len(a.After) > 0 {
			fmt.Fprintf(&b, ", after %v", a.After)
		}
		if a.Demand.Kind != "" {
			fmt.Fprintf(&b, ", for %s", a.Demand)
		}
		if a.Ledger != (engine.Ledger{}) {
			fmt.Fprintf(&b, ", %s", a.Ledger)
		}
		fmt.Fprintf(&b, "; %s\n", a.Why[0])
	}
	for i := range p.Holds {
		fmt.Fprintf(&b, "hold %s\n", p.Holds[i])
		for _, x := range p.Holds[i].Because() {
			fmt.Fprintf(&b, "  %s\n", x)
		}
	}
	e := p.Effect
	fmt.Fprintf(&b, "effect %d W, %d micro-EUR/h, once %d, makespan %d s >= %d s, %d VMs by their deadline\n", e.PowerW, e.MicroEURPerH, e.CostMicroEUR, e.MakespanS, e.LowerBoundS, e.VMsAtDeadline)
	if e.Wishes.Bound > 0 {
		fmt.Fprintf(&b, "wishes granted %d of at most %d\n", e.Wishes.Granted, e.Wishes.Bound)
	}
	return b.String()
}
