package policy

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"heliostat/engine"
)

// Config says which policies are in force and how far each may go. Enforcement
// is configuration, never part of a policy's text.
type Config struct {
	// Dir holds the operator's bundle. It is laid over the shipped one, package by
	// package: a package that Dir has replaces the shipped package of that name,
	// tests included, and its params replace those of the same policy. Empty:
	// the shipped bundle alone.
	Dir string `yaml:"dir"`
	// Modes is how far each policy may go: off, shadow, advise, enforce. A
	// policy that is not named is advised. Naming one that does not exist is a fault.
	Modes map[string]engine.Mode `yaml:"modes"`
	// Weights is what a site score of 1 is worth, in EUR per vCPU and hour, by
	// policy. Default 0.01: about a tenth of what a vCPU-hour is sold for.
	Weights map[string]float64 `yaml:"weights"`
	// Params override single values of the bundle's params/data.json, by policy.
	Params map[string]map[string]any `yaml:"params"`
	// Deadline bounds one query: one rule for one cluster, move or plan. Default 2s.
	// It does not hold within a testing/synctest bubble (see the package comment).
	Deadline time.Duration `yaml:"deadline"`
}

// DefaultWeight is what a site score of 1 is worth unless configured, EUR per vCPU and hour.
const DefaultWeight = 0.01

// DefaultConfig advises everything that ships.
func DefaultConfig() Config { return Config{Deadline: 2 * time.Second} }

// Validate reports every setting that makes no sense by itself. That the
// policies named exist is checked by [Load].
func (c Config) Validate() error {
	var errs []error
	if c.Deadline <= 0 {
		errs = append(errs, fmt.Errorf("deadline: %v is not positive", c.Deadline))
	}
	for _, name := range slices.Sorted(maps.Keys(c.Weights)) {
		// The upper bound keeps products with vCPUs within 64 bits of micro-euros.
		if w := c.Weights[name]; math.IsNaN(w) || w < 0 || w > 1e6 {
			errs = append(errs, fmt.Errorf("weights.%s: %v is not between 0 and 1000000 EUR per vCPU-hour", name, w))
		}
	}
	return errors.Join(errs...)
}

func (c Config) mode(policy string) engine.Mode {
	if m, ok := c.Modes[policy]; ok {
		return m
	}
	return engine.Advise
}

func (c Config) weightMicro(policy string) int64 {
	w, ok := c.Weights[policy]
	if !ok {
		w = DefaultWeight
	}
	return int64(math.Round(w * 1e6))
}
