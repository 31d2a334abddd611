package lab

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"
)

// A RecordedDemand was read from a table: see [ReadDemandCSV]. It keeps no other
// state, as a [SeededDemand] does not.
type RecordedDemand struct {
	start, last int64 // Unix seconds
	times       []int64
	cpu         [][]float64 // by sample, then VM
}

// recordedActive is the active memory of a VM whose record has CPU alone: 5
// percent, the median VM's (see [SeededDemand]), and 15 percent of its CPU on top.
const (
	recordedActive    = 5
	recordedActiveCPU = 0.15
)

// ReadDemandCSV reads demand from a CSV with one header line and one line a sample:
//
//	time,vm0,vm1,vm2
//	2013-07-01T00:00:00Z,1.5,0,40
//	2013-07-01T00:05:00Z,1.7,0,100
//
// The first column is named time and holds RFC 3339 times in ascending order; the
// names of the others are free, their order is the order of VMs; values are CPU
// demand in percent of all vCPUs, 0 to 100. There is nothing quoted, nothing
// empty and no comment. In between samples demand is that of the sample before.
// Before the first and after the last the record repeats, the last sample lasting
// as long as the one before it; VMs beyond the columns repeat them. An error names the line.
func ReadDemandCSV(r io.Reader) (*RecordedDemand, error) {
	in := csv.NewReader(r)
	in.ReuseRecord = true
	head, err := in.Read()
	if err != nil {
		return nil, fmt.Errorf("read demand: header: %w", err)
	}
	if len(head) < 2 || head[0] != "time" {
		return nil, errors.New(`read demand: line 1: the header must be "time" and at least one VM`)
	}
	d := &RecordedDemand{}
	for {
		row, err := in.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil { // names the line itself
			return nil, fmt.Errorf("read demand: %w", err)
		}
		line, _ := in.FieldPos(0)
		if err := d.add(row); err != nil {
			return nil, fmt.Errorf("read demand: line %d: %w", line, err)
		}
	}
	n := len(d.times)
	if n < 2 {
		return nil, fmt.Errorf("read demand: %d samples, at least 2 are needed", n)
	}
	d.start = d.times[0]
	d.last = 2*d.times[n-1] - d.times[n-2]
	return d, nil
}

func (d *RecordedDemand) add(row []string) error {
	t, err := time.Parse(time.RFC3339, row[0])
	if err != nil {
		return fmt.Errorf("column 1: %w", err)
	}
	s := t.Unix()
	if n := len(d.times); n > 0 && s <= d.times[n-1] {
		return fmt.Errorf("column 1: %s is not after the line before", row[0])
	}
	cpu := make([]float64, len(row)-1)
	for i, text := range row[1:] {
		v, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return fmt.Errorf("column %d: %w", i+2, err)
		}
		if !(v >= 0 && v <= 100) { // not a number fails too
			return fmt.Errorf("column %d: %s is not 0 to 100 percent", i+2, text)
		}
		cpu[i] = v
	}
	d.times = append(d.times, s)
	d.cpu = append(d.cpu, cpu)
	return nil
}

// At implements [Demand].
func (d *RecordedDemand) At(vm int, t time.Time) (cpuPct, activePct float64) {
	span := d.last - d.start
	s := t.Unix() - d.start
	s = d.start + s - floorDiv(s, span)*span
	lo, hi := 0, len(d.times) // the last sample not after s is in [lo, hi)
	for hi-lo > 1 {
		if m := (lo + hi) / 2; d.times[m] <= s {
			lo = m
		} else {
			hi = m
		}
	}
	cpu := d.cpu[lo][vm%len(d.cpu[lo])]
	return cpu, min(recordedActive+recordedActiveCPU*cpu, 100)
}
