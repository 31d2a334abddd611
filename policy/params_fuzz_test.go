package policy

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"
	"testing/fstest"
)

// Parameters that are taken are what any other decoder takes them for, and the
// digest of a bundle is never without them.
func FuzzParams(f *testing.F) {
	f.Add(`{"dpm": {"target_pct": 63, "list": [1, 2.50, true, "x", {}]}}`)
	f.Add(`{"dpm": {"target_pct": 63, "target_pct": 1e999}}`)
	f.Add(`{"dpm": null} {}`)
	f.Fuzz(func(t *testing.T, text string) {
		files := newFiles()
		files.readData(fstest.MapFS{"data.json": {Data: []byte(text)}}, "data.json", "data.json", files.params)
		if len(files.faults) > 0 {
			return
		}
		var other map[string]any
		dec := json.NewDecoder(bytes.NewReader([]byte(text)))
		dec.UseNumber()
		if err := dec.Decode(&other); err != nil || !reflect.DeepEqual(files.params, other) {
			t.Errorf("%q: %#v, for encoding/json %#v, %v", text, files.params, other, err)
		}
		if _, err := files.revision(); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	})
}
