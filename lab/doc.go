// Package lab simulates several vCenters in one process, on govmomi's simulator,
// and adds what that lacks: time, links, slots, power, moves within and across
// vCenters, maintenance, standby. Any vSphere client can connect to it. An
// [Observer] counts what goes wrong with code of its own.
//
// A [Lab] keeps a model of its own (machines, hosts, stores, moves) beside the
// simulator's objects, which are what clients read. The model decides; each
// change of it is written into the objects, and whoever watches them is told,
// but for quick statistics, which a real vCenter does not tell of either.
//
//   - One lock guards it all (serve.go): a call runs from its first read to the
//     last byte of its encoded answer before the next begins. The simulator's
//     data races cannot happen, and the order of calls is the only input beside
//     the configuration.
//   - Calls that the simulator lacks or gets wrong go to a control (control.go,
//     relocate.go, provisioning.go, hostop.go, evc.go); properties are read and
//     watched by a collector that costs what changed (collector.go, watch.go,
//     retrieve.go).
//   - The player (play.go) advances the model to the [Clock]'s time, event by
//     event: moves share links and interfaces as fluids (move.go), hosts wait,
//     boot and sleep, and every minute brings new loads (load.go). It does so
//     before each call too, so that nobody sees a state that is out of date.
//   - What goes wrong is a [Fault] of one call, judged by a function, or an
//     [Incident] of calls, tasks, sessions, clocks or the inventory, by script or
//     drawn (incident.go, happen.go, restart.go).
//   - [World] is the ground truth, for the observer and the meter.
package lab
