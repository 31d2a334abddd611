//go:build race

package soak

// worlds are fewer where the race detector makes everything several times slower.
const worlds uint64 = 3
