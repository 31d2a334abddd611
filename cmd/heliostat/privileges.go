package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"heliostat/configs"
	"heliostat/engine"
	"heliostat/engine/cycle"
	"heliostat/vsphere"
	"heliostat/vsphere/access"
)

// How often the accounts' privileges are asked for, and how soon again where a
// vCenter did not answer.
const (
	privilegesEvery = time.Hour
	privilegesAgain = time.Minute
	// privilegesWithin bounds the question at the start, so that a silent vCenter
	// does not keep the loop from the others.
	privilegesWithin = 30 * time.Second
)

// An accountReport is what one account at one vCenter may and may not do.
type accountReport struct {
	vcenter string
	id      engine.VCenterID
	account string // reader, mover, power or receiver
	report  access.Report
	err     error // the vCenter did not say
}

// askPrivileges logs every account of a vCenter in, and asks what it may do.
func askPrivileges(ctx context.Context, v vsphere.Config, hosts bool, opts vsphere.Options) []accountReport {
	mover, power := []string{"mover"}, []string{"power"}
	if hosts && v.Power == nil {
		mover = append(mover, power...)
	}
	var out []accountReport
	for _, a := range []struct {
		name    string
		account *vsphere.Account
		roles   []string
	}{{"reader", v.Reader, []string{"reader"}}, {"mover", v.Mover, mover}, {"power", v.Power, power}, {"receiver", v.Receiver, []string{"receiver"}}} {
		if a.account == nil {
			continue
		}
		r := accountReport{vcenter: v.Name, account: a.name}
		r.id, r.report, r.err = askAccount(ctx, v, a.account, a.roles, opts)
		out = append(out, r)
	}
	return out
}

func askAccount(ctx context.Context, v vsphere.Config, account *vsphere.Account, roles []string, opts vsphere.Options) (id engine.VCenterID, r access.Report, err error) {
	s, err := vsphere.Dial(ctx, v, account, opts)
	if err != nil {
		return "", r, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	c, err := s.Conn(ctx)
	if err != nil {
		return "", r, err
	}
	r, err = access.Check(ctx, c, roles...)
	return c.VCenter, r, err
}

// changesHosts reports whether any kind of host action may be wanted at all.
func changesHosts(cfg *configs.Config) bool {
	m := cfg.Plan.Modes
	return max(m.Standby, m.Wake, m.Maintenance) > engine.Off
}

// lacking says what a report's account cannot do, for people.
func (r *accountReport) lacking(l access.Lack) string {
	return fmt.Sprintf("the %s %s %s; 'heliostat doctor --print-roles' prints the role", r.account, r.report.User, l)
}

// excessive says that a report's account may do far too much.
func (r *accountReport) excessive() string {
	return fmt.Sprintf("the %s %s may do far more than its role (%s): give it the role that 'heliostat doctor --print-roles' prints", r.account, r.report.User, strings.Join(r.report.Excess, ", "))
}

// bans are what follows from a report.
func (r *accountReport) bans(strict bool) []cycle.Ban {
	hold := func(want, detail string) engine.Hold {
		return engine.Hold{Subject: engine.Subject{Kind: "vcenter", ID: string(r.id)}, Name: r.vcenter, Code: engine.HoldPrivilege, Want: want, Detail: detail}
	}
	var out []cycle.Ban
	for _, l := range r.report.Lacks {
		b := cycle.Ban{Hold: hold("use the "+r.account+" for "+strings.ReplaceAll(l.Name, "_", " "), r.lacking(l))}
		switch l.Stops {
		case access.StopAll:
			b.Scope, b.Want = cycle.BanAll, "start actions"
		case access.StopHosts:
			b.Scope, b.Want = cycle.BanHosts, "change hosts"
		case access.StopNone:
		}
		out = append(out, b)
	}
	if strict && len(r.report.Excess) > 0 {
		out = append(out, cycle.Ban{Hold: hold("start actions", r.excessive()), Scope: cycle.BanAll})
	}
	return out
}

// privileges keeps what the accounts may not do.
type privileges struct {
	cfg  *configs.Config
	opts vsphere.Options
	log  *slog.Logger

	mu   sync.Mutex
	bans map[string][]cycle.Ban // by name of the vCenter, as it last said
}

// Bans are what is held back for want of a privilege.
func (p *privileges) Bans() []cycle.Ban {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []cycle.Ban
	for _, v := range p.cfg.VCenters {
		out = append(out, p.bans[v.Name]...)
	}
	return out
}

// ask asks all vCenters at once, and reports whether each has answered. What a
// silent one said before stays.
func (p *privileges) ask(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, privilegesWithin)
	defer cancel()
	answers := make([][]accountReport, len(p.cfg.VCenters))
	var all sync.WaitGroup
	for i, v := range p.cfg.VCenters {
		all.Go(func() { answers[i] = askPrivileges(ctx, v, changesHosts(p.cfg), p.opts) })
	}
	all.Wait()
	complete := true
	for i, v := range p.cfg.VCenters {
		complete = p.take(ctx, v, answers[i]) && complete
	}
	return complete
}

// take notes what one vCenter said, and logs what is new in it.
func (p *privileges) take(ctx context.Context, v vsphere.Config, reports []accountReport) bool {
	var bans []cycle.Ban
	for i := range reports {
		r := &reports[i]
		if r.err != nil {
			p.log.WarnContext(ctx, "what an account may do is not known", "vcenter", v.Name, "account", r.account, "err", r.err)
			return false
		}
		if len(r.report.Excess) > 0 && !v.Strict {
			p.log.WarnContext(ctx, "an account may do too much", "vcenter", v.Name, "account", r.account, "detail", r.excessive())
		}
		bans = append(bans, r.bans(v.Strict)...)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if old := p.bans[v.Name]; len(old) > 0 && len(bans) == 0 {
		p.log.InfoContext(ctx, "the accounts may do what they need", "vcenter", v.Name)
	}
	p.bans[v.Name] = slices.Clip(bans)
	return true
}

// watch asks again and again, until ctx ends.
func (p *privileges) watch(ctx context.Context, known bool) {
	for ctx.Err() == nil {
		wait := privilegesEvery
		if !known {
			wait = privilegesAgain
		}
		pause(ctx, wait)
		known = ctx.Err() == nil && p.ask(ctx)
	}
}
