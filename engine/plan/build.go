// Package plan decides: a pure function from all that is known and wanted to a plan.
// What it makes is distrusted by engine/check, which shares nothing with it.
//
// [Build] goes through stages that bind in the order of their precedence: what
// stops everything, demands, repair, wishes, wakes, balance, consolidation. A stage asks
// for a destination with a want (place.go); the candidates are refused for typed
// reasons in a fixed order (feasible.go, segments.go, links.go, groups.go,
// storage.go), and the refusal that came furthest becomes the Hold.
package plan

import (
	"fmt"
	"strconv"
	"strings"

	"heliostat/engine"
)

// Build makes a plan. It is pure: equal inputs give equal plans, byte for byte.
//
// It never credits a departure to a later arrival, unless that waits for it: in
// the state where every planned move has started that waits for none, and none has
// ended, every host, datastore and cluster still holds what it must. So any order
// and any overlap of the plan's actions is safe that its edges allow. These are
// from moves to the change of state of the host that they empty, from a wake to the
// moves that need the host, from VMs that make room on a host that stays on to all
// that come there later for the same purpose, and from the standby of a host to the
// next one of its cluster, and to VMs that come there from others, where these rely
// on what has left the cluster before it.
//
// The stages bind in this order: global stops, demands (evacuations and
// maintenance), repair of what is violated, wishes for places, wakes, balance,
// consolidation. What should happen and does not becomes a Hold.
//
// Where an evacuation can not bring everything out by its deadline, a second
// attempt lets VMs leave in the order of what they take of what is scarce, and the
// attempt is kept that saves more.
func Build(in engine.Input) *engine.Plan { return new(Planner).Build(in) }

// attempt makes a plan in which VMs flee in the order given.
func attempt(in engine.Input, o *order) *builder {
	b := compile(in)
	b.order = o
	b.stages()
	return b
}

func (b *builder) stages() {
	if b.stopped() {
		return
	}
	b.demandStage()
	b.repairStage()
	b.wishStage()
	b.wakeStage()
	b.balanceStage()
	b.consolidateStage()
	b.write()
}

// stopped handles what stops everything. It reports whether nothing may be planned at all.
func (b *builder) stopped() bool {
	hold := engine.Hold{Subject: engine.Subject{Kind: "fleet"}, Name: "fleet", Want: "plan"}
	switch {
	case b.in.Paused != "":
		hold.Code, hold.Detail = engine.HoldPaused, "paused: "+b.in.Paused
	case b.in.Now-b.s.At > engine.Unix(b.c.TopologyMaxAgeS):
		hold.Code = engine.HoldGap
		hold.Detail = fmt.Sprintf("the fleet was last seen %d s ago, at most %d s is allowed", b.in.Now-b.s.At, b.c.TopologyMaxAgeS)
	case b.fleetGap > 0:
		hold.Code, hold.Detail = engine.HoldGap, "the fleet is not seen: "+b.s.Gaps[b.fleetGap-1].Reason
	case b.fleetFreeze.hard > 0:
		hold.Code, hold.Detail = engine.HoldFrozen, b.freezeText(b.fleetFreeze.hard)
		hold.Why = []engine.Why{b.d.Why(b.d.Freezes[b.fleetFreeze.hard-1].By)}
	default:
		return false
	}
	b.holds = append(b.holds, hold)
	b.collectDemands()
	for i := range b.demands {
		dm := &b.demands[i]
		b.holds = append(b.holds, engine.Hold{
			Subject: dm.subject, Name: dm.name, Code: hold.Code, Detail: hold.Detail, Want: dm.want(), Demand: dm.subject, Why: dm.why,
		})
	}
	return true
}

// A reason says why a candidate is refused. It is put into words only when a
// person will read it: form may use [1] where, [2] other, [3] a, [4] b, [5] c.
type reason struct {
	code         engine.HoldCode
	stage        uint8
	form         string
	where, other string
	a, b, c      int64
	by           *engine.By // who said so: put before other
}

