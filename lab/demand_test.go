package lab

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

// Monday, 1 July 2013, the first day of the record.
var monday = time.Date(2013, 7, 1, 0, 0, 0, 0, time.UTC)

func TestDemandIsAPureFunction(t *testing.T) {
	offsets := []time.Duration{-6 * time.Hour, 2 * time.Hour, 9 * time.Hour}
	a, b, other := NewDemand(7, offsets), NewDemand(7, offsets), NewDemand(8, offsets)
	differ := 0
	for vm := range 40 {
		for i := range 50 {
			at := monday.Add(time.Duration(i*37) * time.Minute)
			back := monday.Add(time.Duration((49-i)*37) * time.Minute)
			b.At(vm, back) // asked in another order
			cpu, active := a.At(vm, at)
			cpu2, active2 := b.At(vm, at)
			if cpu != cpu2 || active != active2 {
				t.Fatalf("vm %d at %s: %v %v, then %v %v", vm, at, cpu, active, cpu2, active2)
			}
			if cpu < 0 || cpu > 100 || active < 0 || active > 100 {
				t.Fatalf("vm %d at %s: cpu %v, active %v", vm, at, cpu, active)
			}
			if in, _ := a.At(vm, at.In(time.FixedZone("", 3600))); in != cpu {
				t.Fatalf("vm %d: the same moment in another zone: %v, not %v", vm, in, cpu)
			}
			if o, _ := other.At(vm, at); o != cpu {
				differ++
			}
		}
	}
	if differ < 1000 {
		t.Errorf("another seed changes %d of 2000 samples", differ)
	}
}

func meanOf(x []float64) float64 {
	sum := 0.0
	for _, v := range x {
		sum += v
	}
	return sum / float64(len(x))
}

func correlation(a, b []float64) float64 {
	ma, mb := meanOf(a), meanOf(b)
	var ab, aa, bb float64
	for i := range a {
		ab += (a[i] - ma) * (b[i] - mb)
		aa += (a[i] - ma) * (a[i] - ma)
		bb += (b[i] - mb) * (b[i] - mb)
	}
	if aa == 0 || bb == 0 {
		return 0
	}
	return ab / math.Sqrt(aa*bb)
}

func quantile(x []float64, p float64) float64 {
	y := slices.Sorted(slices.Values(x))
	return y[int(p*float64(len(y)-1))]
}

// TestDemandIsLikeTheRecord measures three weeks of 600 VMs as the record was
// measured. Bounds lie a little outside what July and August differ by.
func TestDemandIsLikeTheRecord(t *testing.T) {
	const vms, samples = 600, 21 * 288
	d := NewDemand(1, nil)
	var means, bursts, minutes, heights, next, withActive, pairs, actives []float64
	var before []float64
	low, high, burst, office := 0, 0, 0, 0
	for vm := range vms {
		cpu, active := make([]float64, samples), make([]float64, samples)
		for i := range samples {
			cpu[i], active[i] = d.At(vm, monday.Add(time.Duration(i)*sampleEvery))
			if cpu[i] < 5 {
				low++
			}
			if cpu[i] > 30 {
				high++
			}
		}
		means = append(means, meanOf(cpu))
		actives = append(actives, meanOf(active))
		next = append(next, correlation(cpu[1:], cpu[:samples-1]))
		withActive = append(withActive, correlation(cpu, active))
		if before != nil {
			pairs = append(pairs, correlation(cpu, before))
		}
		before = cpu
		n, length, top := 0, 0, 0.0
		median := quantile(cpu, 0.5)
		for _, v := range append(slices.Clip(cpu), 0) {
			if v > max(2*median, median+10) {
				burst++
				length++
				top = max(top, v)
			} else if length > 0 {
				n++
				minutes, heights = append(minutes, float64(5*length)), append(heights, top)
				length, top = 0, 0
			}
		}
		bursts = append(bursts, float64(n)/21)
		var day, night []float64
		for i, v := range cpu {
			switch h := i / 12 % 24; {
			case i/288%7 >= 5: // 1 July 2013 was a Monday
			case h >= 9 && h < 17:
				day = append(day, v)
			case h < 6:
				night = append(night, v)
			}
		}
		if meanOf(day) > 1.5*meanOf(night) && meanOf(day)-meanOf(night) > 0.5 {
			office++
		}
	}
	share := func(f func(float64) bool, x []float64) float64 {
		n := 0
		for _, v := range x {
			if f(v) {
				n++
			}
		}
		return float64(n) / float64(len(x))
	}
	busiest := slices.Sorted(slices.Values(means))[vms*9/10:]
	for _, c := range []struct {
		what           string
		got, low, high float64
	}{
		{"mean cpu percent", meanOf(means), 4.0, 7.6},
		{"median VM's mean", quantile(means, 0.5), 0.9, 1.9},
		{"share of VMs below 5 percent", share(func(v float64) bool { return v < 5 }, means), 0.70, 0.82},
		{"share of the busiest tenth", meanOf(busiest) / 10 / meanOf(means), 0.50, 0.66},
		{"samples below 5 percent", float64(low) / vms / samples, 0.83, 0.90},
		{"samples above 30 percent", float64(high) / vms / samples, 0.03, 0.075},
		{"office-shaped VMs, and those that look so by chance", float64(office) / vms, 0.05, 0.13},
		{"bursts a VM and day", meanOf(bursts), 0.75, 1.3},
		{"VMs with hardly a burst", share(func(v float64) bool { return v < 0.1 }, bursts), 0.48, 0.62},
		{"VMs with 3 bursts a day", share(func(v float64) bool { return v >= 3 }, bursts), 0.07, 0.14},
		{"half of bursts last", quantile(minutes, 0.5), 10, 20},
		{"a tenth of bursts lasts", quantile(minutes, 0.9), 75, 140},
		{"half of bursts reach", quantile(heights, 0.5), 27, 50},
		{"a quarter of bursts reaches", quantile(heights, 0.75), 72, 100},
		{"samples in bursts", float64(burst) / vms / samples, 0.022, 0.055},
		{"five minutes apart", quantile(next, 0.5), 0.5, 0.8},
		{"cpu with active memory", quantile(withActive, 0.5), 0.35, 0.6},
		{"between VMs, median", quantile(pairs, 0.5), -0.02, 0.03},
		{"active memory percent", meanOf(actives), 7.5, 11},
		{"active memory of the median VM", quantile(actives, 0.5), 3.6, 6},
	} {
		if math.IsNaN(c.got) || c.got < c.low || c.got > c.high {
			t.Errorf("%s: %.3f, not %.3f to %.3f", c.what, c.got, c.low, c.high)
		}
		t.Logf("%-32s %.3f", c.what, c.got)
	}
}

