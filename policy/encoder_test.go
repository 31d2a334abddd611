package policy

import (
	"bytes"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"heliostat/engine"
	"heliostat/rego"
)

// drift is the fleet a minute later: loads change, a VM moves, a host comes or
// goes, a tag is set. v is left alone.
func drift(v engine.View, seed uint64) engine.View {
	rnd := rand.New(rand.NewPCG(seed, 2))
	s := copySnapshot(v.Snapshot)
	for range 5 {
		h := &s.Hosts[rnd.IntN(len(s.Hosts))]
		h.UsedMHz, h.UsedMiB = rnd.Int32N(h.CPUMHz), rnd.Int32N(h.MemoryMiB)
		vm := &s.VMs[rnd.IntN(len(s.VMs))]
		vm.Host = rnd.Int32N(int32(len(s.Hosts)))
		vm.Tags = append(slices.Clone(vm.Tags), "residency:jp")
		slices.Sort(vm.Tags)
		vm.Power = engine.VMPower(rnd.IntN(3))
		s.VMs[rnd.IntN(len(s.VMs))].Obstacles ^= engine.ObPassthrough | engine.ObDiskSnapshot
	}
	last := len(s.VMs) - 1
	switch seed % 3 {
	case 0:
		s.VMs = slices.Delete(s.VMs, int(seed), int(seed)+1)
	case 1:
		x := s.VMs[last]
		x.ID += "x"
		s.VMs = append(s.VMs, x)
	}
	s.Datastores[0].Name += "'"
	s.Networks[1].Segment += "'"
	v.Now += 60
	s.At = v.Now
	v.History = engine.Fold(v.History, s, nil, v.Low)
	v.Snapshot = s
	return v
}

// copySnapshot copies what is exported; the lists in hosts and VMs are shared.
func copySnapshot(s *engine.Snapshot) *engine.Snapshot {
	return &engine.Snapshot{
		At: s.At, Sites: slices.Clone(s.Sites), VCenters: s.VCenters, Clusters: slices.Clone(s.Clusters), Hosts: slices.Clone(s.Hosts),
		Datastores: slices.Clone(s.Datastores), Networks: slices.Clone(s.Networks), VMs: slices.Clone(s.VMs), Links: slices.Clone(s.Links),
		Rules: s.Rules, Hazards: s.Hazards, Alerts: s.Alerts, Gaps: s.Gaps,
	}
}

// Everything that the encoder shows is as the schemas say, nothing missing.
func TestEncoderKeepsToTheSchemas(t *testing.T) {
	fleetSchema, inputSchema := compileSchema(t, FleetSchema), compileSchema(t, InputSchema)
	b := &Bundle{enc: &encoder{}}
	for _, v := range []engine.View{smallFleet(), {Now: noon, Snapshot: &engine.Snapshot{}}, blind()} {
		d, _ := b.encode(v)
		d = b.enc.encodeAll(d)
		validate(t, fleetSchema, d.fleet.Value)
		for c := range d.clusters {
			validate(t, inputSchema, clusterInput(d, int32(c), &everything))
		}
		if len(v.Snapshot.VMs) == 0 {
			continue
		}
		moves := []engine.Action{moveOf(v.Snapshot, 0, 8), moveOf(v.Snapshot, 1, 2)}
		for _, in := range b.moveInputs(d, moves) {
			validate(t, inputSchema, in)
		}
		validate(t, inputSchema, b.planInput(&engine.Plan{Level: engine.Enforce, Actions: moves}))
	}
}

