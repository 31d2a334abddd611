package check

import (
	"errors"
	"fmt"
	"iter"
	"slices"

	"heliostat/engine"
	"heliostat/internal/parallel"
)

// fault is what a violation is reported by once, however many replays show it.
type fault struct {
	action int32
	code   engine.HoldCode
}

// A finding is a violation.
type finding struct {
	fault
	text string
}

// findings are what was found, in order.
type findings struct {
	list []finding
	had  map[int32]bool // actions with one; nil where not all are looked for
}

// none are the findings of somebody who begins to look for the same.
func (x *findings) none() findings {
	if x.had == nil {
		return findings{}
	}
	return findings{had: map[int32]bool{}}
}

// sees reports whether there is enough to take out before it is asked what is wrong with
// actions beside others.
func (x *findings) sees() bool { return x.had != nil && len(x.list) > 0 }

// refuse records a violation by action i, once per code. So many that no others are
// left to report, whatever is found elsewhere, are enough; where all are looked for, it
// is the first of each action.
func (x *findings) refuse(i int32, code engine.HoldCode, format string, args ...any) {
	f := fault{i, code}
	if x.had != nil {
		if x.had[i] {
			return
		}
		x.had[i] = true
	} else if len(x.list) >= 2*mostFound || slices.ContainsFunc(x.list, func(y finding) bool { return y.fault == f }) {
		return
	}
	x.list = append(x.list, finding{f, fmt.Sprintf(format, args...)})
}

// join adds what was found elsewhere.
func (x *findings) join(more findings) {
	for _, f := range more.list {
		x.refuse(f.action, f.code, "%s", f.text)
	}
}

// report is what was found, in words.
func (c *checker) report() error {
	var errs []error
	for _, f := range c.list[:min(len(c.list), mostFound)] {
		errs = append(errs, c.error(f))
	}
	return errors.Join(errs...)
}

func (c *checker) error(f finding) error {
	a := &c.p.Actions[f.action]
	return fmt.Errorf("%s: %s: %s: %s", a.ID, a, f.code, f.text)
}

// partSize is how many actions are judged at a time.
const partSize = 1024

// eachAction does the same for every action, on all processors: f is given a checker
// of its own for what it finds, which is joined in the order of the actions.
func (c *checker) eachAction(f func(n *checker, i int32)) {
	found := make([]findings, (len(c.p.Actions)+partSize-1)/partSize)
	parallel.Each(len(found), func() func(int) {
		n := *c
		return func(k int) {
			n.findings = c.none()
			for i := k * partSize; i < min((k+1)*partSize, len(c.p.Actions)); i++ {
				f(&n, int32(i))
			}
			found[k] = n.findings
		}
	})
	for _, x := range found {
		c.join(x)
	}
}

// resolve looks up what the actions name. A VM has one action.
func (c *checker) resolve() {
	c.eachAction(func(n *checker, i int32) {
		e, ok := n.find(i, &n.p.Actions[i])
		if !ok {
			e.gone()
		}
		n.steps[i] = e
	})
	for i := range c.steps {
		e := &c.steps[i]
		if e.vm >= 0 && c.movedBy[e.vm] >= 0 {
			c.refuse(int32(i), engine.HoldBusy, "%s moves it too", c.p.Actions[c.movedBy[e.vm]].ID)
			e.gone()
		}
		if e.vm >= 0 {
			c.movedBy[e.vm] = int32(i)
		}
		c.broken = c.broken || e.from < 0
	}
	c.named = named{first: make([]int32, len(c.s.Hosts)), more: make([][2]int32, len(c.steps))}
	for i := range slices.Backward(c.steps) {
		c.named.put(int32(i), c.steps[i])
	}
}

// A named lists the actions that name a host, by their number + 1; 0 ends a list.
type named struct {
	first []int32    // by host
	more  [][2]int32 // by action: the next that names its source, and its destination
}

