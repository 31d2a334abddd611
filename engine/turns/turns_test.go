package turns

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"heliostat/engine"
)

// TestTurns holds the queues against looking at every action at every moment: the
// lowest rank that is ready and fits starts, until none does.
func TestTurns(t *testing.T) {
	const counters, capacity = 10, 3
	for seed := range uint64(300) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			n := 1 + r.IntN(40)
			costs := make([][counters]int32, n) // by action and counter
			for i := range costs {
				for range 1 + r.IntN(4) {
					costs[i][r.IntN(counters)] = int32(r.IntN(capacity + 1))
				}
			}
			x := NewTable(engine.NewSlots(engine.Limits{}, &engine.Snapshot{Hosts: make([]engine.Host, counters/2)}), n, func(i int, f func(counter, cost, capacity int32)) {
				for k, cost := range costs[i] {
					if cost > 0 {
						f(int32(k), cost, capacity)
					}
				}
			}).Turns()

			var used [counters]int32
			add := func(i, sign int32) {
				for k, cost := range costs[i] {
					used[k] += sign * cost
				}
			}
			fits := func(i int32) bool {
				for k, cost := range costs[i] {
					if cost > 0 && used[k]+cost > capacity {
						return false
					}
				}
				return true
			}
			var waiting, running, started []int32 // waiting is by rank
			dumb := func() (out []int32) {
				for k := slices.IndexFunc(waiting, fits); k >= 0; k = slices.IndexFunc(waiting, fits) {
					i := waiting[k]
					add(i, 1)
					waiting, out = slices.Delete(waiting, k, k+1), append(out, i)
				}
				return out
			}
			begin := func(i int32) {
				x.Take(i)
				started = append(started, i)
			}
			ranks := r.Perm(n)
			ready := func(i int32) {
				x.Ready(i, int32(ranks[i]))
				k, _ := slices.BinarySearchFunc(waiting, ranks[i], func(j int32, rank int) int { return ranks[j] - rank })
				waiting = slices.Insert(waiting, k, i)
			}
			later := r.IntN(n + 1) // actions from here on become ready when others end
			for i := range later {
				ready(int32(i))
			}
			for x.Start(begin); ; {
				if want := dumb(); !slices.Equal(started, want) {
					t.Fatalf("started %v, want %v", started, want)
				}
				running, started = append(running, started...), nil
				if len(running) == 0 {
					break
				}
				k := r.IntN(len(running))
				i := running[k]
				running = slices.Delete(running, k, k+1)
				add(i, -1)
				if later < n && r.IntN(2) == 0 {
					ready(int32(later))
					later++
				}
				x.End(i, begin)
			}
			for i := range int32(n) {
				x.Waiting(i, func(j int32) { t.Errorf("%d still waits", j) })
			}
		})
	}
}
