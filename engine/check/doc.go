// Package check distrusts the planner. [Plan] refuses a plan that does harm: one that
// breaks a rule which the fleet keeps now, or breaks one more than it is broken now.
//
// It is written from the documents, looks everything up again in the snapshot, and
// shares nothing with engine/plan, which does not import it and which it does not
// import. Both stand on what engine says a move takes and holds ([engine.State],
// [engine.Slots], [engine.CostModel]) and on the executor's rule (engine/turns): a
// mistake there is one in both. engine/sim/shuffle judges plans without any of it.
//
// # What it proves
//
// Of each action by itself, whatever the order: that what it names exists and is where
// it says; that the object may move or change its state, and the destination may take
// it (CPU features, networks and their segments, datastores, links, room for one move);
// that no mode, freeze, veto, pin, gap, quarantine, cool-down or budget is against it,
// and that the demand which it claims is there.
//
// Of the edges, and so of every order: that nothing waits in a circle, that all VMs
// have left a host before it goes to standby or maintenance, and that a host is up
// before a VM starts toward it.
//
// Of some executions, at every start in them: that each host, datastore and volume
// holds what is on it and all that is on its way to it, that each cluster keeps its
// reserve and each cluster and site a last host, and that no group is worse than at the
// start. These executions are: the executor's own with the durations that are
// estimated; the worst moment of each action, when all that it waits for has ended and
// whatever else may have started has; the executor's with durations from a tenth to
// ten times the estimate and with failures; and random orders without slots. See
// [checker.replays].
//
// # What it does not prove
//
// That every execution is safe: there are too many. Where departures are credited to
// arrivals in one order alone, as the planner does, no moment is worse than the worst
// moments; a plan made otherwise may hide one that is not tried. Of a plan with very
// many different moments some are left to the random orders (effort).
//
// That a plan is good, or complete, or worth its cost: what it leaves undone, its
// ledger, its holds and its estimates are believed. Durations matter to nothing but how
// long a group may be split.
//
// That the snapshot is true, or stays so. What changes while a plan is carried out is
// seen by the next cycle, by the gate and by the worker's own last look.
package check
