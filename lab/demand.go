package lab

import (
	"math"
	"time"
)

// A SeededDemand is shaped like recorded demand: 500 VMware VMs of a hosting
// company, July and August 2013, five-minute samples (Grid Workloads Archive,
// GWA-T-12 "Rnd", of Bitbrains). What was found there, July / August:
//
//   - CPU: mean 4.8 / 7.1 percent; half of the VMs have a mean below 1.1 / 1.5,
//     79 / 78 percent of them below 5; the busiest tenth takes 60 / 62 percent
//     of it all; 88 / 85 percent of samples are below 5, 4.0 / 6.5 percent above 30.
//   - Daily rhythm: 7.2 / 6.6 percent of VMs are office-shaped (9 to 17 h at least
//     1.5 times the night, by a median of 3.4 / 2.9 points, at most 19 / 21), idle at
//     weekends; 5.6 / 4.2 percent do the same by night (median 4.5 / 5.2 points).
//     The other VMs are flat.
//   - Bursts (above twice the median and 10 points above it): 0.9 / 1.1 a VM and
//     day; none or next to none in 54 / 56 percent of VMs, more than 3 a day in
//     11 / 11; half last 10 / 15 minutes or less, a tenth more than 95 / 105; half
//     reach 29 / 46 percent, a quarter 77 / 98. They fill 3.8 / 4.9 percent of samples.
//   - Between VMs hardly any correlation (median 0.002 / 0.003); five minutes
//     apart 0.63 / 0.62 (median); CPU with active memory 0.50 / 0.43.
//   - Active memory: mean 9.1 / 8.9 percent, median VM 4.2 / 4.9, top tenth 32 / 22.
//
// It keeps no state: any VM and time can be asked for in any order, from any goroutine.
type SeededDemand struct {
	Seed uint64
	// Offsets is, by VM, its home's local time less UTC. VMs beyond it live at UTC.
	Offsets []time.Duration
	// OfficePct is how many of a hundred VMs follow office hours at home.
	OfficePct int
}

// RecordedOfficePct is the share of office-shaped VMs that was recorded.
const RecordedOfficePct = 7

// recordedNightPct is the share of VMs with a nightly batch load.
const recordedNightPct = 5

// NewDemand returns demand with the recorded shares. offsets is by VM, see
// [SeededDemand]. Any VM index that is not negative can be asked for.
func NewDemand(seed uint64, offsets []time.Duration) *SeededDemand {
	return &SeededDemand{Seed: seed, Offsets: offsets, OfficePct: RecordedOfficePct}
}

// A quantiles is a distribution by its quantiles, straight in between.
type quantiles []struct{ p, x float64 }

// The recorded distributions, mean of the two months; see [SeededDemand].
var (
	// levelPct is the median CPU of a VM, percent; its upper fifth is lowered by
	// what rhythm and bursts add to the VMs there.
	levelPct = quantiles{{0, 0}, {0.10, 0}, {0.25, 0.06}, {0.50, 0.85}, {0.75, 1.6}, {0.90, 4.3}, {0.95, 14}, {0.99, 45.7}, {1, 64}}
	// officePts and nightPts are what the best hour adds to a VM's level, percent:
	// the recorded day-night differences over the 0.58 and 0.63 that the shapes
	// below keep of a peak.
	officePts = quantiles{{0, 0.9}, {0.25, 2.4}, {0.50, 5.4}, {0.75, 17.3}, {0.90, 22}, {1, 34}}
	nightPts  = quantiles{{0, 0.8}, {0.25, 4.4}, {0.50, 7.7}, {0.75, 14.5}, {0.90, 21.5}, {1, 29}}
	// burstsADay is how many bursts a VM has: a sixth more than recorded, since
	// some hide in one another or in a busy VM's load.
	burstsADay = quantiles{{0, 0}, {0.53, 0}, {0.60, 0.15}, {0.75, 1.1}, {0.90, 3.6}, {0.95, 6.9}, {0.99, 13.5}, {1, 18}}
	// burstMinutes is how long one lasts; the recorded twentieth beyond
	// [longestBurst] (night batches and stuck processes) is cut there.
	burstMinutes = quantiles{{0, 5}, {0.25, 6}, {0.50, 12.5}, {0.75, 35}, {0.90, 80}, {0.95, 180}, {1, 240}}
	// burstPct is how high one reaches.
	burstPct = quantiles{{0, 11}, {0.05, 12.2}, {0.25, 18.7}, {0.50, 33}, {0.75, 87.7}, {0.90, 100}, {1, 100}}
	// activeLevelPct is the mean active memory of a VM, percent.
	activeLevelPct = quantiles{{0, 0.2}, {0.10, 0.9}, {0.25, 2.45}, {0.50, 4.6}, {0.75, 10}, {0.90, 26.7}, {0.95, 35.3}, {0.99, 47.2}, {1, 53}}
)

// officeHours and nightHours are the recorded mean shapes of a working day, by
// local hour, from the quietest hour to the busiest.
var (
	officeHours = [24]float64{
		0.29, 0.26, 0.24, 0.13, 0.06, 0, 0.04, 0.05, 0.13, 0.32, 0.57, 0.67,
		0.70, 0.86, 0.80, 0.82, 1, 0.91, 0.75, 0.74, 0.68, 0.56, 0.59, 0.49,
	}
	nightHours = [24]float64{
		0.43, 0.68, 0.71, 1, 0.68, 0.56, 0.28, 0.11, 0.08, 0.08, 0.01, 0.05,
		0, 0.03, 0.05, 0.10, 0.08, 0.13, 0.13, 0.19, 0.27, 0.22, 0.29, 0.33,
	}
)

