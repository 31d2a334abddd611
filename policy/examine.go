package policy

import (
	"cmp"
	"context"
	"errors"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"

	"heliostat/engine"
)

// An examination is what a changed bundle goes through before it may serve: strict
// compile, contract and parameters, lints, its own tests, and a dry run on the fleet
// as it was seen last, against what the bundle in force said of it.
type examination struct {
	cfg    Config // Modes, Weights and Deadline count
	label  string // put before the names of the operator's files
	view   *engine.View
	before *engine.Decision // on the view, by the bundle in force
	within time.Duration    // for the whole dry run; 0: no limit
	watch  func(doing string, at *ast.Location)
	alone  bool // in a process of its own
}

// An opinion is what an examination came to.
type opinion struct {
	Revision   string      `json:"revision"`
	Faults     Faults      `json:"faults,omitempty"` // none: it may serve
	Difference *Difference `json:"difference,omitempty"`

	bundle *Bundle
}

// examine gives its opinion of a packed bundle. The error is for a bundle that
// cannot be examined at all, or ctx's.
func (x *examination) examine(ctx context.Context, packed []byte) (*opinion, error) {
	x.watch("reading the files", nil)
	u, err := unpack(packed, x.label)
	if err != nil {
		return nil, err
	}
	draft := &Draft{own: u.own, whole: u.whole}
	out := &opinion{}
	err = x.pass(ctx, u, draft, out)
	faults, ok := errors.AsType[Faults](err)
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil && !ok:
		return nil, err
	}
	out.Faults = draft.point(faults)
	return out, nil
}

func (x *examination) pass(ctx context.Context, u *unpacked, draft *Draft, out *opinion) error {
	x.watch("compiling", nil)
	c, err := compile(ctx, u.whole)
	if err != nil {
		return err
	}
	if out.bundle, err = c.bundle(ctx, u.whole, x.cfg); err != nil {
		return err
	}
	out.Revision = out.bundle.Revision
	if err := draft.lint(c, false).err(); err != nil {
		return err
	}
	if err := x.test(ctx, u); err != nil {
		return err
	}
	return x.dryRun(ctx, u, out)
}

// test runs the tests that something of the operator's may have broken: theirs,
// and those of policies whose parameters they have replaced. Where they replace
// what is common to all, it runs all.
func (x *examination) test(ctx context.Context, u *unpacked) error {
	common := len(u.own.facts) > 0 || slices.ContainsFunc(u.own.modules, func(m *module) bool { return policyPackage(m) == "" })
	mods := map[string]*ast.Module{}
	var files []string
	for _, m := range u.plain.modules {
		_, params := u.own.params[policyPackage(m)]
		if isTest(m.name) {
			if !common && !params && !slices.Contains(u.own.modules, m) {
				continue
			}
			files = append(files, m.label)
		}
		mods[m.label] = m.parsed.Copy()
	}
	if len(files) == 0 {
		return nil
	}
	x.watch("the tests in "+strings.Join(files, ", "), ast.NewLocation(nil, files[0], 1, 1))
	results, err := u.plain.collectTests(ctx, mods, nil, "")
	if err != nil {
		return err
	}
	return (&TestReport{Results: results}).Err()
}

// dryRun asks the bundle about the fleet as it was seen last, about a move in each
// cluster, and about a plan of those.
func (x *examination) dryRun(ctx context.Context, u *unpacked, out *opinion) error {
	if x.view == nil {
		return nil
	}
	if x.alone {
		runtime.GOMAXPROCS(1) // one question at a time: the last one that was told is the one that is asked
	}
	b := out.bundle
	var last atomic.Pointer[ast.Location] // of the rule that was asked last
	for i := range b.queries {
		b.queries[i].watch = func(doing string, at *ast.Location) {
			last.Store(at)
			x.watch(doing, at)
		}
	}
	defer func() {
		for i := range b.queries {
			b.queries[i].watch = nil
		}
	}()
	if x.within > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, x.within)
		defer cancel()
	}
	err := x.ask(ctx, u, out)
	if errors.Is(err, context.DeadlineExceeded) {
		f := faultAt(last.Load(), "the policies take more than %v for the fleet as it is, in which this rule was asked last: cycles could not keep up", x.within)
		f.Advice = "do less for each VM; 'heliostat policy lint' names what is slow in large fleets"
		return Faults{f}
	}
	return err
}

