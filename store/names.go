package store

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"slices"
	"strings"

	"heliostat/engine"
)

// names replaces the names of VMs, hosts, clusters, datastores and networks, their
// paths, and people by pseudonyms, wherever they stand: the same name by the same
// one. The key to them is random and kept nowhere. Identifiers, sites, tags and
// attributes stay, as policies and plans go by them, and so does what policies say.
type names struct {
	key   []byte
	known map[string]string // name -> pseudonym; digest of a value -> digest of what it has become
	odd   *strings.Replacer // of the names that are not one word; nil until it is needed
}

func newNames() (*names, error) {
	n := &names{key: make([]byte, 32), known: map[string]string{}}
	_, err := rand.Read(n.key)
	return n, err
}

// ours are no names of people, though orders are signed by them.
var ours = []string{"", "heliostat", "restore"}

// learn notes a name.
func (n *names) learn(name string) {
	if _, ok := n.known[name]; ok || slices.Contains(ours, name) {
		return
	}
	mac := hmac.New(sha256.New, n.key)
	mac.Write([]byte(name))
	n.known[name], n.odd = "name-"+hex.EncodeToString(mac.Sum(nil)[:6]), nil
}

// named is what in a snapshot has a name.
type named struct {
	Name string `json:"name"`
	Path string `json:"path"`
}

// learn notes the names that an entry, or the snapshot that it names, is about.
func (e *exporter) learn(entry *engine.Entry) error {
	var r struct {
		Who      string `json:"who"`
		Snapshot string `json:"snapshot"`
	}
	switch entry.Kind {
	case engine.EntryInput, engine.EntryOperator, engine.EntryApproval:
	default:
		return nil
	}
	if err := json.Unmarshal(entry.Data, &r); err != nil {
		return err
	}
	e.names.learn(r.Who)
	if entry.Kind != engine.EntryInput {
		return nil
	}
	b, err := e.get(r.Snapshot)
	if errors.Is(err, fs.ErrNotExist) && entry.Seq <= e.excerpt.Cut {
		return nil
	}
	if err != nil {
		return err
	}
	var s struct {
		VMs        []named `json:"vms"`
		Hosts      []named `json:"hosts"`
		Clusters   []named `json:"clusters"`
		Datastores []named `json:"datastores"`
		Networks   []named `json:"networks"`
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	for _, list := range [][]named{s.VMs, s.Hosts, s.Clusters, s.Datastores, s.Networks} {
		for _, x := range list {
			e.names.learn(x.Name)
			e.names.learn(x.Path)
		}
	}
	return nil
}

// policyFiles is how the values begin that are no JSON: revisions of the policies, which
// people wrote and which stay as they are.
var policyFiles = []byte("PK\x03\x04")

// words are the keys whose values are words of the program, even where something
// has such a word for its name.
var words = []string{"kind", "state", "mode", "level", "code", "op", "status", "severity", "power", "source"}

// replace returns a JSON text with other names in its strings, otherwise as it was.
func (n *names) replace(text []byte) ([]byte, error) {
	if n.odd == nil {
		n.odd = n.replacer()
	}
	out := bytes.NewBuffer(make([]byte, 0, len(text)))
	key := ""
	for {
		begin := bytes.IndexByte(text, '"')
		if begin < 0 {
			out.Write(text)
			return out.Bytes(), nil
		}
		length := literal(text[begin:])
		if length == 0 {
			return nil, errors.New("a string in it does not end")
		}
		out.Write(text[:begin])
		var s string
		if err := json.Unmarshal(text[begin:begin+length], &s); err != nil {
			return nil, err
		}
		raw := text[begin : begin+length]
		text = text[begin+length:]
		if len(text) > 0 && text[0] == ':' {
			key = s
		} else if !slices.Contains(words, key) {
			if with := n.in(s); with != s {
				var err error
				if raw, err = engine.Encode(with); err != nil {
					return nil, err
				}
			}
		}
		out.Write(raw)
	}
}

// literal is the length of the JSON string that begins the text; 0 when it does not end.
func literal(text []byte) int {
	for i := 1; i < len(text); i++ {
		switch text[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return 0
}

// in replaces the names in a string: all of it, or words in it.
func (n *names) in(s string) string {
	if with, ok := n.known[s]; ok {
		return with
	}
	if strings.IndexFunc(s, func(r rune) bool { return !wordy(r) }) < 0 {
		return s
	}
	s = n.odd.Replace(s)
	var out strings.Builder
	for s != "" {
		end := strings.IndexFunc(s, func(r rune) bool { return !wordy(r) })
		if end < 0 {
			end = len(s)
		}
		// A full stop may end the name or the sentence.
		word := s[:end]
		if with, ok := n.known[word]; ok {
			word = with
		} else if with, ok := n.known[strings.TrimRight(word, ".")]; ok {
			word = with + word[len(strings.TrimRight(word, ".")):]
		}
		out.WriteString(word)
		s = s[end:]
		next := strings.IndexFunc(s, wordy)
		if next < 0 {
			next = len(s)
		}
		out.WriteString(s[:next])
		s = s[next:]
	}
	return out.String()
}

// replacer is for the names that words in a sentence do not make.
func (n *names) replacer() *strings.Replacer {
	var odd []string
	for name := range n.known {
		if strings.IndexFunc(name, func(r rune) bool { return !wordy(r) }) >= 0 {
			odd = append(odd, name)
		}
	}
	// A name may be part of another: the longer one goes first.
	slices.SortFunc(odd, func(a, b string) int { return len(b) - len(a) })
	pairs := make([]string, 0, 2*len(odd))
	for _, name := range odd {
		pairs = append(pairs, name, n.known[name])
	}
	return strings.NewReplacer(pairs...)
}

func wordy(r rune) bool {
	return r == '-' || r == '_' || r == '.' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || r > 0x7f
}
