package policy

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"

	"heliostat/engine"
)

// fleet encodes data.fleet, and returns what is under each of its keys: the kept
// term where it is equal.
func (e *encoder) fleet(d *document, v engine.View) (*ast.Term, map[string]*ast.Term) {
	s := d.snap
	parts := map[string]*ast.Term{}
	put := func(key string, t *ast.Term) { parts[key] = keep(e.fleets[key], t) }
	put("now", ast.InternedTerm(int64(v.Now)))
	put("places", e.encodePlaces(s))
	put("sites", e.encodeSites(d, v))
	put("links", e.encodeLinks(s))
	put("hazards", e.encodeHazards(s))
	put("clusters", array(d.clusters))
	put("windows", e.encodeWindows(v))
	put("alerts", e.encodeAlerts(s))
	put("gaps", e.encodeGaps(s))
	open := make([]*ast.Term, len(v.Open))
	for i := range v.Open {
		r := &v.Open[i]
		open[i] = e.action(&r.Action, string(r.State), r.Started)
	}
	put("actions", array(open))
	var b doc
	b.int("moves_hour", int64(v.Budget.MovesHour))
	b.int("moves_day", int64(v.Budget.MovesDay))
	b.int("power_hour", int64(v.Budget.PowerHour))
	b.int("power_day", int64(v.Budget.PowerDay))
	put("budgets", b.term())
	e.fleets = parts
	var o doc
	for _, key := range slices.Sorted(maps.Keys(parts)) {
		o.put(key, parts[key])
	}
	return o.term(), parts
}

// encodePlaces is what the configuration says of the sites: it hardly ever changes.
func (e *encoder) encodePlaces(s *engine.Snapshot) *ast.Term {
	items := make([]*ast.Term, len(s.Sites))
	for i := range s.Sites {
		var o doc
		e.configured(&o, &s.Sites[i])
		items[i] = o.term()
	}
	return array(items)
}

func (e *encoder) configured(o *doc, x *engine.Site) {
	o.put("id", e.in.str(string(x.ID)))
	o.put("region", e.in.orNull(x.Region))
	o.put("lat", float(x.Lat))
	o.put("lon", float(x.Lon))
	o.put("timezone", e.in.orNull(x.TimeZone))
}

func (e *encoder) encodeSites(d *document, v engine.View) *ast.Term {
	s := d.snap
	items := make([]*ast.Term, len(s.Sites))
	for i := range s.Sites {
		x, l := &s.Sites[i], &d.sites[i]
		var o doc
		e.configured(&o, x)
		o.put("mode", e.in.str(x.Mode.String()))
		o.bool("frozen", x.Frozen)
		o.milli("pue", x.PUEMilli)
		if x.PriceMicroEURPerKWh == engine.Unknown {
			o.put("price_mwh", ast.InternedNullTerm)
		} else {
			o.put("price_mwh", decimal(int64(x.PriceMicroEURPerKWh), 3)) // micro-euros a kWh are milli-euros a MWh
		}
		o.seen("carbon_g_kwh", x.CarbonGPerKWh)
		o.milli("sun_deg", x.SunMilliDeg)
		if l.metered {
			o.put("power_kw", decimal(l.watts, 3))
		} else {
			o.put("power_kw", ast.InternedNullTerm)
		}
		l.put(&o)
		o.put("local", e.local(x, v))
		var kv [][2]*ast.Term
		for _, val := range x.Values {
			kv = append(kv, [2]*ast.Term{e.in.str(val.Key), float(val.Number)})
		}
		o.put("x", ast.NewTerm(ast.NewObject(kv...)))
		items[i] = o.term()
	}
	return array(items)
}

// local is the time on the site's clocks, null without a known zone.
func (e *encoder) local(x *engine.Site, v engine.View) *ast.Term {
	zone, err := time.LoadLocation(x.TimeZone)
	if x.TimeZone == "" || err != nil {
		return ast.InternedNullTerm
	}
	t := time.Unix(int64(v.Now), 0).In(zone)
	holiday := false
	for _, w := range v.Windows {
		here := w.Place.Kind == "fleet" || (w.Place.Kind == "site" && w.Place.ID == string(x.ID))
		holiday = holiday || (w.Kind == "holiday" && here && open(&w, v.Now))
	}
	var o doc
	o.int("hour", int64(t.Hour()))
	o.int("minute", int64(t.Minute()))
	o.put("weekday", e.in.str(t.Weekday().String()))
	o.bool("holiday", holiday)
	return o.term()
}

