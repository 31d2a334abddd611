package main

import (
	"fmt"
	"slices"
	"strings"

	"heliostat/engine"
)

// object is what an explanation is about, by index; None where it is another kind.
type object struct{ vm, host, site int32 }

// find looks the object up by name or ID and states what was seen of it.
func (e *explanation) find(in *engine.Input, name string) (object, error) {
	switch e.Kind {
	case "vm":
		return e.findVM(in, name)
	case "host":
		return e.findHost(in, name)
	default:
		return e.findSite(in, name)
	}
}

func (e *explanation) fact(format string, args ...any) {
	e.Facts = append(e.Facts, fmt.Sprintf(format, args...))
}

func (e *explanation) findVM(in *engine.Input, name string) (object, error) {
	s := in.Snapshot
	i, err := vmNamed(s, name)
	o := object{i, engine.None, engine.None}
	if err != nil {
		return o, err
	}
	v := &s.VMs[i]
	e.ID, e.Name = string(v.ID), v.Name
	if v.Host >= 0 {
		h := &s.Hosts[v.Host]
		o.host, o.site = v.Host, h.Site
		e.fact("runs on %s in %s, %s", h.Name, s.Clusters[h.Cluster].Name, siteName(s, h.Site))
	}
	e.fact("%s; %s, %s now; %d MiB configured, %s used; %d MiB of disks", v.Power, engine.Count(int(v.VCPUs), "vCPU"), known(v.UsedMHz, "MHz"), v.MemoryMiB, known(v.UsedMiB, "MiB"), v.DiskMiB())
	if v.Obstacles != 0 {
		var texts []string
		for _, row := range engine.ObstacleTable {
			if v.Obstacles&row.Bit != 0 {
				texts = append(texts, row.Text)
			}
		}
		e.fact("it %s", strings.Join(texts, "; it "))
	}
	if len(v.Tags) > 0 {
		e.fact("tags: %s", strings.Join(v.Tags, ", "))
	}
	if h := in.History.VM(v.ID); h.MovedAt != 0 {
		e.fact("last moved by us at %s, from %s; %s in all", h.MovedAt, h.LeftSite, engine.Count(int(h.Moves), "move"))
		if h.Returns > 1 {
			x := engine.Swing{Subject: engine.Subject{Kind: e.Kind}, Returns: h.Returns, Left: e.host(h.LeftHost), Foreign: h.ForeignAt > h.MovedAt}
			e.fact("%s", x.Text())
		}
	}
	return o, nil
}

func (e *explanation) findHost(in *engine.Input, name string) (object, error) {
	s := in.Snapshot
	i, err := hostNamed(s, name)
	if err != nil {
		return object{}, err
	}
	h := &s.Hosts[i]
	e.ID, e.Name = string(h.ID), h.Name
	hist := in.History.Host(h.ID)
	e.fact("%s, in %s, %s; %s", hostState(h, hist), s.Clusters[h.Cluster].Name, siteName(s, h.Site), engine.Count(len(s.VMsOn(i)), "VM"))
	e.fact("CPU %s of %d MHz, memory %s of %d MiB, power %s", known(h.UsedMHz, "MHz"), h.CPUMHz, known(h.UsedMiB, "MiB"), h.MemoryMiB, known(h.PowerW, "W"))
	low := ""
	if s := hist.LowFor(in.Now); s > 0 {
		low = fmt.Sprintf("; low for %d min", s/60)
	}
	e.fact("demand over 40 min: CPU %s, memory %s%s", permille(hist.CPU.Mean(8)), permille(hist.Mem.Mean(8)), low)
	if hist.Returns > 1 {
		x := engine.Swing{Subject: engine.Subject{Kind: e.Kind}, Returns: hist.Returns}
		e.fact("%s", x.Text())
	}
	return object{engine.None, i, h.Site}, nil
}

func (e *explanation) findSite(in *engine.Input, name string) (object, error) {
	s := in.Snapshot
	i, ok := s.FindSite(engine.SiteID(name))
	if !ok {
		return object{}, fmt.Errorf("site %s: %w", name, errNotThere)
	}
	e.ID, e.Name = name, name
	x := &s.Sites[i]
	e.fact("%s", strings.TrimPrefix(siteLoad(s, i), name+": "))
	e.fact("mode %s; sun %s; price %s; carbon %s", x.Mode, milli(x.SunMilliDeg, "deg"), micro(x.PriceMicroEURPerKWh), known(x.CarbonGPerKWh, "g/kWh"))
	for _, z := range s.Hazards {
		if z.Site == x.ID {
			e.fact("hazard %s: %s, %s, from %s (%s)", z.ID, z.Kind, z.Severity, z.Earliest, z.Source)
		}
	}
	return object{engine.None, engine.None, i}, nil
}

// hostState is the state of a host in words, and whose doing it is.
func hostState(h *engine.Host, hist engine.HostHistory) string {
	state := h.Power.String()
	if h.Power == engine.HostOn && !h.Connected {
		state += ", does not answer"
	}
	resting := h.Maintenance || h.Entering
	if resting {
		state += ", in maintenance"
	}
	switch {
	case h.Power == engine.HostStandby && hist.Own == engine.OwnStandby, resting && hist.Own == engine.OwnMaintenance:
		return state + " (our doing, at " + hist.ChangeAt.String() + ")"
	case h.Power == engine.HostStandby || resting:
		return state + " (not our doing)"
	}
	return state
}

func siteName(s *engine.Snapshot, i int32) string {
	if i < 0 {
		return "at no site"
	}
	return string(s.Sites[i].ID)
}

func known(v int32, unit string) string {
	if v == engine.Unknown {
		return "unknown"
	}
	return fmt.Sprintf("%d %s", v, unit)
}

func permille(v int32) string {
	if v == engine.Unknown {
		return "unknown"
	}
	return fmt.Sprintf("%.1f %%", float64(v)/10)
}

func milli(v int32, unit string) string {
	if v == engine.Unknown {
		return "unknown"
	}
	return fmt.Sprintf("%.1f %s", float64(v)/1000, unit)
}

func micro(v int32) string {
	if v == engine.Unknown {
		return "unknown"
	}
	return fmt.Sprintf("%.3f EUR/kWh", float64(v)/1e6)
}

// concerns reports whether the object is one of those named.
func (e *explanation) concerns(vm, from, to, fromSite, toSite string) bool {
	switch e.Kind {
	case "vm":
		return vm == e.ID
	case "host":
		return from == e.ID || to == e.ID
	default:
		return fromSite == e.ID || toSite == e.ID
	}
}

// about reports whether the place is the object, or contains it.
func (e *explanation) about(s *engine.Snapshot, o object, p engine.Subject) bool {
	switch p.Kind {
	case "fleet":
		return true
	case "site":
		return o.site >= 0 && string(s.Sites[o.site].ID) == p.ID
	case "cluster":
		return o.host >= 0 && string(s.Clusters[s.Hosts[o.host].Cluster].ID) == p.ID
	case "host":
		return o.host >= 0 && string(s.Hosts[o.host].ID) == p.ID
	case "vcenter":
		return o.host >= 0 && string(s.VCenters[s.Hosts[o.host].VCenter].ID) == p.ID
	case "datastore":
		return o.vm >= 0 && slices.ContainsFunc(s.VMs[o.vm].Disks, func(x engine.Disk) bool {
			return x.Datastore >= 0 && string(s.Datastores[x.Datastore].ID) == p.ID
		})
	default:
		return p.ID == e.ID
	}
}
