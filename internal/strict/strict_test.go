package strict_test

import (
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"heliostat/internal/strict"
)

type inner struct {
	ID    string   `json:"id" xml:"id"`
	Tags  []string `json:"tags" xml:"tag"`
	Note  string   `json:"note" xml:"note"`
	Angle float64  `json:"angle" xml:"angle"`
}

type outer struct {
	Status string            `json:"status" xml:"status"`
	On     bool              `json:"on" xml:"on"`
	N      int32             `json:"n" xml:"n"`
	Big    uint64            `json:"big" xml:"big"`
	At     time.Time         `json:"at" xml:"at"`
	For    time.Duration     `json:"for" xml:"for"`
	P      *float64          `json:"p" xml:"p"`
	Inner  inner             `json:"inner" xml:"inner"`
	List   []inner           `json:"list" xml:"list"`
	Pair   [2]int            `json:"pair"`
	Labels map[string]string `json:"labels"`
	Any    any               `json:"any"`
	Late   []strict.Part     `json:"late"`
	Lang   string            `json:"-" xml:"lang,attr"`
}

var root = xml.Name{Space: "urn:x", Local: "alert"}

// read decodes a text of the format into v, and gives what is wrong with it.
func read(format, text string, o strict.Options, v any) string {
	var d *strict.Document
	switch format {
	case "json":
		d = strict.JSON([]byte(text), o)
	case "yaml":
		d = strict.YAML([]byte(text), o)
	case "xml":
		d = strict.XML([]byte(text), root, o)
	case "cbor":
		raw, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
		if err != nil {
			panic(err)
		}
		d = strict.CBOR(raw, o)
	}
	if err := d.Decode(v); err != nil {
		return err.Error()
	}
	return ""
}

func TestReads(t *testing.T) {
	p := 0.5
	at := time.Date(2026, 9, 1, 6, 0, 0, 0, time.UTC)
	want := outer{Status: "Äctual", On: true, N: -5, Big: math.MaxUint64, At: at, For: time.Minute, P: &p, Inner: inner{ID: "a", Tags: []string{"x", "y"}}, List: []inner{{ID: "b"}}}
	for format, text := range map[string]string{
		"json": `{"status": "\u00c4ctual", "on": true, "n": -5, "big": 18446744073709551615, "at": "2026-09-01T06:00:00Z", "for": "1m", "p": 5e-1, "inner": {"id": "a", "tags": ["x", "y"]}, "list": [{"id": "b"}]}`,
		"yaml": "status: Äctual\non: true\nn: -5\nbig: 18446744073709551615\nat: 2026-09-01T06:00:00Z\nfor: 1m\np: 0.5\ninner: {id: a, tags: [x, y]}\nlist: [{id: b}]\n",
		"xml":  `<?xml version="1.0"?><alert xmlns="urn:x"><status>Äctual</status><on>true</on><n>-5</n><big>18446744073709551615</big><at>2026-09-01T06:00:00Z</at><for>1m</for><p> 0.5 </p><inner><id>a</id><tag>x</tag><!-- c --><tag>y</tag></inner><list><id>b</id></list></alert>`,
		"cbor": "a9" + "66737461747573" + "67c3846374 75616c" + "626f6e" + "f5" + "616e" + "24" + "63626967" + "1bffffffffffffffff" + "626174" + "74323032362d30392d30315430363a30303a30305a" +
			"63666f72" + "62316d" + "6170" + "fb3fe0000000000000" + "65696e6e6572" + "a262696461616474616773826178 6179" + "646c697374" + "81a16269646162",
	} {
		var got outer
		if said := read(format, text, strict.Options{}, &got); said != "" || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %s\ngot  %+v\nwant %+v", format, said, got, want)
		}
	}
}

