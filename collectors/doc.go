// Package collectors asks the sources what they see and merges their answers
// into one [engine.Snapshot].
//
// A source answers for one thing: a vCenter, the sun, the links, the hazards,
// the alerts. [Set.Collect] asks all of them at once. A source that fails costs
// a Gap, and its last good answer serves on until it is too old (see [Ages]).
// Hazards have no such age: silence of their source never means "no hazard".
//
// [Merge] is pure. Its result does not depend on the order of the sources, and
// what cannot be believed (not a number, out of range, too old, all zero) is
// turned into Unknown and a Gap, never into zero. Which host stands at which site,
// and which networks are one segment, is configuration ([Config]): what is not
// listed stands nowhere and is the same as nothing.
package collectors
