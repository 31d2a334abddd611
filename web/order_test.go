package web

import (
	"encoding/json"
	"strings"
	"testing"

	"heliostat/internal/strict"
)

// An order that could mean two things, or hides something, is none.
func TestOrderIsStrict(t *testing.T) {
	for body, want := range map[string]string{
		`{"hash":"a","hash":"b"}`:               "1:13: hash: given twice; first on line 1",
		`{"Hash":"a"}`:                          "1:2: Hash: unknown key; did you mean hash?",
		`{"hash":null}`:                         "1:9: hash: has no value",
		`{"hash":"a"} {"hash":"b"}`:             "1:14: not JSON: invalid character '{' after top-level value",
		`{"reason":"x\u001b[2J"}`:               "has a character that cannot be seen",
		`["a"]`:                                 "1:1: want a mapping, not a list",
		"":                                      "1:1: not JSON: unexpected end of JSON input",
		`{"force":true}`:                        "1:2: force: unknown key",
		`"` + strings.Repeat("x", 64<<10) + `"`: "larger than 65536 bytes",
	} {
		if o, err := readOrder(strings.NewReader(body)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: %+v, %v", body, o, err)
		}
	}
}

// What is taken for an order is what any other decoder takes it for.
func FuzzOrder(f *testing.F) {
	f.Add(`{"hash":"0123","reason":"x"}`)
	f.Add(`{"kind":"vm","name":"a","Name":"b"}`)
	f.Fuzz(func(t *testing.T, body string) {
		o, err := readOrder(strings.NewReader(body))
		if err != nil {
			return
		}
		var other order
		dec := json.NewDecoder(strings.NewReader(body))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&other); err != nil || other != o {
			t.Errorf("%q: %+v, for encoding/json %+v, %v", body, o, other, err)
		}
		if strings.ContainsFunc(o.Hash+o.Reason+o.Kind+o.Name, strict.Unseen) {
			t.Errorf("%q hides something", body)
		}
	})
}
