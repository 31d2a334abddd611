package main

import (
	"context"

	"github.com/spf13/cobra"

	"heliostat/web"
)

func newRelease(g *globals) *cobra.Command {
	cmd := order(g, "what you found, for the journal (required)", "release vm|host NAME", "End the quarantine of a VM or a host",
		`End the quarantine of a VM or a host. When nobody can tell what became of an action, what
it was about is left alone until a person has looked at it in vCenter. NAME may be its ID.`,
		"  heliostat release vm db1 --reason 'found on esx-07, runs well'", "released: the next cycle may act on it again", cobra.MatchAll(cobra.ExactArgs(2), kindFirst),
		func(ctx context.Context, c *web.Client, args []string, reason string) error {
			return c.Release(ctx, args[0], args[1], reason)
		})
	cmd.ValidArgs = []string{"vm", "host"}
	return cmd
}

// kindFirst wants vm or host as the first argument.
func kindFirst(cmd *cobra.Command, args []string) error { return cobra.OnlyValidArgs(cmd, args[:1]) }
