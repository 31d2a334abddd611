package main

import (
	"math"
	"slices"
)

const (
	step  = 300  // seconds between two decisions
	steps = 287  // updates of a day: the simulation ends before the 288th
	nic   = 62.5 // MB/s that a migration gets: 1 Gbit/s, half of it
	late  = 0.1  // seconds after each sample at which the world is updated
)

// A hostKind is a server with its published power at 0, 10 .. 100 % of load
// (SPECpower_ssj2008).
type hostKind struct {
	mips  float64 // of one of its two cores
	watts [11]float64
}

var hostKinds = [2]hostKind{
	{1860, [11]float64{86, 89.4, 92.6, 96, 99.5, 102, 106, 108, 112, 114, 117}}, // HP ProLiant ML110 G4
	{2660, [11]float64{93.7, 97, 101, 105, 110, 116, 121, 125, 129, 133, 135}},  // HP ProLiant ML110 G5
}

const hostMB = 4096

func (k *hostKind) capacity() float64 { return 2 * k.mips }

// power interpolates, in watts.
func (k *hostKind) power(load float64) float64 {
	load = min(load, 1)
	i := int(load * 10)
	if i == 10 {
		return k.watts[10]
	}
	return k.watts[i] + (k.watts[i+1]-k.watts[i])*(load*10-float64(i))
}

// The four types of VM, in equal quarters by index.
var (
	vmMIPS = [4]float64{2500, 2000, 1000, 500}
	vmMB   = [4]float64{870, 1740, 1740, 613}
)

type host struct {
	kind *hostKind
	vms  []int32 // those that migrate in among them
	used float64 // MIPS at the last update; 0: asleep
	free float64 // MIPS that a new VM may ask for
	mb   float64 // free memory: it binds while VMs are created, and never again

	active, full float64 // seconds
	asked, given float64 // MIPS at the last update
}

type vm struct {
	mips, mb float64
	gone     bool  // it has asked for nothing, and was removed
	at, to   int32 // to is where it migrates, -1 where it does not
	asks     float64
	gets     float64
	past     []float64 // of its load, the newest last, as a part of its own MIPS
}

// A move is one migration that a policy asks for.
type move struct{ vm, to int32 }

// A world is CloudSim's data centre, by its rules: loads change every five minutes,
// a migration lasts as long as its memory takes, has a tenth of its MIPS at the
// destination and loses a tenth at its source until then, and who asks a host for
// more than it has gets less in proportion.
type world struct {
	trace [][]float64 // by VM and sample: load, 0 to 1
	hosts []host
	vms   []vm
	now   float64
	npa   bool // all hosts run at full power

	joules        float64
	migrations    int
	lost          float64 // MIPS x seconds that migrations cost
	asked, missed float64 // MIPS x seconds
	switches      int
}

func newWorld(trace [][]float64) *world {
	w := &world{trace: trace, hosts: make([]host, 800), vms: make([]vm, len(trace))}
	for h := range w.hosts {
		k := &hostKinds[h%2]
		w.hosts[h] = host{kind: k, free: k.capacity(), mb: hostMB}
	}
	quarter := (len(trace) + 3) / 4
	for v := range w.vms {
		w.vms[v] = vm{mips: vmMIPS[v/quarter], mb: vmMB[v/quarter], at: -1, to: -1}
	}
	return w
}

// create places VMs one by one, each with all that it may ever ask for.
func (w *world) create(choose func(v int32) int32) bool {
	for v := range w.vms {
		x := &w.vms[v]
		h := choose(int32(v))
		if h < 0 {
			return false
		}
		x.at = h
		y := &w.hosts[h]
		y.vms = append(y.vms, int32(v))
		y.free -= x.mips
		y.mb -= x.mb

	}
	return true
}

// holds reports whether the host could create the VM.
func (w *world) holds(h, v int32) bool {
	x, y := &w.hosts[h], &w.vms[v]
	return x.kind.mips >= y.mips && x.free >= y.mips && x.mb >= y.mb
}

// load is what the VM asks for at a moment: samples are interpolated.
func (w *world) load(v int, at float64) float64 {
	row := w.trace[v]
	i := int(at / step)
	a, b := row[min(i, len(row)-1)], row[min(i+1, len(row)-1)]
	return a + (b-a)*(at/step-float64(i))
}

