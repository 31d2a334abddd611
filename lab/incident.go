package lab

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"heliostat/internal/strict"
)

// An Incident is something that goes wrong in the lab. All times are the lab's.
// Zero values mean: at once, everywhere, of anything, always.
type Incident struct {
	// At is when it begins, counted from when it is given.
	At time.Duration `yaml:"at"`
	// VCenter is where, by name; "" for each.
	VCenter string `yaml:"vcenter"`
	// Kind is one of [IncidentKinds].
	Kind string `yaml:"kind"`
	// Target is what it hits. Of calls the method, where * stands for any letters;
	// of tasks a VM or a host; of an account its name; of the inventory a VM, host or cluster.
	Target string `yaml:"target"`
	// For is how long it lasts. Without it, what hits calls or tasks hits the first
	// that matches (or, with P, each until it is ended), and what lasts does so until it is ended.
	For time.Duration `yaml:"for"`
	// P is the probability with which a call or task that matches is hit; 0 is 1.
	P float64 `yaml:"p"`
	// Every makes it happen again and again, at random, so far apart on average.
	Every time.Duration `yaml:"every"`
	// By is how late something is, or how far a clock is ahead (negative: behind).
	By time.Duration `yaml:"by"`
	// Percent is where a task fails, hangs or vanishes, or how much of the VMs is not listed.
	Percent int `yaml:"percent"`
	// To is the host that a VM is moved to.
	To string `yaml:"to"`
}

// A class is what an incident is about.
type class uint8

const (
	ofCalls class = iota
	ofTasks
	lasting
	momentary
)

// A kindRule says what an incident of a kind may hold beside when and where.
type kindRule struct {
	name             string
	class            class
	by, percent, to  bool
	bounded, foreign bool // needs an end; takes no target
}

var kindRules = []kindRule{
	{name: "refused", class: ofCalls},
	{name: "lost", class: ofCalls},
	{name: "lost_reply", class: ofCalls},
	{name: "late", class: ofCalls, by: true},
	{name: "late_reply", class: ofCalls, by: true},
	{name: "doubled", class: ofCalls},
	{name: "truncated", class: ofCalls},
	{name: "html", class: ofCalls},
	{name: "task_fails", class: ofTasks, percent: true},
	{name: "task_hangs", class: ofTasks, percent: true},
	{name: "task_vanishes", class: ofTasks, percent: true},
	{name: "session_killed", class: momentary},
	{name: "permission_lost", class: lasting},
	{name: "vcenter_restarts", class: lasting, bounded: true, foreign: true},
	{name: "clock_skew", class: lasting, by: true, foreign: true},
	{name: "inventory_shrinks", class: lasting, percent: true},
	{name: "foreign_move", class: momentary, to: true},
	{name: "drs", class: lasting},
}

// IncidentKinds are the kinds of incidents, for messages.
func IncidentKinds() string {
	names := make([]string, len(kindRules))
	for i := range kindRules {
		names[i] = kindRules[i].name
	}
	return strings.Join(names, ", ")
}

func ruleOf(kind string) *kindRule {
	for i := range kindRules {
		if kindRules[i].name == kind {
			return &kindRules[i]
		}
	}
	return nil
}

// A problem is what is wrong with a field of an incident.
type problem struct{ field, what string }

// problems are what is wrong with an incident in this lab.
func (l *Lab) problems(in *Incident) (out []problem) {
	bad := func(field, format string, args ...any) {
		out = append(out, problem{field, fmt.Sprintf(format, args...)})
	}
	rule := ruleOf(in.Kind)
	if rule == nil {
		bad("kind", "%q is none of %s", in.Kind, IncidentKinds())
		return out
	}
	if in.VCenter != "" && l.vcenterNamed(in.VCenter) == nil {
		bad("vcenter", "the lab has no vCenter %q; it has %s", in.VCenter, strings.Join(l.vcenterNames(), ", "))
	}
	for field, d := range map[string]time.Duration{"at": in.At, "for": in.For, "every": in.Every} {
		if d < 0 {
			bad(field, "%v is in the past", d)
		}
	}
	hits := rule.class == ofCalls || rule.class == ofTasks
	if !(in.P >= 0 && in.P <= 1) || (in.P != 0 && !hits) {
		bad("p", "must be between 0 and 1, of calls and tasks; other kinds take every")
	}
	if in.Every != 0 && hits {
		bad("every", "%s takes p, the share of calls or tasks that it hits", in.Kind)
	}
	if in.For != 0 && rule.class == momentary {
		bad("for", "%s happens in a moment", in.Kind)
	}
	if in.For == 0 && rule.bounded || in.Every != 0 && in.For == 0 && rule.class == lasting {
		bad("for", "%s needs to say how long it lasts", in.Kind)
	}
	if rule.by != (in.By != 0) || (in.By < 0 && in.Kind != "clock_skew") {
		bad("by", "is how late or how far ahead: late, late_reply and clock_skew need it, others take none")
	}
	if in.Percent < 0 || in.Percent > 99 || (in.Percent != 0 && !rule.percent) {
		bad("percent", "is 0 to 99, of task_fails, task_hangs, task_vanishes and inventory_shrinks")
	}
	if in.To != "" && (!rule.to || l.findHost(in.To) == nil) {
		bad("to", "is a host of the lab, of foreign_move; there is no host %q", in.To)
	}
	if what := l.targetProblem(in, rule); what != "" {
		bad("target", "%s", what)
	}
	slices.SortFunc(out, func(a, b problem) int { return strings.Compare(a.field, b.field) })
	return out
}

