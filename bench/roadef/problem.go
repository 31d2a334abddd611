package main

import "heliostat/engine/search"

// The partitions that rules are over.
const (
	byLocation int32 = iota
	byNeighbourhood
)

// problem says an instance in the terms of the core.
func (m *model) problem(initial []int32) *search.Problem {
	p := &search.Problem{Transient: m.transient, Unrest: m.servicePrice}
	resources := len(m.transient)
	for r := range resources {
		form := make(search.Measure, resources)
		form[r] = 1
		p.Measures = append(p.Measures, form)
	}
	for _, b := range m.balances {
		form := make(search.Measure, resources)
		form[b.first] -= b.target
		form[b.second]++
		p.Measures = append(p.Measures, form)
	}
	locations, neighbourhoods := make([]int32, len(m.machines)), make([]int32, len(m.machines))
	for i, x := range m.machines {
		locations[i], neighbourhoods[i] = x.location, x.neighbourhood
		c := search.Container{Capacity: x.capacity, Place: int32(i)}
		c.Knee = append(c.Knee, x.safety...)
		c.Weight = append(c.Weight, m.loadPrice...)
		for _, b := range m.balances {
			c.Knee = append(c.Knee, x.capacity[b.second]-b.target*x.capacity[b.first])
			c.Weight = append(c.Weight, b.price)
		}
		p.Containers = append(p.Containers, c)
		p.Distance = append(p.Distance, x.moveCost)
	}
	p.Partitions = [][]int32{locations, neighbourhoods}
	p.Groups = make([][]int32, len(m.services))
	for i, x := range m.processes {
		p.Groups[x.service] = append(p.Groups[x.service], int32(i))
		p.Objects = append(p.Objects, search.Object{
			Need: x.need, Home: initial[i],
			Move: x.moveCost * m.processPrice, Haul: m.machinePrice,
		})
	}
	for i, x := range m.services {
		g := int32(i)
		p.Rules = append(p.Rules, search.Rule{Kind: search.AtMost, Group: g, Over: search.Each, Count: 1})
		if x.spread > 1 {
			p.Rules = append(p.Rules, search.Rule{Kind: search.Spread, Group: g, Over: byLocation, Count: x.spread})
		}
		for _, other := range x.depends {
			p.Rules = append(p.Rules, search.Rule{Kind: search.Near, Group: g, Over: byNeighbourhood, With: other})
		}
	}
	return p
}
