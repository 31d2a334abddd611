package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"heliostat/engine"
	"heliostat/engine/cycle"
	"heliostat/engine/whatif"
	"heliostat/policy"
)

func newExplain(g *globals) *cobra.Command {
	var state string
	var when moment
	cmd := &cobra.Command{
		Use:   "explain vm|host|site NAME",
		Short: "Say what the policies said about one VM, host or site, and what came of it",
		Long: `Explain reads the journal: which rule said what about the object, whether it is to
move or held and why, with the ledger, and what was done with it of late. Of a VM that
stays it says what would have had to be different; see also why-not.

The revision of the policies that was in force is asked once more, and says where each
rule is written and which values it read. The journal keeps it.`,
		Example: `  heliostat explain vm web-017
  heliostat explain site houston
  heliostat explain vm web-017 --at 2026-11-25T14:30:00Z
  heliostat explain host esx-04 --cycle 118 --state /var/lib/heliostat`,
		Args:      cobra.ExactArgs(2),
		ValidArgs: []string{"vm", "host", "site"},
		RunE: func(cmd *cobra.Command, args []string) error {
			if !slices.Contains([]string{"vm", "host", "site"}, args[0]) {
				return codeError{exitUsage, fmt.Errorf("explain what? vm, host or site, not %q", args[0])}
			}
			j, err := g.openJournal(cmd.Context(), state)
			if err != nil {
				return err
			}
			defer func() { _ = j.Close() }()
			number, err := when.cycle(j)
			if err != nil {
				return err
			}
			e, err := explain(cmd.Context(), j, args[0], args[1], number)
			if err != nil {
				return err
			}
			if g.json {
				return printJSON(cmd.OutOrStdout(), e)
			}
			return e.print(cmd.OutOrStdout())
		},
	}
	g.exportFlag(cmd)
	cmd.Flags().StringVar(&state, "state", "", "state folder of a stopped daemon (default: the configured one)")
	when.flags(cmd)
	return cmd
}

// explanation is all that a journal says about one object in one cycle.
type explanation struct {
	Cycle    uint64                `json:"cycle"`
	At       engine.Unix           `json:"at"`
	Kind     string                `json:"kind"`
	ID       string                `json:"id"`
	Name     string                `json:"name"`
	Revision string                `json:"revision"`
	Policies *force                `json:"policies"`
	Facts    []string              `json:"facts"`
	Said     []said                `json:"said"`
	Actions  []engine.Action       `json:"actions"`
	Holds    []held                `json:"holds"`
	Recent   []engine.ActionRecord `json:"recent"`               // newest first
	Evacuate *engine.Certificate   `json:"evacuation,omitempty"` // of a site with a deadline
	Nearest  *whatif.Answer        `json:"nearest,omitempty"`    // of a VM that stays: the site that it would soonest move to

	host func(engine.HostID) string // names a host
}

// said is one opinion.
type said struct {
	Policy string      `json:"policy"`
	Rule   string      `json:"rule"`
	Mode   engine.Mode `json:"mode"`
	What   string      `json:"what"`
	Reason string      `json:"reason"`

	At   string         `json:"at,omitempty"`   // file:line of the rule
	Read []policy.Value `json:"read,omitempty"` // what it read

	about string        // ID of what the item names; "" for the fleet
	to    engine.HostID // of deny
}

// explain reads the plan of the cycle, of the widest level made in it.
func explain(ctx context.Context, j journal, kind, name string, number uint64) (*explanation, error) {
	last, err := lastPlan(j, number)
	if err != nil {
		return nil, err
	}
	in, err := cycle.ReadInput(j, last.input)
	if err != nil {
		return nil, err
	}
	p, err := readPlan(j, last.record.Digest)
	if err != nil {
		return nil, err
	}
	d, err := decisionOf(j, last.input)
	if err != nil {
		return nil, err
	}
	rails, err := railsOf(j, number)
	if err != nil {
		return nil, err
	}
	f, err := inForce(ctx, j, &d, &in)
	if err != nil {
		return nil, err
	}
	e := &explanation{Cycle: number, At: in.Now, Kind: kind, Revision: d.Revision, Policies: f, host: hostNamer(in.Snapshot)}
	if err := e.fill(ctx, &in, &d, p, rails, name); err != nil {
		return nil, err
	}
	if kind == "site" {
		if e.Evacuate, err = certificateOf(j, last.record.Certificates, e.ID); err != nil {
			return nil, err
		}
	}
	return e, e.recent(j, number)
}