// ask is the dry run itself.
func (x *examination) ask(ctx context.Context, u *unpacked, out *opinion) error {
	b := out.bundle
	d, err := b.Evaluate(ctx, *x.view)
	if err != nil {
		return err
	}
	failed := x.failures(d)
	moves := trialMoves(x.view.Snapshot)
	vetoes, err := b.Deny(ctx, *x.view, moves)
	if err != nil {
		return err
	}
	for _, v := range vetoes {
		if v.Code == codePolicyError {
			failed = append(failed, faultIn(v.Reason))
		}
	}
	review, err := b.Review(ctx, *x.view, &engine.Plan{Level: engine.Advise, Actions: moves})
	if err != nil {
		return err
	}
	for _, text := range review.Rejects {
		if _, why, ok := strings.Cut(text, ": could not be evaluated: "); ok {
			failed = append(failed, faultIn(why))
		}
	}
	for i := range failed {
		failed[i].Advice = cmp.Or(adviceFor(failed[i].Message), "it fails for the fleet as it is now: take what it looks at into a test")
	}
	if err := failed.err(); err != nil {
		return err
	}
	own := func(file string) bool {
		return slices.ContainsFunc(u.own.modules, func(m *module) bool { return m.label == file })
	}
	if err := b.contradicted(x.view.Snapshot, d, x.before, own).err(); err != nil {
		return err
	}
	if x.before != nil {
		diff := differ(x.view.Snapshot, x.before, d)
		out.Difference = &diff
	}
	return nil
}

// failures are the rules that fail now and did not before. One that fails in many
// clusters is told once.
func (x *examination) failures(d *engine.Decision) Faults {
	before := map[string]bool{}
	if x.before != nil {
		for _, f := range x.before.Failures {
			before[f.Error] = true
		}
	}
	var out Faults
	for _, f := range d.Failures {
		if !before[f.Error] {
			out = append(out, faultIn(f.Error))
		}
	}
	return out
}

// placed takes apart what [Fault.Error] has put together.
var placed = regexp.MustCompile(`(?s)^(.+?):(\d+):(\d+): (.*)$`)

func faultIn(text string) Fault {
	m := placed.FindStringSubmatch(text)
	if m == nil {
		return Fault{File: ".", Message: text}
	}
	line, _ := strconv.Atoi(m[2]) // digits
	column, _ := strconv.Atoi(m[3])
	return Fault{File: m[1], Line: line, Column: column, Message: m[4]}
}

// trialMoves moves the first VM of each cluster to the first host of the next.
func trialMoves(s *engine.Snapshot) []engine.Action {
	place := func(h int32) engine.Place {
		host := &s.Hosts[h]
		p := engine.Place{Host: host.ID, Name: host.Name}
		if host.Cluster >= 0 {
			p.Cluster = s.Clusters[host.Cluster].ID
		}
		if host.Site >= 0 {
			p.Site = s.Sites[host.Site].ID
		}
		return p
	}
	var out []engine.Action
	for c := range s.Clusters {
		to := s.HostsOf(int32((c + 1) % len(s.Clusters)))
		for _, h := range s.HostsOf(int32(c)) {
			if vms := s.VMsOn(h); len(vms) > 0 && len(to) > 0 {
				v := &s.VMs[vms[0]]
				out = append(out, engine.Action{
					ID: "dry-" + strconv.Itoa(c), Kind: engine.Move, VM: v.ID, Name: v.Name, From: place(h), To: place(to[0]),
				})
				break
			}
		}
	}
	return out
}
