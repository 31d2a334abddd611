package main

import "fmt"

// judge prices an assignment by the rules of the challenge, from the model alone:
// it shares nothing with the core. It fails for an assignment that breaks one.
func (m *model) judge(initial, at []int32) (int64, error) {
	used, held, err := m.usage(initial, at)
	if err != nil {
		return 0, err
	}
	var cost int64
	for i, x := range m.machines {
		for r, capacity := range x.capacity {
			if held[i][r] > capacity {
				return 0, fmt.Errorf("machine %d: %d of resource %d are used, transient use included, and there are %d", i, held[i][r], r, capacity)
			}
			cost += m.loadPrice[r] * max(0, used[i][r]-x.safety[r])
		}
		for _, b := range m.balances {
			free := func(r int64) int64 { return x.capacity[r] - used[i][r] }
			cost += b.price * max(0, b.target*free(b.first)-free(b.second))
		}
	}
	if err := m.obeyed(at); err != nil {
		return 0, err
	}
	moved := make([]int64, len(m.services))
	var mostMoved int64
	for i, x := range m.processes {
		if initial[i] == at[i] {
			continue
		}
		cost += m.processPrice * x.moveCost
		cost += m.machinePrice * int64(m.machines[initial[i]].moveCost[at[i]])
		moved[x.service]++
		mostMoved = max(mostMoved, moved[x.service])
	}
	return cost + m.servicePrice*mostMoved, nil
}

// usage sums the needs on each machine, without and with those of what has left.
func (m *model) usage(initial, at []int32) (used, held [][]int64, err error) {
	used, held = make([][]int64, len(m.machines)), make([][]int64, len(m.machines))
	for i := range m.machines {
		used[i], held[i] = make([]int64, len(m.transient)), make([]int64, len(m.transient))
	}
	for i, x := range m.processes {
		if at[i] < 0 || int(at[i]) >= len(m.machines) {
			return nil, nil, fmt.Errorf("process %d: there is no machine %d", i, at[i])
		}
		for r, need := range x.need {
			used[at[i]][r] += need
			held[at[i]][r] += need
			if m.transient[r] && at[i] != initial[i] {
				held[initial[i]][r] += need
			}
		}
	}
	return used, held, nil
}

// obeyed checks conflicts, spread and dependencies.
func (m *model) obeyed(at []int32) error {
	type in struct{ service, place int32 }
	machines, locations, neighbourhoods := map[in]bool{}, map[in]bool{}, map[in]bool{}
	spread := make([]int32, len(m.services))
	for i, x := range m.processes {
		if machines[in{x.service, at[i]}] {
			return fmt.Errorf("machine %d: two processes of service %d", at[i], x.service)
		}
		machines[in{x.service, at[i]}] = true
		neighbourhoods[in{x.service, m.machines[at[i]].neighbourhood}] = true
		if place := (in{x.service, m.machines[at[i]].location}); !locations[place] {
			locations[place] = true
			spread[x.service]++
		}
	}
	for i, x := range m.services {
		if spread[i] < x.spread {
			return fmt.Errorf("service %d: in %d locations, and it must be in %d", i, spread[i], x.spread)
		}
	}
	for x := range neighbourhoods {
		for _, other := range m.services[x.service].depends {
			if !neighbourhoods[in{other, x.place}] {
				return fmt.Errorf("service %d: in neighbourhood %d without service %d, on which it depends", x.service, x.place, other)
			}
		}
	}
	return nil
}
