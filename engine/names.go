package engine

import (
	"fmt"
	"strings"
)

// Count is a number of things for people: 1 file, 2 files, 3 entries.
func Count[T ~int | ~int64 | ~uint64](n T, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	if stem, ok := strings.CutSuffix(thing, "ry"); ok {
		thing = stem + "rie"
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// parseName sets *dst to the index of the name in names.
func parseName[T ~uint8](dst *T, b []byte, names []string, kind string) error {
	for i, n := range names {
		if n == string(b) {
			*dst = T(i)
			return nil
		}
	}
	return fmt.Errorf("unknown %s %q: one of %s", kind, b, strings.Join(names, ", "))
}