func open(w *engine.Window, now engine.Unix) bool { return w.From <= now && now < w.To }

func (e *encoder) encodeLinks(s *engine.Snapshot) *ast.Term {
	items := make([]*ast.Term, len(s.Links))
	for i := range s.Links {
		l := &s.Links[i]
		var o doc
		o.put("a", e.in.str(string(s.Sites[l.A].ID)))
		o.put("b", e.in.str(string(s.Sites[l.B].ID)))
		o.milli("rtt_ms", l.RTTMicros)
		o.seen("mbps", l.Mbps)
		o.int("loss_ppm", int64(l.LossPPM))
		o.int("at", int64(l.At))
		o.put("source", e.in.str(l.Source))
		items[i] = o.term()
	}
	return array(items)
}

// severities in order, for the worst of several.
var severities = []string{"minor", "moderate", "severe", "extreme"}

// encodeHazards groups the records of one ID.
func (e *encoder) encodeHazards(s *engine.Snapshot) *ast.Term {
	hs := slices.Clone(s.Hazards)
	slices.SortStableFunc(hs, func(a, b engine.Hazard) int { return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Site, b.Site)) })
	var items []*ast.Term
	for len(hs) > 0 {
		n := 1
		for n < len(hs) && hs[n].ID == hs[0].ID {
			n++
		}
		items = append(items, e.hazard(hs[:n]))
		hs = hs[n:]
	}
	return array(items)
}

func (e *encoder) hazard(recs []engine.Hazard) *ast.Term {
	worst := recs[0].Severity
	var onset, likely, ends engine.Unix
	endless := false // one that nobody knows the end of has not ended
	var sites, per []*ast.Term
	for i := range recs {
		r := &recs[i]
		if slices.Index(severities, r.Severity) > slices.Index(severities, worst) {
			worst = r.Severity
		}
		onset, likely, ends = earlier(onset, r.Earliest), earlier(likely, r.Likely), max(ends, r.End)
		endless = endless || r.End == 0
		if i == 0 || recs[i-1].Site != r.Site {
			sites = append(sites, e.in.str(string(r.Site)))
		}
		per = append(per, e.hazardAt(r))
	}
	if endless {
		ends = 0
	}
	var o doc
	o.str("id", recs[0].ID)
	o.put("kind", e.in.str(recs[0].Kind))
	o.put("severity", e.in.str(worst))
	o.moment("onset", onset)
	o.moment("likely", likely)
	o.moment("ends", ends)
	o.put("sites", array(sites))
	o.put("per_site", array(per))
	return o.term()
}

// earlier is the earlier of two moments; none is later than any.
func earlier(a, b engine.Unix) engine.Unix {
	if a == 0 || (b != 0 && b < a) {
		return b
	}
	return a
}

func (e *encoder) hazardAt(r *engine.Hazard) *ast.Term {
	var o doc
	o.put("site", e.in.str(string(r.Site)))
	o.put("severity", e.in.str(r.Severity))
	o.put("threshold", e.in.orNull(r.Threshold))
	o.milli("p", r.PMilli)
	o.moment("onset", r.Earliest)
	o.moment("likely", r.Likely)
	o.moment("ends", r.End)
	o.put("source", e.in.str(r.Source))
	o.put("advisory", e.in.orNull(r.Advisory))
	o.moment("issued", r.Issued)
	o.moment("valid_until", r.ValidUntil)
	o.put("method", e.in.orNull(r.Method))
	return o.term()
}

