package lab

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// threatened observes the world that change makes and threatens Houston.
func threatened(t *testing.T, change func(*World)) *Observer {
	t.Helper()
	o := NewObserver()
	w := testWorld()
	change(&w)
	o.Observe(w)
	if err := o.Threaten("houston", noon.Add(2*time.Hour)); err != nil {
		t.Fatal(err)
	}
	return o
}

func TestMovable(t *testing.T) {
	all := []string{"u-app", "u-db", "u-log", "u-web"}
	web := func(f func(*WorldVM)) func(*World) { return func(w *World) { f(&w.VMs[0]) } }
	// only leaves web alone in Houston, and Frankfurt's first host as its only destination.
	only := func(f func(*World)) func(*World) {
		return func(w *World) {
			w.VMs, w.Hosts = w.VMs[:1], w.Hosts[:3]
			f(w)
		}
	}
	for _, c := range []struct {
		name    string
		change  func(*World)
		movable int
		why     string // of web, when it is not movable
	}{
		{"all", asIs, 4, ""},
		{"off", web(func(v *WorldVM) { v.On = false }), 3, ""},
		{"elsewhere", func(w *World) { w.arrive(0, fra0) }, 3, ""},
		{"never", web(func(v *WorldVM) { v.Tags = []string{"heliostat:never"} }), 3, "without a person"},
		{"advise", web(func(v *WorldVM) { v.Tags = []string{"heliostat:advise"} }), 3, "without a person"},
		{"auto", web(func(v *WorldVM) { v.Tags = []string{"heliostat:auto", "app:web"} }), 4, ""},
		{"device", web(func(v *WorldVM) { v.Fixtures = []string{"passthrough"} }), 3, "fixture passthrough"},
		{"snapshot", web(func(v *WorldVM) { v.Fixtures = []string{"disk_snapshot"} }), 3, "fixture disk_snapshot"},
		{"clone", web(func(v *WorldVM) { v.Fixtures = []string{"linked_clone"} }), 3, "disks have to move"},
		{"warning", web(func(v *WorldVM) { v.Fixtures = []string{"no_heartbeat", "app:web"} }), 4, ""},
		{"stays in the US", web(func(v *WorldVM) { v.Tags = []string{"residency:us"} }), 3, "region us"},
		{"may go to the EU", web(func(v *WorldVM) { v.Tags = []string{"residency:eu"} }), 4, ""},
		{"must rule", func(w *World) {
			w.Rules = []WorldRule{{Cluster: houston, Name: "licence", Kind: "on", Mandatory: true, VMs: []int{0}, Hosts: []int{0}}}
		}, 3, "licence does not travel"},
		{"should rule", func(w *World) {
			w.Rules = []WorldRule{{Cluster: houston, Name: "licence", Kind: "on", VMs: []int{0}, Hosts: []int{0}}}
		}, 4, ""},
		{"source without interface", func(w *World) { w.Hosts[hou1].VMotion = false }, 2, ""},
		{"segment nowhere", web(func(v *WorldVM) { v.Segments = []string{"red"} }), 3, "segment red"},
		{"segment at one host", func(w *World) { w.VMs[0].Segments = []string{"red"}; w.Hosts[fra1].Segments = []string{"red"} }, 4, ""},
		{"new CPU", web(func(v *WorldVM) { v.CPULevel = 6 }), 3, "CPU level 5"},
		{"too many vCPUs", web(func(v *WorldVM) { v.VCPUs = 33 }), 3, "no room"},
		{"dirties too fast", web(func(v *WorldVM) { v.DirtyMbps = 720 }), 3, "dirties"},
		{"dirties fast", web(func(v *WorldVM) { v.DirtyMbps = 719 }), 4, ""},

		{"no link", only(func(w *World) { w.Links = nil }), 0, "no link"},
		{"far", only(func(w *World) { w.Links[0].RTT = 150*time.Millisecond + 1 }), 0, "away"},
		{"just near enough", only(func(w *World) { w.Links[0].RTT = 150 * time.Millisecond }), 1, ""},
		{"thin", only(func(w *World) { w.Links[0].Mbps = 249 }), 0, "249 Mbit/s"},
		{"memory", only(func(w *World) { w.Hosts[fra0].MiB = 7999 }), 0, "no room"},
		{"reservation", only(func(w *World) { w.VMs[0].ReserveMiB = 100_001 }), 0, "no room"},
		{"CPU", only(func(w *World) { w.Hosts[fra0].MHz = 3999 }), 0, "no room"},
		{"just room", only(func(w *World) { w.Hosts[fra0].MiB, w.Hosts[fra0].MHz = 8000, 4000 }), 1, ""},
		{"failover reserve", only(func(w *World) { w.Clusters[frankfurt].Failover = 1 }), 0, "failover reserve"},
		{"disk and swap", only(func(w *World) { w.Datastores[frankfurt].FreeMiB = 55_999 }), 0, "56000 MiB"},
		{"just space", only(func(w *World) { w.Datastores[frankfurt].FreeMiB = 56_000 }), 1, ""},
		{"data that dies too", only(func(w *World) { w.Datastores[frankfurt].Holds = []string{"houston"} }), 0, "no datastore"},
		{"maintenance", only(func(w *World) { w.Hosts[fra0].Maintenance = true }), 0, "cannot take"},
		{"off host", only(func(w *World) { w.Hosts[fra0].On = false }), 0, "cannot take"},
		{"standby can be woken", only(func(w *World) { w.Hosts[fra0].On, w.Hosts[fra0].Standby = false, true }), 1, ""},
		{"stretched storage, clone", only(func(w *World) {
			w.Datastores[houston].Holds = []string{"houston", "frankfurt"}
			w.Hosts[fra0].Datastores = []int{houston}
			w.VMs[0].Fixtures = []string{"linked_clone"}
		}), 1, ""},
		{"other sites only", func(w *World) { w.Hosts = w.Hosts[:2] }, 0, "no host at another site"},

		{"collectively: memory for two", func(w *World) {
			w.Hosts = w.Hosts[:3]
			w.Hosts[fra0].MiB = 8000 + 9000
			w.VMs[0].MiB = 9000
		}, 2, ""},
		{"collectively: space for three", func(w *World) {
			w.Datastores[frankfurt].FreeMiB, w.Datastores[tokyo].FreeMiB = 2*56_000, 56_000
		}, 3, "no datastore"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := threatened(t, c.change)
			r := o.Evacuation("houston")
			if r.Movable != c.movable {
				t.Errorf("%d movable, not %d: %+v", r.Movable, c.movable, r.Unmovable)
			}
			held := o.WronglyHeld(all)
			if len(held) != c.movable {
				t.Errorf("wrongly held %v of all", held)
			}
			i := slices.IndexFunc(r.Unmovable, func(l Left) bool { return l.UUID == "u-web" })
			if (i < 0) != (c.why == "") || (i >= 0 && !strings.Contains(r.Unmovable[i].Reason, c.why)) {
				t.Errorf("web: %+v, want %q", r.Unmovable, c.why)
			}
		})
	}
}

