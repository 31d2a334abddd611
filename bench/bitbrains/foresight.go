package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
)

// A limit is what comes of the number of hosts alone, by the plainest rule: VMs are of
// any size and are spread over the hosts that are on without moves, which change their
// state at once. It shows what knowledge of the load to come is worth.
type limit struct {
	ForesightS int     `json:"foresight_s"`
	RoomHosts  float64 `json:"room_hosts"` // kept on beside what the load fills
	HoldS      int     `json:"hold_s"`     // for so long a host that is not needed stays on
	SharePct   float64 `json:"share_of_saving"`
	Switches   float64 `json:"switches_per_host_day"`
	OverPct    float64 `json:"overloaded_percent"` // at least: one host whenever all that are on have too little
}

// holdSteps is for how many samples a host that is not needed stays on.
const holdSteps = 36

// limits prints what could be had with different foresight and room.
func limits(w *world, cpuMax, reserve int32, days float64, asJSON bool, out io.Writer) error {
	for _, x := range []struct {
		look int
		room float64
	}{{0, 2}, {0, 3}, {0, 3.5}, {0, 4}, {0, 5}, {1, 2}, {12, 1}, {12, 2}} {
		l := w.limit(x.look, x.room, cpuMax, reserve, days)
		if asJSON {
			if err := json.NewEncoder(out).Encode(l); err != nil {
				return err
			}
		} else if _, err := fmt.Fprintf(out, "foresight %4d s, room for %.1f hosts: %.1f %% of the possible saving, %.2f switches a host and day, at least %.4f %% of host time overloaded\n",
			l.ForesightS, l.RoomHosts, l.SharePct, l.Switches, l.OverPct); err != nil {
			return err
		}
	}
	return nil
}

// limit keeps as many hosts on as the highest load of so many samples to come fills,
// and room beside.
func (w *world) limit(look int, room float64, cpuMax, reserve int32, days float64) limit {
	last, all := perDay+int(days*perDay), len(w.sim.Snapshot.Hosts)
	load := make([]int64, last+look)
	var mem int64
	for v := range w.cpu {
		mem += int64(w.mem[v])
		for k := range load {
			load[k] += int64(w.cpu[v][min(k, len(w.cpu[v])-1)])
		}
	}
	byMemory := int((mem+mib*9/10-ownMiB-1)/(mib*9/10-ownMiB)) + int(reserve)
	on, switches, short, hours, needed := all, 0, 0, 0, 0
	wants := make([]int, last)
	for k := range last {
		if k >= perDay {
			hours += on
			fill := int64(mhz)*int64(cpuMax)/100 - ownMHz
			needed += min(max(int((load[k]+fill-1)/fill)+int(reserve), byMemory), all)
			if load[k] > int64(on)*(mhz-ownMHz) {
				short++
			}
		}
		high := load[k]
		for j := range look {
			high = max(high, load[k+1+j])
		}
		wants[k] = min(max(int(math.Ceil(float64(high)/(mhz-ownMHz)+room)), byMemory), all)
		want := wants[k]
		for _, n := range wants[max(0, k-holdSteps):k] {
			want = max(want, min(n, on))
		}
		switches += max(want-on, on-want)
		on = want
	}
	steps := float64(last - perDay)
	return limit{
		ForesightS: look * step, RoomHosts: room, HoldS: holdSteps * step, SharePct: 100 * (steps*float64(all) - float64(hours)) / (steps*float64(all) - float64(needed)),
		Switches: float64(switches) / float64(all) / days, OverPct: 100 * float64(short) / float64(hours),
	}
}
