package policy

import (
	"encoding/json"
	"strconv"
	"strings"
	"sync"

	"github.com/open-policy-agent/opa/v1/ast"

	"heliostat/engine"
)

// A doc is an object while it is built.
type doc struct {
	pairs [][2]*ast.Term
	only  *fields // nil: everything that is put
}

// has reports whether the key is taken when it is put.
func (d *doc) has(key string) bool { return d.only == nil || d.only.all || d.only.some[key] }

// maxInterned bounds the table of shared string terms; when it is full, a new
// one is begun.
const maxInterned = 1 << 17

// interner shares the terms of strings that many objects carry. It is safe for
// concurrent use.
type interner struct {
	mu    sync.RWMutex
	terms map[string]*ast.Term
}

func (in *interner) str(s string) *ast.Term {
	in.mu.RLock()
	t, ok := in.terms[s]
	in.mu.RUnlock()
	if ok {
		return t
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if t, ok := in.terms[s]; ok {
		return t
	}
	if in.terms == nil || len(in.terms) >= maxInterned {
		in.terms = map[string]*ast.Term{}
	}
	t = ast.StringTerm(s)
	in.terms[s] = t
	return t
}

// orNull is null for "".
func (in *interner) orNull(s string) *ast.Term {
	if s == "" {
		return ast.InternedNullTerm
	}
	return in.str(s)
}

func (d *doc) put(key string, t *ast.Term) {
	if !d.has(key) {
		return
	}
	k, ok := keyTerms[key]
	if !ok {
		panic("policy schemas have no property " + key)
	}
	d.pairs = append(d.pairs, [2]*ast.Term{k, t})
}

// add puts a key that is data: a tag category, a name.
func (d *doc) add(key, t *ast.Term) { d.pairs = append(d.pairs, [2]*ast.Term{key, t}) }

func (d *doc) bool(key string, b bool) { d.put(key, ast.InternedTerm(b)) }

func (d *doc) str(key, s string) {
	if d.has(key) {
		d.put(key, ast.StringTerm(s))
	}
}

func (d *doc) int(key string, n int64) {
	if d.has(key) {
		d.put(key, ast.InternedTerm(n))
	}
}

// seen puts an integer, null where it is Unknown.
func (d *doc) seen(key string, n int32) {
	if n == engine.Unknown {
		d.put(key, ast.InternedNullTerm)
		return
	}
	d.int(key, int64(n))
}

// moment puts Unix seconds, null for no moment.
func (d *doc) moment(key string, u engine.Unix) {
	if u == 0 {
		d.put(key, ast.InternedNullTerm)
		return
	}
	d.int(key, int64(u))
}

// milli puts thousandths as a decimal number, null where they are Unknown.
func (d *doc) milli(key string, n int32) {
	if n == engine.Unknown {
		d.put(key, ast.InternedNullTerm)
		return
	}
	d.put(key, decimal(int64(n), 3))
}

// decimal is n / 10^digits, exactly.
func decimal(n int64, digits int) *ast.Term {
	sign := ""
	if n < 0 {
		sign, n = "-", -n
	}
	s := strconv.FormatInt(n, 10)
	if len(s) <= digits {
		s = strings.Repeat("0", digits+1-len(s)) + s
	}
	whole, part := s[:len(s)-digits], strings.TrimRight(s[len(s)-digits:], "0")
	if part != "" {
		whole += "." + part
	}
	return ast.NumberTerm(json.Number(sign + whole))
}

// float is the shortest number that reads back as f.
func float(f float64) *ast.Term {
	return ast.NumberTerm(json.Number(strconv.FormatFloat(f, 'f', -1, 64)))
}

// term ends the object and makes d ready for the next.
func (d *doc) term() *ast.Term {
	t := ast.NewTerm(ast.NewObject(d.pairs...))
	d.pairs = d.pairs[:0]
	return t
}

// array is a term of the items; none is the shared empty array.
func array(items []*ast.Term) *ast.Term {
	if len(items) == 0 {
		return ast.InternedEmptyArray
	}
	return ast.ArrayTerm(items...)
}