// blind is a fleet of which hardly anything is seen.
func blind() engine.View {
	v := smallFleet()
	s := v.Snapshot
	v.History = nil
	for i := range s.Sites {
		x := &s.Sites[i]
		x.PriceMicroEURPerKWh, x.CarbonGPerKWh, x.SunMilliDeg, x.TimeZone, x.Region = engine.Unknown, engine.Unknown, engine.Unknown, "", ""
		x.Values = []engine.Value{{Key: "queue", Number: 1.5}}
	}
	for i := range s.Hosts {
		x := &s.Hosts[i]
		x.Power, x.Connected, x.UsedMHz, x.UsedMiB, x.PowerW, x.Site = engine.HostUnknown, false, engine.Unknown, engine.Unknown, engine.Unknown, engine.None
	}
	for i := range s.VMs {
		x := &s.VMs[i]
		x.UsedMHz, x.UsedMiB, x.ActiveMiB, x.DirtyMbps = engine.Unknown, engine.Unknown, engine.Unknown, engine.Unknown
		x.Home, x.Disks, x.NICs, x.Tags = engine.None, nil, nil, nil
	}
	s.Links = nil
	return v
}

func compileSchema(t *testing.T, raw []byte) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("mem://schema.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("mem://schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func validate(t *testing.T, s *jsonschema.Schema, v ast.Value) {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(v.String()))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Validate(doc); err != nil {
		t.Errorf("%v", err)
	}
}

// Whatever field of a VM, host, site, cluster, datastore or network changes: an
// encoder that has kept terms shows what a fresh one would.
func TestKeptTermsAreNeverStale(t *testing.T) {
	base := smallFleet()
	kept := &encoder{}
	shown := func(e *encoder, v engine.View) []*ast.Term {
		d := e.encodeAll(e.encode(v))
		out := []*ast.Term{d.fleet}
		for c := range d.clusters {
			out = append(out, ast.NewTerm(clusterInput(d, int32(c), &everything)))
		}
		return out
	}
	equal := func(a, b []*ast.Term) bool {
		return slices.EqualFunc(a, b, func(a, b *ast.Term) bool { return a.Value.Compare(b.Value) == 0 })
	}
	before := shown(&encoder{}, base)
	eachChange(base, func(what string, v engine.View) {
		if !equal(shown(kept, v), shown(&encoder{}, v)) {
			t.Errorf("after a change of %s the kept terms are stale", what)
		}
		if !equal(shown(kept, base), before) {
			t.Fatalf("after a change of %s and back it is not as before", what)
		}
	})
}

// eachChange calls f with the view changed in one field of one VM, host, site,
// cluster, datastore or network, each in turn.
func eachChange(base engine.View, f func(what string, v engine.View)) {
	for _, kind := range []string{"VMs", "Hosts", "Sites", "Clusters", "Datastores", "Networks"} {
		list, _ := reflect.TypeFor[engine.Snapshot]().FieldByName(kind)
		elem := list.Type.Elem()
		for i := range elem.NumField() {
			v := base
			v.Snapshot = copySnapshot(base.Snapshot)
			if change(reflect.ValueOf(v.Snapshot).Elem().FieldByName(kind).Index(2).Field(i), elem.Field(i).Name) {
				f(kind+"."+elem.Field(i).Name, v)
			}
		}
	}
}

// change sets a field to something else that is valid; false where that takes
// more than one field.
func change(f reflect.Value, name string) bool {
	switch name {
	case "ID", "Host", "Cluster", "Site", "VCenter", "Home", "Datastores", "Networks", "FailOn": // order and references
		return false
	}
	switch f.Kind() {
	case reflect.String:
		f.SetString(f.String() + "Z")
	case reflect.Bool:
		f.SetBool(!f.Bool())
	case reflect.Int32, reflect.Int64:
		f.SetInt(f.Int() + 1)
	case reflect.Uint8:
		f.SetUint((f.Uint() + 1) % 3)
	case reflect.Uint64:
		f.SetUint(f.Uint() ^ 1)
	case reflect.Float64:
		f.SetFloat(f.Float() + 1)
	case reflect.Slice:
		switch x := f.Addr().Interface().(type) {
		case *[]string:
			*x = append(slices.Clone(*x), "zz:1")
		case *[]engine.Disk:
			*x = append(slices.Clone(*x), engine.Disk{Datastore: 0, MiB: 5000})
		case *[]engine.NIC:
			*x = append(slices.Clone(*x), engine.NIC{Network: 0})
		case *[]engine.Value:
			*x = append(slices.Clone(*x), engine.Value{Key: "k", Number: 0.1})
		}
	default:
		return false
	}
	return true
}