// fill says what decision and plan, and the rails beside them, have to do with the object.
func (e *explanation) fill(ctx context.Context, in *engine.Input, d *engine.Decision, p *engine.Plan, rails []engine.Hold, name string) error {
	o, err := e.find(in, name)
	if err != nil {
		return err
	}
	e.opinions(in, d, o)
	for i := range p.Actions {
		a := &p.Actions[i]
		if e.concerns(string(a.VM), string(a.From.Host), string(a.To.Host), string(a.From.Site), string(a.To.Site)) {
			e.Actions = append(e.Actions, *a)
		}
	}
	// What is said of the object itself comes before what is said of where it is.
	var around []held
	for _, h := range slices.Concat(p.Holds, rails) {
		x := held{h, until[h.Code]}
		if about := (engine.Subject{Kind: e.Kind, ID: e.ID}); h.Subject == about || h.Demand == about {
			e.Holds = append(e.Holds, x)
		} else if e.about(in.Snapshot, o, h.Subject) {
			around = append(around, x)
		}
	}
	wanted := e.wanted()
	e.Holds = append(e.Holds, around...)
	if err := e.Policies.read(ctx, in, o, wanted, e.Said); err != nil {
		return err
	}
	if e.Kind == "vm" && len(e.Actions) == 0 {
		e.Nearest = nearest(in, o.vm, e.Policies.deny(ctx, in.Level))
	}
	return nil
}

// wanted is who wanted the actions on the object, held ones included: it is what rules
// about moves were told.
func (e *explanation) wanted() (all []engine.Why) {
	add := func(whys []engine.Why) {
		for _, w := range whys {
			if !slices.Contains(all, w) {
				all = append(all, w)
			}
		}
	}
	for i := range e.Actions {
		add(e.Actions[i].Why)
	}
	for _, h := range e.Holds {
		add(h.Why)
	}
	return all
}

// railsOf are what was held back at the end of the cycle beside the plans' holds.
func railsOf(j journal, number uint64) ([]engine.Hold, error) {
	entries, err := j.Cycle(number)
	if err != nil {
		return nil, err
	}
	var r engine.CycleRecord
	for i := range entries {
		if e := &entries[i]; e.Kind == engine.EntryCycle {
			if err := json.Unmarshal(e.Data, &r); err != nil {
				return nil, fmt.Errorf("entry %d: %w", e.Seq, err)
			}
		}
	}
	return r.Rails, nil
}

// concerns reports whether the object is one of those named.
func (e *explanation) concerns(vm, from, to, fromSite, toSite string) bool {
	switch e.Kind {
	case "vm":
		return vm == e.ID
	case "host":
		return from == e.ID || to == e.ID
	default:
		return fromSite == e.ID || toSite == e.ID
	}
}

// object is what an explanation is about, by index; None where it is another kind.
type object struct{ vm, host, site int32 }

