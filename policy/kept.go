package policy

import (
	"context"
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"

	"heliostat/engine"
)

// Cluster-scope answers are kept from one cycle to the next. A rule's answer is a
// function of the bundle and of the documents that it reads, which its text
// tells (see entry.reads); the encoder gives a document that has not changed by
// the same pointer. So an answer holds for as long as the pointers do. What is
// kept is the set that the rule returned, not what was read from it, since that
// refers to the snapshot by index. Rules that failed are asked again.

// A said is a rule's answer about one cluster.
type said struct {
	read []*ast.Term // the documents, as the rule's sources list them
	set  *ast.Term   // nil: it failed, or cannot be kept
}

// sources says where the documents are that a cluster-scope rule reads.
type sources struct {
	always             bool // it must be asked in every cycle
	cluster, hosts, vm bool
	marked             bool
	fleet              []string // keys of data.fleet
}

// sources derives them from the refs. Parameters and facts belong to the bundle.
func (e *entry) sources() sources {
	var s sources
	for _, r := range e.reads {
		key := func(i int) string {
			if i >= len(r) {
				return ""
			}
			k, _ := r[i].Value.(ast.String)
			return string(k)
		}
		switch {
		case r[0].Equal(ast.InputRootDocument):
			switch key(1) {
			case "cluster":
				s.cluster = true
			case "hosts":
				s.hosts = true
			case "vms":
				s.vm = true
			case "marked":
				s.marked = true
			default: // all of input, or loads of VMs, which change with every cycle
				s.always = true
			}
		case key(1) == "params" || key(1) == "facts":
		case key(1) == "fleet" && key(2) != "":
			s.fleet = append(s.fleet, key(2))
		default: // all of the fleet, or what we do not know
			s.always = true
		}
	}
	return s
}

// of lists the documents of cluster c, nil where the rule must be asked.
func (s *sources) of(d *document, c int32) []*ast.Term {
	if s.always {
		return nil
	}
	out := make([]*ast.Term, 0, 4+len(s.fleet))
	in := &d.inputs[c]
	if s.cluster {
		out = append(out, in.cluster)
	}
	if s.hosts {
		out = append(out, in.hosts)
	}
	if s.vm {
		out = append(out, in.vms)
	}
	if s.marked {
		out = append(out, in.marked)
	}
	for _, key := range s.fleet {
		out = append(out, d.parts[key]) // nil for a key that there is not
	}
	return out
}

// askCluster asks the cluster-scope queries about cluster c, or takes what they
// said before where it still holds.
func (b *Bundle) askCluster(ctx context.Context, qs []*query, d *document, data ast.Object, c int32, before []said) (answers []*answer, now []said) {
	answers, now = make([]*answer, len(qs)), make([]said, len(qs))
	var input ast.Value // made when a query needs it
	for i, q := range qs {
		read := q.src.of(d, c)
		var t *ast.Term
		var err error
		if before != nil && before[i].set != nil && slices.Equal(before[i].read, read) {
			t = before[i].set
		} else {
			if input == nil {
				input = clusterInput(d, c, slices.ContainsFunc(qs, func(q *query) bool { return q.readsInput("vm_load") }))
			}
			t, err = q.ask(ctx, data, input, d.now, b.deadline)
		}
		if err == nil {
			answers[i], err = readAnswer(q.spec, q.voice, t, d.snap, c)
		}
		if err != nil {
			answers[i] = q.failed(err, d.snap, c)
			continue
		}
		if read != nil {
			now[i] = said{read, t}
		}
	}
	return answers, now
}

// saidBefore is what cluster-scope rules said in the evaluation before, by cluster.
func (b *Bundle) saidBefore() map[engine.ClusterID][]said {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.said
}

// keepSaid replaces it: clusters that have gone are forgotten.
func (b *Bundle) keepSaid(s *engine.Snapshot, perCluster [][]said) {
	m := make(map[engine.ClusterID][]said, len(perCluster))
	for c := range perCluster {
		m[s.Clusters[c].ID] = perCluster[c]
	}
	b.mu.Lock()
	b.said = m
	b.mu.Unlock()
}