// Of a fleet in which one VM changed, one VM's term is new.
func TestOnlyWhatChangedIsEncoded(t *testing.T) {
	e := &encoder{}
	v := smallFleet()
	a := e.encodeAll(e.encode(v))
	next := v
	next.Snapshot = copySnapshot(v.Snapshot)
	next.Snapshot.VMs[3].Name = "renamed"
	b := e.encode(next)
	for i := range a.vms {
		if same := e.vm(a, int32(i)) == e.vm(b, int32(i)); same == (i == 3) {
			t.Errorf("VM %d: kept %v", i, same)
		}
	}
	for i := range a.hosts {
		if a.hosts[i] != b.hosts[i] {
			t.Errorf("host %d is new", i)
		}
	}
}

func TestEncoderForgets(t *testing.T) {
	e := &encoder{}
	v := fleetOf(100, 10, 1)
	e.encode(v)
	few := fleetOf(10, 10, 1)
	e.encode(few)
	if len(e.vms) != 100 || len(e.hosts) != 10 {
		t.Errorf("%d VMs and %d hosts are kept of a fleet of 100 and 10", len(e.vms), len(e.hosts))
	}
}

func TestWhatPoliciesSee(t *testing.T) {
	e := &encoder{}
	v := smallFleet()
	v.History.Hosts[1].CPU.Add(noon, 990)
	d := e.encodeAll(e.encode(v))
	find := func(v ast.Value, path ...any) string {
		for _, p := range path {
			var t *ast.Term
			switch x := v.(type) {
			case ast.Object:
				t = x.Get(ast.StringTerm(p.(string)))
			case *ast.Array:
				t = x.Elem(p.(int))
			}
			if t == nil {
				return "undefined"
			}
			v = t.Value
		}
		return v.String()
	}
	f := d.fleet.Value
	for _, c := range []struct {
		path []any
		want string
	}{
		{[]any{"sites", 0, "price_mwh"}, "85.123"},
		{[]any{"sites", 1, "sun_deg"}, "20"},
		{[]any{"sites", 0, "local", "hour"}, "14"},
		{[]any{"sites", 0, "local", "weekday"}, `"Sunday"`},
		{[]any{"sites", 0, "local", "holiday"}, "true"},
		{[]any{"sites", 1, "local", "holiday"}, "false"},
		{[]any{"links", 0, "rtt_ms"}, "123"},
		{[]any{"links", 2, "rtt_ms"}, "null"},
		{[]any{"hazards", 0, "sites"}, `["fra", "hou"]`},
		{[]any{"hazards", 0, "severity"}, `"extreme"`},
		{[]any{"hazards", 0, "onset"}, "1782133200"},
		{[]any{"hazards", 0, "ends"}, "null"}, // one of its sites does not say
		{[]any{"hazards", 0, "per_site", 1, "p"}, "0.8"},
		{[]any{"hazards", 0, "per_site", 0, "p"}, "null"},
		{[]any{"windows", 0, "place", "id"}, `"vc-tyo/h00007"`}, // given by name
		{[]any{"windows", 0, "known"}, "true"},
		{[]any{"windows", 2, "known"}, "false"},
		{[]any{"clusters", 1, "site"}, "null"}, // one of its hosts stands nowhere
		{[]any{"clusters", 0, "hosts_usable"}, "2"},
		{[]any{"clusters", 0, "cpu_pct_5m_max"}, "71"}, // its host in standby had 99 % a moment ago
		{[]any{"clusters", 0, "mem_pct_5m_max"}, "64"},
		{[]any{"actions", 0, "demand", "id"}, `"hou"`},
	} {
		if got := find(f, c.path...); got != c.want {
			t.Errorf("fleet %v is %s, want %s", c.path, got, c.want)
		}
	}
	in := clusterInput(d, 0, &everything)
	for _, c := range []struct {
		path []any
		want string
	}{
		{[]any{"hosts", 1, "usable"}, "false"},
		{[]any{"hosts", 1, "ours"}, "true"},
		{[]any{"hosts", 1, "cpu_pct"}, "null"},
		{[]any{"hosts", 1, "free_mhz"}, "null"},
		{[]any{"vms", 0, "residency"}, `"any"`},
		{[]any{"vms", 0, "tags", "env"}, `"prod"`},
		{[]any{"vms", 0, "last_moved"}, "0"},
		{[]any{"vms", 0, "home_site"}, "null"},
		{[]any{"vms", 0, "gb_to_copy"}, "20"},
		{[]any{"vms", 0, "disk_gb"}, "40"},
	} {
		if got := find(in, c.path...); got != c.want {
			t.Errorf("input %v is %s, want %s", c.path, got, c.want)
		}
	}
}