// find looks the object up by name or ID and states what was seen of it.
func (e *explanation) find(in *engine.Input, name string) (object, error) {
	s := in.Snapshot
	o := object{engine.None, engine.None, engine.None}
	fact := func(format string, args ...any) { e.Facts = append(e.Facts, fmt.Sprintf(format, args...)) }
	switch e.Kind {
	case "vm":
		var err error
		if o.vm, err = vmNamed(s, name); err != nil {
			return o, err
		}
		v := &s.VMs[o.vm]
		e.ID, e.Name = string(v.ID), v.Name
		if v.Host >= 0 {
			h := &s.Hosts[v.Host]
			o.host, o.site = v.Host, h.Site
			fact("runs on %s in %s, %s", h.Name, s.Clusters[h.Cluster].Name, siteName(s, h.Site))
		}
		fact("%s; %d vCPUs, %s now; %d MiB configured, %s used; %d MiB of disks", v.Power, v.VCPUs, known(v.UsedMHz, "MHz"), v.MemoryMiB, known(v.UsedMiB, "MiB"), v.DiskMiB())
		if v.Obstacles != 0 {
			fact("bound by: %s", v.Obstacles)
		}
		if len(v.Tags) > 0 {
			fact("tags: %s", strings.Join(v.Tags, ", "))
		}
		if h := in.History.VM(v.ID); h.MovedAt != 0 {
			fact("last moved by us at %s, from %s; %d moves in all", h.MovedAt, h.LeftSite, h.Moves)
			if h.Returns > 1 {
				fact("it came back soon %d times in a row: it rests longer each time", h.Returns)
			}
		}
	case "host":
		for i := range s.Hosts {
			if s.Hosts[i].Name == name || string(s.Hosts[i].ID) == name {
				o.host = int32(i)
			}
		}
		if o.host < 0 {
			return o, fmt.Errorf("host %s: %w", name, errNotThere)
		}
		h := &s.Hosts[o.host]
		o.site = h.Site
		e.ID, e.Name = string(h.ID), h.Name
		hist := in.History.Host(h.ID)
		fact("%s, in %s, %s; %d VMs", h.Power, s.Clusters[h.Cluster].Name, siteName(s, h.Site), len(s.VMsOn(o.host)))
		fact("CPU %s of %d MHz, memory %s of %d MiB, power %s", known(h.UsedMHz, "MHz"), h.CPUMHz, known(h.UsedMiB, "MiB"), h.MemoryMiB, known(h.PowerW, "W"))
		fact("demand over 40 min: CPU %s, memory %s; low for %d s; ours: %s", permille(hist.CPU.Mean(8)), permille(hist.Mem.Mean(8)), hist.LowFor(in.Now), hist.Own)
	default:
		i, ok := s.FindSite(engine.SiteID(name))
		if !ok {
			return o, fmt.Errorf("site %s: %w", name, errNotThere)
		}
		o.site = i
		e.ID, e.Name = name, name
		x := &s.Sites[i]
		fact("mode %s; sun %s; price %s; carbon %s", x.Mode, milli(x.SunMilliDeg, "deg"), micro(x.PriceMicroEURPerKWh), known(x.CarbonGPerKWh, "g/kWh"))
		for _, z := range s.Hazards {
			if z.Site == x.ID {
				fact("hazard %s: %s, %s, from %s (%s)", z.ID, z.Kind, z.Severity, z.Earliest, z.Source)
			}
		}
	}
	return o, nil
}

func siteName(s *engine.Snapshot, i int32) string {
	if i < 0 {
		return "at no site"
	}
	return string(s.Sites[i].ID)
}

func known(v int32, unit string) string {
	if v == engine.Unknown {
		return "unknown"
	}
	return fmt.Sprintf("%d %s", v, unit)
}

func permille(v int32) string {
	if v == engine.Unknown {
		return "unknown"
	}
	return fmt.Sprintf("%.1f %%", float64(v)/10)
}

func milli(v int32, unit string) string {
	if v == engine.Unknown {
		return "unknown"
	}
	return fmt.Sprintf("%.1f %s", float64(v)/1000, unit)
}

func micro(v int32) string {
	if v == engine.Unknown {
		return "unknown"
	}
	return fmt.Sprintf("%.3f EUR/kWh", float64(v)/1e6)
}