func (x *named) put(i int32, e step) {
	if e.from >= 0 {
		x.more[i][0], x.first[e.from] = x.first[e.from], i+1
	}
	if e.to >= 0 && e.to != e.from {
		x.more[i][1], x.first[e.to] = x.first[e.to], i+1
	}
}

// atHost lists the actions that name host h, ascending.
func (c *checker) atHost(h int32) iter.Seq[int32] {
	return func(yield func(int32) bool) {
		for k := c.named.first[h]; k > 0 && yield(k-1); {
			end := 0
			if c.steps[k-1].from != h {
				end = 1
			}
			k = c.named.more[k-1][end]
		}
	}
}

// find resolves what the action names, and compares it with the snapshot.
func (c *checker) find(i int32, a *engine.Action) (step, bool) {
	e := step{
		vm: engine.None, to: engine.None, kind: a.Kind, rank: a.Rank, seconds: a.Estimate.Seconds, demanded: a.Demand.Kind != "", storage: a.Storage, cards: len(a.NICs) > 0,
	}
	var ok bool
	if e.from, ok = c.host(&c.last[0], a.From.Host); !ok {
		c.refuse(i, shape, "there is no host %s", a.From.Host)
		return e, false
	}
	c.place(i, "from", &a.From, e.from)
	if a.Kind != engine.Move {
		return e, true
	}
	if e.vm, ok = c.vm(a.VM, e.from); !ok {
		c.refuse(i, shape, "there is no VM %s", a.VM)
		return e, false
	}
	v := &c.s.VMs[e.vm]
	if v.Host != e.from {
		c.refuse(i, shape, "the VM is on %s, not on %s", c.hostName(v.Host), a.From.Host)
		return e, false
	}
	if v.Moid != a.Moid || v.VCenter != c.s.Hosts[e.from].VCenter {
		c.refuse(i, shape, "the VM is %s of %s, not %s of %s", v.Moid, c.vcenter(v.VCenter), a.Moid, a.From.VCenter)
	}
	if e.to, ok = c.host(&c.last[1], a.To.Host); !ok {
		c.refuse(i, shape, "there is no host %s", a.To.Host)
		return e, false
	}
	c.place(i, "to", &a.To, e.to)
	e.inside = e.from != e.to && c.s.Hosts[e.from].Cluster == c.s.Hosts[e.to].Cluster
	return e, true
}

// host is the host with the ID: often that of the action before.
func (c *checker) host(last *int32, id engine.HostID) (int32, bool) {
	if c.s.Hosts[*last].ID == id {
		return *last, true
	}
	h, ok := c.s.FindHost(id)
	if ok {
		*last = h
	}
	return h, ok
}

// vm is the VM with the ID, which should be on host h.
func (c *checker) vm(id engine.VMID, h int32) (int32, bool) {
	for _, v := range c.s.VMsOn(h) {
		if c.s.VMs[v].ID == id {
			return v, true
		}
	}
	return c.s.FindVM(id)
}

// place compares a place with the host it names.
func (c *checker) place(i int32, end string, p *engine.Place, host int32) {
	h := &c.s.Hosts[host]
	var site engine.SiteID
	if h.Site >= 0 {
		site = c.s.Sites[h.Site].ID
	} else {
		c.refuse(i, engine.HoldGap, "%s: the site of host %s is not known", end, h.ID)
	}
	if p.Site != site || p.Cluster != c.s.Clusters[h.Cluster].ID || p.VCenter != c.vcenter(h.VCenter) {
		c.refuse(i, shape, "%s: host %s is of site %q, cluster %s, vCenter %s, not of %q, %s, %s",
			end, h.ID, site, c.s.Clusters[h.Cluster].ID, c.vcenter(h.VCenter), p.Site, p.Cluster, p.VCenter)
	}
}

func (c *checker) hostName(h int32) string {
	if h < 0 {
		return "no host"
	}
	return string(c.s.Hosts[h].ID)
}

func (c *checker) vcenter(i int32) engine.VCenterID {
	if i < 0 {
		return ""
	}
	return c.s.VCenters[i].ID
}
