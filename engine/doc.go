// Package engine holds the nouns of placement and the arithmetic that every
// other package must agree on. It imports the standard library alone and
// performs no I/O.
//
// # The line
//
// Heliostat runs one straight line, over and over:
//
//	collectors          policy           engine/plan        engine/execute       store
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
// engine/plan knows engine alone; engine/execute knows engine alone and decides
// when to change the world through an interface that vsphere/actuator
// implements. The rules are checked by depguard in .golangci.yml.
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
// plan.Build takes values and returns values: Snapshot, Decision, Vetoes,
// History, open actions, configuration, the time, a seed and a budget counted in
// candidate evaluations. All of it is journaled, so any cycle can be built again
// byte for byte. [Fold] carries hysteresis and budgets from one cycle to the
// next, purely, so that a restart forgets nothing.
//
// # Start and Finish
//
// Two functions carry an action through a [State]: [State.Start] reserves the
// destination, [State.Finish] frees the source. Planner, checker and simulator
// share them and nothing else.
package engine