// share gives the VMs of a host what they get, and returns how much of it is used.
func (w *world) share(h int32) {
	x := &w.hosts[h]
	capacity := x.kind.capacity()
	total := 0.0
	for _, v := range x.vms {
		asks := min(w.vms[v].asks, x.kind.mips)
		if w.vms[v].to == h {
			asks *= 0.1
		}
		total += asks
	}
	scale := 1.0
	if x.free = capacity - total; total > capacity {
		scale, x.free = capacity/total, 0
	}
	x.used, x.asked = 0, 0
	for _, v := range x.vms {
		y := &w.vms[v]
		gets := min(y.asks, x.kind.mips)
		switch {
		case y.to == h:
			gets *= 0.1
		case y.to >= 0:
			gets *= 0.9
		}
		if scale < 1 {
			gets = math.Floor(gets * scale)
		}
		x.asked += y.asks
		if y.to == h {
			x.used += gets
			continue
		}
		y.gets = gets
		if y.to >= 0 {
			gets /= 0.9
		}
		x.used += gets
	}
	x.given = x.used
}

// pass goes on to a moment: what happened since the last is accounted for, and
// every host is updated.
func (w *world) pass(at float64) {
	dt := at - w.now
	for v := range w.vms {
		y := &w.vms[v]
		if w.now >= step {
			w.asked += y.asks * dt
			w.missed += (y.asks - y.gets) * dt
			if y.to >= 0 {
				w.lost += (y.asks - y.gets) * dt
			}
		}
		if y.asks = w.load(v, at) * y.mips; y.gone {
			y.asks, y.gets = 0, 0
		}
	}
	w.now = at
	for h := range w.hosts {
		x := &w.hosts[h]
		before := x.used
		if before > 0 {
			x.active += dt
			if x.asked > x.given {
				x.full += dt
			}
		}
		w.share(int32(h))
		switch {
		case w.npa:
			w.joules += x.kind.watts[10] * dt
		case before > 0:
			from, to := x.kind.power(before/x.kind.capacity()), x.kind.power(x.used/x.kind.capacity())
			w.joules += (from + to) / 2 * dt
		}
		if (before > 0) != (x.used > 0) {
			w.switches++
		}
	}
	w.retire()
}

// retire removes the VMs that ask for nothing: CloudSim takes them for completed,
// and they never come back.
func (w *world) retire() {
	for h := range w.hosts {
		x := &w.hosts[h]
		x.vms = slices.DeleteFunc(x.vms, func(v int32) bool {
			y := &w.vms[v]
			if y.asks > 0 || y.to >= 0 {
				return false
			}
			y.at, y.gone = -1, true
			return true
		})
	}
}

// migrate carries out the moves asked for at this moment, up to the next.
func (w *world) migrate(moves []move) {
	var delays []float64
	var touched []int32
	for _, m := range moves {
		y := &w.vms[m.vm]
		y.to = m.to
		w.hosts[m.to].vms = append(w.hosts[m.to].vms, m.vm)
		touched = append(touched, y.at, m.to)
		if d := y.mb / nic; !slices.Contains(delays, d) {
			delays = append(delays, d)
		}
	}
	w.migrations += len(moves)
	for _, h := range touched {
		w.share(h)
	}
	began := w.now
	slices.Sort(delays)
	for _, d := range delays {
		w.pass(began + d)
		var ended []int32
		for _, m := range moves {
			y := &w.vms[m.vm]
			if y.mb/nic != d {
				continue
			}
			from := &w.hosts[y.at]
			from.vms = slices.Delete(from.vms, slices.Index(from.vms, m.vm), slices.Index(from.vms, m.vm)+1)
			ended = append(ended, y.at, m.to)
			y.at, y.to = m.to, -1
		}
		for _, h := range ended {
			w.share(h)
		}
	}
}

// run plays the day. decide is asked every five minutes; nil: nothing ever moves.
func (w *world) run(decide func() ([]move, error)) error {
	for k := 1; k <= steps; k++ {
		w.pass(float64(k*step) + late)
		for v := range w.vms {
			y := &w.vms[v]
			y.past = append(y.past, w.load(v, w.now))
		}
		if decide == nil {
			continue
		}
		moves, err := decide()
		if err != nil {
			return err
		}
		w.migrate(moves)
	}
	return nil
}

// bound is the energy of a day in which every MIPS asked for runs on a full host of
// the more efficient kind: no policy that serves all of it can need less. It counts
// what removed VMs would ask for, too, as published bounds do.
func (w *world) bound() float64 {
	g5 := &hostKinds[1]
	sum := 0.0
	for v := range w.vms {
		for k := 1; k < steps; k++ {
			sum += (w.trace[v][k] + w.trace[v][k+1]) / 2 * w.vms[v].mips * step
		}
	}
	return sum * g5.watts[10] / g5.capacity() / 3.6e6
}
