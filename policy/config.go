package policy

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"net"
	"net/url"
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
	// URL is where the operator's bundle is fetched from, in place of Dir: a tar.gz
	// as Rego's own tools build it. https, or http at a loopback address. It needs
	// KeyFile.
	URL string `yaml:"url"`
	// TokenFile holds the bearer token that the URL's server wants. Empty: none.
	TokenFile string `yaml:"token_file"`
	// Poll is how often the URL is asked whether the bundle is another. Default 1m.
	Poll time.Duration `yaml:"poll"`
	// KeyFile holds the public key (PEM: RSA, ECDSA or Ed25519) that bundles must be
	// signed with. A bundle without a valid signature of all its files is refused.
	KeyFile string `yaml:"key_file"`
	// KeyID is the name of the key. What a bundle says of its key does not count.
	KeyID string `yaml:"key_id"`
	// Verify demands that Dir is signed as well (.signatures.json in it).
	Verify bool `yaml:"verify"`
	// Validation bounds what a changed bundle goes through before it serves.
	Validation Validation `yaml:"validate"`
	// Modes is how far each policy may go: off, shadow, advise, enforce. A
	// policy that is not named is advised. Naming one that does not exist is a fault.
	Modes map[string]engine.Mode `yaml:"modes"`
	// Weights is what a site score of 1 is worth, in EUR per vCPU and hour, by
	// policy. Default 0.01: about a tenth of what a vCPU-hour is sold for.
	Weights map[string]float64 `yaml:"weights"`
	// Params override single values of the bundle's params/data.json, by policy.
	Params map[string]map[string]any `yaml:"params"`
	// ShadowBundles are whole bundles that are asked in every cycle, journaled and
	// compared, and never acted on.
	ShadowBundles []ShadowBundle `yaml:"shadow_bundles"`
	// Deadline bounds one query: one rule for one cluster, move or plan. Default 2s.
	// It does not hold within a testing/synctest bubble (see the package comment).
	Deadline time.Duration `yaml:"deadline"`
}

// Validation bounds the check of a changed bundle, which runs in a process of its own.
type Validation struct {
	// MemoryMiB caps that process. Default 1536, which 15,000 hosts with 150,000 VMs
	// need (1,375 MiB were measured): with the daemon's own 2 GiB it stays
	// within what the unit grants.
	MemoryMiB int64 `yaml:"memory_mib"`
	// Time is when that process is killed. Default 1m.
	Time time.Duration `yaml:"time"`
	// ApproveAbove is the share of VMs, or of hosts, about which the policies may come
	// to say something else by an edit, 0 to 1. Where it is more, the edit waits for
	// a person. 1: none waits. Default 0.25.
	ApproveAbove float64 `yaml:"approve_above"`
}

// DefaultWeight is what a site score of 1 is worth unless configured, EUR per vCPU and hour.
const DefaultWeight = 0.01

// DefaultConfig advises everything that ships.
func DefaultConfig() Config {
	return Config{Deadline: 2 * time.Second, Poll: time.Minute, Validation: Validation{MemoryMiB: 1536, Time: time.Minute, ApproveAbove: 0.25}}
}

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
	return errors.Join(append(errs, c.validateSource(), c.validateShadows(), c.Validation.validate())...)
}

// leastMemoryMiB is what the check of the shipped policies takes, with room.
const leastMemoryMiB = 256

func (v Validation) validate() error {
	var errs []error
	if v.MemoryMiB < leastMemoryMiB || v.MemoryMiB > 1<<20 {
		errs = append(errs, fmt.Errorf("validate.memory_mib: %d is not between %d and %d", v.MemoryMiB, leastMemoryMiB, 1<<20))
	}
	if v.Time < time.Second {
		errs = append(errs, fmt.Errorf("validate.time: %v is less than a second", v.Time))
	}
	if math.IsNaN(v.ApproveAbove) || v.ApproveAbove < 0 || v.ApproveAbove > 1 {
		errs = append(errs, fmt.Errorf("validate.approve_above: %v is not between 0 and 1", v.ApproveAbove))
	}
	return errors.Join(errs...)
}

// validateSource reports what does not fit together of where policies come from.
func (c Config) validateSource() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.URL != "" {
		if c.Dir != "" {
			bad("url: excludes dir: a bundle comes from one place")
		}
		if err := checkURL(c.URL); err != nil {
			bad("url: %w", err)
		}
		if c.KeyFile == "" {
			bad("url: needs key_file and key_id: what comes over a network must be signed")
		}
		if c.Poll < time.Second {
			bad("poll: %v is less than a second", c.Poll)
		}
	}
	if c.TokenFile != "" && c.URL == "" {
		bad("token_file: is for url, which is not given")
	}
	if c.Verify && (c.Dir == "" || c.KeyFile == "") {
		bad("verify: needs dir and key_file")
	}
	if (c.KeyFile == "") != (c.KeyID == "") {
		bad("key_file: belongs together with key_id: give both, or none")
	}
	if c.KeyFile != "" && c.URL == "" && !c.Verify {
		bad("key_file: without url it is for verify: true, which is not given")
	}
	return errors.Join(errs...)
}

// checkURL refuses what would send policies, or a token, in the clear.
func checkURL(text string) error {
	u, err := url.Parse(text)
	if err != nil {
		return err
	}
	ip := net.ParseIP(u.Hostname())
	loopback := u.Hostname() == "localhost" || (ip != nil && ip.IsLoopback())
	switch {
	case u.Host == "":
		return fmt.Errorf("%q names no host", text)
	case u.Scheme == "https", u.Scheme == "http" && loopback:
		return nil
	case u.Scheme == "http":
		return fmt.Errorf("plain http at %q: use https (http is for loopback addresses alone)", u.Host)
	}
	return fmt.Errorf("%q is not https", u.Scheme)
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
