package plan

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"heliostat/engine"
	"heliostat/engine/check"
)

// A planted constraint is lines of a scenario that keep one VM from some hosts.
type planted struct {
	code  engine.HoldCode
	word  string // in the detail, where two have one code
	lines []string
}

// TestProperty12MinimalConflict: a VM that cannot leave is held with a set of what
// forbids it. With those constraints alone it cannot leave either, and without any one
// of them it can: shown by planning for the scenario that has no others.
func TestProperty12MinimalConflict(t *testing.T) {
	sizes := map[int]int{}
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 12))
		all := plantedOnes(r)
		in := parseScenario(t, planting(all))
		p := Build(in)
		h := heldFor(p, "v")
		if h == nil {
			continue // it can leave
		}
		if err := check.Plan(in, p); err != nil {
			t.Fatal(err)
		}
		var set []planted
		for _, c := range h.Conflict {
			k := slices.IndexFunc(all, func(x planted) bool {
				return (x.code == c.Code || (x.code == engine.HoldCapacity && c.Code == engine.HoldReserve)) && strings.Contains(c.Detail, x.word)
			})
			if k < 0 || c.Hosts < 1 || strings.Contains(c.Detail, "%!") {
				t.Fatalf("seed %d: %+v is not among what was planted: %+v", seed, c, all)
			}
			set = append(set, all[k])
		}
		sizes[len(set)]++
		if heldFor(Build(parseScenario(t, planting(set))), "v") == nil {
			t.Errorf("seed %d: it can leave in spite of %+v", seed, h.Conflict)
		}
		for i := range set {
			rest := slices.Delete(slices.Clone(set), i, i+1)
			if x := heldFor(Build(parseScenario(t, planting(rest))), "v"); x != nil {
				t.Errorf("seed %d: without %s of %+v it is held still: %s", seed, set[i].code, h.Conflict, x)
			}
		}
	}
	t.Logf("sets by size: %v", sizes)
	if sizes[0] > 0 || sizes[1] < 20 || sizes[2] < 20 || sizes[3] < 20 {
		t.Errorf("sets by size: %v", sizes)
	}
}

func heldFor(p *engine.Plan, vm string) *engine.Hold {
	for i := range p.Holds {
		if p.Holds[i].Subject.ID == vm && p.Holds[i].Demand.Kind != "" {
			return &p.Holds[i]
		}
	}
	return nil
}

// planting is a scenario with one VM to leave, five hosts at two sites to go to, and
// what is planted.
func planting(list []planted) string {
	text := []string{"site a", "site b", "site c", "cluster a site=a hosts=1", "cluster b site=b hosts=2", "cluster c site=c hosts=2", "cluster d site=c hosts=1", "vm v host=a-1 across", "evacuate site a"}
	far := ""
	for _, x := range list {
		if x.code == engine.HoldRTT {
			far = x.lines[0]
			continue
		}
		text = append(text, x.lines...)
	}
	for _, site := range []string{"b", "c"} {
		rtt := 20
		if strings.Contains(far, site) {
			rtt = 400
		}
		text = append(text, fmt.Sprintf("link a %s rtt=%d", site, rtt))
	}
	return strings.Join(text, "\n")
}

// plantedOnes draws some of each kind, each against hosts at random.
func plantedOnes(r *rand.Rand) (out []planted) {
	hosts, clusters := []string{"b-1", "b-2", "c-1", "c-2", "d-1"}, []string{"b", "c", "d"}
	some := func(from []string) (list []string) {
		for _, x := range from {
			if r.IntN(3) == 0 {
				list = append(list, x)
			}
		}
		return list
	}
	most := func(from []string) []string {
		out := some(from)
		return slices.DeleteFunc(slices.Clone(from), func(x string) bool { return slices.Contains(out, x) })
	}
	add := func(code engine.HoldCode, word string, lines ...string) {
		if len(lines) > 0 && r.IntN(3) > 0 {
			out = append(out, planted{code, word, lines})
		}
	}
	each := func(form string, names []string) (lines []string) {
		for _, x := range names {
			lines = append(lines, fmt.Sprintf(form, x))
		}
		return lines
	}
	add(engine.HoldSites, "law", "allow_sites v "+strings.Join(append(most([]string{"b", "c"}), "a"), " ")+" policy=law")
	add(engine.HoldSites, "owner", "allow_sites v "+strings.Join(append(most([]string{"b", "c"}), "a"), " ")+" policy=owner")
	add(engine.HoldHosts, "licences", "allow_hosts v hosts="+strings.Join(append(most(hosts), "a-1"), ",")+" policy=licences")
	add(engine.HoldVeto, "", each("veto v %s", some(hosts))...)
	add(engine.HoldNetwork, "", each("net %s-net seg=other", some(clusters))...)
	add(engine.HoldCompat, "", each("host %s evcmax=other", some(hosts[:4]))...)
	add(engine.HoldRTT, "", strings.Join(some([]string{"b", "c"}), "")+" ")
	if mates := some(hosts); len(mates) > 0 {
		lines := each("vm mate-%[1]s host=%[1]s mem=1", mates)
		add(engine.HoldRule, "", append(lines, "group apart spread vms=v,mate-"+strings.Join(mates, ",mate-")+" policy=ha")...)
	}
	add(engine.HoldSpace, "", each("ds %s-ds free=1", some(clusters))...)
	add(engine.HoldCapacity, "", each("vm fill-%[1]s host=%[1]s mem=58", some(hosts))...)
	return out
}

// TestBarriersAgree: a host is refused by no barrier if and only if it is feasible.
func TestBarriersAgree(t *testing.T) {
	propCases(t, 60, func(c *propCase) {
		b := compile(input(c.s, c.o))
		b.collectDemands()
		b.hostBars()
		for range 200 {
			v := int32(c.r.IntN(len(c.s.VMs)))
			k := b.demandOf(v)
			if k < 0 || c.s.VMs[v].Host < 0 {
				continue
			}
			w := want{v: v, demand: k, evac: b.demands[k].evac, lax: true, cluster: engine.None, host: engine.None, avoid: engine.None}
			list := b.barriers(&w)
			for h := range c.s.Hosts {
				if h := int32(h); c.s.Hosts[h].Site >= 0 && !b.doomed[h] && h != c.s.VMs[v].Host {
					b.prepare(&w)
					one := b.hostReason(&w, h)
					if one.ok() {
						one = b.clusterReason(&w, c.s.Hosts[h].Cluster)
					}
					refused := slices.ContainsFunc(list, func(x barrier) bool {
						if x.ready != nil {
							x.ready()
						}
						r := x.refuses(h)
						return !r.ok()
					})
					if refused == one.ok() {
						c.Errorf("%s to %s: refused %t, and by itself %+v", c.s.VMs[v].Name, c.s.Hosts[h].Name, refused, one)
					}
				}
			}
		}
	})
}