// cpuTime is what this process has computed so far, on all processors.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkEvaluate evaluates what ships over 15,000 hosts and 150,000 VMs. Its
// measure is cpu-ms/op: the rest depends on what else runs.
func BenchmarkEvaluate(b *testing.B) {
	bundle, err := Load(b.Context(), rego.FS, DefaultConfig())
	if err != nil {
		b.Fatal(err)
	}
	v := fleetOf(15_000, 31, 1)
	b.Run("cold", func(b *testing.B) {
		start := cpuTime(b)
		for b.Loop() {
			bundle.enc, bundle.said = &encoder{need: bundle.enc.need}, nil
			mustEvaluate(b, bundle, v)
		}
		b.ReportMetric(float64((cpuTime(b)-start).Milliseconds())/float64(b.N), "cpu-ms/op")
	})
	b.Run("warm", func(b *testing.B) { again(b, bundle, v) })
	b.Run("evacuating", func(b *testing.B) {
		w := v
		w.Snapshot = copySnapshot(v.Snapshot)
		w.Snapshot.Hazards = []engine.Hazard{{ID: "AL09", Site: "hou", Kind: "hurricane", Severity: "extreme", PMilli: 800, Earliest: noon + 90_000, Source: "nhc", Issued: noon}}
		again(b, bundle, w)
	})
	b.Run("encode", func(b *testing.B) {
		for b.Loop() {
			(&encoder{need: bundle.enc.need}).encode(v)
		}
	})
}

// again evaluates the view and the one five minutes later, in turn: every host's load
// is another, and 1 % of the VMs have another residency.
func again(b *testing.B, bundle *Bundle, v engine.View) {
	b.Helper()
	next := v
	next.Now += 300
	next.Snapshot = copySnapshot(v.Snapshot)
	next.Snapshot.At = next.Now
	for i := range next.Snapshot.Hosts {
		h := &next.Snapshot.Hosts[i]
		h.UsedMHz, h.UsedMiB, h.LoadAt = h.UsedMHz*19/20, h.UsedMiB*19/20, next.Now
	}
	for i := 0; i < len(v.Snapshot.VMs); i += 100 {
		next.Snapshot.VMs[i].Tags = []string{"criticality:2-high", "env:prod", "residency:us"}
	}
	next.History = engine.Fold(v.History, next.Snapshot, nil, v.Low)
	views := [2]engine.View{v, next}
	mustEvaluate(b, bundle, v)
	i, start := 0, cpuTime(b)
	for b.Loop() {
		i++
		mustEvaluate(b, bundle, views[i%2])
	}
	b.ReportMetric(float64((cpuTime(b)-start).Milliseconds())/float64(b.N), "cpu-ms/op")
}