func (e *encoder) encodeWindows(v engine.View) *ast.Term {
	ws := slices.Clone(v.Windows)
	slices.SortStableFunc(ws, func(a, b engine.Window) int { return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.From, b.From)) })
	items := make([]*ast.Term, len(ws))
	for i := range ws {
		w := &ws[i]
		place, known := resolve(v.Snapshot, w.Place)
		var o doc
		o.str("id", w.ID)
		o.put("kind", e.in.str(w.Kind))
		o.put("place", e.place(place))
		o.bool("known", known)
		o.int("from", int64(w.From))
		o.int("to", int64(w.To))
		o.bool("open", open(w, v.Now))
		o.str("note", w.Note)
		items[i] = o.term()
	}
	return array(items)
}

// resolve gives a window's place by ID, and whether it is in the snapshot.
func resolve(s *engine.Snapshot, p engine.Subject) (engine.Subject, bool) {
	if p.Kind == "fleet" || exists(s, p.Kind, p.ID) {
		return p, true
	}
	if p.Kind != "host" {
		return p, false
	}
	found := engine.None
	for i := range s.Hosts {
		if s.Hosts[i].Name != p.ID {
			continue
		}
		if found >= 0 {
			return p, false // two of the name: it says nothing
		}
		found = int32(i)
	}
	if found < 0 {
		return p, false
	}
	return engine.Subject{Kind: "host", ID: string(s.Hosts[found].ID)}, true
}

func (e *encoder) place(p engine.Subject) *ast.Term {
	var o doc
	o.put("kind", e.in.str(p.Kind))
	o.str("id", p.ID)
	return o.term()
}

func (e *encoder) encodeAlerts(s *engine.Snapshot) *ast.Term {
	as := slices.Clone(s.Alerts)
	slices.SortStableFunc(as, func(a, b engine.Alert) int {
		return cmp.Or(cmp.Compare(a.Fingerprint, b.Fingerprint), cmp.Compare(a.StartsAt, b.StartsAt))
	})
	items := make([]*ast.Term, len(as))
	for i := range as {
		a := &as[i]
		var o doc
		o.str("fingerprint", a.Fingerprint)
		o.put("status", e.in.str(a.Status))
		o.put("name", e.in.str(a.Name))
		o.put("kind", e.in.str(a.Kind))
		o.put("site", e.in.orNull(string(a.Site)))
		o.put("severity", e.in.str(a.Severity))
		o.moment("deadline", a.Deadline)
		o.str("summary", a.Summary)
		o.int("starts_at", int64(a.StartsAt))
		o.int("received_at", int64(a.ReceivedAt))
		o.int("expires_at", int64(a.ExpiresAt))
		o.put("source", e.in.str(a.Source))
		items[i] = o.term()
	}
	return array(items)
}

func (e *encoder) encodeGaps(s *engine.Snapshot) *ast.Term {
	items := make([]*ast.Term, len(s.Gaps))
	for i := range s.Gaps {
		g := &s.Gaps[i]
		var o doc
		o.put("source", e.in.str(g.Source))
		o.put("kind", e.in.str(g.Subject.Kind))
		o.str("id", g.Subject.ID)
		o.put("reason", e.in.str(g.Reason))
		o.moment("at", g.At)
		items[i] = o.term()
	}
	return array(items)
}

// action encodes an action in flight, or one that is planned.
func (e *encoder) action(a *engine.Action, state string, started engine.Unix) *ast.Term {
	var o doc
	o.str("id", a.ID)
	o.put("kind", e.in.str(a.Kind.String()))
	o.str("name", a.Name)
	o.put("vm", e.in.orNull(string(a.VM)))
	o.put("from_site", e.in.orNull(string(a.From.Site)))
	o.put("from_host", e.in.str(string(a.From.Host)))
	o.put("to_site", e.in.orNull(string(a.To.Site)))
	o.put("to_host", e.in.orNull(string(a.To.Host)))
	o.bool("storage", a.Storage)
	o.bool("across", a.Across)
	o.bool("cold", a.Cold)
	if a.Demand.Kind == "" {
		o.put("demand", ast.InternedNullTerm)
	} else {
		o.put("demand", e.place(a.Demand))
	}
	o.moment("deadline", a.Deadline)
	o.int("gb", gib(a.Estimate.MemoryMiB+a.Estimate.DiskMiB))
	o.int("seconds", a.Estimate.Seconds)
	o.put("state", e.in.str(state))
	o.moment("started", started)
	return o.term()
}
