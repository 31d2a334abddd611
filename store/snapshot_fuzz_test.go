package store

import (
	"bytes"
	"encoding/json"
	"testing"

	"heliostat/engine"
)

// Whatever is in a blob's file, unpacking it ends below the cap; and what reads as
// a snapshot has one canonical encoding, which reads as the same again.
func FuzzSnapshot(f *testing.F) {
	j := &Journal{}
	if err := j.openCodec(); err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { j.dec.Close() })
	for _, s := range []string{`{"at":5,"sites":[{"id":"a","lat":0.1}],"vms":[{"id":"v"}]}`, `{"VMS":[],"vms":null}`, `{}`} {
		f.Add(j.enc.EncodeAll([]byte(s), nil))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		b, err := j.dec.DecodeAll(raw, nil)
		if err != nil {
			return
		}
		if len(b) > maxBlob {
			t.Fatalf("%d bytes became %d", len(raw), len(b))
		}
		var s, again engine.Snapshot
		if json.Unmarshal(b, &s) != nil {
			return
		}
		first, err := engine.Encode(&s)
		if err != nil {
			t.Fatalf("%q is read but cannot be written: %v", b, err)
		}
		if err := json.Unmarshal(first, &again); err != nil {
			t.Fatalf("%s: %v", first, err)
		}
		if second, err := engine.Encode(&again); err != nil || !bytes.Equal(first, second) {
			t.Errorf("%s\nand then\n%s, %v", first, second, err)
		}
	})
}
