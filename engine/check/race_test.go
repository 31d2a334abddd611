//go:build race

package check

// slower is how many times fewer cases are tried where the race detector makes
// everything several times slower.
const slower = 5