// opinions gathers what the policies said about the object.
func (e *explanation) opinions(in *engine.Input, d *engine.Decision, o object) {
	s := in.Snapshot
	say := func(b engine.By, about, format string, args ...any) {
		v := d.Voices[b.Voice]
		e.Said = append(e.Said, said{Policy: v.Policy, Rule: v.Rule, Mode: v.Mode, What: fmt.Sprintf(format, args...), Reason: d.Reasons[b.Reason], about: about})
	}
	vm := e.Kind == "vm"
	for _, x := range d.SiteScores {
		if x.Site == o.site || vm {
			worth := ""
			if vm {
				w := d.Voices[x.By.Voice].WeightMicroEUR
				worth = fmt.Sprintf(", worth %.4f EUR/h to this VM", float64(w*int64(x.Milli)*int64(s.VMs[o.vm].VCPUs))/1e9)
			}
			say(x.By, string(s.Sites[x.Site].ID), "site %s scores %.2f%s", s.Sites[x.Site].ID, float64(x.Milli)/1000, worth)
		}
	}
	for _, x := range d.Prefers {
		if vm && x.VM == o.vm {
			say(x.By, e.ID, "prefers %s, worth %.4f EUR/h", x.To, float64(x.MicroEUR)/1e6)
		}
	}
	for _, x := range d.Evacuations {
		if e.about(s, o, x.Place) {
			say(x.By, x.Place.ID, "evacuate %s by %s", x.Place, x.Deadline)
		}
	}
	for _, x := range d.Drains {
		if x.Host == o.host && e.Kind != "site" {
			say(x.By, string(s.Hosts[x.Host].ID), "drain its host %s, then %s", s.Hosts[x.Host].Name, x.Then)
		}
	}
	for _, x := range d.Wakes {
		if x.Host == o.host && e.Kind == "host" {
			say(x.By, e.ID, "may be woken")
		}
	}
	for _, x := range d.Priorities {
		if vm && x.VM == o.vm {
			say(x.By, e.ID, "leaves in tier %d", x.Tier)
		}
	}
	for _, x := range d.Groups {
		if vm && slices.Contains(x.VMs, o.vm) {
			say(x.By, e.ID, "%s at %s level with %d others in group %s", x.Kind, x.Scope, len(x.VMs)-1, x.Name)
		}
	}
	for _, x := range d.AllowSites {
		if vm && x.VM == o.vm {
			var names []string
			for i := range s.Sites {
				if x.Sites.Has(int32(i)) {
					names = append(names, string(s.Sites[i].ID))
				}
			}
			say(x.By, e.ID, "only at %s", strings.Join(names, ", "))
		}
	}
	for _, x := range d.AllowHosts {
		if vm && x.VM == o.vm {
			say(x.By, e.ID, "only on %d hosts", len(x.Hosts))
		}
	}
	for _, x := range d.Pins {
		if vm && x.VM == o.vm {
			say(x.By, e.ID, "pinned to its host")
		}
	}
	for _, x := range d.KeepOns {
		if x.Host == o.host && e.Kind == "host" {
			say(x.By, e.ID, "keep it on")
		}
	}
	for _, x := range d.Freezes {
		if e.about(s, o, x.Place) {
			say(x.By, x.Place.ID, "%s is frozen", x.Place)
		}
	}
	for _, x := range in.Vetoes {
		if string(x.VM) == e.ID {
			e.Said = append(e.Said, said{
				Policy: x.Policy, Rule: engine.RuleDeny, Mode: x.Mode, to: x.To,
				What: "may not move to " + cmpOr(e.host(x.To), "anywhere"), Reason: x.Code + ": " + x.Reason,
			})
		}
	}
}

