package lab

// What sending one GiB costs, in Wh over both ends and what lies between.
const (
	// copyWhPerGiB is the hosts' work: 0.512 J a MB over both hosts. Source: Liu
	// et al., "Performance and energy modeling for live migration of virtual
	// machines", HPDC 2011.
	copyWhPerGiB = 0.512 * 1073.74 / 3600
	// wanWhPerGiB is transport between sites: 0.06 kWh/GB in 2015, halving every
	// two years, so 1.9 Wh/GB in 2025. Source: Aslan et al., "Electricity intensity
	// of Internet data transmission", Journal of Industrial Ecology 22, 2018. It
	// is a fixed network's average, which is above a dedicated link's: the meter
	// does not flatter moves.
	wanWhPerGiB = 0.06 * 1e3 / 32 * 1.07374
)

// A Meter adds up energy, cost and carbon over successive Worlds, and what they
// would have been without: the same demand, each VM on the host where it was
// first seen, every host powered on. Between two Worlds the first of them holds.
// It is owned by one goroutine.
type Meter struct {
	last  World
	seen  bool
	home  map[string]int      // by VM: the host where it was first seen
	sent  map[moveKey]float64 // MiB that are accounted for
	total Reading
}

// A Reading is what a meter has added up.
type Reading struct {
	Hours          float64
	KWh            float64 // at the meter: hosts times PUE, and copies
	KWhWithout     float64
	KWhCopies      float64 // share of KWh
	EUR            float64
	EURWithout     float64
	GramCO2        float64
	GramCO2Without float64
	Sites          []SiteReading // in the World's order
}

// A SiteReading is one site's share. Copies count half at each end.
type SiteReading struct {
	Name                string
	KWh, KWhWithout     float64
	EUR, EURWithout     float64
	GramCO2, CO2Without float64 // gram
}

// NewMeter returns a meter that stands at zero.
func NewMeter() *Meter {
	return &Meter{home: map[string]int{}, sent: map[moveKey]float64{}}
}

// Observe takes the next World. Times must not go back.
func (m *Meter) Observe(w World) {
	if !m.seen {
		m.seen = true
		for i := range w.Sites {
			m.total.Sites = append(m.total.Sites, SiteReading{Name: w.Sites[i].Name})
		}
	} else if hours := w.Now.Sub(m.last.Now).Hours(); hours > 0 {
		m.add(hours)
	}
	for i := range w.VMs {
		v := &w.VMs[i]
		if _, ok := m.home[v.UUID]; !ok && v.Host >= 0 {
			m.home[v.UUID] = v.Host
		}
	}
	m.copies(&w)
	m.last = w
}

// add spends hours in the last World.
func (m *Meter) add(hours float64) {
	w := &m.last
	m.total.Hours += hours
	mhz := make([]float64, len(w.Hosts))
	counted := make(map[string]bool, len(w.VMs))
	for i := range w.VMs {
		v := &w.VMs[i]
		h, ok := m.home[v.UUID]
		if !ok || !v.On || counted[v.UUID] {
			continue
		}
		counted[v.UUID] = true
		mhz[h] += float64(v.MHz)
	}
	for i := range w.Hosts {
		h := &w.Hosts[i]
		scale := w.Sites[h.Site].PUE * hours / 1000
		m.spend(w, h.Site, h.Watts*scale)
		busy := 0.0
		if h.MHz > 0 {
			busy = min(mhz[i]/float64(h.MHz), 1)
		}
		m.spare(w, h.Site, (h.IdleW+(h.MaxW-h.IdleW)*busy)*scale)
	}
}

func (m *Meter) spend(w *World, site int, kwh float64) {
	s, t := &w.Sites[site], &m.total.Sites[site]
	m.total.KWh += kwh
	m.total.EUR += kwh * s.EURPerKWh
	m.total.GramCO2 += kwh * s.GramPerKWh
	t.KWh += kwh
	t.EUR += kwh * s.EURPerKWh
	t.GramCO2 += kwh * s.GramPerKWh
}

func (m *Meter) spare(w *World, site int, kwh float64) {
	s, t := &w.Sites[site], &m.total.Sites[site]
	m.total.KWhWithout += kwh
	m.total.EURWithout += kwh * s.EURPerKWh
	m.total.GramCO2Without += kwh * s.GramPerKWh
	t.KWhWithout += kwh
	t.EURWithout += kwh * s.EURPerKWh
	t.CO2Without += kwh * s.GramPerKWh
}

// copies spends what moves have sent since the World before, half at each end.
func (m *Meter) copies(w *World) {
	listed := make(map[moveKey]bool, len(w.Moves))
	for i := range w.Moves {
		k := &w.Moves[i]
		key := keyOf(k)
		listed[key] = true
		perGiB := copyWhPerGiB
		if k.WAN {
			perGiB += wanWhPerGiB
		}
		sent := k.MemMiB + k.DiskMiB
		kwh := max(sent-m.sent[key], 0) / 1024 * perGiB / 1000
		m.sent[key] = max(sent, m.sent[key])
		m.total.KWhCopies += kwh
		m.spend(w, w.Hosts[k.From].Site, kwh/2)
		m.spend(w, w.Hosts[k.To].Site, kwh/2)
	}
	for key := range m.sent {
		if !listed[key] {
			delete(m.sent, key)
		}
	}
}

// Reading is what has been added up so far.
func (m *Meter) Reading() Reading {
	r := m.total
	r.Sites = append([]SiteReading(nil), r.Sites...)
	return r
}

// A moveKey tells one move from every other.
type moveKey struct {
	vm       string
	from, to int
	started  int64 // Unix nanoseconds
}

func keyOf(m *WorldMove) moveKey {
	return moveKey{vm: m.VM, from: m.From, to: m.To, started: m.Started.UnixNano()}
}
