package hazard

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"heliostat/engine"
)

// decode reads a JSON array of hazard records, strictly: keys that are unknown
// or given twice, null, trailing data and numbers that are not finite are
// refused with the line and column. encoding/json would let all of them through.
func decode(data []byte) ([]engine.Hazard, error) {
	d := &decoder{data: data, dec: json.NewDecoder(bytes.NewReader(data))}
	d.dec.UseNumber()
	if !utf8.Valid(data) {
		return nil, errors.New("1:1: not UTF-8")
	}
	if err := d.delim('['); err != nil {
		return nil, err
	}
	hazards := []engine.Hazard{}
	for d.dec.More() {
		h, err := d.record()
		if err != nil {
			return nil, err
		}
		hazards = append(hazards, h)
	}
	if err := d.delim(']'); err != nil {
		return nil, err
	}
	if _, err := d.token(); !errors.Is(err, io.EOF) {
		return nil, d.fail("data after the end of the list")
	}
	return hazards, nil
}

type decoder struct {
	data []byte
	dec  *json.Decoder
	at   int64 // where the last token starts
}

// fail makes an error at the last token.
func (d *decoder) fail(format string, args ...any) error { return d.failAt(d.at, format, args...) }

func (d *decoder) failAt(at int64, format string, args ...any) error {
	before := d.data[:min(at, int64(len(d.data)))]
	line := 1 + bytes.Count(before, []byte("\n"))
	column := 1 + utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:])
	return fmt.Errorf("%d:%d: %s", line, column, fmt.Sprintf(format, args...))
}

// token reads the next token and remembers where it starts.
func (d *decoder) token() (json.Token, error) {
	d.at = d.dec.InputOffset()
	for d.at < int64(len(d.data)) && bytes.IndexByte([]byte(" \t\r\n,:"), d.data[d.at]) >= 0 {
		d.at++
	}
	tok, err := d.dec.Token()
	if errors.Is(err, io.EOF) {
		return nil, err
	}
	if err != nil {
		return nil, d.fail("%v", err) // at the token: the error's own offset is from elsewhere
	}
	return tok, nil
}

func (d *decoder) delim(want json.Delim) error {
	tok, err := d.token()
	if errors.Is(err, io.EOF) {
		return d.fail("ends where %q is due", want.String())
	}
	if err != nil {
		return err
	}
	if tok != want {
		return d.fail("want %q", want.String())
	}
	return nil
}

// scalar reads a string or a number.
func (d *decoder) scalar(key string) (json.Token, error) {
	tok, err := d.token()
	if errors.Is(err, io.EOF) {
		return nil, d.fail("%s: ends without a value", key)
	}
	switch tok.(type) {
	case string, json.Number:
		return tok, nil
	}
	if err == nil {
		err = d.fail("%s: want a text or a number", key)
	}
	return nil, err
}

// record reads one object.
func (d *decoder) record() (engine.Hazard, error) {
	h := engine.Hazard{PMilli: engine.Unknown}
	if err := d.delim('{'); err != nil {
		return h, err
	}
	start, seen := d.at, map[string]bool{}
	for d.dec.More() {
		tok, err := d.token()
		if err != nil {
			return h, err
		}
		key, _ := tok.(string) // in an object, before a colon, it cannot be anything else
		if key == "hazard" {
			key = "id" // two names of one field
		}
		if seen[key] {
			return h, d.fail("%s is given twice", key)
		}
		seen[key] = true
		if err := d.field(&h, key); err != nil {
			return h, err
		}
	}
	if err := d.delim('}'); err != nil {
		return h, err
	}
	for _, key := range []string{"id", "site", "kind", "severity", "source", "t_earliest", "t_end", "issued", "valid_until"} {
		if !seen[key] {
			return h, d.failAt(start, "%s is missing", key)
		}
	}
	if h.End <= h.Earliest || (h.Likely != 0 && (h.Likely < h.Earliest || h.Likely > h.End)) {
		return h, d.failAt(start, "t_earliest, t_likely and t_end are not in this order")
	}
	return h, nil
}

// field reads the value of a key into its field.
func (d *decoder) field(h *engine.Hazard, key string) error {
	texts := map[string]*string{
		"id": &h.ID, "site": (*string)(&h.Site), "kind": &h.Kind, "severity": &h.Severity, "threshold": &h.Threshold,
		"source": &h.Source, "advisory": &h.Advisory, "method": &h.Method,
	}
	times := map[string]*engine.Unix{
		"t_earliest": &h.Earliest, "t_likely": &h.Likely, "t_end": &h.End, "issued": &h.Issued, "valid_until": &h.ValidUntil,
	}
	text, isText := texts[key]
	moment, isTime := times[key]
	if !isText && !isTime && key != "p" {
		return d.fail("unknown key %q", key)
	}
	tok, err := d.scalar(key)
	if err != nil {
		return err
	}
	s, isString := tok.(string)
	switch {
	case key == "p":
		return d.probability(h, tok)
	case !isString || s == "":
		return d.fail("%s: want a text", key)
	case isTime:
		t, err := time.Parse(time.RFC3339, s)
		if err != nil || t.Unix() <= 0 {
			return d.fail("%s: %q is not a time such as 2026-09-01T06:00:00Z", key, s)
		}
		*moment = engine.At(t)
	default:
		*text = s
	}
	return d.oneOf(key, s)
}

// oneOf refuses a word that is not in its key's list.
func (d *decoder) oneOf(key, s string) error {
	lists := map[string][]string{"severity": {"minor", "moderate", "severe", "extreme"}, "method": {"official", "derived", "zone"}}
	list, ok := lists[key]
	if !ok {
		return nil
	}
	if slices.Contains(list, s) {
		return nil
	}
	return d.fail("%s: %q is not one of %q", key, s, list)
}

func (d *decoder) probability(h *engine.Hazard, tok json.Token) error {
	n, ok := tok.(json.Number)
	p, err := strconv.ParseFloat(string(n), 64)
	if !ok || err != nil || !(p >= 0 && p <= 1) {
		return d.fail("p: %v is not a probability between 0 and 1", tok)
	}
	h.PMilli = int32(math.Round(p * 1000))
	return nil
}
