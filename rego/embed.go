// Package rego holds the policies that ship, each beside its tests: a bundle in
// the layout that the policy contract describes, embedded in the program.
package rego

import "embed"

// FS is the shipped bundle: placement/*.rego with tests, params/data.json and
// .manifest.
//
//go:embed placement params .manifest
var FS embed.FS
