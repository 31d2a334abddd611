// Package policy loads, type-checks, tests and evaluates policies written in
// Rego, and decodes what they say into an engine.Decision.
//
// # From files to a Bundle
//
// [Load] reads modules and data, compiles strictly against the schemas in
// schemas/, and checks the contract; all faults come back at once, each as
// file:line:column. A [Bundle] is immutable and is what one revision says.
// A [Service] keeps the bundle in force and swaps it when files change; an edit
// that cannot be loaded leaves the last good one serving.
//
// # What policies see
//
// An encoder turns an engine.View into terms of the policy engine. It keeps one
// read-only term per host and VM and builds only those anew whose content
// changed: turning 150,000 VMs into terms costs more than deciding on them. So a
// term has those fields alone that a rule of the bundle reads, as its text tells
// (see footprint), and a VM has none before a rule is asked that will see it.
// Every call may share these terms between goroutines.
//
// # What policies say
//
// Each rule is one prepared query, asked once for the fleet or once per
// cluster, move or plan. Its answer is decoded strictly. A veto that fails to
// answer, or answers what cannot be understood, freezes what it was asked
// about; any other rule that fails has no opinion there. Both are recorded as
// an engine.RuleFailure.
//
// A cluster-scope rule is asked again only when something that it reads has
// changed (see kept.go): a document of its cluster, a key of data.fleet, or the
// value of a rule that reads nothing of the cluster, which is evaluated once a
// cycle. One that speaks of each VM from that VM alone is asked about the VMs that
// changed (see speaksApart), and one that begins with what no cluster changes is
// asked while that holds (see prepareGuards). None of it changes an answer: where
// the text does not show for certain that it may be done, it is not.
//
// # What bounds a policy
//
// A policy cannot reach the network, the clock, the environment or chance
// (the built-ins are an allow-list), and each query has a deadline. The deadline
// is a timer of package time: within a testing/synctest bubble, where time
// stands still while a goroutine computes, it never comes, and a policy without
// end hangs the program. That is so in tests and in the headless demo alone,
// which run in bubbles; a daemon's time goes on.
//
// Memory is not bounded here: a policy can build a string or an array of any
// size within its deadline, and sprintf with a huge width does so in one step
// that cannot be interrupted. Whoever loads bundles of strangers must do it in a
// process with a memory limit.
package policy