func TestRefuses(t *testing.T) {
	deep := func(n int, open, end string) string { return strings.Repeat(open, n) + strings.Repeat(end, n) }
	alert := func(s string) string { return `<alert xmlns="urn:x">` + s + `</alert>` }
	for _, c := range []struct{ name, format, text, want string }{
		{"carriage return alone", "yaml", "n: 1\nstatus: a\rn: 2\n", "f:2:10: a line ends here that editors show going on: end lines with a line feed"},
		{"carriage return at the end", "yaml", "\r\r0", "f:1:1: a line ends here that editors show going on: end lines with a line feed"},
		{"Unicode's end of a line", "yaml", "status: a\u2028n: 2\n", "f:1:10: a line ends here that editors show going on: end lines with a line feed"},
		{"twice", "json", "{\"status\": \"Test\",\n \"status\": \"Actual\"}", "f:2:2: status: given twice; first on line 1"},
		{"twice, escaped", "json", `{"status": "Test", "st\u0061tus": "Actual"}`, "f:1:20: status: given twice; first on line 1"},
		{"twice in a map", "json", `{"labels": {"a": "1", "a": "2"}}`, "f:1:23: labels.a: given twice; first on line 1"},
		{"twice without a type", "json", `{"any": {"a": {"b": 1, "b": 2}}}`, "f:1:24: any.a.b: given twice; first on line 1"},
		{"other case", "json", `{"Status": "Actual"}`, "f:1:2: Status: unknown key; did you mean status?"},
		{"unknown", "json", `{"inner": {"colour": 1}}`, "f:1:12: inner.colour: unknown key; known are angle, id, note, tags"},
		{"null", "json", `{"inner": null}`, "f:1:11: inner: has no value; give it one or remove the key"},
		{"null in a list", "json", `{"list": [null]}`, "f:1:11: list[0]: has no value; give it one or remove the key"},
		{"null document", "json", `null`, "f:1:1: has no value; give it one or remove the key"},
		{"trailing data", "json", "{}\n{}", "f:2:1: not JSON: invalid character '{' after top-level value"},
		{"cut short", "json", "{\n", "f:2:1: not JSON: unexpected end of JSON input"},
		{"empty", "json", "", "f:1:1: not JSON: unexpected end of JSON input"},
		{"comma", "json", "[1,]", "f:1:4: not JSON: invalid character ']' looking for beginning of value"},
		{"infinite", "json", `{"p": 1e999}`, `f:1:7: p: want a finite number, not "1e999"`},
		{"infinite without a type", "json", `{"any": [1e999]}`, `f:1:10: any[0]: want a finite number, not "1e999"`},
		{"not a number", "json", `{"p": NaN}`, "f:1:7: not JSON: invalid character 'N' looking for beginning of value"},
		{"fraction", "json", `{"n": 1.0}`, `f:1:7: n: want a whole number, not "1.0"`},
		{"does not fit", "json", `{"n": 2147483648}`, `f:1:7: n: want a whole number, not "2147483648"`},
		{"negative", "json", `{"big": -1}`, `f:1:9: big: want a whole number, not "-1"`},
		{"text for number", "json", `{"n": "1"}`, `f:1:7: n: want a whole number, not "1"`},
		{"number for text", "json", `{"status": 1}`, `f:1:12: status: want a text, not 1; write "1" in quotes`},
		{"number for time", "json", `{"at": 1}`, `f:1:8: at: parsing time "1" as "2006-01-02T15:04:05Z07:00": cannot parse "1" as "2006"`},
		{"one for truth", "json", `{"on": 1}`, `f:1:8: on: want true or false, not "1"`},
		{"list for mapping", "json", `{"inner": []}`, "f:1:11: inner: want a mapping, not a list"},
		{"mapping for text", "json", `{"status": {}}`, "f:1:12: status: want a text, not a mapping"},
		{"two items", "json", `{"pair": [1]}`, "f:1:10: pair: want 2 items, not 1"},
		{"not UTF-8", "json", "{\n \"ä\xff\"}", "f:2:4: byte 0xff is not UTF-8; save the text as UTF-8"},
		{"half a pair", "json", `{"status": "\ud83d"}`, "f:1:12: status: half a surrogate pair is no character"},
		{"unseen", "json", `{"status": "a\u202eb"}`, `f:1:12: status: "a\u202eb" has a character that cannot be seen`},
		{"unseen key", "json", `{"labels": {"a\u001b[2J": "x"}}`, `f:1:13: labels.a\x1b[2J: the key "a\x1b[2J" has a character that cannot be seen`},
		{"deep", "json", `{"any": ` + deep(32, "[", "]") + `}`, "f:1:40: nested deeper than 32 levels"},
		{"very deep", "json", deep(5000, "[", "]"), "f:1:33: nested deeper than 32 levels"},
		{"all at once", "json", "{\"n\": \"x\",\n\"on\": 0,\n\"list\": [{\"id\": 5}]}", "f:1:7: n: want a whole number, not \"x\"\nf:2:7: on: want true or false, not \"0\"\nf:3:17: list[0].id: want a text, not 5; write \"5\" in quotes"},

		{"UTF-16", "yaml", "\xff\xfea\x00:\x00", "f:1:1: byte 0xff is not UTF-8; save the text as UTF-8"},
		{"not UTF-8", "yaml", "n: 1\nstatus: ä\xff\n", "f:2:10: byte 0xff is not UTF-8; save the text as UTF-8"},
		{"second document", "yaml", "a: 1\n---\nb: 1\n", "f:1:1: a: unknown key; did you mean at?\nf:2:1: a second document; there must be one"},
		{"yes", "yaml", "on: yes\n", `f:1:5: on: want true or false, not "yes"`},
		{"true in another case", "yaml", "on: True\n", `f:1:5: on: want true or false, not "True"`},
		{"octal", "yaml", "n: 010\n", `f:1:4: n: want a whole number, not "010"`},
		{"octal of 1.2", "yaml", "n: 0o10\n", `f:1:4: n: want a whole number, not "0o10"`},
		{"hexadecimal", "yaml", "p: 0x10\n", `f:1:4: p: want a number, not "0x10"`},
		{"sexagesimal", "yaml", "n: 1:30\n", `f:1:4: n: want a whole number, not "1:30"`},
		{"underscores", "yaml", "n: 1_000\n", `f:1:4: n: want a whole number, not "1_000"`},
		{"not a number", "yaml", "p: .nan\n", `f:1:4: p: want a finite number, not ".nan"`},
		{"infinite without a type", "yaml", "any: [-.Inf]\n", `f:1:7: any[0]: want a finite number, not "-.Inf"`},
		{"null", "yaml", "status:\n", "f:1:8: status: has no value; give it one or remove the key"},
		{"tilde", "yaml", "status: ~\n", "f:1:9: status: has no value; give it one or remove the key"},
		{"merge", "yaml", "inner: {<<: {id: a}}\n", "f:1:9: inner: want a plain key"},
		{"alias", "yaml", "status: &a x\nany: *a\n", "f:1:9: status: anchors and aliases are not supported; write the value out\nf:2:6: any: anchors and aliases are not supported; write the value out"},
		{"billion laughs", "yaml", "any: [&a [x, x], &b [*a, *a], [*b, *b]]\n", "f:1:7: any[0]: anchors and aliases are not supported; write the value out\nf:1:18: any[1]: anchors and aliases are not supported; write the value out\nf:1:32: any[2][0]: anchors and aliases are not supported; write the value out\nf:1:36: any[2][1]: anchors and aliases are not supported; write the value out"},
		{"tag", "yaml", "n: !!int \"5\"\n", "f:1:4: n: tags such as !!int are not supported"},
		{"deep", "yaml", "any: " + deep(32, "[", "]") + "\n", "f:1:37: nested deeper than 32 levels"},
		{"empty", "yaml", "# nothing\n", "f:1:1: the file is empty"},
		{"moment for text", "yaml", "status: 2026-01-01\n", `f:1:9: status: want a text, not 2026-01-01; write "2026-01-01" in quotes`},

		{"twice", "xml", alert("\n<status>Test</status><status>Actual</status>"), "f:2:22: status: given twice; first on line 2"},
		{"attribute twice", "xml", `<alert xmlns="urn:x" lang="a" lang="b"><n>1</n></alert>`, "f:1:1: @lang: given twice; first on line 1"},
		{"unknown", "xml", alert("<Status>Actual</Status>"), "f:1:22: Status: unknown key; did you mean status?"},
		{"other namespace", "xml", alert(`<status xmlns="urn:y">Actual</status>`), `f:1:22: {urn:y}status: unknown key; known are @lang, at, big, for, inner, list, n, on, p, status`},
		{"other root", "xml", `<alert xmlns="urn:y"/>`, `f:1:1: not XML: want <alert> of namespace "urn:x", not <alert> of "urn:y"`},
		{"DTD", "xml", "<!DOCTYPE alert [<!ENTITY a \"b\">]>" + alert(""), "f:1:1: not XML: a DTD is not supported; remove the <!...>"},
		{"entity", "xml", alert("<status>&a;</status>"), "f:1:33: not XML: invalid character entity &a;"},
		{"style", "xml", "<?xml-stylesheet href=\"x\"?>" + alert(""), "f:1:1: not XML: processing instructions are not supported; remove the <?xml-stylesheet...?>"},
		{"second element", "xml", alert("<n>1</n>") + alert(""), "f:1:38: not XML: a second element after the end; there must be one"},
		{"trailing text", "xml", alert("<n>1</n>") + "x", "f:1:38: not XML: text outside the element"},
		{"nothing", "xml", "", "f:1:1: not XML: no element in it"},
		{"not closed", "xml", "<alert xmlns=\"urn:x\">\n<n>1", "f:2:5: not XML: unexpected EOF"},
		{"empty element", "xml", alert("<status/>"), "f:1:22: status: has no value; give it one or remove the key"},
		{"mixed", "xml", alert("<inner>x<id>a</id></inner>"), "f:1:40: not XML: text between elements"},
		{"octal", "xml", alert("<n>010</n>"), `f:1:22: n: want a whole number, not "010"`},
		{"not a number", "xml", alert("<p>NaN</p>"), `f:1:22: p: want a number, not "NaN"`},
		{"other charset", "xml", `<?xml version="1.0" encoding="latin1"?>` + alert(""), "f:1:1: not XML: xml: encoding \"latin1\" declared but Decoder.CharsetReader is nil"},
		{"deep", "xml", alert(deep(32, "<a>", "</a>")), "f:1:115: not XML: nested deeper than 32 levels"},

		{"twice", "cbor", "a2 616e 01 616e 02", "f:1:5: n: given twice; first on line 1"},
		{"null", "cbor", "a1 616e f6", "f:1:4: n: has no value; give it one or remove the key"},
		{"undefined", "cbor", "a1 616e f7", "f:1:5: not CBOR as it is read here: simple value 23 is not supported"},
		{"not a number", "cbor", "a1 6170 fb7ff8000000000000", `f:1:4: p: want a finite number, not "NaN"`},
		{"infinite", "cbor", "a1 6170 fa7f800000", `f:1:4: p: want a finite number, not "+Inf"`},
		{"trailing data", "cbor", "a0 00", "f:1:2: not CBOR as it is read here: 1 bytes after the end"},
		{"cut short", "cbor", "a1 616e", "f:1:4: not CBOR as it is read here: ends 1 bytes early"},
		{"a length that is not there", "cbor", "9b00000fffffffffff", "f:1:10: not CBOR as it is read here: ends 1 bytes early"},
		{"indefinite", "cbor", "bf ff", "f:1:2: not CBOR as it is read here: length 31 is indefinite or reserved"},
		{"longer than need be", "cbor", "a1 616e 1805", "f:1:6: not CBOR as it is read here: 5 is not in its shortest form"},
		{"tag", "cbor", "c0 60", "f:1:2: not CBOR as it is read here: type 6 (byte string or tag) is not supported"},
		{"key that is no text", "cbor", "a1 01 02", `f:1:3: not CBOR as it is read here: the key "1" is not a text`},
		{"not UTF-8", "cbor", "61 ff", `f:1:3: not CBOR as it is read here: text "\xff" is not UTF-8`},
		{"deep", "cbor", strings.Repeat("81", 33) + "00", "f:1:34: not CBOR as it is read here: nested deeper than 32 levels"},
	} {
		t.Run(c.format+"/"+c.name, func(t *testing.T) {
			var v outer
			if got := read(c.format, c.text, strict.Options{File: "f"}, &v); got != c.want {
				t.Errorf("got:\n%s\nwant:\n%s", got, c.want)
			}
		})
	}
	var v any
	if got := read("json", "[1"+strings.Repeat(",1", 1<<20)+"]", strict.Options{MaxBytes: 4 << 20}, &v); got != "1:1: more than 1048576 values" {
		t.Errorf("many values: %s", got)
	}
	for _, format := range []string{"json", "yaml", "xml"} {
		if got := read(format, strings.Repeat(" ", strict.MaxCAP+1), strict.Options{MaxBytes: strict.MaxCAP}, &v); got != "1:1: the file is larger than 262144 bytes" {
			t.Errorf("%s: large: %s", format, got)
		}
	}
}

