package main

import (
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// scoped refuses an empty argument, and an empty value of a command's own flags: a
// script whose variable is not set means nothing, and never everything.
func scoped(c *cobra.Command, args []string) (err error) {
	for i, a := range args {
		if a == "" {
			return fmt.Errorf("argument %d is empty: it names nothing", i+1)
		}
	}
	c.Flags().Visit(func(f *pflag.Flag) {
		if v := f.Value.String(); (v == "" || v == "[]") && c.InheritedFlags().Lookup(f.Name) == nil {
			err = fmt.Errorf("--%s is empty: it names nothing", f.Name)
		}
	})
	return err
}
