package check

import (
	"slices"
	"strings"
	"testing"

	"heliostat/engine"
)

// Each row breaks one rule in a plan that is good without it.
var refusals = []struct {
	name   string
	base   func(*fleet)
	broken func(*fleet)
	want   string // in the error, with the action that it is about
}{
	// The plan.
	{"another level", inside, func(f *fleet) { f.p.Level = engine.Advise }, "c7-1: move w1 va/h1 -> va/h2 (vmotion): mode: the plan is for level advise"},
	{"paused", inside, func(f *fleet) { f.in.Paused = "by ann" }, "paused: 1 actions while paused: by ann"},
	{"an old snapshot", inside, func(f *fleet) { f.in.Snapshot.At = now - 901 }, "gap: the snapshot is 901 s old, of at most 900"},
	{"one ID twice", pair, func(f *fleet) { f.p.Actions[1].ID = "c7-1" }, `shape: the ID "c7-1" is that of action 0 too`},
	{"one rank twice", pair, func(f *fleet) { f.p.Actions[1].Rank = 0 }, "c7-2: move w2 va/h1 -> va/h2 (vmotion): shape: the rank 0"},
	{"an edge to nothing", inside, func(f *fleet) { f.last().After = []int32{1} }, "shape: comes after action 1 of 1"},
	{"a circle", pair, func(f *fleet) { f.p.Actions[0].After, f.p.Actions[1].After = []int32{1}, []int32{0} }, "shape: waits in a circle of 2 actions"},
	{"no reason", inside, func(f *fleet) { f.last().Why = nil }, "why: nobody says why"},
	{"an empty reason", inside, func(f *fleet) { f.last().Why[0].Reason = "" }, "why: nobody says why"},

	// What it names.
	{"no such VM", inside, func(f *fleet) { f.last().VM = "w9" }, "shape: there is no VM w9"},
	{"no such host", inside, func(f *fleet) { f.last().To.Host = "va/h9" }, "shape: there is no host va/h9"},
	{"the VM has gone elsewhere", inside, func(f *fleet) { f.vm("w1").Host = 2 }, "shape: the VM is on va/h3, not on va/h1"},
	{"another object", inside, func(f *fleet) { f.last().Moid = "vm-77" }, "shape: the VM is vm-w1 of va, not vm-77 of va"},
	{"the wrong site", inside, func(f *fleet) { f.last().To.Site = "b" }, `shape: to: host va/h2 is of site "a"`},
	{"the wrong cluster", inside, func(f *fleet) { f.last().From.Cluster = "vb/c2" }, `shape: from: host va/h1 is of site "a", cluster va/c1`},
	{"a host at no site", inside, func(f *fleet) { f.host(2).Site, f.last().To.Site = engine.None, "" }, "gap: to: the site of host va/h2 is not known"},
	{"one VM twice", inside, func(f *fleet) { f.move("w1", 3) }, "c7-2: move w1 va/h1 -> va/h3 (vmotion): busy: c7-1 moves it too"},
	{"arrival at a vCenter with an open breaker", across, func(f *fleet) { f.broken("vb") }, "breaker: vCenter vb: 2 of 2"},
	{"standby at a vCenter with an open breaker", sleep, func(f *fleet) { f.broken("va") }, "c7-1: standby h4: breaker: vCenter va: 2 of 2"},
	{"standby where hosts may not be changed", sleep, func(f *fleet) { f.keepHosts("va") }, "c7-1: standby h4: privilege: vCenter va: not granted"},
	{"a VM in quarantine", inside, func(f *fleet) { f.lost("vm", "w1") }, "c7-1: move w1 va/h1 -> va/h2 (vmotion): quarantine: the VM is in quarantine since"},
	{"arrival at a host in quarantine", inside, func(f *fleet) { f.lost("host", "va/h2") }, "quarantine: host va/h2 is in quarantine"},
	{"standby of a host in quarantine", sleep, func(f *fleet) { f.lost("host", "va/h4") }, "c7-1: standby h4: quarantine: host va/h4 is in quarantine"},
	{"a VM in quarantine on a host that a DRS cluster empties", delegated, func(f *fleet) { f.lost("vm", "w2") }, "c7-1: enter_maintenance h1: quarantine: VM w2 on it is in quarantine"},
	{"a VM under way", inside, func(f *fleet) {
		f.in.Open = []engine.ActionRecord{{Action: engine.Action{ID: "c6-1", VM: "w1", To: engine.Place{Host: "va/h2"}}, State: engine.StateStarted}}
	}, "busy: c6-1 is under way"},
	{"arrival where a VM comes that is not seen", inside, func(f *fleet) { f.unseen(5, 2) }, "busy: c6-1 brings a VM to the destination"},
	{"arrival where a cluster's scheduler puts a VM that is not seen", fully, func(f *fleet) { f.unseen(2, 7).To.DRS = true }, "busy: c6-1 brings a VM to the destination"},
	{"standby where a VM comes that is not seen", sleep, func(f *fleet) { f.unseen(5, 4) }, "c7-1: standby h4: busy: c6-1 brings a VM to it"},
	{"the disks of a VM that is not seen", volume, func(f *fleet) {
		f.unseen(2, 7).Disks = []engine.DiskTarget{{From: "va/d1", To: "vb/d3", MiB: 100_000}}
	}, "c7-1: move w1 va/h1 -> vb/h6 (cross-vCenter): space: datastore vb/d3 would have"},
	{"a foreign task on the VM", inside, func(f *fleet) { f.vm("w1").Task = "backup" }, "busy: a task runs on it: backup"},
	{"a foreign task on the host", sleep, func(f *fleet) { f.host(4).Tasks = 1 }, "c7-1: standby h4: busy: 1 tasks run on it"},
	{"one host twice", sleep, func(f *fleet) { f.act(engine.Wakeup, 4) }, "c7-2: wake h4: busy: c7-1 is about the host too"},

	// Modes, freezes, vetoes.
	{"the mode of the kind", inside, func(f *fleet) { f.in.Config.Modes.Move = engine.Advise }, "mode: the kind move allows advise, the plan is for enforce"},
	{"the mode of the site", across, func(f *fleet) { f.in.Snapshot.Sites[1].Mode = engine.Shadow }, "mode: site b allows shadow"},
	{"the VM's tag", inside, func(f *fleet) { f.vm("w1").Mode = engine.Off }, "mode: the VM's tag allows off"},
	{"an operator's freeze", sleep, func(f *fleet) { f.in.Snapshot.Sites[0].Frozen = true }, "frozen: an operator froze site a"},
	{"a freeze of the fleet", inside, func(f *fleet) {
		f.in.Decision.Freezes = []engine.Freeze{{Place: engine.Subject{Kind: "fleet"}, Until: now + 1}}
	}, "frozen: fleet is frozen until"},
	{"a freeze of the destination's cluster", across, func(f *fleet) {
		f.in.Decision.Freezes = []engine.Freeze{{Place: engine.Subject{Kind: "cluster", ID: "vb/c2"}}}
	}, "frozen: cluster vb/c2 is frozen until never: test.rule: because"},
	{"a freeze that does not yield", evacuation, func(f *fleet) {
		f.in.Decision.Freezes = []engine.Freeze{{Place: engine.Subject{Kind: "vm", ID: "w2"}}}
	}, "c7-2: move w2 va/h1 -> vb/h6 (cross-vCenter): frozen: vm w2 is frozen"},
	{"maintenance is no evacuation", drain, func(f *fleet) {
		f.in.Decision.Freezes = []engine.Freeze{{Place: engine.Subject{Kind: "host", ID: "va/h1"}, By: engine.By{Voice: 1}}}
	}, "c7-3: enter_maintenance h1: frozen: host va/h1 is frozen"},
	{"a veto", inside, func(f *fleet) {
		f.in.Vetoes = []engine.Veto{{VM: "w1", To: "va/h2", Mode: engine.Enforce, Policy: "p", Code: "no", Reason: "licence"}}
	}, "veto: p: no: licence"},
	{"a veto of the policy in shadow", inside, func(f *fleet) {
		f.in.Level, f.p.Level, f.in.Shadow, f.p.Shadow = engine.Enforce, engine.Enforce, "p", "p"
		f.in.Vetoes = []engine.Veto{{VM: "w1", To: "va/h2", Mode: engine.Shadow, Policy: "p", Code: "no", Reason: "licence"}}
	}, "veto: p: no: licence"},
	{"a veto of any destination", inside, func(f *fleet) {
		f.in.Vetoes = []engine.Veto{{VM: "w1", Mode: engine.Enforce, Policy: "p", Code: "no", Reason: "licence"}}
	}, "veto: p: no: licence"},
	{"a DRS cluster and a veto of any destination", delegated, func(f *fleet) {
		f.in.Vetoes = []engine.Veto{{VM: "w2", Mode: engine.Enforce, Policy: "p", Code: "no", Reason: "licence"}}
	}, "c7-1: enter_maintenance h1: veto: p: no: licence"},
	{"a pin", inside, func(f *fleet) { f.in.Decision.Pins = []engine.Pin{{VM: 0}} }, "pinned: VM w1: test.rule: because"},
	{"a site not allowed", evacuation, func(f *fleet) { f.in.Decision.AllowSites = []engine.AllowSites{{VM: 3, Sites: 1}} }, "c7-4: move w4 va/h3 -> vb/h5 (cross-vCenter): sites: site b is not allowed"},
	{"a host not allowed", inside, func(f *fleet) {
		f.in.Decision.AllowHosts = []engine.AllowHosts{{VM: 0, Hosts: []int32{0, 2}}}
	}, "hosts: host va/h2 is not among the 2 allowed"},
	{"a gap of the VM", inside, func(f *fleet) {
		f.in.Snapshot.Gaps = []engine.Gap{{Subject: engine.Subject{Kind: "vm", ID: "w1"}, Reason: "two places"}}
	}, "gap: vm w1 is not seen: two places"},
	{"a gap of the vCenter", across, func(f *fleet) {
		f.in.Snapshot.Gaps = []engine.Gap{{Subject: engine.Subject{Kind: "vcenter", ID: "vb"}, Reason: "timeout"}}
	}, "gap: vcenter vb is not seen: timeout"},

	// Demands.
	{"a demand that nobody makes", inside, func(f *fleet) { f.last().Demand = engine.Subject{Kind: "site", ID: "a"} }, "demand: nobody demands that site a be emptied"},
	{"a demand for another VM", evacuation, func(f *fleet) { f.move("w5", 6).Demand = f.p.Actions[0].Demand }, "c7-5: move w5 vb/h5 -> vb/h6 (vmotion): demand: the VM is not in site a"},
	{"a demand that is not met", drain, func(f *fleet) {
		f.in.Decision.Evacuations = []engine.Evacuation{{Place: engine.Subject{Kind: "cluster", ID: "va/c1"}}}
		f.p.Actions[0].Demand = engine.Subject{Kind: "cluster", ID: "va/c1"}
	}, "c7-1: move w1 va/h1 -> va/h2 (vmotion): demand: the VM does not leave cluster va/c1"},
	{"a wish into the storm", across, func(f *fleet) { f.evacuate("site", "b") }, "doomed: the destination is in site b, which is to be emptied"},
	{"a move to a host that is drained", inside, func(f *fleet) { f.in.Drain = []engine.HostID{"va/h2"} }, "doomed: the destination is in host va/h2"},
	{"disks onto a datastore that is emptied", disks, func(f *fleet) { f.evacuate("datastore", "va/d2") }, "doomed: datastore va/d2 is to be emptied or is lost with its site"},
	{"disks on a volume that is to be emptied under another name", disks, func(f *fleet) {
		f.in.Snapshot.Datastores[1].URL, f.in.Snapshot.Datastores[2].URL = "volume", "volume"
		f.evacuate("datastore", "vb/d3")
	}, "doomed: datastore va/d2 is to be emptied"},
	{"disks that stay in the storm", evacuation, func(f *fleet) { f.in.Snapshot.Datastores[2].Sites, f.in.Snapshot.Datastores[2].Survives = 3, 1 }, "demand: the VM does not leave site a"},

	// The VM.
	{"a template", cold, func(f *fleet) { f.vm("w1").Template = true }, "powered_off: is a template"},
	{"cold but running", inside, func(f *fleet) { f.last().Cold = true }, "shape: cold is true, the VM is on"},
	{"an obstacle to every move", inside, func(f *fleet) { f.vm("w1").Obstacles = engine.ObPassthrough }, "obstacle: the VM uses a PCI passthrough or SR-IOV device (passthrough)"},
	{"an obstacle to moves with storage", disks, func(f *fleet) { f.vm("w1").Obstacles = engine.ObRDM }, "obstacle: the VM has a physical raw device mapping (rdm)"},
	{"an obstacle to moves across", evacuation, func(f *fleet) { f.vm("w3").Obstacles = engine.ObEncrypted }, "c7-3: move w3 va/h2 -> vb/h7 (cross-vCenter): obstacle"},
	{"across without opt-in", across, func(f *fleet) { f.vm("w1").Across = false }, "across: the VM has not opted in"},
	{"a VM's old load", inside, func(f *fleet) { f.vm("w1").LoadAt = now - 1000 }, "gap: the load of the VM is 1000 s old, of at most 900"},
	{"a VM's unknown load", inside, func(f *fleet) { f.vm("w1").UsedMHz = engine.Unknown }, "gap: the load of the VM"},
	{"a source that does not answer", inside, func(f *fleet) { f.host(1).Connected = false }, "unavailable: its host va/h1 is on, connected false"},
	{"another pool", inside, func(f *fleet) { f.last().To.Pool = "rp9" }, "shape: takes the VM from pool p to rp9"},
	{"no pool across", across, func(f *fleet) { f.last().To.Pool = "" }, "shape: names no pool in cluster vb/c2"},
	{"no folder across", across, func(f *fleet) { f.last().To.Folder = "" }, "shape: names no folder in vCenter vb"},
	{"another folder", inside, func(f *fleet) { f.last().To.Folder = "root" }, "shape: takes the VM from folder f to root"},
	{"a move to where it is", inside, func(f *fleet) { f.last().To = f.last().From }, "shape: goes nowhere"},
	{"across and not said", across, func(f *fleet) { f.last().Across = false }, "shape: across is false, the vCenters are va and vb"},

	// The destination, and the way there.
	{"inside a DRS cluster", inside, func(f *fleet) { f.in.Snapshot.Clusters[0].DRS = engine.DRSFull; f.last().To.DRS = true }, "drs: is inside va/c1, where the cluster's own scheduler moves VMs"},
	{"a host of a DRS cluster", fully, func(f *fleet) { f.last().To.DRS = false }, "drs: to.drs is false, the cluster's scheduler is full"},
	{"a failover host", across, func(f *fleet) { f.in.Snapshot.Clusters[1].FailOn = []int32{5} }, "reserve: the destination is a dedicated failover host"},
	{"more vCPUs than threads", inside, func(f *fleet) { f.vm("w1").VCPUs = 41 }, "capacity: 41 vCPUs, the destination has 40 threads"},
	{"a destination's old load", inside, func(f *fleet) { f.host(2).LoadAt = 0 }, "gap: the load of the destination"},
	{"no vMotion interface", inside, func(f *fleet) { f.host(2).VMotion = false }, "unavailable: host va/h2 has no vMotion interface up"},
	{"another CPU", inside, func(f *fleet) { f.host(2).EVCMax = "icelake" }, `compatibility: the CPUs are "skylake" here and "icelake" there`},
	{"a newer EVC mode", across, func(f *fleet) {
		f.in.Snapshot.Clusters[0].EVC, f.in.Snapshot.Clusters[1].EVC = "broadwell", "skylake"
	}, `compatibility: the CPUs are "broadwell" here and "skylake" there`},
	{"a CPU that is not seen", inside, func(f *fleet) {
		f.host(1).EVCMax, f.host(1).CPUModel, f.host(2).EVCMax, f.host(2).CPUModel = "", "", "", ""
	}, `compatibility: the CPUs are ""`},
	{"too far", across, func(f *fleet) { f.in.Snapshot.Links[0].RTTMicros = 150_001 }, "rtt: the round trip is 150001 us, at most 150000"},
	{"a distance that is not known", across, func(f *fleet) { f.in.Snapshot.Links[0].RTTMicros = engine.Unknown }, "rtt: the round trip is"},
	{"a distance measured long ago", across, func(f *fleet) { f.in.Config.LinkMaxAgeS = 20 }, "rtt: the link was measured 30 s ago, at most 20"},
	{"no link", across, func(f *fleet) { f.in.Snapshot.Links = nil }, "bandwidth: there is no link between a and b"},
	{"a thin link", across, func(f *fleet) { f.in.Snapshot.Links[0].Mbps = 249 }, "bandwidth: the link has 249 Mbit/s, a move needs 250"},
	{"a vMotion network that is not known", inside, func(f *fleet) { f.host(2).NICMbps = 0 }, "bandwidth: the vMotion network is not known: 25000 and 0 Mbit/s"},
	{"memory that is dirtied too fast", across, func(f *fleet) { f.vm("w1").DirtyMbps = 7300 }, "dirty_rate: memory is dirtied at 7300 Mbit/s, the path carries 10000"},
	{"no such network there", inside, func(f *fleet) { f.host(2).Networks = []int32{1} }, "network: card 4000: host va/h2 has no network va/n1"},
	{"another segment", inside, func(f *fleet) { f.last().NICs = []engine.NICTarget{{Key: 4000, To: "va/n3"}} }, `network: card 4000: segment "red" of va/n1 is not "blue" of va/n3`},
	{"segments that are not listed", across, func(f *fleet) {
		f.in.Snapshot.Networks[0].Segment, f.in.Snapshot.Networks[2].Segment = "", ""
	}, `network: card 4000: segment "" of va/n1 is not "" of vb/n2`},
	{"a card without a network", across, func(f *fleet) { f.last().NICs = nil }, "network: card 4000 is mapped to no network"},
	{"a card on an unknown network", inside, func(f *fleet) { f.vm("w1").NICs[0].Network = engine.None }, "network: card 4000 is on a network that is not in the inventory"},
	{"a card to a network that does not exist", across, func(f *fleet) { f.last().NICs[0].To = "vb/n9" }, "network: card 4000 goes to a network that does not exist"},
	{"a disk to a datastore that does not exist", across, func(f *fleet) { f.last().Disks[0].To = "vb/d9" }, `space: disk 2000: there is no datastore "vb/d9"`},
	{"datastores named and none taken along", inside, func(f *fleet) { f.last().HomeTo = "va/d1" }, "shape: names datastores for 0 disks and takes none along"},
	{"a configuration that leaves a replicated datastore", disks, func(f *fleet) {
		f.in.Snapshot.Datastores[0].Replicated = true
		f.last().Disks[0].To = "va/d1"
	}, "obstacle: datastore va/d1 is replicated, leaving it loses protection"},
	{"ending a maintenance that is over", exit, func(f *fleet) { f.host(4).Maintenance = false }, "shape: the host is not in maintenance"},
	{"maintenance of a host that does not answer", drain, func(f *fleet) { f.host(1).Connected = false }, "c7-3: enter_maintenance h1: unavailable: the host does not answer"},
	{"a host action under way", sleep, func(f *fleet) {
		f.in.Open = []engine.ActionRecord{{State: engine.StateStarted, Action: engine.Action{ID: "c6-1", Kind: engine.Standby, From: f.at(3)}}}
	}, "busy: c6-1 is under way"},
	{"a card that is not the VM's", across, func(f *fleet) {
		f.last().NICs = append(f.last().NICs, engine.NICTarget{Key: 4001, To: "vb/n2"})
	}, "network: card 4001 is not the VM's"},
	{"a MAC in use there", across, func(f *fleet) { f.vm("w5").NICs[0].MAC = f.vm("w1").NICs[0].MAC }, `mac: 00:50:56:00:00:w1 is that of w5 too, on segment "red"`},

	// Its files.
	{"a datastore that is not mounted", inside, func(f *fleet) { f.host(2).Datastores = []int32{1} }, "space: host va/h2 does not mount datastore va/d1"},
	{"a datastore that is not accessible", inside, func(f *fleet) { f.in.Snapshot.Datastores[0].Accessible = false }, "space: datastore va/d1 is not accessible"},
	{"a datastore in maintenance", disks, func(f *fleet) { f.in.Snapshot.Datastores[1].Maintenance = true }, "space: datastore va/d2 is in maintenance"},
	{"across without storage", across, func(f *fleet) { f.last().Storage = false }, "shape: crosses vCenters without naming datastores"},
	{"a disk left out", disks, func(f *fleet) { f.last().Disks = nil }, "shape: maps 0 disks, the VM has 1"},
	{"a disk elsewhere", disks, func(f *fleet) { f.last().Disks[0].From = "va/d2" }, `shape: disk 2000 is not on datastore "va/d2"`},
	{"no datastore for the configuration", disks, func(f *fleet) { f.last().HomeTo = "" }, `space: there is no datastore "" for the configuration`},
	{"a disk reserved too small", disks, func(f *fleet) { f.last().Disks[0].MiB = 39_999 }, "space: disk 2000: reserves 39999 MiB, it takes 40000"},
	{"swap not reserved", disks, func(f *fleet) { f.last().SwapMiB = 0 }, "space: reserves 0 MiB of swap, the VM needs 16000"},
	{"a thin disk made thick", disks, func(f *fleet) { f.last().Disks[0].Thin = false }, "shape: disk 2000: thin is true, the target says false"},
	{"a storage policy dropped", disks, func(f *fleet) { f.vm("w1").Disks[0].Profile = "gold" }, `storage_profile: disk 2000: storage policy is "gold", the target says ""`},
	{"a storage policy across", across, func(f *fleet) {
		f.vm("w1").Disks[0].Profile, f.last().Disks[0].Profile = "gold", "gold"
	}, `storage_profile: disk 2000: storage policy "gold" has no mapping in vCenter vb`},
	{"a replicated datastore left", disks, func(f *fleet) { f.in.Snapshot.Datastores[0].Replicated = true }, "obstacle: datastore va/d1 is replicated"},

	// Cool-downs and budgets.
	{"too soon after somebody else", inside, func(f *fleet) { f.remember().ForeignAt = now - 7199 }, "cooldown: somebody else moved it 7199 s ago"},
	{"too soon again", inside, func(f *fleet) { f.remember().MovedAt = now - 7199 }, "cooldown: moved 7199 s ago, rests for 7200"},
	{"back to the host", inside, func(f *fleet) {
		*f.remember() = engine.VMHistory{ID: "w1", MovedAt: now - 8000, LeftHost: "va/h2", LeftSite: "a"}
	}, "cooldown: returns to a va/h2 after 8000 s, not before 14400"},
	{"back to the site", across, func(f *fleet) {
		*f.remember() = engine.VMHistory{ID: "w1", MovedAt: now - 8000, LeftHost: "vb/h5", LeftSite: "b"}
	}, "cooldown: returns to b vb/h6 after 8000 s, not before 14400"},
	{"back again, too soon", across, func(f *fleet) {
		*f.remember() = engine.VMHistory{ID: "w1", MovedAt: now - 20_000, LeftHost: "vb/h5", LeftSite: "b", Returns: 2}
	}, "cooldown: returns to b vb/h6 after 20000 s, not before 28800"},
	{"too soon after somebody else, again", inside, func(f *fleet) {
		*f.remember() = engine.VMHistory{ID: "w1", ForeignAt: now - 20_000, Returns: 3}
	}, "cooldown: somebody else moved it 20000 s ago, it rests for 28800"},
	{"failed lately", inside, func(f *fleet) {
		*f.remember() = engine.VMHistory{ID: "w1", FailedAt: now - 1000, Failures: 2}
	}, "cooldown: failed 2 times, last 1000 s ago, rests for 1800"},
	{"the cycle's budget", pair, func(f *fleet) { f.in.Config.MovesPerCycle = 1 }, "c7-2: move w2 va/h1 -> va/h2 (vmotion): budget: is number 2 of at most 1 moves a cycle"},
	{"the hour's budget", inside, func(f *fleet) {
		f.in.Config.MovesPerHour, f.in.History.Spent = 1, []engine.Spend{{At: now - 3599}}
	}, "budget: is number 2 of at most 1 moves an hour"},
	{"the hour's budget, under way", inside, func(f *fleet) {
		f.in.Config.MovesPerHour = 1
		f.in.Open = []engine.ActionRecord{{State: engine.StateStarted, Started: now - 9, Action: engine.Action{VM: "gone"}}}
	}, "budget: is number 2 of at most 1 moves an hour"},
	{"the day's budget", inside, func(f *fleet) {
		f.in.Config.MovesPerDay, f.in.History.Spent = 1, []engine.Spend{{At: now - 86_399}}
	}, "budget: is number 2 of at most 1 moves a day"},
	{"the budget of standbys", sleep, func(f *fleet) { f.in.Config.PowerPerHour = 0 }, "budget: is number 1 of at most 0 standbys an hour"},

	// Rules of the clusters.
	{"a mandatory rule", inside, func(f *fleet) {
		f.in.Snapshot.Rules = []engine.Rule{{Name: "r", Kind: engine.RuleOn, Mandatory: true, VMs: []int32{0}, Hosts: []int32{0, 2}}}
	}, `rule: the mandatory rule "r" (on) forbids host va/h2`},
	{"a mandatory rule against a host", inside, func(f *fleet) {
		f.in.Snapshot.Rules = []engine.Rule{{Name: "r", Kind: engine.RuleNotOn, Mandatory: true, VMs: []int32{0}, Hosts: []int32{1}}}
	}, `rule: the mandatory rule "r" (not_on) forbids host va/h2`},
	{"a mandatory rule does not travel", across, func(f *fleet) {
		f.in.Snapshot.Rules = []engine.Rule{{Name: "r", Kind: engine.RuleNotOn, Mandatory: true, VMs: []int32{0}, Hosts: []int32{1}}}
	}, `rule: the mandatory rule "r" does not travel to cluster vb/c2`},

	// Hosts.
	{"standby with a VM that is off", sleep, func(f *fleet) { f.in.Snapshot.VMs[0].Power, f.in.Snapshot.VMs[0].Host = engine.VMOff, 3 }, "powered_off: VM w1, which is off, is registered"},
	{"standby that nobody permits", sleep, func(f *fleet) { f.in.Decision.Drains[0].Host = 2 }, "c7-1: standby h4: demand: no policy permits the host's standby"},
	{"standby of a host to be kept on", sleep, func(f *fleet) { f.in.Decision.KeepOns = []engine.KeepOn{{Host: 3}} }, "keep_on: test.rule: because"},
	{"standby under DPM", sleep, func(f *fleet) { f.in.Snapshot.Clusters[0].DPM = true }, "dpm: vSphere's own power management runs in va/c1"},
	{"standby without waking", sleep, func(f *fleet) { f.host(4).Standby = false }, "no_wake: the host cannot be woken"},
	{"standby with a USB device", sleep, func(f *fleet) { f.host(4).USB = true }, "no_wake: a USB device of the host is in use"},
	{"standby of storage", sleep, func(f *fleet) { f.host(4).VSANData = true }, "vsan: the host contributes storage"},
	{"standby of a failover host", sleep, func(f *fleet) { f.in.Snapshot.Clusters[0].FailOn = []int32{3} }, "reserve: the host is a dedicated failover host"},
	{"standby on an old load", sleep, func(f *fleet) { f.host(4).LoadAt = 0 }, "gap: the host's load"},
	{"standby too soon", sleep, func(f *fleet) {
		f.in.History.Hosts = []engine.HostHistory{{ID: "va/h4", ChangeAt: now - 1799}}
	}, "cooldown: the host changed 1799 s ago, rests for 1800"},
	{"standby that is undone each time", sleep, func(f *fleet) {
		f.in.History.Hosts = []engine.HostHistory{{ID: "va/h4", ChangeAt: now - 3500, Returns: 2}}
	}, "cooldown: the host changed 3500 s ago, rests for 3600"},
	{"waking a person's host", wake, func(f *fleet) { f.in.History.Hosts = nil }, "owner: the journal says none, the host's mark \"standby 12\": both must say standby"},
	{"waking a host without our mark", wake, func(f *fleet) { f.host(4).Mark = "" }, "owner: the journal says standby, the host's mark \"\""},
	{"standby that VMs which stay behind need", desert, func(f *fleet) {
		f.p.Actions = slices.Delete(f.p.Actions, 3, 4)
		f.last().Rank = 3
	}, "c7-5: standby h4: reserve: cluster va/c1 would lack"},
	{"standby of the last where all leaves", desert, func(f *fleet) {
		for n := 1; n <= 3; n++ {
			f.host(n).Maintenance = true
		}
	}, "c7-5: standby h4: last_host: leaves cluster va/c1 without a host"},
	{"standby where all leaves, with a VM on it", desert, func(f *fleet) {
		f.addVM("w6", 3)
		f.vm("w6").Power = engine.VMOff
	}, "c7-5: standby h4: evacuating: VM w6 is still in site a, on the host"},
	{"standby where all leaves, with a move under way", desert, func(f *fleet) { f.unseen(4, 7) }, "c7-5: standby h4: evacuating: c6-1 is under way from or to the host"},
	{"standby of a host that is to be emptied itself", desert, func(f *fleet) {
		f.in.Decision.Drains = append(f.in.Decision.Drains, engine.Drain{Host: 3, Then: engine.ThenNothing})
	}, "c7-5: standby h4: evacuating: the host itself is to be emptied"},
	{"waking for nobody", wake, func(f *fleet) { f.in.Decision.Wakes = nil }, "demand: no policy permits to wake the host, no demand needs it, and its cluster is not short of room"},
	{"waking in the storm", wake, func(f *fleet) { f.evacuate("site", "a") }, "c7-1: wake h4: doomed: the host is in site a"},
	{"waking a host that is on", wake, func(f *fleet) { f.host(4).Power = engine.HostOn }, "shape: the host is on"},
	{"maintenance for nobody", drain, func(f *fleet) { f.in.Decision.Drains[0].Then = engine.ThenStandby }, "c7-3: enter_maintenance h1: demand"},
	{"ending a person's maintenance", exit, func(f *fleet) { f.in.History.Hosts[0].Own = engine.OwnNothing }, "owner: the journal says none"},
	{"ending a maintenance that goes on", exit, func(f *fleet) {
		f.in.Decision.Drains = []engine.Drain{{Host: 3, Then: engine.ThenMaintenance}}
	}, "demand: host va/h4 is still to be emptied"},

	// What only shows while the plan is carried out.
	{"no room on the way", swap, func(f *fleet) { f.p.Actions[1].After = nil }, "c7-2: move w1 va/h1 -> va/h2 (vmotion): capacity: host va/h2 would carry 43000 MHz of 50000, at most 80 %"},
	{"an order that only slots give, and a failure", swap, func(f *fleet) {
		f.in.Config.Limits.HostUnits = 1 // h2 takes one move at a time, and the lower rank first
		f.p.Actions[1].After = nil
	}, "capacity: host va/h2 would carry 43000 MHz of 50000, at most 80 %, with 1 moves under way"},
	{"one departure of ten need not have happened", ten, func(f *fleet) {
		f.last().After = f.last().After[:9]
	}, "c7-11: move w1 va/h1 -> va/h2 (vmotion): capacity: host va/h2 would carry 44000 MHz of 50000, at most 80 %"},
	{"no memory", inside, func(f *fleet) { f.host(2).UsedMiB += 145_000 }, "capacity: host va/h2 would carry 181000 MiB of 200000, at most 90 %"},
	{"too many vCPUs", inside, func(f *fleet) { f.in.Config.VCPUPerCoreX10 = 3 }, "capacity: host va/h2 would carry 8 vCPUs on 20 cores, at most 3 tenths a core"},
	{"packed on the percentile", inside, func(f *fleet) {
		h := f.remember()
		h.CPU.Add(now-600, 40_000)
	}, "capacity: host va/h2 would carry 45000 MHz of 50000, at most 80 %"},
	{"no room for an evacuation", evacuation, func(f *fleet) { f.host(6).UsedMHz += 43_000 }, "c7-2: move w2 va/h1 -> vb/h6 (cross-vCenter): capacity: host vb/h6 would carry 48000 MHz of 50000, at most 95 %"},
	{"no space", disks, func(f *fleet) { f.in.Snapshot.Datastores[1].FreeMiB = 455_000 }, "space: datastore va/d2 would have 399000 MiB free of 4000000, at least 10 %"},
	{"no space beside another", disks, func(f *fleet) {
		f.in.Snapshot.Datastores[1].FreeMiB = 500_000
		a := f.add(engine.Action{Kind: engine.Move, VM: "w2", Name: "w2", Moid: "vm-w2", From: f.at(0), To: f.at(0)})
		f.disks(a, 1)
	}, "space: datastore va/d2 would have 388000 MiB free of 4000000, at least 10 %, with 2 moves under way"},
	{"no space on a volume that two vCenters see", volume, func(f *fleet) {
		f.in.Snapshot.Datastores[1].URL, f.in.Snapshot.Datastores[2].URL = "ds:///one/", "ds:///one/"
	}, "would have 388000 MiB free of 4000000, at least 10 %, with 2 moves under way"},
	{"no reserve for a failure", across, func(f *fleet) {
		for n := 5; n <= 7; n++ {
			f.host(n).UsedMHz += 30_000
		}
	}, "reserve: cluster vb/c2 would lack 1000 MHz to survive 1 host failures, lacked 0 at the start"},
	{"no reserve for HA's own policy", across, func(f *fleet) {
		f.in.Snapshot.Clusters[1].HA = engine.HA{Enabled: true, Admission: true, MemoryPct: 95}
	}, "reserve: cluster vb/c2 would lack 14000 MiB"},
	{"standby into the reserve", sleep, func(f *fleet) {
		for n := 1; n <= 3; n++ {
			f.host(n).UsedMHz += 28_000
		}
	}, "c7-1: standby h4: reserve: cluster va/c1 would lack"},
	{"standby of the last host", sleep, func(f *fleet) {
		for n := 1; n <= 3; n++ {
			f.host(n).Maintenance = true
		}
	}, "c7-1: standby h4: last_host: leaves cluster va/c1 without a host"},
	{"standby with a VM on it", consolidate, func(f *fleet) { f.host(3).UsedMHz += 4000; f.vm("w3").Host = 2 }, "c7-2: standby h3: not_empty: starts while 1 VMs run on the host"},
	{"standby and an arrival", sleep, func(f *fleet) { f.move("w1", 4) }, "c7-2: move w1 va/h1 -> va/h4 (vmotion): unavailable: goes to host va/h4, for which there is c7-1 too"},
	{"standby before the VM has left", consolidate, func(f *fleet) { f.p.Actions[1].After = nil }, "c7-2: standby h3: not_empty: need not wait for c7-1, which takes w4 off the host"},
	{"maintenance before a VM has left", drain, func(f *fleet) { f.p.Actions[2].After = []int32{1} }, "c7-3: enter_maintenance h1: not_empty: need not wait for c7-1, which takes w1 off the host"},
	{"a DRS cluster without room for a host's VMs", delegated, func(f *fleet) {
		for n := 2; n <= 4; n++ {
			f.host(n).UsedMHz += 42_000
		}
	}, "c7-1: enter_maintenance h1: reserve: cluster va/c1 would have to carry 145000 MHz on 150000, at most 95 %"},
	{"a DRS cluster and a VM that cannot move", delegated, func(f *fleet) { f.vm("w2").Obstacles = engine.ObVGPU }, "c7-1: enter_maintenance h1: obstacle: VM w2 on it uses a vGPU (vgpu)"},
	{"a DRS cluster and a pin", delegated, func(f *fleet) { f.in.Decision.Pins = []engine.Pin{{VM: 1}} }, "c7-1: enter_maintenance h1: pinned: VM w2: test.rule: because"},
	{"a DRS cluster and a VM's tag", delegated, func(f *fleet) { f.vm("w2").Mode = engine.Advise }, "c7-1: enter_maintenance h1: mode: the tag of VM w2 on it allows advise"},
	{"a DRS cluster and a task on a VM", delegated, func(f *fleet) { f.vm("w2").Task = "backup" }, "c7-1: enter_maintenance h1: busy: a task runs on VM w2 on it: backup"},
	{"arrival before the host is awake", wake, func(f *fleet) { f.p.Actions[1].After = nil }, "c7-2: move w1 va/h1 -> va/h4 (vmotion): unavailable: need not wait for c7-1, which readies host va/h4"},
	{"arrival at a host in maintenance", inside, func(f *fleet) { f.host(2).Maintenance = true }, "unavailable: starts while host va/h2 is on, maintenance true"},
	{"arrival while the host leaves", inside, func(f *fleet) {
		f.in.Open = []engine.ActionRecord{{State: engine.StateStarted, Action: engine.Action{ID: "c6-1", Kind: engine.Standby, From: f.at(1)}}}
		f.vm("w3").Host = 2
	}, "unavailable: starts while host va/h2 is standby"},
	{"a rule to be apart", inside, func(f *fleet) {
		f.in.Snapshot.Rules = []engine.Rule{{Name: "r", Kind: engine.RuleApart, VMs: []int32{0, 2}}}
	}, "rule: rule r: 2 members would be in one host, 1 pairs where 0 were at the start"},
	{"apart, but not while the mate is still there", swap, func(f *fleet) {
		f.host(2).UsedMHz -= 30_000 // room is not what binds
		f.group(engine.GroupApart, "host", "w1", "w3")
		f.p.Actions[1].After = nil
	}, "c7-2: move w1 va/h1 -> va/h2 (vmotion): rule: group g of test: 2 members would be in one host"},
	{"apart by site", across, func(f *fleet) { f.group(engine.GroupApart, "site", "w1", "w5") }, "rule: group g of test: 2 members would be in one site"},
	{"a rule to be together", inside, func(f *fleet) {
		f.in.Snapshot.Rules = []engine.Rule{{Name: "r", Kind: engine.RuleTogether, VMs: []int32{0, 1}}}
	}, "rule: rule r: would end with 1 pairs not together, 0 at the start"},
	{"half a pair", pair, func(f *fleet) { f.p.Actions[1].To = f.at(3) }, "rule: group g of test: would end with 1 pairs not together, 0 at the start"},
	{"no longer near", across, func(f *fleet) { f.group(engine.GroupNear, "site", "w1", "w3").MaxRTTMicros = 9999 }, "rule: group g of test: would end with 1 pairs not near, 0 at the start"},
	{"split for too long", across, func(f *fleet) {
		g := f.group(engine.GroupNear, "site", "w1", "w2")
		g.MaxRTTMicros, g.MaxSplitS = 1000, 30
		f.vm("w2").Across = true
		f.move("w2", 7).After = []int32{0}
	}, "c7-2: move w2 va/h1 -> vb/h7 (cross-vCenter): rule: group g of test: would be split for 60 s, at most 30"},
	{"a slot that never comes", across, func(f *fleet) { f.in.Config.Limits.PerLink = 1; f.in.Config.Limits.HostUnits = 3 }, "bandwidth: never gets its slots, though nothing else runs"},
}

func TestRefuses(t *testing.T) {
	for _, r := range refusals {
		t.Run(r.name, func(t *testing.T) {
			f := newFleet()
			r.base(f)
			if err := Plan(f.in, f.p); err != nil {
				t.Fatalf("the unbroken plan is refused:\n%v", err)
			}
			f = newFleet()
			r.base(f)
			r.broken(f)
			err := Plan(f.in, f.p)
			if err == nil {
				t.Fatalf("accepted, want %q", r.want)
			}
			if !strings.Contains(err.Error(), r.want) {
				t.Errorf("refused with\n%v\nwant %q", err, r.want)
			}
		})
	}
}