// Senders add keys; all else is as strict.
func TestUnknown(t *testing.T) {
	o := strict.Options{Unknown: true, Unseen: true}
	var v outer
	if got := read("json", `{"new": {"a": null, "a": 1}, "status": "a\u202eb", "inner": {"x": []}}`, o, &v); got != "" || v.Status != "a\u202eb" {
		t.Errorf("%q, %s", v.Status, got)
	}
	if got := read("json", `{"STATUS": "a"}`, o, &v); got != "1:2: STATUS: unknown key; did you mean status?" {
		t.Errorf("other case: %s", got)
	}
	if got := read("json", `{"status": "a", "status": "a"}`, o, &v); got != "1:17: status: given twice; first on line 1" {
		t.Errorf("twice: %s", got)
	}
	if got := read("xml", `<alert xmlns="urn:x"><new/><status xmlns="urn:y">Test</status><status>Actual</status></alert>`, o, &v); got != "" || v.Status != "Actual" {
		t.Errorf("%q, %s", v.Status, got)
	}
}

// A part that is wrong does not keep the others out.
func TestParts(t *testing.T) {
	var v outer
	if got := read("json", "{\"late\": [{\"id\": 1},\n {\"id\": \"b\"}]}", strict.Options{}, &v); got != "" {
		t.Fatal(got)
	}
	var a, b inner
	if err := v.Late[0].Decode(&a); err == nil || err.Error() != `1:18: late[0].id: want a text, not 1; write "1" in quotes` {
		t.Errorf("first: %v", err)
	}
	if err := v.Late[1].Decode(&b); err != nil || b.ID != "b" {
		t.Errorf("second: %v, %+v", err, b)
	}
}

