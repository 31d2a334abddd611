package lab

import "math"

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
	last   World
	seen   bool
	home   map[string]int      // by VM: the host where it was first seen
	sent   map[moveKey]float64 // MiB that are accounted for
	hours  float64
	copied billionths // kWh of the copies
	sites  []siteSums
}

// billionths are a sum, of kWh, EUR or gram, that is the same in whichever order its
// parts are added: what happens in one moment has none.
type billionths int64

func (b *billionths) add(x float64) { *b += billionths(math.Round(x * 1e9)) }

func (b *billionths) float() float64 { return float64(*b) / 1e9 }

// siteSums are what a site has spent, and would have without.
type siteSums struct {
	name           string
	spent, without bill
}

// A bill is energy, cost and carbon.
type bill struct{ kwh, eur, gram billionths }

func (b *bill) join(x *bill) { b.kwh, b.eur, b.gram = b.kwh+x.kwh, b.eur+x.eur, b.gram+x.gram }

func (b *bill) add(s *WorldSite, kwh float64) {
	b.kwh.add(kwh)
	b.eur.add(kwh * s.EURPerKWh)
	b.gram.add(kwh * s.GramPerKWh)
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
			m.sites = append(m.sites, siteSums{name: w.Sites[i].Name})
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
	m.hours += hours
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
		m.sites[h.Site].spent.add(&w.Sites[h.Site], h.Watts*scale)
		busy := 0.0
		if h.MHz > 0 {
			busy = min(mhz[i]/float64(h.MHz), 1)
		}
		m.sites[h.Site].without.add(&w.Sites[h.Site], (h.IdleW+(h.MaxW-h.IdleW)*busy)*scale)
	}
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
		m.copied.add(kwh)
		for _, h := range [2]int{k.From, k.To} {
			site := w.Hosts[h].Site
			m.sites[site].spent.add(&w.Sites[site], kwh/2)
		}
	}
	for key := range m.sent {
		if !listed[key] {
			delete(m.sent, key)
		}
	}
}

// Reading is what has been added up so far.
func (m *Meter) Reading() Reading {
	r := Reading{Hours: m.hours, KWhCopies: m.copied.float()}
	var spent, without bill
	for i := range m.sites {
		x := &m.sites[i]
		r.Sites = append(r.Sites, SiteReading{
			Name: x.name, KWh: x.spent.kwh.float(), KWhWithout: x.without.kwh.float(), EUR: x.spent.eur.float(), EURWithout: x.without.eur.float(),
			GramCO2: x.spent.gram.float(), CO2Without: x.without.gram.float(),
		})
		spent.join(&x.spent)
		without.join(&x.without)
	}
	r.KWh, r.EUR, r.GramCO2 = spent.kwh.float(), spent.eur.float(), spent.gram.float()
	r.KWhWithout, r.EURWithout, r.GramCO2Without = without.kwh.float(), without.eur.float(), without.gram.float()
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
