package main

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// A model is an instance of the challenge, as its files have it.
type model struct {
	transient []bool  // by resource
	loadPrice []int64 // by resource
	machines  []machine
	services  []service
	processes []process
	balances  []balance
	// Prices of what moves.
	processPrice, servicePrice, machinePrice int64
}

type machine struct {
	neighbourhood, location int32
	capacity, safety        []int64
	moveCost                []int32 // by machine
}

type service struct {
	spread  int32
	depends []int32
}

type process struct {
	service  int32
	need     []int64
	moveCost int64
}

type balance struct{ first, second, target, price int64 }

// numbers reads integers between spaces; after the first failure all are 0.
type numbers struct {
	in   *bufio.Reader
	path string
	n    int // read so far
	err  error
}

func (x *numbers) next() int64 {
	if x.err != nil {
		return 0
	}
	v, digits := int64(0), 0
	for {
		c, err := x.in.ReadByte()
		switch {
		case err == nil && '0' <= c && c <= '9':
			v = v*10 + int64(c-'0')
			if digits++; digits > 18 {
				x.err = fmt.Errorf("%s: number %d is too large", x.path, x.n+1)
				return 0
			}
		case digits > 0 && (err == nil || errors.Is(err, io.EOF)):
			x.n++
			return v
		case err != nil:
			x.err = fmt.Errorf("%s: after %d numbers: %w", x.path, x.n, err)
			return 0
		case c != ' ' && c != '\n' && c != '\r' && c != '\t':
			x.err = fmt.Errorf("%s: after %d numbers: %q is no digit", x.path, x.n, c)
			return 0
		}
	}
}

// list reads n numbers.
func (x *numbers) list(n int) []int64 {
	out := make([]int64, n)
	for i := range out {
		out[i] = x.next()
	}
	return out
}

// most is more things of a kind than any instance has: a length beyond it is a
// file of another format.
const most = 1_000_000

func (x *numbers) length() int {
	n := x.next()
	if n > most {
		x.err = errors.Join(x.err, fmt.Errorf("%s: number %d, a count, is %d", x.path, x.n, n))
		return 0
	}
	return int(n)
}

// open reads a file of that name, or of that name with .gz.
func open(path string, read func(*numbers) error) error {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		if f, err = os.Open(path + ".gz"); err != nil {
			return fmt.Errorf("open %s, or with .gz: %w", path, err)
		}
		defer func() { _ = f.Close() }()
		z, err := gzip.NewReader(f)
		if err != nil {
			return fmt.Errorf("read %s.gz: %w", path, err)
		}
		return read(&numbers{in: bufio.NewReaderSize(z, 1<<20), path: path + ".gz"})
	}
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	return read(&numbers{in: bufio.NewReaderSize(f, 1<<20), path: path})
}

// check refuses what names things that are not there.
func (m *model) check() error {
	resources, machines, services := len(m.transient), len(m.machines), len(m.services)
	for i, x := range m.services {
		for _, other := range x.depends {
			if int(other) >= services {
				return fmt.Errorf("service %d depends on service %d of %d", i, other, services)
			}
		}
	}
	for i, x := range m.processes {
		if int(x.service) >= services {
			return fmt.Errorf("process %d is of service %d of %d", i, x.service, services)
		}
	}
	for i, b := range m.balances {
		if b.first >= int64(resources) || b.second >= int64(resources) {
			return fmt.Errorf("balance %d is of resources %d and %d of %d", i, b.first, b.second, resources)
		}
	}
	if machines == 0 {
		return errors.New("there are no machines")
	}
	return nil
}

// load reads an instance and its initial assignment.
func load(dir, instance string) (*model, []int32, error) {
	var m *model
	var at []int32
	err := open(filepath.Join(dir, "model_"+instance+".txt"), func(x *numbers) (err error) {
		m = readModel(x)
		if x.err != nil {
			return x.err
		}
		return m.check()
	})
	if err != nil {
		return nil, nil, err
	}
	err = open(filepath.Join(dir, "assignment_"+instance+".txt"), func(x *numbers) error {
		at = readAssignment(x, len(m.processes))
		return x.err
	})
	if err != nil {
		return nil, nil, err
	}
	return m, at, nil
}

func readAssignment(x *numbers, processes int) []int32 {
	at := make([]int32, processes)
	for i := range at {
		at[i] = int32(x.next())
	}
	return at
}

func readModel(x *numbers) *model {
	m := &model{}
	for range x.length() {
		m.transient = append(m.transient, x.next() == 1)
		m.loadPrice = append(m.loadPrice, x.next())
	}
	resources := len(m.transient)
	m.machines = make([]machine, x.length())
	for i := range m.machines {
		y := machine{neighbourhood: int32(x.next()), location: int32(x.next())}
		y.capacity, y.safety = x.list(resources), x.list(resources)
		y.moveCost = make([]int32, len(m.machines))
		for j := range y.moveCost {
			y.moveCost[j] = int32(x.next())
		}
		m.machines[i] = y
	}
	m.services = make([]service, x.length())
	for i := range m.services {
		m.services[i].spread = int32(x.next())
		for range x.length() {
			m.services[i].depends = append(m.services[i].depends, int32(x.next()))
		}
	}
	m.processes = make([]process, x.length())
	for i := range m.processes {
		m.processes[i] = process{service: int32(x.next()), need: x.list(resources), moveCost: x.next()}
	}
	m.balances = make([]balance, x.length())
	for i := range m.balances {
		m.balances[i] = balance{x.next(), x.next(), x.next(), x.next()}
	}
	m.processPrice, m.servicePrice, m.machinePrice = x.next(), x.next(), x.next()
	return m
}
