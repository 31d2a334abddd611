package engine

import (
	"fmt"
	"strings"
)

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