// targetProblem is what is wrong with an incident's target, "" for nothing.
func (l *Lab) targetProblem(in *Incident, rule *kindRule) string {
	t := in.Target
	switch {
	case rule.foreign && t != "":
		return in.Kind + " takes no target"
	case rule.class == ofCalls:
		if _, err := path.Match(t, ""); err != nil {
			return fmt.Sprintf("%q is no pattern for methods such as *_Task", t)
		}
	case in.Kind == "inventory_shrinks" && (t == "") == (in.Percent == 0):
		return "inventory_shrinks needs a VM, host or cluster, or else a percent of the VMs"
	case t == "":
	case rule.class == ofTasks && l.findVM(t) == nil && l.findHost(t) == nil:
		return fmt.Sprintf("the lab has no VM and no host %q", t)
	case in.Kind == "foreign_move" && l.findVM(t) == nil:
		return fmt.Sprintf("the lab has no VM %q", t)
	case in.Kind == "drs" && l.clusterNamed(t) == nil:
		return fmt.Sprintf("the lab has no cluster %q", t)
	case in.Kind == "inventory_shrinks" && l.findVM(t) == nil && l.findHost(t) == nil && l.clusterNamed(t) == nil:
		return fmt.Sprintf("the lab has no VM, host or cluster %q", t)
	case (in.Kind == "session_killed" || in.Kind == "permission_lost") && l.role(t) == "":
		return fmt.Sprintf("the lab has no account %q", t)
	}
	return ""
}

func (l *Lab) vcenterNamed(name string) *vcenter {
	for _, v := range l.vcs {
		if v.name == name {
			return v
		}
	}
	return nil
}

func (l *Lab) vcenterNames() (out []string) {
	for _, v := range l.vcs {
		out = append(out, v.name)
	}
	return out
}

func (l *Lab) clusterNamed(name string) *cluster {
	for _, k := range l.clusters {
		if k.cfg.Name == name {
			return k
		}
	}
	return nil
}

// maxIncidents bounds what is given at once: a thousand lines are a script.
const maxIncidents = 64 << 10

// ReadIncidents reads a YAML or JSON list of incidents, strictly, and checks
// them against the lab. name is the file's, for messages.
func (l *Lab) ReadIncidents(name string, data []byte) ([]Incident, error) {
	l.lock()
	defer l.unlock()
	d := strict.YAML(data, strict.Options{File: name, MaxBytes: maxIncidents})
	var list []Incident
	if err := d.Decode(&list); err != nil {
		return nil, err
	}
	for i := range list {
		for _, p := range l.problems(&list[i]) {
			d.Fault(fmt.Sprintf("[%d].%s", i, p.field), p.what)
		}
	}
	return list, d.Err()
}

// Inject has incidents happen, and returns their numbers. None does unless all can.
func (l *Lab) Inject(list ...Incident) (ids []int, err error) {
	l.lock()
	defer l.unlock()
	for i := range list {
		for _, p := range l.problems(&list[i]) {
			err = errors.Join(err, fmt.Errorf("incident %d: %s: %s", i+1, p.field, p.what))
		}
	}
	if err != nil {
		return nil, err
	}
	l.advance(l.clock.Now())
	for i := range list {
		l.seq++
		in := &incident{Incident: list[i], id: int(l.seq), rule: ruleOf(list[i].Kind)}
		l.incidents = append(l.incidents, in)
		ids = append(ids, in.id)
		l.schedule(in, in.At)
	}
	return ids, nil
}

// An IncidentState is how an incident stands that has not ended.
type IncidentState struct {
	Incident
	ID   int
	On   bool // it goes on now; otherwise it is to come
	Hits int  // calls and tasks that it hit, or how often it happened
}

// Incidents are those that have not ended, in the order in which they were given.
func (l *Lab) Incidents() (out []IncidentState) {
	l.lock()
	defer l.unlock()
	l.advance(l.clock.Now())
	for _, in := range l.incidents {
		out = append(out, IncidentState{in.Incident, in.id, in.on, in.hits})
	}
	return out
}

// End ends an incident, or all with 0, and reports whether there was one.
func (l *Lab) End(id int) bool {
	l.lock()
	defer l.unlock()
	l.advance(l.clock.Now())
	was := len(l.incidents)
	for _, in := range slices.Clone(l.incidents) {
		if id == 0 || in.id == id {
			l.forget(in)
		}
	}
	return len(l.incidents) < was
}
