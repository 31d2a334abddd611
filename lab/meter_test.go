package lab

import (
	"math"
	"testing"
	"time"
)

func TestMeter(t *testing.T) {
	m := NewMeter()
	step := func(hour float64, change func(*World)) Reading {
		w := testWorld()
		w.Now = noon.Add(time.Duration(hour * float64(time.Hour)))
		change(&w)
		m.Observe(w)
		return m.Reading()
	}
	is := func(what string, got, want float64) {
		t.Helper()
		if math.Abs(got-want) > 1e-9 {
			t.Errorf("%s: %v, not %v", what, got, want)
		}
	}
	// Two VMs of 4000 MHz on a host of 40,000: a fifth of the way from 100 to 300 W.
	busy := 2*140.0 + 4*100

	step(0, asIs)
	r := step(1, asIs)
	is("hours", r.Hours, 1)
	is("kWh", r.KWh, 0.6*1.5)
	is("kWh without", r.KWhWithout, busy/1000*1.5)
	is("EUR", r.EUR, 0.6*1.5*0.2)
	is("CO2", r.GramCO2, 0.6*1.5*400)

	// VMs gather in Frankfurt, and four hosts sleep at 5 W: what would have been is unchanged.
	asleep := func(w *World) {
		for i := range w.VMs {
			w.arrive(i, fra0)
		}
		for i := range w.Hosts {
			if w.Hosts[i].Site != frankfurt {
				w.Hosts[i].On, w.Hosts[i].Standby, w.Hosts[i].Watts = false, true, 5
			}
		}
		w.Hosts[fra0].Watts = 180
		w.Sites[frankfurt].EURPerKWh = 0.1
	}
	before := step(1, asleep)
	is("no time, no energy", before.KWh, r.KWh)
	r = step(2, asleep)
	is("kWh", r.KWh-before.KWh, (4*5+180+100)/1000.0*1.5)
	is("kWh without", r.KWhWithout-before.KWhWithout, busy/1000*1.5)
	is("kWh without, Frankfurt", r.Sites[frankfurt].KWhWithout, 2*0.2*1.5)
	is("EUR", r.EUR-before.EUR, 1.5*(0.02*0.2+0.28*0.1))
	is("EUR without", r.EURWithout-before.EURWithout, 1.5*(0.28*0.2+0.2*0.1+0.2*0.2))

	// Demand follows the VM, wherever it is; off is off.
	rest := func(w *World) { asleep(w); w.VMs[0].MHz, w.VMs[1].On = 80_000, false }
	before = step(2, rest)
	r = step(3, rest)
	is("kWh without, hou0 overloaded", r.KWhWithout-before.KWhWithout, (300+140+4*100)/1000.0*1.5)

	sum := 0.0
	for _, s := range r.Sites {
		sum += s.KWh
	}
	is("sum of sites", sum, r.KWh)
}

func TestMeterCountsCopies(t *testing.T) {
	m := NewMeter()
	step := func(minute int, mib float64, wan bool) Reading {
		w := testWorld()
		w.Now = noon.Add(time.Duration(minute) * time.Minute)
		for i := range w.Hosts {
			w.Hosts[i].Watts = 0
		}
		if mib >= 0 {
			k := w.move(0, fra0)
			k.Started, k.MemMiB, k.DiskMiB, k.WAN = noon, mib, 3*mib, wan
		}
		m.Observe(w)
		return m.Reading()
	}
	step(0, 0, true)
	step(1, 1024, true)
	step(2, 2048, true)
	r := step(3, 2048, true) // listed once more
	const want = 8 * (0.512*1073.74/3600 + 0.06e3/32*1.07374) / 1000
	if math.Abs(r.KWhCopies-want) > 4e-9 || math.Abs(r.KWh-want) > 4e-9 || r.KWhWithout == 0 {
		t.Errorf("%v kWh for copies of %v in all, not %v", r.KWhCopies, r.KWh, want)
	}
	if r.Sites[houston].KWh != r.Sites[frankfurt].KWh || r.Sites[tokyo].KWh != 0 {
		t.Errorf("half at each end: %+v", r.Sites)
	}
	step(4, -1, true)
	if again := step(5, 1024, false); again.KWhCopies <= r.KWhCopies || again.KWhCopies-r.KWhCopies > want/8 {
		t.Errorf("another copy within a network: %v after %v", again.KWhCopies, r.KWhCopies)
	}
}

// What happens in one moment adds up to the same in whichever order it is looked at.
func TestBillionthsHaveNoOrder(t *testing.T) {
	var up, down billionths
	for i := 1; i <= 1000; i++ {
		up.add(1 / float64(i))
		down.add(1 / float64(1001-i))
	}
	if up != down || math.Abs(up.float()-7.485470860550345) > 1e-6 {
		t.Errorf("%v and %v", up, down)
	}
}