// The stages of a refusal, in the order of the checks: of all candidates, the
// one that came furthest says what really binds.
const (
	stNone uint8 = iota
	stVM
	stNowhere
	stHost
	stAllowed
	stAcross
	stCompat
	stNetwork
	stLink
	stRule
	stCapacity
	stSpace
	stReserve
)

func (r *reason) ok() bool { return r.code == "" }

// A said is a reason that was put into words: when a budget is used up a hundred
// thousand VMs are held for one, and every host for one of few.
type said struct {
	r    reason
	text string
}

// sayings are reasons that were put into words, and room to do so.
type sayings struct {
	last  [mostSaid]said
	spelt []byte
}

// mostSaid is how many reasons are kept with their words, each in the place of its
// first number: the moves that would empty a host, where a budget is used up.
const mostSaid = 64

// text puts the reason into words.
func (b *builder) text(r *reason) string {
	if b.said == nil {
		b.said = new(sayings)
	}
	x := &b.said.last[uint64(r.a)%mostSaid]
	if x.text == "" || x.r != *r {
		*x = said{*r, b.words(*r)}
	}
	return x.text
}

// words is fmt.Sprintf for what a form may have, which is said of many thousand hosts.
func (b *builder) words(r reason) string {
	if r.by != nil {
		r.other = b.d.Why(*r.by).String() + r.other
	}
	form, out := r.form, b.said.spelt[:0]
	for {
		i := strings.IndexByte(form, '%')
		if i < 0 {
			break
		}
		out = append(out, form[:i]...)
		if form[i+1] == '%' {
			out, form = append(out, '%'), form[i+2:]
			continue
		}
		switch verb := form[i : i+len("%[1]s")]; verb {
		case "%[1]s":
			out = append(out, r.where...)
		case "%[2]s":
			out = append(out, r.other...)
		case "%[3]d":
			out = strconv.AppendInt(out, r.a, 10)
		case "%[3]v": // so many VMs
			if out = append(strconv.AppendInt(out, r.a, 10), " VM"...); r.a != 1 {
				out = append(out, 's')
			}
		case "%[4]d":
			out = strconv.AppendInt(out, r.b, 10)
		case "%[5]d":
			out = strconv.AppendInt(out, r.c, 10)
		default:
			panic("a reason has no " + verb + ": " + r.form)
		}
		form = form[i+len("%[1]s"):]
	}
	if len(out) == 0 {
		return form
	}
	b.said.spelt = append(out, form...)
	return string(b.said.spelt)
}

// further keeps the refusal that came furthest, the first of equals.
func (r *reason) further(x reason) {
	if !x.ok() && x.stage > r.stage {
		*r = x
	}
}

// holdVM records why a VM stays.
func (b *builder) holdVM(v int32, r reason, want string, demand engine.Subject, why []engine.Why) {
	b.held[v], b.stirred = true, append(b.stirred, v)
	vm := &b.s.VMs[v]
	b.holds = append(b.holds, engine.Hold{
		Subject: engine.Subject{Kind: "vm", ID: string(vm.ID)}, Name: vm.Name, Code: r.code, Detail: b.text(&r), Want: want, Demand: demand, Why: why,
	})
}

// holdHost records why a host keeps its state.
func (b *builder) holdHost(h int32, r reason, want string, demand engine.Subject, why []engine.Why) {
	b.keepHost(h, r.code, b.text(&r), want, demand, why)
}

// keepHost records that in words.
func (b *builder) keepHost(h int32, code engine.HoldCode, text, want string, demand engine.Subject, why []engine.Why) {
	host := &b.s.Hosts[h]
	b.holds = append(b.holds, engine.Hold{
		Subject: engine.Subject{Kind: "host", ID: string(host.ID)}, Name: host.Name, Code: code, Detail: text, Want: want, Demand: demand, Why: why,
	})
}

// weak reports whether a mode keeps an action out of a plan of this level.
func (b *builder) weak(m engine.Mode) bool { return m < max(b.in.Level, engine.Shadow) }