func TestDemandFollowsTheDayAtHome(t *testing.T) {
	const vms = 300
	at := func(offset time.Duration, day, hour int) float64 {
		offsets := make([]time.Duration, vms)
		for i := range offsets {
			offsets[i] = offset
		}
		d := &SeededDemand{Seed: 3, Offsets: offsets, OfficePct: 100}
		sum := 0.0
		for vm := range vms {
			cpu, _ := d.At(vm, monday.AddDate(0, 0, day).Add(time.Duration(hour)*time.Hour))
			sum += cpu
		}
		return sum / vms
	}
	for _, c := range []struct {
		home     string
		offset   time.Duration
		day      int
		busy, at int // hours UTC
	}{{"Frankfurt", 2 * time.Hour, 1, 13, 2}, {"Houston", -5 * time.Hour, 1, 20, 9}, {"Tokyo", 9 * time.Hour, 1, 6, 19}} {
		if busy, quiet := at(c.offset, c.day, c.busy), at(c.offset, c.day, c.at); busy < 1.8*quiet {
			t.Errorf("%s: %.2f percent at %d h and %.2f at %d h UTC", c.home, busy, c.busy, quiet, c.at)
		}
	}
	if week, end := at(0, 2, 14), at(0, 5, 14); week < 1.8*end {
		t.Errorf("Wednesday %.2f, Saturday %.2f", week, end)
	}
}

func TestReadDemandCSV(t *testing.T) {
	d, err := ReadDemandCSV(strings.NewReader("time,a,b\n2013-07-01T00:00:00Z,1.5,0\n2013-07-01T00:05:00Z,2,100\n2013-07-01T00:15:00Z,3,50\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		vm     int
		minute float64
		want   float64
	}{
		{0, 0, 1.5},
		{1, 0, 0},
		{0, 4.9, 1.5},
		{0, 5, 2},
		{1, 7, 100},
		{1, 15, 50},
		{1, 24.9, 50},
		{0, 25, 1.5},
		{1, 31, 100},
		{1, -1, 50},
		{0, -20, 2}, // repeats every 25 minutes
		{2, 5, 2},
		{3, 5, 100}, // more VMs than columns
	} {
		if got, _ := d.At(c.vm, monday.Add(time.Duration(c.minute*float64(time.Minute)))); got != c.want {
			t.Errorf("vm %d at minute %v: %v, not %v", c.vm, c.minute, got, c.want)
		}
	}
}

func TestReadDemandCSVNamesTheLine(t *testing.T) {
	const good = "time,a,b\n2013-07-01T00:00:00Z,1,2\n"
	for in, want := range map[string]string{
		"":                                       "header",
		"vm,a\n":                                 "line 1",
		"time\n":                                 "line 1",
		good:                                     "1 samples",
		good + "2013-07-01T00:05:00Z,1\n":        "line 3",
		good + "2013-07-01T00:05:00Z,1,x\n":      "line 3: column 3",
		good + "2013-07-01T00:05:00Z,1,\n":       "line 3: column 3",
		good + "2013-07-01T00:05:00Z,101,1\n":    "line 3: column 2",
		good + "2013-07-01T00:05:00Z,NaN,1\n":    "line 3: column 2",
		good + "2013-07-01T00:05:00Z,-1,1\n":     "line 3: column 2",
		good + "2013-07-01T00:00:00Z,1,1\n":      "line 3: column 1",
		good + "\n2013-07-01 00:05,1,1\n":        "line 4: column 1",
		good + "2013-07-01T00:05:00Z,1,\"1\n\n,": "line",
	} {
		if _, err := ReadDemandCSV(strings.NewReader(in)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %q in it", in, err, want)
		}
	}
}

func FuzzReadDemandCSV(f *testing.F) {
	f.Add("time,a\n2013-07-01T00:00:00Z,1\n2013-07-01T00:05:00Z,2\n")
	f.Fuzz(func(t *testing.T, in string) {
		d, err := ReadDemandCSV(strings.NewReader(in))
		if err != nil {
			return
		}
		for vm := range 3 {
			if cpu, active := d.At(vm, monday); !(cpu >= 0 && cpu <= 100 && active >= 0 && active <= 100) {
				t.Errorf("vm %d: %v %v", vm, cpu, active)
			}
		}
	})
}

func BenchmarkDemand(b *testing.B) {
	d := NewDemand(1, nil)
	i := 0
	for b.Loop() {
		d.At(i%1000, monday.Add(time.Duration(i)*time.Minute))
		i++
	}
}
