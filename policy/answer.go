package policy

import (
	"fmt"
	"math"
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"

	"heliostat/engine"
)

// An answer is what one rule said about one thing: a Decision of its own, its
// reasons numbered in the order in which they came.
type answer struct {
	engine.Decision
	voice   int32
	known   map[string]int32 // reason to its number
	denies  []denial
	persons int32 // approval
}

// A denial is one item of deny.
type denial struct{ code, reason string }

// maxItemText bounds how much of a malformed item is shown.
const maxItemText = 200

// itemsOf lists the items of the set that a rule returned, sorted.
func itemsOf(t *ast.Term) ([]*ast.Term, error) {
	set, ok := t.Value.(ast.Set)
	if !ok {
		return nil, fmt.Errorf("is %s, not a set", ast.ValueName(t.Value))
	}
	return append(make([]*ast.Term, 0, set.Len()), set.Slice()...), nil
}

// readAnswer decodes the items of a rule, strictly: the first that cannot be
// understood spoils the whole answer.
func readAnswer(spec ruleSpec, voice int32, items []*ast.Term, snap *engine.Snapshot, cluster int32) (*answer, error) {
	a := &answer{voice: voice}
	keys := make([]string, 0, 8)
	for _, x := range items {
		obj, ok := x.Value.(ast.Object)
		if !ok {
			return nil, fmt.Errorf("item %s is %s, not an object", clip(x), ast.ValueName(x.Value))
		}
		it := item{obj: obj, snap: snap, cluster: cluster, keys: keys[:0]}
		spec.read(a, &it)
		if err := it.done(); err != nil {
			return nil, fmt.Errorf("item %s: %w", clip(x), err)
		}
	}
	return a, nil
}

func clip(t *ast.Term) string {
	s := t.String()
	if r := []rune(s); len(r) > maxItemText {
		return string(r[:maxItemText]) + "..."
	}
	return s
}

// by reads the reason and numbers it.
func (a *answer) by(it *item) engine.By {
	r := it.reason()
	i, ok := a.known[r]
	if !ok {
		if a.known == nil {
			a.known = map[string]int32{}
		}
		i = int32(len(a.Reasons))
		a.known[r] = i
		a.Reasons = append(a.Reasons, r)
	}
	return engine.By{Voice: a.voice, Reason: i}
}

func (a *answer) siteScore(it *item) {
	a.SiteScores = append(a.SiteScores, engine.SiteScore{Site: it.site(), Milli: int32(it.scaled("score", -1, 1, 1000)), By: a.by(it)})
}

func (a *answer) evacuate(it *item) {
	a.Evacuations = append(a.Evacuations, engine.Evacuation{
		Place: it.place("site", "cluster", "host", "datastore"), Deadline: it.moment("deadline", true), By: a.by(it),
	})
}

func (a *answer) freeze(it *item) {
	a.Freezes = append(a.Freezes, engine.Freeze{
		Place: it.place("fleet", "site", "cluster", "host", "vm"), Until: it.moment("until", true), By: a.by(it),
	})
}

func (a *answer) prefer(it *item) {
	// A billion euros an hour keeps sums within 64 bits of micro-euros.
	const most = 1e9
	a.Prefers = append(a.Prefers, engine.Prefer{
		VM: it.vm(), To: it.place("site", "cluster", "host"), MicroEUR: it.scaled("eur_per_h", -most, most, 1e6), By: a.by(it),
	})
}

func (a *answer) drain(it *item) {
	d := engine.Drain{Host: it.host(), Deadline: it.moment("deadline", false), By: a.by(it)}
	then := it.str("then")
	if it.probe != nil {
		it.describe(map[string]any{"enum": []string{"standby", "maintenance", "none"}})
	}
	if err := d.Then.UnmarshalText([]byte(then)); err != nil {
		it.fail("%w", err)
	}
	a.Drains = append(a.Drains, d)
}

func (a *answer) wake(it *item) {
	a.Wakes = append(a.Wakes, engine.Wake{Host: it.host(), By: a.by(it)})
}

func (a *answer) priority(it *item) {
	a.Priorities = append(a.Priorities, engine.Priority{VM: it.vm(), Tier: int32(it.whole("priority", math.MinInt32+1, math.MaxInt32)), By: a.by(it)})
}

func (a *answer) apart(it *item) { a.group(it, engine.GroupApart) }

func (a *answer) together(it *item) { a.group(it, engine.GroupTogether) }

func (a *answer) group(it *item, kind engine.GroupKind) {
	g := engine.Group{Kind: kind, Name: it.str("group"), Scope: it.oneOf("scope", "host", "cluster", "site"), VMs: []int32{it.vm()}, By: a.by(it)}
	if g.Name == "" {
		it.fail("\"group\" is empty")
	}
	a.Groups = append(a.Groups, g)
}

func (a *answer) near(it *item) {
	g := engine.Group{Kind: engine.GroupNear, Name: it.str("group"), Scope: "site", VMs: []int32{it.vm()}, By: a.by(it)}
	// A minute is longer than any round trip on earth.
	g.MaxRTTMicros = int32(it.scaled("max_rtt_ms", 0, 60_000, 1000))
	if it.optional("max_split_s") {
		g.MaxSplitS = int32(it.whole("max_split_s", 0, math.MaxInt32))
	}
	if g.Name == "" {
		it.fail("\"group\" is empty")
	}
	a.Groups = append(a.Groups, g)
}

func (a *answer) allowSites(it *item) {
	x := engine.AllowSites{VM: it.vm(), By: a.by(it)}
	it.each("sites", func(id string) {
		s, ok := it.snap.FindSite(engine.SiteID(id))
		if !ok {
			it.fail("no site %q", id)
		}
		x.Sites = x.Sites.With(s)
	})
	a.AllowSites = append(a.AllowSites, x)
}

func (a *answer) allowHosts(it *item) {
	x := engine.AllowHosts{VM: it.vm(), By: a.by(it)}
	it.each("hosts", func(id string) {
		h, ok := it.snap.FindHost(engine.HostID(id))
		if !ok {
			it.fail("no host %q", id)
		}
		x.Hosts = append(x.Hosts, h)
	})
	slices.Sort(x.Hosts)
	x.Hosts = slices.Compact(x.Hosts)
	a.AllowHosts = append(a.AllowHosts, x)
}

func (a *answer) pin(it *item) { a.Pins = append(a.Pins, engine.Pin{VM: it.vm(), By: a.by(it)}) }

func (a *answer) keepOn(it *item) {
	a.KeepOns = append(a.KeepOns, engine.KeepOn{Host: it.host(), By: a.by(it)})
}

func (a *answer) shed(it *item) {
	a.Sheds = append(a.Sheds, engine.Shed{VM: it.vm(), Suspend: it.oneOf("then", "shutdown", "suspend") == "suspend", By: a.by(it)})
}

func (a *answer) deny(it *item) {
	d := denial{code: it.str("code"), reason: it.reason()}
	if d.code == "" {
		it.fail("\"code\" is empty")
	}
	a.denies = append(a.denies, d)
}

func (a *answer) reject(it *item) { a.by(it) }

func (a *answer) approval(it *item) {
	a.persons = max(a.persons, int32(it.whole("approvers", 1, 2)))
	a.by(it)
}
