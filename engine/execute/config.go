package execute

import (
	"errors"
	"fmt"
	"time"
)

// Config is how cautious the executor is. The zero value trusts plans of any age
// and looks at no VM after its move.
type Config struct {
	// MaxPlanAge is for how long a plan may be acted on: what has not been called
	// by then waits for the next. 0: for ever. Default 15m.
	MaxPlanAge time.Duration `yaml:"max_plan_age"`
	// Check has the server check each move before it is called. Default true.
	Check bool `yaml:"check"`
	// Health is how long after a move a VM is looked at again: whether it runs,
	// and is no worse off than before. 0: never. Default 1m.
	Health time.Duration `yaml:"health"`
}

// DefaultConfig takes a plan to be as good as its inventory, which may be a
// quarter of an hour old, and gives a guest's heartbeat time to come back: it is
// missed for up to half a minute after a move.
func DefaultConfig() Config {
	return Config{MaxPlanAge: 15 * time.Minute, Check: true, Health: time.Minute}
}

// Validate reports every setting that makes no sense.
func (c Config) Validate() error {
	var errs []error
	if c.MaxPlanAge != 0 && (c.MaxPlanAge < time.Minute || c.MaxPlanAge > 24*time.Hour) {
		errs = append(errs, fmt.Errorf("max_plan_age: %v is neither 0s nor between 1m and 24h", c.MaxPlanAge))
	}
	if c.Health != 0 && (c.Health < 10*time.Second || c.Health > time.Hour) {
		errs = append(errs, fmt.Errorf("health: %v is neither 0s nor between 10s and 1h", c.Health))
	}
	return errors.Join(errs...)
}

// Configure sets how cautious the executor is from now on.
func (e *Executor) Configure(c Config) { e.cfg = c }
