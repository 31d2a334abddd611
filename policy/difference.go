package policy

import (
	"fmt"
	"hash/maphash"
	"slices"
	"strings"

	"heliostat/engine"
)

// A Difference is how far two bundles differ in what they say about one fleet.
// The wording of reasons does not count. A site that scores otherwise counts with
// all its VMs, a place to be emptied or frozen with all that is in it.
type Difference struct {
	VMs      int      `json:"vms"`
	OfVMs    int      `json:"of_vms"`
	Hosts    int      `json:"hosts"`
	OfHosts  int      `json:"of_hosts"`
	Policies []string `json:"policies,omitempty"` // whose opinions differ, sorted
}

// Share is the larger of the shares of VMs and hosts, 0 to 1.
func (d Difference) Share() float64 {
	share := func(n, of int) float64 { return float64(n) / float64(max(of, 1)) }
	return max(share(d.VMs, d.OfVMs), share(d.Hosts, d.OfHosts))
}

// String is the difference for people.
func (d Difference) String() string {
	return fmt.Sprintf("opinions about %d of %s and %d of %s differ (%s)", d.VMs, engine.Count(d.OfVMs, "VM"), d.Hosts, engine.Count(d.OfHosts, "host"), strings.Join(d.Policies, ", "))
}

// differ compares what two bundles say about the snapshot.
func differ(s *engine.Snapshot, before, now *engine.Decision) Difference {
	seed := maphash.MakeSeed()
	x, y := speech(s, before, seed), speech(s, now, seed)
	out := Difference{OfVMs: len(s.VMs), OfHosts: len(s.Hosts)}
	for v := range s.VMs {
		if x.vms[v] != y.vms[v] {
			out.VMs++
		}
	}
	for h := range s.Hosts {
		if x.hosts[h] != y.hosts[h] {
			out.Hosts++
		}
	}
	for p, sum := range y.policies {
		if x.policies[p] != sum {
			out.Policies = append(out.Policies, p)
		}
	}
	for p := range x.policies {
		if _, ok := y.policies[p]; !ok {
			out.Policies = append(out.Policies, p)
		}
	}
	slices.Sort(out.Policies)
	return out
}

// What a decision says about each VM and host, and what each policy says, as
// sums of digests: they do not depend on the order.
type opinions struct {
	vms, hosts []uint64
	policies   map[string]uint64
}

func speech(s *engine.Snapshot, d *engine.Decision, seed maphash.Seed) *opinions {
	out := &opinions{vms: make([]uint64, len(s.VMs)), hosts: make([]uint64, len(s.Hosts)), policies: map[string]uint64{}}
	digest := func(by engine.By, format string, args ...any) uint64 {
		v := d.Voices[by.Voice]
		sum := maphash.String(seed, v.Policy+"."+v.Rule+" "+fmt.Sprintf(format, args...))
		out.policies[v.Policy] += sum
		return sum
	}
	vm := func(v int32, by engine.By, what ...any) { out.vms[v] += digest(by, "%d %v", v, what) }
	host := func(h int32, by engine.By, what ...any) { out.hosts[h] += digest(by, "%d %v", h, what) }
	place := func(p engine.Subject, by engine.By, what ...any) {
		sum := digest(by, "%v %v", p, what)
		for h := range s.Hosts {
			if !inPlace(s, int32(h), p) {
				continue
			}
			out.hosts[h] += sum
			for _, v := range s.VMsOn(int32(h)) {
				out.vms[v] += sum
			}
		}
		if v, ok := s.FindVM(engine.VMID(p.ID)); ok && p.Kind == "vm" {
			out.vms[v] += sum
		}
	}
	for _, x := range d.SiteScores {
		sum := digest(x.By, "%d %d", x.Site, x.Milli)
		for v := range s.VMs {
			if s.VMSite(int32(v)) == x.Site {
				out.vms[v] += sum
			}
		}
	}
	for _, x := range d.Prefers {
		vm(x.VM, x.By, x.To, x.MicroEUR)
	}
	for _, x := range d.Evacuations {
		place(x.Place, x.By, x.Deadline)
	}
	for _, x := range d.Drains {
		host(x.Host, x.By, x.Then, x.Deadline)
	}
	for _, x := range d.Wakes {
		host(x.Host, x.By)
	}
	for _, x := range d.Priorities {
		vm(x.VM, x.By, x.Tier)
	}
	for i := range d.Groups {
		for _, v := range d.Groups[i].VMs {
			g := &d.Groups[i]
			vm(v, g.By, g.Kind, g.Name, g.Scope, g.MaxRTTMicros, g.MaxSplitS)
		}
	}
	for _, x := range d.AllowSites {
		vm(x.VM, x.By, x.Sites)
	}
	for _, x := range d.AllowHosts {
		vm(x.VM, x.By, x.Hosts)
	}
	for _, x := range d.Pins {
		vm(x.VM, x.By)
	}
	for _, x := range d.KeepOns {
		host(x.Host, x.By)
	}
	for _, x := range d.Freezes {
		place(x.Place, x.By, x.Until)
	}
	for _, x := range d.Sheds {
		vm(x.VM, x.By, x.Suspend)
	}
	return out
}

// inPlace reports whether the host is in the place.
func inPlace(s *engine.Snapshot, h int32, p engine.Subject) bool {
	host := &s.Hosts[h]
	switch p.Kind {
	case "fleet":
		return true
	case "site":
		return host.Site >= 0 && string(s.Sites[host.Site].ID) == p.ID
	case "cluster":
		return host.Cluster >= 0 && string(s.Clusters[host.Cluster].ID) == p.ID
	case "host":
		return string(host.ID) == p.ID
	}
	return false
}
