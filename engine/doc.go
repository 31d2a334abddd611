// Package engine holds the nouns of placement and the arithmetic that every
// other package must agree on. It imports the standard library alone and
// performs no I/O.
//
// # The line
//
// Heliostat runs one straight line, over and over:
//
//	collectors          policy           engine/plan, check engine/execute       store
//	Observe        ->   Evaluate    ->   Build, Check  ->   Run (journal first)  Journal
//	Observation         Decision         Plan               Action               Entry
//	     \--- Snapshot ---/                                    ^------ Recover ----/
//
// One goroutine, in engine/cycle, owns the line. cmd/heliostat wires it. Data
// flows one way; nothing upstream knows what is downstream.
//
// # Who may import whom
//
// Arrows point here. Adapters (collectors and its sub-packages, policy, store,
// vsphere, web) know the nouns and never one another, the planner or the loop.
// engine/plan knows engine and engine/search; engine/check knows engine, and neither
// knows the other; both know engine/turns, which is the executor's rule of whose turn
// it is. engine/execute knows engine alone and decides when to change the world
// through an interface that vsphere/actuator implements. The rules are checked by
// depguard in .golangci.yml.
//
// Beside the line stand those that ask it questions: engine/whatif builds plans
// again with one thing changed, engine/backtest plays another policy over what the
// journal holds, engine/sim carries plans out in memory. engine/search is a
// combinatorial core without a word of vSphere: the planner relieves overloaded hosts
// with it where no single move does, and the benchmarks of published instances run
// on it.
//
// # Identity and place
//
// A VM's ID is its instance UUID. Where it stands in a vCenter (vCenter, moid)
// is an attribute of an observation, because a move across vCenters changes it
// and for a moment both vCenters list the VM. Hosts, clusters, datastores and
// networks are "vcUUID/moid". A host has a site; a datastore has the sites where
// it is readable and the sites where its data survives; the sites of a cluster
// and of a vCenter are derived, many to many, since a cluster may be stretched.
//
// # Flat data
//
// A [Snapshot] is slices sorted by ID, and references between its parts are
// int32 indices into those slices (-1 for none): no map of pointers per object.
// It is designed for 15,000 hosts and 150,000 VMs over at most 64 sites.
// Values that cross snapshots (actions, holds, history, the journal) use IDs.
//
// # Unknown is never zero
//
// An integer that was not seen is [Unknown]. What cannot be seen is a [Gap],
// and is not moved.
//
// # Modes
//
// An action's mode is the weakest of the modes of its policies, its sites, its
// kind and its VM's tag: off, shadow, advise, enforce. Each cycle makes one plan
// from what is enforced (acted on), one that adds what is advised (it waits for
// a person's approval), and one for each policy in shadow (journaled only).
//
// # Input is everything
//
// plan.Build takes an [Input] and returns a [Plan]. It is values: Snapshot, Decision, Vetoes,
// History, open actions, configuration, the time, a seed and a budget counted in
// candidate evaluations. All of it is journaled, so any cycle can be built again
// byte for byte. [Fold] carries hysteresis and budgets from one cycle to the
// next, purely, so that a restart forgets nothing.
//
// # Start and Finish
//
// Two functions carry an action through a [State]: [State.Start] reserves the
// destination, [State.Finish] frees the source. Planner, check and simulator
// share them and hardly anything else. A move therefore counts at both ends from its
// start to its end, everywhere.
//
// # Planning and vetoes alternate
//
// The loop builds a plan, asks the policies' deny about its moves, appends the
// vetoes to the Input and builds again, at most three rounds; what is still
// refused then is refused everywhere and becomes a [Hold]. plan.Build never calls
// policy: the last Input alone gives the plan again. Then check.Plan, which
// shares no code with Build, replays the plan in several orders, and a plan that
// it refuses is journaled and not acted on.
//
// # Kept between cycles
//
// The loop has one plan.Planner and one check.Checker. The planner keeps what it made
// of a fleet (what every VM takes, what is on each host, what keeps VMs from moving and
// hosts from taking any), and takes in what has changed: whoever assembles a snapshot
// compares it with the one before ([Snapshot.Follow]), and where nobody did, or where
// hosts or VMs appear or vanish, or the configuration is another, everything is made
// anew. The checker keeps memory alone. Neither changes a plan or a verdict: whoever
// asks for a single plan, and every replay, starts from nothing and gets the same bytes.
//
// # Churn
//
// What a VM is taken to need is a percentile of its last hour, what has to be
// relieved is told by its load now, and a move must pay back within the time that its
// choice is expected to hold. A VM does not return to where it left before that is
// over, a host sleeps no sooner than idling has cost as much as another switch, and it
// is emptied only where its share of the saving is worth its share of the moves.
// Budgets bound the rest. That holds within one plan's knowledge; who else pulls at a
// VM is not part of it. So the History counts what is undone soon, by whomever, and
// each time in a row doubles the rest ([Longer], [History.Swings]).
//
// # Acting
//
// One goroutine owns the loop, the current plans and the slots. Each action in
// flight has a worker, which journals an intent, submits, journals the task,
// waits, verifies where the object really stands, and journals the end; it
// reports over a channel. Calls to one vCenter are made one at a time, in order of
// rank, so that the same plan is carried out in the same order again. A call whose
// answer is lost is never repeated: the session that carried it is ended, and
// after a while the task history says what became of it. A restart goes the same
// way: what is open in the journal is adopted, not submitted again.
//
// A new plan replaces what the last one has not started. What is in flight stays
// in the Input, reserved at both ends, and no plan may contradict it. A plan that
// a person approved is carried out beside the enforced one and counts as under way. It is
// checked again in each cycle: what does not hold is not begun until it does.
//
// # Rails
//
// Three places hold back what the policies want. What they said about the
// evacuation of a site is held against the evidence and the persons that the
// configuration asks for, before a plan is made: what is not enough is heard as
// advice, or not at all. check.Plan refuses a plan that does harm. A gate before
// the executor counts what is started, and knows pauses, stops in vCenter, open
// breakers and budgets; workers ask it once more at the last moment. What the
// gate remembers is part of the [History], so that a restart forgets none of it.
// Each rail that bites is a [Hold].
//
// # Remembering
//
// Every entry of the journal carries the hash of the one before. What a plan was
// made from (snapshot, history, decision, the rest of the Input) is stored in
// content-addressed files by digest, in the canonical encoding of [Encode]; so a
// value that did not change costs nothing, and replay compares bytes. History is
// folded once a cycle and journaled with it: at a start it is read back, and the
// actions that ended since are folded in, each exactly once. What moves under way have
// had of links and interfaces is remembered too: once one ends, it teaches by what it
// really shared with others, not by what its plan had expected ([NoteMoves]).
//
// # Time
//
// Product code uses package time as it is. Tests and the demo run the daemon, the
// simulated vCenters and the TLS between them in a testing/synctest bubble, where
// a day takes seconds; the demo does so outside tests (internal/bubble),
// and slows virtual time down to be watched. A lab clock that everything asks was
// the alternative: it would have gone through every constructor, and would not
// have covered timeouts in net/http and TLS.
package engine
