package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"heliostat/engine/search"
)

// An instance is a published data set, as its file has it.
type instance struct {
	Computers []computer `json:"computerList"`
	Processes []process  `json:"processList"`
}

type computer struct {
	CPU       int64 `json:"cpuPower"`
	Memory    int64 `json:"memory"`
	Bandwidth int64 `json:"networkBandwidth"`
	Cost      int64 `json:"cost"`
}

type process struct {
	CPU       int64 `json:"requiredCpuPower"`
	Memory    int64 `json:"requiredMemory"`
	Bandwidth int64 `json:"requiredNetworkBandwidth"`
}

func (c computer) capacity() []int64 { return []int64{c.CPU, c.Memory, c.Bandwidth} }
func (p process) need() []int64      { return []int64{p.CPU, p.Memory, p.Bandwidth} }

// load reads an instance. Its name may be the number of computers alone.
func load(dir, name string) (*instance, string, error) {
	path := filepath.Join(dir, name+".json")
	found, err := filepath.Glob(filepath.Join(dir, name+"computers-*.json"))
	if err != nil {
		return nil, "", fmt.Errorf("instance %q: %w", name, err)
	}
	if len(found) == 1 {
		path = found[0]
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, "", err
	}
	var in instance
	if err := json.Unmarshal(b, &in); err != nil {
		return nil, "", fmt.Errorf("read %s: %w", path, err)
	}
	if len(in.Computers) == 0 || len(in.Processes) == 0 {
		return nil, "", fmt.Errorf("read %s: there are no computers or no processes in it", path)
	}
	return &in, strings.TrimSuffix(filepath.Base(path), ".json"), nil
}

// problem says an instance in the terms of the core: a computer in use costs what it
// costs, and nothing else does.
func (in *instance) problem() *search.Problem {
	p := &search.Problem{Transient: make([]bool, 3)}
	for _, c := range in.Computers {
		p.Containers = append(p.Containers, search.Container{Capacity: c.capacity(), Fixed: c.Cost})
	}
	for _, x := range in.Processes {
		p.Objects = append(p.Objects, search.Object{Need: x.need(), Home: search.Nowhere})
	}
	return p
}

// firstFit is the published construction heuristic: each process in turn goes where
// it adds the least overload, then the least cost; the first such computer.
func (in *instance) firstFit() []int32 {
	at := make([]int32, len(in.Processes))
	free, used := make([][]int64, len(in.Computers)), make([]bool, len(in.Computers))
	for c, x := range in.Computers {
		free[c] = x.capacity()
	}
	for i, x := range in.Processes {
		need := x.need()
		best, overload, cost := 0, int64(-1), int64(0)
		for c := range in.Computers {
			over, price := int64(0), in.Computers[c].Cost
			for r, n := range need {
				over += max(0, n-max(0, free[c][r]))
			}
			if used[c] {
				price = 0
			}
			if overload < 0 || over < overload || over == overload && price < cost {
				best, overload, cost = c, over, price
			}
		}
		at[i], used[best] = int32(best), true
		for r, n := range need {
			free[best][r] -= n
		}
	}
	return at
}

var errOverload = errors.New("a computer is overloaded")

// judge prices an assignment from the instance alone, apart from the core. It fails
// where a computer is overloaded.
func (in *instance) judge(at []int32) (int64, error) {
	free, used := make([][3]int64, len(in.Computers)), make([]bool, len(in.Computers))
	for i, x := range in.Processes {
		c := at[i]
		used[c] = true
		free[c][0] -= x.CPU
		free[c][1] -= x.Memory
		free[c][2] -= x.Bandwidth
	}
	var cost int64
	for i, c := range in.Computers {
		if free[i][0]+c.CPU < 0 || free[i][1]+c.Memory < 0 || free[i][2]+c.Bandwidth < 0 {
			return 0, fmt.Errorf("computer %d: %w", i, errOverload)
		}
		if used[i] {
			cost += c.Cost
		}
	}
	return cost, nil
}