func cmpOr(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// about reports whether the place is the object, or contains it.
func (e *explanation) about(s *engine.Snapshot, o object, p engine.Subject) bool {
	switch p.Kind {
	case "fleet":
		return true
	case "site":
		return o.site >= 0 && string(s.Sites[o.site].ID) == p.ID
	case "cluster":
		return o.host >= 0 && string(s.Clusters[s.Hosts[o.host].Cluster].ID) == p.ID
	case "host":
		return o.host >= 0 && string(s.Hosts[o.host].ID) == p.ID
	case "vcenter":
		return o.host >= 0 && string(s.VCenters[s.Hosts[o.host].VCenter].ID) == p.ID
	case "datastore":
		return o.vm >= 0 && slices.ContainsFunc(s.VMs[o.vm].Disks, func(x engine.Disk) bool {
			return x.Datastore >= 0 && string(s.Datastores[x.Datastore].ID) == p.ID
		})
	default:
		return p.ID == e.ID
	}
}

// recent finds the last actions on the object up to the cycle.
func (e *explanation) recent(j journal, until uint64) error {
	entries, err := j.Kind(engine.EntryEnded)
	if err != nil {
		return err
	}
	for _, x := range slices.Backward(entries) {
		if x.Cycle > until || len(e.Recent) == 5 {
			continue
		}
		var r engine.ActionRecord
		if err := json.Unmarshal(x.Data, &r); err != nil {
			return fmt.Errorf("entry %d: %w", x.Seq, err)
		}
		a := &r.Action
		if e.concerns(string(a.VM), string(a.From.Host), string(a.To.Host), string(a.From.Site), string(a.To.Site)) {
			e.Recent = append(e.Recent, r)
		}
	}
	return nil
}

func (e *explanation) print(w io.Writer) error {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("%s %s (%s), cycle %d at %s, policies %.12s", e.Kind, e.Name, e.ID, e.Cycle, e.At, e.Revision)
	for _, f := range e.Facts {
		line("  %s", f)
	}
	if n := e.Policies.note(); n != "" {
		line("%s", n)
	}
	line("said:")
	for _, x := range e.Said {
		line("  %s.%s (%s): %s: %s", x.Policy, x.Rule, x.Mode, x.What, x.Reason)
		if x.At != "" {
			line("    %s%s", x.At, readText(x.Read))
		}
	}
	if len(e.Said) == 0 {
		line("  nothing: no policy has an opinion on it")
	}
	if len(e.Actions) > 0 {
		line("planned:")
	}
	for i := range e.Actions {
		a := &e.Actions[i]
		line("  %s %s: about %d s%s, %d MiB", a.ID, actionText(a, e.host), a.Estimate.Expected(), rangeText(&a.Estimate), a.Estimate.MemoryMiB+a.Estimate.DiskMiB)
		if a.Ledger != (engine.Ledger{}) {
			line("    %s", a.Ledger)
		}
		for _, y := range a.Why {
			line("    %s", y)
		}
	}
	if len(e.Holds) > 0 {
		line("held:")
	}
	for _, h := range e.Holds {
		of := ""
		if h.Subject != (engine.Subject{Kind: e.Kind, ID: e.ID}) {
			of = h.Name + ": "
		}
		line("  %s%s: %s (%s)", of, h.Want, h.Detail, h.Code)
		for _, x := range h.Because() {
			line("    %s", x)
		}
		for _, y := range h.Why {
			line("    %s", y)
		}
		line("    until %s", h.Until)
	}
	if len(e.Actions) == 0 && len(e.Holds) == 0 {
		line("nothing is planned for it and nothing is held: it may stay as it is")
	}
	if e.Nearest != nil {
		_ = printAnswer(&b, e.Nearest) // a builder takes everything
	}
	if e.Evacuate != nil {
		writeCertificate(&b, e.Evacuate)
	}
	if len(e.Recent) > 0 {
		line("of late:")
	}
	for i := range e.Recent {
		r := &e.Recent[i]
		line("  %s %s: %s%s", r.Ended, actionText(&r.Action, e.host), strings.TrimSpace(string(r.State)+" "+r.Error), tookText(r))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// readText lists what a rule read.
func readText(values []policy.Value) string {
	parts := make([]string, len(values))
	for i, v := range values {
		parts[i] = v.Name + " " + v.Value
	}
	if len(parts) == 0 {
		return ""
	}
	return " read " + strings.Join(parts, ", ")
}

// rangeText is where nine of ten such moves end, where that is known.
func rangeText(e *engine.Estimate) string {
	if e.HighS == 0 {
		return ""
	}
	return fmt.Sprintf(" (%d to %d)", e.LowS, e.HighS)
}

// tookText holds how long an action took against what was expected.
func tookText(r *engine.ActionRecord) string {
	if r.TookS == 0 {
		return ""
	}
	return fmt.Sprintf(" in %d s, %d%s expected", r.TookS, r.Action.Estimate.Expected(), rangeText(&r.Action.Estimate))
}