func TestUntyped(t *testing.T) {
	var j, y any
	if got := read("json", `{"a": [1, 2.50, true, "x"]}`, strict.Options{}, &j); got != "" || !reflect.DeepEqual(j, map[string]any{"a": []any{json.Number("1"), json.Number("2.50"), true, "x"}}) {
		t.Errorf("%#v, %s", j, got)
	}
	if got := read("yaml", `{"a": [1, 2.50, true, "x"]}`, strict.Options{}, &y); got != "" || !reflect.DeepEqual(y, map[string]any{"a": []any{int64(1), 2.5, true, "x"}}) {
		t.Errorf("%#v, %s", y, got)
	}
}

// What a later look finds has a place too, and what could not be read has one fault.
func TestFault(t *testing.T) {
	d := strict.JSON([]byte("{\"n\": \"x\",\n \"list\": [{\"id\": \"a\"}]}"), strict.Options{File: "f"})
	var v outer
	if err := d.Decode(&v); err == nil {
		t.Fatal("no fault")
	}
	d.Fault("list[0].note", "is missing")
	d.Fault("n", "0 is too small")
	const want = "f:1:7: n: want a whole number, not \"x\"\nf:2:11: list[0].note: is missing"
	if d.Err().Error() != want || !d.Has("list[0].id") || d.Has("list[0].note") {
		t.Errorf("got:\n%v\nwant:\n%s", d.Err(), want)
	}
	if f := d.Fresh(); f.Err() != nil || !f.Has("n") {
		t.Errorf("fresh: %v", f.Err())
	}
}

