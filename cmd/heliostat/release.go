package main

import (
	"context"

	"github.com/spf13/cobra"

	"heliostat/web"
)

func newRelease(g *globals) *cobra.Command {
	cmd := order(g, "what you found, for the journal (required)", "release vm|host|vcenter NAME --reason TEXT", "End the quarantine of a VM or a host, or confirm what a vCenter shows",
		`End the quarantine of a VM or a host. When nobody can tell what became of an action, what
it was about is left alone until a person has looked at it in vCenter. NAME may be its ID.

Of a vCenter it says that a sudden change, such as half of the VMs gone or all loads at a
tenth, is the truth: until then, or until it has stayed so for sanity.accept_after_s, nothing
is done there. Look at the vCenter itself before you say so.`,
		`  heliostat release vm db1 --reason 'found on esx-07, runs well'
  heliostat release vcenter lhr --reason 'the test cluster was removed'`, "released: the next cycle may act on it again", reasoned(cobra.MatchAll(cobra.ExactArgs(2), kindFirst)),
		func(ctx context.Context, c *web.Client, args []string, reason string) error {
			return c.Release(ctx, args[0], args[1], reason)
		})
	cmd.ValidArgs = []string{"vm", "host", "vcenter"}
	return cmd
}

// kindFirst wants vm, host or vcenter as the first argument.
func kindFirst(cmd *cobra.Command, args []string) error { return cobra.OnlyValidArgs(cmd, args[:1]) }
