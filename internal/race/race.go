// Package race tells tests whether the race detector watches them. It makes everything
// several times slower, and sees nothing new in the hundredth case of what one goroutine
// does: each suite is played whole without it, and short with it.
package race

import "testing"

// Cases is how many of n cases to try: all, or with the detector one in twenty.
func Cases[T int | int32 | uint64](n T) T {
	if Enabled {
		return max(n/20, min(n, 2))
	}
	return n
}

// Alone skips a test of what one goroutine does.
func Alone(t *testing.T) {
	t.Helper()
	if Enabled {
		t.Skip("one goroutine: the race detector would see nothing new")
	}
}