func TestEscape(t *testing.T) {
	for in, want := range map[string]string{
		"web-01 Ä 日本 👩‍🚒": "web-01 Ä 日本 👩‍🚒", "a\x1b[2Jb": `a\x1b[2Jb`, "a\nb\tc": `a\nb\tc`, "x\u202ecod.exe": `x\u202ecod.exe`, "a\xffb": `a\xffb`,
		"a\ufffdb": "a\ufffdb", "\u2028": `\u2028`, "\u0085": `\u0085`, "": "",
	} {
		if got := strict.Escape(in); got != want {
			t.Errorf("Escape(%q) = %q, want %q", in, got, want)
		}
	}
}

// A bomb ends with an error, not with less than there was.
func TestLimit(t *testing.T) {
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	if _, err := z.Write(make([]byte, 10<<20)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	for most, tooLarge := range map[int64]bool{1 << 20: true, 10<<20 - 1: true, 10 << 20: false, 11 << 20: false} {
		r, err := gzip.NewReader(bytes.NewReader(bomb.Bytes()))
		if err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, strict.Limit(r, most))
		e, ok := errors.AsType[*strict.TooLargeError](err)
		if ok != tooLarge || (!ok && err != nil) || (ok && (e.Max != most || n != most)) || (!ok && n != 10<<20) {
			t.Errorf("of %d: read %d, %v", most, n, err)
		}
	}
}

