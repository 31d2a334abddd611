package sim

import (
	"fmt"
	"slices"

	"heliostat/engine"
)

// Opinions draws all kinds of things that policies say about a fleet: scores, sleep,
// maintenance, groups, restrictions, at most one evacuation, and now and then a
// freeze. roll gives a number from 0 to n-1.
func Opinions(s *engine.Snapshot, roll func(n int) int) engine.Decision {
	o := opinions{s: s, roll: roll}
	o.hosts()
	o.groups()
	o.restrictions()
	o.emergency()
	return o.d
}

type opinions struct {
	d    engine.Decision
	s    *engine.Snapshot
	roll func(n int) int
}

// by is a voice of its own for each rule.
func (o *opinions) by(policy, rule, reason string, weight int64, yields bool) engine.By {
	o.d.Voices = append(o.d.Voices, engine.Voice{Policy: policy, Rule: rule, Mode: engine.Enforce, Yields: yields, WeightMicroEUR: weight})
	o.d.Reasons = append(o.d.Reasons, reason)
	return engine.By{Voice: int32(len(o.d.Voices) - 1), Reason: int32(len(o.d.Reasons) - 1)}
}

// some draws up to n VMs, ascending.
func (o *opinions) some(n int) []int32 {
	out := make([]int32, n)
	for i := range out {
		out[i] = int32(o.roll(len(o.s.VMs)))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (o *opinions) hosts() {
	d, s := &o.d, o.s
	sun := o.by("follow_the_sun", engine.RuleSiteScore, "the sun is up", 20_000, false)
	for i := range s.Sites {
		d.SiteScores = append(d.SiteScores, engine.SiteScore{Site: int32(i), Milli: int32(o.roll(2000) - 1000), By: sun})
	}
	low, high := o.by("dpm", engine.RuleDrain, "low", 0, false), o.by("dpm", engine.RuleWake, "high", 0, false)
	works := o.by("maintenance", engine.RuleDrain, "agreed", 0, false)
	for h := range s.Hosts {
		switch {
		case s.Hosts[h].Power == engine.HostStandby:
			d.Wakes = append(d.Wakes, engine.Wake{Host: int32(h), By: high})
		case o.roll(15) == 0:
			d.Drains = append(d.Drains, engine.Drain{Host: int32(h), Then: engine.ThenMaintenance, By: works})
		case o.roll(2) == 0:
			d.Drains = append(d.Drains, engine.Drain{Host: int32(h), By: low})
		}
	}
}

func (o *opinions) groups() {
	apart, near := o.by("ha", engine.RuleGroupApart, "spread", 0, false), o.by("chatty", engine.RuleNear, "talk", 0, false)
	for i, scope := range []string{"host", "cluster", "site"} {
		o.d.Groups = append(o.d.Groups,
			engine.Group{Kind: engine.GroupApart, Name: fmt.Sprint("apart", i), Scope: "host", VMs: o.some(4), By: apart},
			engine.Group{Kind: engine.GroupNear, Name: fmt.Sprint("near", i), Scope: "site", MaxRTTMicros: 30_000, MaxSplitS: int32(o.roll(2) * 900), VMs: o.some(3), By: near},
			engine.Group{Kind: engine.GroupTogether, Name: fmt.Sprint("together", i), Scope: scope, VMs: o.some(3), By: near},
			engine.Group{Kind: engine.GroupApart, Name: fmt.Sprint("spread", i), Scope: scope, VMs: o.some(2), By: apart})
	}
}

// restrictions say where VMs may be, some of them in words that yield to an evacuation.
func (o *opinions) restrictions() {
	d, s := &o.d, o.s
	yields, stands := o.by("owner", engine.RulePin, "mine", 0, true), o.by("law", engine.RuleAllowSites, "so it is written", 0, false)
	for _, v := range o.some(9) {
		by := []engine.By{yields, stands}[o.roll(2)]
		d.AllowSites = append(d.AllowSites, engine.AllowSites{VM: v, Sites: engine.SiteMask(o.roll(1 << len(s.Sites))), By: by})
		d.AllowHosts = append(d.AllowHosts, engine.AllowHosts{VM: v, Hosts: []int32{int32(o.roll(len(s.Hosts)))}, By: by})
	}
	for _, v := range o.some(20) {
		d.Prefers = append(d.Prefers, engine.Prefer{VM: v, To: engine.Subject{Kind: "host", ID: string(s.Hosts[o.roll(len(s.Hosts))].ID)}, MicroEUR: 200_000, By: stands})
	}
	for _, v := range o.some(5) {
		d.Pins = append(d.Pins, engine.Pin{VM: v, By: yields})
	}
}

func (o *opinions) emergency() {
	d, s := &o.d, o.s
	evacuate := func(kind, id string, deadline engine.Unix) {
		d.Evacuations = append(d.Evacuations, engine.Evacuation{
			Place: engine.Subject{Kind: kind, ID: id}, Deadline: deadline, By: o.by("hurricane", engine.RuleEvacuate, "a storm comes", 0, false),
		})
	}
	switch o.roll(4) {
	case 0:
		evacuate("site", string(s.Sites[o.roll(len(s.Sites))].ID), s.At+7200)
	case 1:
		evacuate("datastore", string(s.Datastores[o.roll(len(s.Datastores))].ID), 0)
	case 2:
		evacuate("cluster", string(s.Clusters[o.roll(len(s.Clusters))].ID), 0)
	}
	if o.roll(3) == 0 {
		by := o.by("quiet_hours", engine.RuleFreeze, "night", 0, o.roll(2) == 0)
		d.Freezes = append(d.Freezes, engine.Freeze{Place: engine.Subject{Kind: "site", ID: string(s.Sites[o.roll(len(s.Sites))].ID)}, By: by})
	}
}