func TestEvacuation(t *testing.T) {
	type step struct {
		minute int
		change func(*World)
	}
	out := func(hosts ...int) func(*World) { // VM i goes to hosts[i], or stays
		return func(w *World) {
			for i, h := range hosts {
				if h >= 0 {
					w.arrive(i, h)
				}
			}
		}
	}
	gone := func(f func(*World)) func(*World) { // Houston is struck
		return func(w *World) {
			f(w)
			w.Hosts[hou0].On, w.Hosts[hou1].On = false, false
		}
	}
	for _, c := range []struct {
		name                     string
		steps                    []step
		evacuated, working, left int
		reason                   string
	}{
		{"all in time", []step{{60, out(fra0, fra1, tok0, tok0)}, {120, out(fra0, fra1, tok0, tok0)}, {130, gone(out(fra0, fra1, tok0, tok0))}}, 4, 4, 0, ""},
		{"one too late", []step{{119, out(fra0, fra1, tok0)}, {121, out(fra0, fra1, tok0, tok0)}}, 3, 4, 1, "after the deadline"},
		{"at the deadline", []step{{119, out(fra0, fra1, tok0)}, {120, out(fra0, fra1, tok0, tok0)}, {121, out(fra0, fra1, tok0, tok0)}}, 4, 4, 0, ""},
		{"one stays", []step{{100, out(fra0, -1, tok0, tok0)}, {130, gone(out(fra0, -1, tok0, tok0))}}, 3, 3, 1, "at hou0"},
		{"disks stay", []step{{100, func(w *World) { out(fra0, fra1, tok0, tok0)(w); w.VMs[1].Datastores = []int{houston} }}}, 3, 3, 1, "lost with the site"},
		{"replicated disks", []step{{100, func(w *World) {
			out(fra0, fra1, tok0, tok0)(w)
			w.VMs[1].Datastores, w.Hosts[fra1].Datastores = []int{houston}, []int{houston, frankfurt}
			w.Datastores[houston].Holds = []string{"houston", "frankfurt"}
		}}}, 4, 4, 0, ""},
		{"still on the way", []step{{119, func(w *World) {
			out(fra0, fra1, tok0)(w)
			w.move(3, tok0)
		}}, {121, out(fra0, fra1, tok0, tok0)}}, 3, 4, 1, ""},
		{"out, then switched off", []step{{100, out(fra0, fra1, tok0, tok0)}, {130, func(w *World) { out(fra0, fra1, tok0, tok0)(w); w.VMs[0].On = false }}}, 4, 3, 0, ""},
		{"out, host down", []step{{100, out(fra0, fra1, tok0, tok0)}, {130, func(w *World) { out(fra0, fra1, tok0, tok0)(w); w.Hosts[tok0].Maintenance = true }}}, 4, 2, 0, ""},
		{"out, without its network", []step{{130, func(w *World) { out(fra0, fra1, tok0, tok0)(w); w.Hosts[fra0].Segments = nil }}}, 0, 3, 4, ""},
		{"lost", []step{{100, out(fra0, fra1, tok0, tok0)}, {110, func(w *World) { out(fra0, fra1, tok0, tok0)(w); w.VMs = w.VMs[1:] }}}, 3, 3, 1, "no vCenter"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := threatened(t, asIs)
			for _, s := range c.steps {
				w := testWorld()
				w.Now = noon.Add(time.Duration(s.minute) * time.Minute)
				s.change(&w)
				o.Observe(w)
			}
			r := o.Evacuation("houston")
			got := fmt.Sprint(r.Movable, r.EvacuatedByDeadline, r.WorkingAfter, r.LeftBehind)
			if want := fmt.Sprint(4, c.evacuated, c.working, c.left); got != want {
				t.Errorf("movable, evacuated, working, left: %s, not %s: %+v", got, want, r)
			}
			if len(r.Behind) != c.left || len(r.NotWorking) != 4-c.working {
				t.Errorf("%+v", r)
			}
			if c.reason != "" && (len(r.Behind) == 0 || !strings.Contains(r.Behind[0].Reason, c.reason)) {
				t.Errorf("left behind: %+v, want %q", r.Behind, c.reason)
			}
		})
	}
}

