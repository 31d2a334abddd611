package lab

import (
	"bytes"
	"reflect"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"
)

// The demonstration has to be worth watching, and possible.
func TestDemoConfig(t *testing.T) {
	l := build(t, DemoConfig(1))
	w := l.World()
	if len(w.Hosts) < 24 || l.Guests() < 240 {
		t.Errorf("%d hosts and %d VMs", len(w.Hosts), l.Guests())
	}
	macs, ids := map[string]bool{}, map[string]bool{}
	var mem, mhz, disk [3]int64
	for _, v := range w.VMs {
		if ids[v.UUID] {
			t.Errorf("instance UUID of %s used twice", v.Name)
		}
		ids[v.UUID] = true
		for _, m := range v.MACs {
			if macs[m] {
				t.Errorf("MAC %s used twice", m)
			}
			macs[m] = true
		}
		site := w.Hosts[v.Host].Site
		disk[site] += v.DiskMiB
		mem[site] += v.MiB
		mhz[site] += v.MHz
	}
	var room, speed, free [3]int64
	for _, h := range w.Hosts {
		room[h.Site] += h.MiB - hypervisorMiB
		speed[h.Site] += h.MHz
	}
	for _, s := range w.Datastores {
		for i := range w.Sites {
			if s.Holds[0] == w.Sites[i].Name {
				free[i] += s.FreeMiB
			}
		}
	}
	for gone := range 3 {
		a, b := (gone+1)%3, (gone+2)%3
		if need, have := mem[0]+mem[1]+mem[2], room[a]+room[b]; float64(need) > 0.75*float64(have) {
			t.Errorf("without site %d: %d MiB of memory needed, %d there", gone, need, have)
		}
		if free[a] < disk[gone] {
			t.Errorf("site %d has %d MiB free, site %d needs %d", a, free[a], gone, disk[gone])
		}
		t.Logf("%s: memory %d of %d GiB, CPU %d of %d GHz, disks %d, free %d GiB", w.Sites[gone].Name, mem[gone]>>10, room[gone]>>10, mhz[gone]/1000, speed[gone]/1000, disk[gone]>>10, free[gone]>>10)
	}
}

// The same seed gives the same lab, another seed another.
func TestDeterministic(t *testing.T) {
	start := time.Date(2026, 11, 2, 8, 0, 0, 0, time.UTC)
	world := func(seed uint64) World {
		cfg := DemoConfig(seed)
		cfg.Start = start
		w := build(t, cfg).World()
		w.Now = start
		return w
	}
	if a, b := world(3), world(3); !reflect.DeepEqual(a, b) {
		t.Error("one seed, two labs")
	}
	if a, b := world(3), world(4); reflect.DeepEqual(a.VMs, b.VMs) {
		t.Error("two seeds, one lab")
	}
}

// A configuration written as YAML is read back as it was.
func TestConfigYAML(t *testing.T) {
	cfg := DemoConfig(9)
	text, err := yaml.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	var got Config
	if err := yaml.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	again, err := yaml.Marshal(got)
	if err != nil || !bytes.Equal(text, again) || got.Links[0].RTT != 143*time.Millisecond || got.Validate() != nil {
		t.Errorf("read back, %v:\n%s", err, again)
	}
}

func BenchmarkNewDemo(b *testing.B) {
	for b.Loop() {
		build(b, DemoConfig(1))
	}
}