// differ reports whether encoding/json finds another value than was read here.
func differ(t *testing.T, text string, v any) {
	t.Helper()
	var other any
	dec := json.NewDecoder(strings.NewReader(text))
	dec.UseNumber()
	if err := dec.Decode(&other); err != nil || !reflect.DeepEqual(v, other) {
		t.Errorf("%q reads as %#v, for encoding/json %#v, %v", text, v, other, err)
	}
}

// sound checks that faults are faults of the text.
func sound(t *testing.T, text string, err error) {
	t.Helper()
	if err == nil {
		return
	}
	faults, ok := errors.AsType[strict.Faults](err)
	if !ok || len(faults) == 0 {
		t.Fatalf("not faults: %v", err)
	}
	lines := strings.Count(text, "\n") + 2
	for _, f := range faults {
		if f.Line < 1 || f.Line > lines || f.Column < 1 || f.Column > len(text)+2 || f.What == "" || strings.ContainsFunc(f.Message(), strict.Unseen) || strings.Contains(f.Message(), "\n") {
			t.Errorf("fault %+v of %q", f, text)
		}
	}
}

// What is taken is what encoding/json takes it for.
func FuzzJSON(f *testing.F) {
	for _, s := range []string{`{"a": [1, -2.5e3, true, null, "x\n\ud83d\ude00"], "a": {}}`, "[[\n]] 1", `{"status": "Test", "Status": 1}`, "\"\xff\"", `"\ud800"`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var v any
		err := strict.JSON([]byte(text), strict.Options{}).Decode(&v)
		sound(t, text, err)
		if err == nil {
			differ(t, text, v)
		}
		var o outer
		sound(t, text, strict.JSON([]byte(text), strict.Options{Unknown: true, Unseen: true}).Decode(&o))
	})
}

func FuzzYAML(f *testing.F) {
	for _, s := range []string{"a: [1, .nan, ~, yes, 0o7]\n", "a: &a [*a]\n<<: *a\n? [x]\n: y\n---\n", "\ta", "status: |\n  x\nlist:\n- id: 5\n", "\xff\xfe( ( \xfe\xfe"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var v any
		sound(t, text, strict.YAML([]byte(text), strict.Options{}).Decode(&v))
		var o outer
		sound(t, text, strict.YAML([]byte(text), strict.Options{}).Decode(&o))
	})
}

func FuzzXML(f *testing.F) {
	for _, s := range []string{`<alert xmlns="urn:x" lang="en"><status>Actual</status><n>5</n><inner><tag>a</tag><tag>b</tag></inner></alert>`, `<!DOCTYPE a [<!ENTITY b "c">]><alert xmlns="urn:x">&b;</alert>`, "<a:alert xmlns:a=\"urn:x\"><a:n>\n1</a:n></a:alert><x/>"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var o outer
		err := strict.XML([]byte(text), root, strict.Options{Unknown: true}).Decode(&o)
		sound(t, text, err)
		if err == nil && strings.Count(text, "<status>") > 1 && !strings.ContainsAny(text, "!:") {
			// Two in one place; elsewhere they are in what nobody knows.
			var all struct {
				Status []string `xml:"status"`
			}
			if e := xml.Unmarshal([]byte(text), &all); e == nil && len(all.Status) > 1 && o.Status != "" {
				t.Errorf("%q: of %q the one %q was taken", text, all.Status, o.Status)
			}
		}
	})
}

func FuzzCBOR(f *testing.F) {
	for _, s := range []string{"a2616e01616e02", "a16170fb7ff8000000000000", "9b00000fffffffffff", "8261781903e8", "a165696e6e6572a16269646161"} {
		b, err := hex.DecodeString(s)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var v any
		sound(t, string(b), strict.CBOR(b, strict.Options{}).Decode(&v))
		var o outer
		sound(t, string(b), strict.CBOR(b, strict.Options{Unknown: true}).Decode(&o))
	})
}