func TestEvacuationOfWhatTheHazardStruck(t *testing.T) {
	o := threatened(t, func(w *World) { w.VMs[0].Fixtures = []string{"usb"} })
	step := func(minute int, dead bool) {
		w := testWorld()
		w.Now = noon.Add(time.Duration(minute) * time.Minute)
		w.arrive(1, fra0)
		w.arrive(2, fra0)
		w.arrive(3, fra1)
		w.Hosts[hou0].On = !dead
		o.Observe(w)
	}
	step(90, false)
	step(121, true)
	if v := o.Violations(); len(v) != 0 {
		t.Errorf("what stood there is the hazard's doing: %v", v)
	}
	r := o.Evacuation("houston")
	if r.Movable != 3 || r.EvacuatedByDeadline != 3 || r.LeftBehind != 0 || r.Beyond != 0 || len(r.Unmovable) != 1 {
		t.Errorf("%+v", r)
	}
	if wrong := o.WronglyHeld([]string{"u-web", "u-log", "u-log", "nobody"}); !slices.Equal(wrong, []string{"u-log"}) {
		t.Errorf("wrongly held: %v", wrong)
	}
	if err := o.Threaten("atlantis", noon); err == nil {
		t.Error("a site that is not there was threatened")
	}
	if r := o.Evacuation("tokyo"); r.Movable != 0 || !r.Deadline.IsZero() {
		t.Errorf("nobody threatened Tokyo: %+v", r)
	}
}
