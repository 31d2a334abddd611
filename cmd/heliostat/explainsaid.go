package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"heliostat/engine"
	"heliostat/policy"
)

// said is one opinion.
type said struct {
	Policy string      `json:"policy"`
	Rule   string      `json:"rule"`
	Mode   engine.Mode `json:"mode"`
	What   string      `json:"what"`
	Reason string      `json:"reason"`

	At   string         `json:"at,omitempty"`   // file:line of the rule
	Read []policy.Value `json:"read,omitempty"` // what it read

	about string        // ID of what the item names; "" for the fleet
	to    engine.HostID // of deny
}

// opinions gathers what the policies said about the object.
func (e *explanation) opinions(in *engine.Input, d *engine.Decision, o object) {
	s := in.Snapshot
	say := func(b engine.By, about, format string, args ...any) {
		v := d.Voices[b.Voice]
		e.Said = append(e.Said, said{Policy: v.Policy, Rule: v.Rule, Mode: v.Mode, What: fmt.Sprintf(format, args...), Reason: d.Reasons[b.Reason], about: about})
	}
	vm := e.Kind == "vm"
	for _, x := range d.SiteScores {
		if x.Site == o.site || vm {
			worth := ""
			if vm {
				w := d.Voices[x.By.Voice].WeightMicroEUR
				worth = fmt.Sprintf(", worth %.4f EUR/h to this VM", float64(w*int64(x.Milli)*int64(s.VMs[o.vm].VCPUs))/1e9)
			}
			say(x.By, string(s.Sites[x.Site].ID), "site %s scores %.2f%s", s.Sites[x.Site].ID, float64(x.Milli)/1000, worth)
		}
	}
	for _, x := range d.Prefers {
		if vm && x.VM == o.vm {
			say(x.By, e.ID, "prefers %s %s, worth %.4f EUR/h", x.To.Kind, s.NameOf(x.To), float64(x.MicroEUR)/1e6)
		}
	}
	for _, x := range d.Evacuations {
		if e.about(s, o, x.Place) {
			by := ", without a deadline"
			if x.Deadline != 0 {
				by = " by " + x.Deadline.String()
			}
			say(x.By, x.Place.ID, "evacuate %s %s%s", x.Place.Kind, s.NameOf(x.Place), by)
		}
	}
	for _, x := range d.Drains {
		if x.Host == o.host && e.Kind != "site" {
			whose := "it"
			if vm {
				whose = "its host " + s.Hosts[x.Host].Name
			}
			say(x.By, string(s.Hosts[x.Host].ID), thenText[x.Then], whose)
		}
	}
	for _, x := range d.Wakes {
		if x.Host == o.host && e.Kind == "host" {
			say(x.By, e.ID, "may be woken")
		}
	}
	for _, x := range d.Priorities {
		if vm && x.VM == o.vm {
			say(x.By, e.ID, "leaves in tier %d", x.Tier)
		}
	}
	for _, x := range d.Groups {
		if vm && slices.Contains(x.VMs, o.vm) {
			say(x.By, e.ID, "%s at %s level with %s in group %s", x.Kind, x.Scope, engine.Count(len(x.VMs)-1, "other"), x.Name)
		}
	}
	for _, x := range d.AllowSites {
		if vm && x.VM == o.vm {
			var names []string
			for i := range s.Sites {
				if x.Sites.Has(int32(i)) {
					names = append(names, string(s.Sites[i].ID))
				}
			}
			say(x.By, e.ID, "only at %s", cmp.Or(strings.Join(names, ", "), "no site"))
		}
	}
	for _, x := range d.AllowHosts {
		if vm && x.VM == o.vm {
			on := engine.Count(len(x.Hosts), "host")
			if len(x.Hosts) == 1 {
				on = s.Hosts[x.Hosts[0]].Name
			}
			say(x.By, e.ID, "only on %s", on)
		}
	}
	for _, x := range d.Pins {
		if vm && x.VM == o.vm {
			say(x.By, e.ID, "pinned to its host")
		}
	}
	for _, x := range d.KeepOns {
		if x.Host == o.host && e.Kind == "host" {
			say(x.By, e.ID, "keep it on")
		}
	}
	for _, x := range d.Freezes {
		if e.about(s, o, x.Place) {
			say(x.By, x.Place.ID, "%s is frozen", strings.TrimSpace(x.Place.Kind+" "+s.NameOf(x.Place)))
		}
	}
	for _, x := range in.Vetoes {
		if string(x.VM) == e.ID {
			where := "anywhere"
			if x.To != "" {
				where = "to " + e.host(x.To)
			}
			e.Said = append(e.Said, said{Policy: x.Policy, Rule: engine.RuleDeny, Mode: x.Mode, to: x.To, What: "may not move " + where, Reason: x.Code + ": " + x.Reason})
		}
	}
}

// thenText is what a drain asks for.
var thenText = map[engine.DrainThen]string{
	engine.ThenStandby:     "empty %s, then put it in standby, where that pays",
	engine.ThenMaintenance: "empty %s, then put it in maintenance",
	engine.ThenNothing:     "empty %s",
}
