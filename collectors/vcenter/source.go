package vcenter

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/vmware/govmomi/vim25/types"

	"heliostat/engine"
	"heliostat/vsphere"
)

// Config is what a vCenter does not know about itself.
type Config struct {
	// NoTags does not read tags: every VM then counts as auto. Without it, VMs
	// are not moved until their tags have been read.
	NoTags bool
	// Movers are the accounts whose tasks are our own, as their vCenter names
	// them or as name@domain. Tasks of others make a VM busy.
	Movers []string
	// Wake, if set, is called when the topology has changed, from the goroutine
	// of Run. It must not block.
	Wake func(reason string)
	// Logger may be nil.
	Logger *slog.Logger
}

// ErrNotReady means that the first complete state has not been received yet.
var ErrNotReady = errors.New("the inventory has not been received yet")

// A Source observes one vCenter.
type Source struct {
	cfg     Config
	session *vsphere.Session
	log     *slog.Logger

	mu     sync.Mutex // guards what Run writes and Observe reads
	topo   *topology  // nil until first complete
	conn   *vsphere.Conn
	broken error // why the watch broke, nil while it stands

	observing sync.Mutex // one Observe at a time; owns what is below
	built     *inventory
	loads     loadView
	tags      tagCache
	stops     stopCache
	fields    fieldCache
	profiles  profileCache
	counter   powerCounter
}

// New makes a source that reads with the session. Run must be running for it to see anything.
func New(cfg Config, session *vsphere.Session) *Source {
	log := cfg.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Source{cfg: cfg, session: session, log: log.With("vcenter", session.Name())}
}

// Name names the source in observations and gaps.
func (s *Source) Name() string { return "vcenter/" + s.session.Name() }

func (s *Source) wake(reason string) {
	if s.cfg.Wake != nil {
		s.cfg.Wake(reason)
	}
}

// publish makes the topology the one in service.
func (s *Source) publish(conn *vsphere.Conn, t *topology) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.topo != t {
		t.version++
		s.log.Info("topology complete", "objects", len(t.records))
	}
	t.at = time.Now()
	s.topo, s.conn, s.broken = t, conn, nil
}

// fail notes that the watch is broken, and says so once until it stands again.
func (s *Source) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken == nil {
		s.log.Warn("topology watch broken", "error", err)
	}
	s.broken = err
}

// Observe gives the topology as last reported with the loads polled now. Its
// time is when the topology was last confirmed. Before the first complete
// state it fails with ErrNotReady; after that it always answers, and what it
// could not read is among the gaps.
func (s *Source) Observe(ctx context.Context) (engine.Observation, error) {
	s.observing.Lock()
	defer s.observing.Unlock()
	s.mu.Lock()
	ready, conn, broken := s.topo != nil, s.conn, s.broken
	s.mu.Unlock()
	if !ready {
		return engine.Observation{}, fmt.Errorf("observe vCenter %s: %w", s.session.Name(), errors.Join(ErrNotReady, broken))
	}
	now, down := s.session.Live(ctx)
	if down == nil {
		conn = now
		s.refresh(ctx, conn)
	}
	s.rebuild(conn)
	if s.built.strange && down == nil { // an attribute whose name is not known yet
		s.fields.at = time.Time{}
		s.fields.refresh(ctx, conn)
		s.rebuild(conn)
	}

	b := s.built
	g := gaps{source: s.Name(), at: engine.At(time.Now()), list: slices.Clone(b.gaps)}
	if b.broken != nil { // how old it has become is for the loop to judge
		g.add("feed", s.Name(), "topology is not watched: %v", b.broken)
	}
	inv := b.overlay()
	s.idle(inv, g.at)
	if down == nil {
		s.poll(ctx, conn, b, inv, &g)
	} else {
		g.add("vcenter", string(conn.VCenter), "it does not answer: %v", down)
	}
	return engine.Observation{Source: s.Name(), At: b.at, Inventory: inv, Gaps: g.list}, ctx.Err()
}

// refresh brings what is read every few minutes up to date. Where the vCenter
// does not answer one question, it is not asked the next.
func (s *Source) refresh(ctx context.Context, conn *vsphere.Conn) {
	vms := s.vmRefs()
	if s.fields.refresh(ctx, conn); vsphere.Unreachable(s.fields.err) {
		return
	}
	if s.profiles.refresh(ctx, conn, len(vms)); vsphere.Unreachable(s.profiles.err) {
		return
	}
	if !s.cfg.NoTags {
		s.tags.refresh(ctx, conn, vms)
	}
	s.stops.refresh(ctx, conn, s.stopPlaces(), s.cfg.NoTags)
}

// rebuild converts the topology, if anything that it is made from has changed.
func (s *Source) rebuild(conn *vsphere.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := buildKey{topo: s.topo, version: s.topo.version, tags: s.tags.version, stops: s.stops.version, fields: s.fields.version, profiles: s.profiles.version}
	if s.built == nil || s.built.key != key {
		s.built = s.convert(conn, key)
	}
	s.built.at, s.built.broken = engine.At(s.topo.at), s.broken
}

// vmRefs lists the VMs that are known.
func (s *Source) vmRefs() []types.ManagedObjectReference {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []types.ManagedObjectReference
	for ref := range s.topo.records {
		if ref.Type == "VirtualMachine" {
			out = append(out, ref)
		}
	}
	return out
}

// gaps collects what could not be seen.
type gaps struct {
	source string
	at     engine.Unix
	list   []engine.Gap
}

func (g *gaps) add(kind, id, format string, a ...any) {
	g.list = append(g.list, engine.Gap{Source: g.source, Subject: engine.Subject{Kind: kind, ID: id}, Reason: fmt.Sprintf(format, a...), At: g.at})
}
