package lab

import (
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"github.com/vmware/govmomi/view"
	"github.com/vmware/govmomi/vim25/mo"
)

// day plays the demonstration's lab for hours: every five minutes the loads of
// all VMs and hosts are polled, and moves are made between all sites.
func day(t *testing.T, hours int) (w World, moves []WorldMove) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := build(t, DemoConfig(1))
		l.ServePipe(t.Context())
		defer l.Close()
		type polled struct {
			view  *view.ContainerView
			watch *watcher
		}
		var vcs []polled
		for i := range l.vcs {
			c := connect(t, l, i, mover)
			v, err := view.NewManager(c.Client).CreateContainerView(t.Context(), c.ServiceContent.RootFolder, []string{"VirtualMachine", "HostSystem"}, true)
			if err != nil {
				t.Fatal(err)
			}
			p := polled{v, watch(t, c, "VirtualMachine", "name", "runtime.host", "config.hardware.device")}
			p.watch.next(t, -1)
			vcs = append(vcs, p)
		}
		for k := range hours * 12 {
			time.Sleep(5 * time.Minute)
			for i, p := range vcs {
				p.watch.next(t, -1)
				var vms []mo.VirtualMachine
				if err := p.view.Retrieve(t.Context(), []string{"VirtualMachine"}, []string{"summary.quickStats.overallCpuUsage", "summary.quickStats.overallCpuDemand", "summary.quickStats.hostMemoryUsage", "summary.quickStats.guestMemoryUsage"}, &vms); err != nil {
					t.Fatal(err)
				}
				var hosts []mo.HostSystem
				if err := p.view.Retrieve(t.Context(), []string{"HostSystem"}, []string{"summary.quickStats"}, &hosts); err != nil {
					t.Fatal(err)
				}
				m := l.machines[(k*7+i*80)%l.guests]
				if m.vc == l.vcs[i] && m.on && m.move == nil && len(m.fixtures) == 0 {
					relocate(t, l, p.watch.c, m, l.across(m, (i+1)%3))
				}
			}
		}
		w, moves = l.World(), l.Moves()
	})
	return w, moves
}

// The same seed and the same calls give the same course of events.
func TestDayTwice(t *testing.T) {
	a, movesA := day(t, 2)
	b, movesB := day(t, 2)
	if !reflect.DeepEqual(movesA, movesB) || !reflect.DeepEqual(a, b) {
		t.Error("one seed, two courses")
	}
	done := 0
	for _, m := range movesA {
		if m.Done {
			done++
		}
	}
	if done < 20 {
		t.Errorf("%d of %d moves done", done, len(movesA))
	}
}
