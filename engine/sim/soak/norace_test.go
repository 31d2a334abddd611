//go:build !race

package soak

const worlds uint64 = 20
