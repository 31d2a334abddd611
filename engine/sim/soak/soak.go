// Package soak runs the daemon's core against a world that lies and breaks, for
// simulated months in minutes, and judges what it does with code of its own.
//
// The world is typed and in memory, on virtual time, without SOAP, Rego or disk:
// a fleet whose loads follow a day, vCenters with tasks, persons who move things,
// and faults. What decides is the product's: engine.Believe, engine.Fold, plan.Build and
// check.Plan on what is observed. What acts is a step model of engine/execute
// (executor.go): the same start rule, slots, states and recovery, without its
// goroutines, so that one seed is one run, byte for byte. The executor itself is
// tested elsewhere, on the SOAP simulator; the two share what is said there.
//
// A run is a row of chapters of ten days, each with a fleet and a seed of its own,
// the first with the given seed and each next with one more: so whatever happens in
// the hundredth chapter is replayed in seconds.
package soak

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"heliostat/engine"
	"heliostat/engine/sim"
)

// chapterDays is how long one fleet lives.
const chapterDays = 10

const (
	minute = 60
	hour   = 3600
	day    = 86_400
	// every is how often the daemon looks, in seconds.
	every = 300
)

// Options say what to run.
type Options struct {
	Days   int
	Seed   uint64
	Faults bool
	// DRS lets every cluster's own scheduler balance its hosts all the time.
	DRS bool
	// Alone leaves the fleet without the daemon.
	Alone bool
	// Power leaves the daemon, or with DRS the clusters' own schedulers, two aims alone:
	// to save the power of idle hosts and to balance the others.
	Power bool
	// Until ends the run early, in seconds from its start; 0 runs all days.
	Until int64
	// Verbose gets every event, a line each; nil for none.
	Verbose func(line string)

	sabotage sabotage
}

// A sabotage breaks what is judged, so that tests see the judge bite.
type sabotage string

const (
	gullible  sabotage = "believes every feed"
	naive     sabotage = "calls again when no answer comes"
	blind     sabotage = "does not look before it calls"
	oblivious sabotage = "forgets its history when it is restarted"
	careless  sabotage = "does not take over what an earlier process left open"
	cramped   sabotage = "sees a quarter of the memory that VMs take"
	heedless  sabotage = "does not note what others have moved"
	greedy    sabotage = "takes every host for its own"
)

// A Violation is a rule of the judge that was broken.
type Violation struct {
	Seed   uint64      // of the chapter: replays it from its first day
	After  int64       // seconds from the start of the chapter
	At     engine.Unix // the same moment on the virtual clock
	Rule   string
	Detail string
}

// String names what to replay, and how.
func (v Violation) String() string {
	return fmt.Sprintf("seed %d, day %d %02d:%02d:%02d: %s: %s", v.Seed, v.After/day+1, v.After%day/hour, v.After%hour/minute, v.After%minute, v.Rule, v.Detail)
}

// Result is what came of a run.
type Result struct {
	Days       int
	Seed       uint64
	Cycles     int
	Actions    int            // started
	Ended      map[string]int // actions by how they ended
	Faults     map[string]int // by kind
	Misled     int            // moves that overfilled a host on loads that stood still, or beside a person's move
	Violations []Violation    // the first hundred
	Violated   int            // all
	Balanced   int            // moves by the clusters' own schedulers
	Onward     int            // of those, of VMs that the daemon had brought to them within the hour before
	Unfinished int            // actions not terminal half an hour after their faults and their own time
	Harm       Harm           // by moves for wishes and repair, and by the clusters' own schedulers
	Demanded   Harm           // by moves that empty a place
	VMDays     int            // that VMs ran
	Asleep     int            // intervals of five minutes that hosts were in standby
	Awake      int            // and that they were ready
	Overloaded int            // of these, with more CPU asked for than there is
	SavedWs    int64          // watt-seconds that hosts in standby would have idled away
	Trace      string         // SHA-256 of everything that happened
}

// Harm is what moves of running VMs do to those who use them.
type Harm struct {
	Moves  int
	StunMS int64 // all switch-overs together
	SlowS  int64 // seconds in which memory was copied
}

// harm counts what a move that has ended did. A move by a cluster's own scheduler
// stops its VM for as long as one of ours inside a site.
func (w *world) harm(k *task) {
	h, stun := &w.r.Harm, int64(w.cfg.Cost.StunMS)
	switch {
	case k.act.Cold:
		return
	case k.ours:
		stun = k.act.Estimate.StunMS
		if k.act.Demand.Kind != "" {
			h = &w.r.Demanded
		}
	}
	h.Moves, h.StunMS, h.SlowS = h.Moves+1, h.StunMS+stun, h.SlowS+int64(k.ends-k.start)
}

// AllFaults is how many faults there were.
func (r *Result) AllFaults() int {
	n := 0
	for _, k := range r.Faults {
		n += k
	}
	return n
}

// most is how many violations are kept: a person reads the first few.
const most = 100

// Run runs the world. Equal options give equal results.
func Run(o Options) *Result {
	r := &Result{Days: o.Days, Seed: o.Seed, Ended: map[string]int{}, Faults: map[string]int{}}
	sum := sha256.New()
	for c := 0; c*chapterDays < o.Days; c++ {
		seconds := int64(min(o.Days-c*chapterDays, chapterDays)) * day
		if o.Until > 0 {
			seconds = min(seconds, o.Until-int64(c)*chapterDays*day)
		}
		if seconds > 0 {
			newWorld(o, r, o.Seed+uint64(c), sum).run(seconds)
		}
	}
	r.Trace = hex.EncodeToString(sum.Sum(nil))
	return r
}

// note puts an event into the trace.
func (w *world) note(format string, args ...any) {
	line := fmt.Sprintf("%d %s", int64(w.now-sim.Start), fmt.Sprintf(format, args...))
	_, _ = w.sum.Write([]byte(line)) // a hash never fails
	if w.verbose != nil {
		after := int64(w.now - sim.Start)
		w.verbose(fmt.Sprintf("seed %d day %d %02d:%02d:%02d %s", w.seed, after/day+1, after%day/hour, after%hour/minute, after%minute, line[len(fmt.Sprint(after))+1:]))
	}
}

// broken records a violation.
func (w *world) broken(rule, format string, args ...any) {
	v := Violation{Seed: w.seed, After: int64(w.now - sim.Start), At: w.now, Rule: rule, Detail: fmt.Sprintf(format, args...)}
	w.note("VIOLATION %s: %s", v.Rule, v.Detail)
	w.r.Violated++
	if len(w.r.Violations) < most {
		w.r.Violations = append(w.r.Violations, v)
	}
}

// dice are splitmix64.
type dice uint64

func (d *dice) roll(n int) int {
	*d += 0x9e3779b97f4a7c15
	z := uint64(*d)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return int((z ^ z>>31) % uint64(n))
}

// chance is true in n of a thousand cases.
func (d *dice) chance(n int) bool { return d.roll(1000) < n }

// between is a number from a to b.
func (d *dice) between(a, b int) int { return a + d.roll(b-a+1) }

// pick is one of the items.
func pick[T any](d *dice, items []T) T { return items[d.roll(len(items))] }
