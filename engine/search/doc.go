// Package search places objects in containers at the least cost it can find: the
// combinatorial core of the planner. It knows resources, groups and costs, and
// nothing of what they stand for; it imports the standard library alone, reads no
// clock and no global dice.
//
// # The model
//
// A [Problem] has containers with a capacity in each of several resources, and
// objects that need some of each. A resource may be transient: an object that
// leaves its home counts there, too, until all moves are done. Groups of objects
// obey [Rule]s: at most so many in one part of a partition of the containers (one
// a container is a conflict), spread over at least so many parts, or near another
// group (a dependency).
//
// The cost of an assignment is a sum, in one integer unit of the caller's choice:
//
//   - of each container: a fixed cost while it holds anything, and hinges, each
//     Weight x max(0, measure - Knee). A [Measure] is a linear form of the needs of
//     all objects inside. One hinge is a safety capacity, a few with the
//     same measure make any piecewise linear curve (of power, say), and one with
//     two resources of opposite sign is a balance cost;
//   - of each object: what it costs in its container (its kind's row), and, away
//     from home, its price of moving and its weight times the distance;
//   - of the group that moved most members: a price for each.
//
// # The search
//
// [Search.Anneal] anneals over shifts, swaps, ejection chains and ruin-and-
// recreate of containers and of groups (a large neighbourhood, in which whole groups
// change places). Places are drawn until one has room: objects that fit in few get as
// many tries as the others. Where there is distance, every other place or partner is
// one near the object's home: when it is cold most of what is left is far from home,
// and one of hundreds of places drawn blindly is hardly ever near. Where none seems to have room, an object that keeps its home
// occupied does an errand: it comes home so that another one can leave, say.
// One ruin in five forces an object, rather a large one, into a container that others
// leave for it. Temperatures come from what shifts cost, and from a quick cooling that
// shows by which of them how much of the heat goes. Further calls reheat the best: every
// other island to where the last of the heat goes, the others to less, and down to where
// nothing dearer is taken, for what is left to gain there is next to nothing beside the
// heat. No accepted move exceeds a capacity further than it is, or breaks more than it
// mends: what is broken at the start is repaired where a way is found, and is never made
// worse. Assignments are compared by [Result.Violations], then by [Result.Cost].
//
// Work is counted in candidate evaluations, never in time; a few looks for room count
// as one. Islands anneal on
// their own from the same assignment and meet at the end of each call, so that
// any number of workers gives the same bytes. A sequence of calls with the same
// counts repeats a search; a further call never worsens it.
//
// [Evaluate] prices an assignment from scratch with code of its own; the tests
// hold the increments against it.
package search
