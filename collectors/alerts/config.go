package alerts

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"heliostat/engine"
)

// Config says who may deliver alerts and what they mean.
type Config struct {
	// TokenFile holds the bearer token that senders must present; it is read at
	// each delivery, so that a changed token is taken up. Without it no alert is taken in.
	TokenFile string `yaml:"token_file"`
	// TTL is how long a firing alert counts after its last delivery; then it is
	// stale, never resolved. It should exceed the sender's repeat interval
	// (Alertmanager: 4h). Default 6h.
	TTL time.Duration `yaml:"ttl"`
	// MaxBytes bounds one delivery. Default 1048576.
	MaxBytes int64 `yaml:"max_bytes"`
	// Rules give alerts their meaning; the first that matches counts. An alert
	// that none matches is kept, and has neither kind nor site.
	Rules []Rule `yaml:"rules"`
}

// A Rule says what the alerts that it matches mean.
type Rule struct {
	// Match is globs on labels, by label; all must match.
	Match map[string]string `yaml:"match"`
	// Kind is what policies go by, such as cooling or power.
	Kind string `yaml:"kind"`
	// Site is the site of every alert. Excludes site_label.
	Site engine.SiteID `yaml:"site"`
	// SiteLabel is the label that names the site.
	SiteLabel string `yaml:"site_label"`
	// Sites translate values of site_label; one that is not listed is the site's ID itself.
	Sites map[string]engine.SiteID `yaml:"sites"`
	// SeverityLabel is the label with the severity. Default severity.
	SeverityLabel string `yaml:"severity_label"`
	// DeadlineLabel and DeadlineAnnotation hold the moment by which the site must
	// be empty: RFC 3339, or a duration after the alert's start, such as 4h.
	// They exclude one another.
	DeadlineLabel      string `yaml:"deadline_label"`
	DeadlineAnnotation string `yaml:"deadline_annotation"`
	// DeadlineAfter is the deadline, after the alert's start, where the label or
	// annotation is absent or unreadable. Default none.
	DeadlineAfter time.Duration `yaml:"deadline_after"`
}

// SetDefaults fills in what a file may leave out.
func (r *Rule) SetDefaults() { r.SeverityLabel = "severity" }

// DefaultConfig takes in no alerts.
func DefaultConfig() Config { return Config{TTL: 6 * time.Hour, MaxBytes: 1 << 20} }

// Validate reports every setting that makes no sense. That sites exist is for
// the caller to check, with [Config.SiteIDs].
func (c *Config) Validate() error {
	var errs []error
	bad := func(at, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: %s", at, fmt.Sprintf(format, args...)))
	}
	if c.TTL <= 0 {
		bad("ttl", "%v is not positive", c.TTL)
	}
	if c.MaxBytes < 1024 || c.MaxBytes > 64<<20 {
		bad("max_bytes", "%d is not between 1024 and %d", c.MaxBytes, 64<<20)
	}
	for i := range c.Rules {
		r, at := &c.Rules[i], fmt.Sprintf("rules[%d]", i)
		if len(r.Match) == 0 {
			bad(at+".match", "is missing: a rule for every alert must say so, such as alertname: \"*\"")
		}
		for label, glob := range r.Match {
			if _, err := path.Match(glob, ""); err != nil {
				bad(at+".match."+label, "%q is not a pattern", glob)
			}
		}
		if r.Kind == "" {
			bad(at+".kind", "is missing")
		}
		if r.Site != "" && r.SiteLabel != "" {
			bad(at+".site_label", "excludes site")
		}
		if r.DeadlineLabel != "" && r.DeadlineAnnotation != "" {
			bad(at+".deadline_annotation", "excludes deadline_label")
		}
		if r.DeadlineAfter < 0 {
			bad(at+".deadline_after", "%v is negative", r.DeadlineAfter)
		}
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(errs...)
}

// SiteIDs yields each site that a rule names, with its path.
func (c *Config) SiteIDs(yield func(path string, id engine.SiteID) bool) {
	for i := range c.Rules {
		r, at := &c.Rules[i], fmt.Sprintf("rules[%d]", i)
		if r.Site != "" && !yield(at+".site", r.Site) {
			return
		}
		for label, id := range r.Sites {
			if !yield(at+".sites."+label, id) {
				return
			}
		}
	}
}

// rule finds the first rule that matches.
func (c *Config) rule(labels map[string]string) (*Rule, bool) {
	for i := range c.Rules {
		r := &c.Rules[i]
		fits := true
		for label, glob := range r.Match {
			v, has := labels[label]
			ok, _ := path.Match(glob, v) // Validate has refused bad patterns
			fits = fits && has && (ok || glob == v)
		}
		if fits {
			return r, true
		}
	}
	return nil, false
}

// deadline reads the alert's deadline. ok is false when it has one that cannot be read.
func (r *Rule) deadline(labels, annotations map[string]string, start time.Time) (at engine.Unix, ok bool) {
	text := labels[r.DeadlineLabel]
	if r.DeadlineAnnotation != "" {
		text = annotations[r.DeadlineAnnotation]
	}
	if text = strings.TrimSpace(text); text != "" {
		if t, err := time.Parse(time.RFC3339, text); err == nil {
			return engine.At(t), true
		}
		if d, err := time.ParseDuration(text); err == nil && d > 0 {
			return engine.At(start.Add(d)), true
		}
	}
	if r.DeadlineAfter > 0 {
		at = engine.At(start.Add(r.DeadlineAfter))
	}
	return at, text == ""
}
