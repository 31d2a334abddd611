package soak

import (
	"math"
	"slices"

	"heliostat/engine"
)

// intents are what persons and forecasts want, by ID: they outlive snapshots.
type intents struct {
	works  []stay // maintenance of hosts
	storm  stay   // the site to be emptied
	freeze stay
	groups []group
	pins   []engine.VMID
	keepOn []engine.HostID
}

// A stay is a thing for a while.
type stay struct {
	id       string
	from, to engine.Unix
}

func (x stay) now(at engine.Unix) bool { return x.id != "" && x.from <= at && at < x.to }

type group struct {
	kind  engine.GroupKind
	name  string
	scope string
	vms   []engine.VMID
}

// imagine draws what is wanted all along.
func (w *world) imagine() {
	d, t := &w.d, w.t
	some := func(n int) []engine.VMID {
		var out []engine.VMID
		for range n {
			out = append(out, t.VMs[d.roll(len(t.VMs))].ID)
		}
		slices.Sort(out)
		return slices.Compact(out)
	}
	for i := range d.between(1, 4) {
		w.intents.groups = append(w.intents.groups,
			group{engine.GroupApart, "apart" + itoa(i), "host", some(3)}, group{engine.GroupTogether, "together" + itoa(i), pick(d, []string{"cluster", "site"}), some(2)})
	}
	w.intents.pins = some(d.roll(4) + 1)
	w.intents.keepOn = append(w.intents.keepOn, t.Hosts[d.roll(len(t.Hosts))].ID)
}

// intend lets persons and forecasts change their minds: a maintenance every other
// day, another day a storm, a freeze now and then.
func (w *world) intend() {
	d, x := &w.d, &w.intents
	x.works = slices.DeleteFunc(x.works, func(s stay) bool { return s.to <= w.now })
	if d.chance(2) {
		h := &w.t.Hosts[d.roll(len(w.t.Hosts))]
		x.works = append(x.works, stay{string(h.ID), w.now, w.now + engine.Unix(d.between(hour, 6*hour))})
		w.note("maintenance wanted of %s", h.Name)
	}
	if d.chance(2) && w.now >= x.storm.to+2*hour {
		x.storm = stay{string(pick(d, w.t.Sites).ID), w.now, w.now + engine.Unix(d.between(3*hour, 10*hour))}
		w.note("storm at %s until %d", x.storm.id, x.storm.to)
	}
	if d.chance(2) && !x.freeze.now(w.now) {
		x.freeze = stay{string(pick(d, w.t.Sites).ID), w.now, w.now + engine.Unix(d.between(10*minute, 3*hour))}
	}
}

// The voices, in the order of their indices: each has one reason, of the same index.
const (
	bySun int32 = iota
	byLow
	byHigh
	byWorks
	byStorm
	byApart
	byTogether
	byOwner
	byKeep
	byQuiet
	byGap
)

var voices = []engine.Voice{
	{Policy: "follow_the_sun", Rule: engine.RuleSiteScore, Mode: engine.Enforce, WeightMicroEUR: 20_000},
	{Policy: "power", Rule: engine.RuleDrain, Mode: engine.Enforce},
	{Policy: "power", Rule: engine.RuleWake, Mode: engine.Enforce},
	{Policy: "maintenance", Rule: engine.RuleDrain, Mode: engine.Enforce},
	{Policy: "storm", Rule: engine.RuleEvacuate, Mode: engine.Enforce},
	{Policy: "ha", Rule: engine.RuleGroupApart, Mode: engine.Enforce},
	{Policy: "chatty", Rule: engine.RuleGroupTog, Mode: engine.Enforce},
	{Policy: "owner", Rule: engine.RulePin, Mode: engine.Enforce, Yields: true},
	{Policy: "owner", Rule: engine.RuleKeepOn, Mode: engine.Enforce},
	{Policy: "quiet_hours", Rule: engine.RuleFreeze, Mode: engine.Enforce, Yields: true},
	{Policy: "load_balance", Rule: engine.RulePrefer, Mode: engine.Enforce},
}

var reasons = []string{"the sun is up there", "its load is low", "load is high or the sun is up", "agreed", "a storm comes", "spread", "they talk", "its owner says so", "it is needed", "quiet hours", "its host is busier than another"}

// decide is what the policies say: as the bundled ones do, in short.
func (w *world) decide(s *engine.Snapshot, h *engine.History) *engine.Decision {
	d := &engine.Decision{Revision: "soak", Voices: voices, Reasons: reasons}
	if w.power {
		w.decidePower(d, s, h)
		return d
	}
	by := func(k int32) engine.By { return engine.By{Voice: k, Reason: k} }
	high := make([]bool, len(s.Sites))
	for i := range s.Sites {
		// The sun over the equator: its elevation is the sine of the local hour.
		turn := (float64(int64(s.At)%day)/day + s.Sites[i].Lon/360 - 0.25) * 2 * math.Pi
		milli := int32(math.Round(math.Sin(turn) * 1000))
		high[i] = milli > 300
		d.SiteScores = append(d.SiteScores, engine.SiteScore{Site: int32(i), Milli: milli, By: by(bySun)})
	}
	x := &w.intents
	works := func(id engine.HostID) bool {
		return slices.ContainsFunc(x.works, func(s stay) bool { return s.id == string(id) && s.now(w.now) })
	}
	for i := range s.Hosts {
		host := &s.Hosts[i]
		switch {
		case works(host.ID):
			d.Drains = append(d.Drains, engine.Drain{Host: int32(i), Then: engine.ThenMaintenance, By: by(byWorks)})
		case host.Power == engine.HostStandby:
			if host.Site >= 0 && high[host.Site] {
				d.Wakes = append(d.Wakes, engine.Wake{Host: int32(i), By: by(byHigh)})
			}
		case h.Host(host.ID).LowFor(s.At) >= 40*minute && host.Site >= 0 && !high[host.Site]:
			d.Drains = append(d.Drains, engine.Drain{Host: int32(i), Then: engine.ThenStandby, By: by(byLow)})
		}
	}
	if x.storm.now(w.now) {
		d.Evacuations = append(d.Evacuations, engine.Evacuation{Place: engine.Subject{Kind: "site", ID: x.storm.id}, Deadline: x.storm.to, By: by(byStorm)})
	}
	if x.freeze.now(w.now) {
		d.Freezes = append(d.Freezes, engine.Freeze{Place: engine.Subject{Kind: "site", ID: x.freeze.id}, Until: x.freeze.to, By: by(byQuiet)})
	}
	for _, g := range x.groups {
		var vms []int32
		for _, id := range g.vms {
			if v, ok := s.FindVM(id); ok {
				vms = append(vms, v)
			}
		}
		voice := byApart
		if g.kind == engine.GroupTogether {
			voice = byTogether
		}
		if len(vms) > 1 {
			d.Groups = append(d.Groups, engine.Group{Kind: g.kind, Name: g.name, Scope: g.scope, VMs: vms, By: by(voice)})
		}
	}
	for _, id := range x.pins {
		if v, ok := s.FindVM(id); ok {
			d.Pins = append(d.Pins, engine.Pin{VM: v, By: by(byOwner)})
		}
	}
	for _, id := range x.keepOn {
		if i, ok := s.FindHost(id); ok {
			d.KeepOns = append(d.KeepOns, engine.KeepOn{Host: i, By: by(byKeep)})
		}
	}
	return d
}