const (
	longestBurst = 240 * time.Minute
	// burstWindow is the time in which a VM has at most one burst: short enough
	// for the 18 a day of the busiest VM.
	burstWindow = 40 * time.Minute
	sampleEvery = 5 * time.Minute
)

// What a hash is for: each trait and each kind of noise draws from its own stream.
const (
	forLevel = iota + 1
	forShape
	forSwing
	forBursts
	forBusy
	forActive
	forBurst
	forBurstStart
	forBurstLength
	forBurstHeight
	forNoise
	forSlowNoise
	forActiveNoise
)

// At implements [Demand].
func (d *SeededDemand) At(vm int, t time.Time) (cpuPct, activePct float64) {
	ns := t.UnixNano()
	noise := 0.35*d.noise(vm, forNoise, ns, sampleEvery) + 0.65*d.noise(vm, forSlowNoise, ns, time.Hour)
	level := levelPct.at(d.trait(vm, forLevel))
	// An idle VM wavers by a tenth of a point, a busy one by a quarter of its load.
	cpu := level + d.rhythm(vm, t) + noise*(0.1+0.25*level)
	burst := d.burst(vm, ns)

	own := d.noise(vm, forActiveNoise, ns, sampleEvery)
	active := activeLevelPct.at(d.trait(vm, forActive)) * (1 + 0.3*noise + 0.3*own)
	return min(max(cpu, burst, 0), 100), min(max(active+0.15*burst, 0), 100)
}

// rhythm is what the time of day adds, in percent.
func (d *SeededDemand) rhythm(vm int, t time.Time) float64 {
	var offset time.Duration
	if vm < len(d.Offsets) {
		offset = d.Offsets[vm]
	}
	local := t.UTC().Add(offset)
	switch shape := d.trait(vm, forShape) * 100; {
	case shape < float64(d.OfficePct):
		if day := local.Weekday(); day == time.Saturday || day == time.Sunday {
			return 0
		}
		return officePts.at(d.trait(vm, forSwing)) * hourly(&officeHours, local)
	case shape < float64(d.OfficePct+recordedNightPct):
		return nightPts.at(d.trait(vm, forSwing)) * hourly(&nightHours, local)
	default:
		return 0
	}
}

// hourly reads a shape between the middles of its hours.
func hourly(shape *[24]float64, local time.Time) float64 {
	h := float64(local.Hour()) + float64(local.Minute())/60 + 23.5 // half an hour back, a day on
	i, f := math.Modf(h)
	a, b := shape[int(i)%24], shape[int(i+1)%24]
	return a + (b-a)*f
}

// burst is the height of the highest burst under way, 0 without one.
func (d *SeededDemand) burst(vm int, ns int64) float64 {
	// Busy VMs are the bursty ones, partly: four in ten have the same rank in both.
	rank := d.trait(vm, forLevel)
	if d.trait(vm, forBusy) >= 0.4 {
		rank = d.trait(vm, forBursts)
	}
	rate := burstsADay.at(rank)
	if rate == 0 {
		return 0
	}
	chance := rate * float64(burstWindow) / float64(24*time.Hour)
	last := floorDiv(ns, int64(burstWindow))
	high := 0.0
	for w := last - int64(longestBurst/burstWindow) - 1; w <= last; w++ {
		if d.draw(vm, forBurst, w) >= chance {
			continue
		}
		start := w*int64(burstWindow) + int64(d.draw(vm, forBurstStart, w)*float64(burstWindow))
		length := int64(burstMinutes.at(d.draw(vm, forBurstLength, w)) * float64(time.Minute))
		if ns >= start && ns < start+length {
			high = max(high, burstPct.at(d.draw(vm, forBurstHeight, w)))
		}
	}
	return high
}

// noise is a value in -1..1 that is drawn anew at each step and straight in between.
func (d *SeededDemand) noise(vm, what int, ns int64, step time.Duration) float64 {
	i := floorDiv(ns, int64(step))
	f := float64(ns-i*int64(step)) / float64(step)
	a, b := d.draw(vm, what, i), d.draw(vm, what, i+1)
	return 2*(a+(b-a)*f) - 1
}

// trait draws what is fixed about a VM, in [0, 1).
func (d *SeededDemand) trait(vm, what int) float64 { return d.draw(vm, what, 0) }

// draw hashes its arguments to [0, 1), by the finaliser of splitmix64
// (Steele, Lea and Flood, OOPSLA 2014) between one argument and the next.
func (d *SeededDemand) draw(vm, what int, i int64) float64 {
	h := mix64(d.Seed + 0x9e3779b97f4a7c15)
	h = mix64(h ^ uint64(vm)<<8 ^ uint64(what))
	h = mix64(h ^ uint64(i))
	return float64(h>>11) / (1 << 53)
}

func mix64(h uint64) uint64 {
	h ^= h >> 30
	h *= 0xbf58476d1ce4e5b9
	h ^= h >> 27
	h *= 0x94d049bb133111eb
	return h ^ h>>31
}

// at returns the quantile for p in [0, 1].
func (q quantiles) at(p float64) float64 {
	for i := 1; i < len(q); i++ {
		if p <= q[i].p {
			a, b := q[i-1], q[i]
			return a.x + (b.x-a.x)*(p-a.p)/(b.p-a.p)
		}
	}
	return q[len(q)-1].x
}

// floorDiv divides towards minus infinity, so that times before 1970 work too.
func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}
