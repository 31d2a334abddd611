// Package lab simulates several vCenters in one process, on govmomi's simulator,
// and adds what that lacks: time, links, slots, power, moves within and across
// vCenters, maintenance, standby. Any vSphere client can connect to it. An
// [Observer] counts what goes wrong with code of its own.
package lab
