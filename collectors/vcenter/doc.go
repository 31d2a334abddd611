// Package vcenter observes one vCenter: inventory, topology, loads and power.
//
// # Two ways of looking
//
// Topology (what exists, where it stands, how it is configured) is watched: one
// property collector over a view of the inventory reports what changed, so that
// a quiet vCenter costs nothing. Loads change all the time and a vCenter does not
// report them; they are polled, a thousand objects a page, when the loop asks.
//
// # Unknown
//
// What could not be read is [engine.Unknown] or a gap with its reason. Where a
// guess is needed it errs to the safe side: a thin disk whose usage is not seen
// counts as full, and a VM whose tags could not be read is not moved.
package vcenter
