package main

import (
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// A command that compiles for ever ends.
func TestLimited(t *testing.T) {
	ever := make(chan struct{})
	defer close(ever)
	cmd := limited(&cobra.Command{SilenceUsage: true, SilenceErrors: true, RunE: func(*cobra.Command, []string) error {
		<-ever
		return nil
	}})
	cmd.SetArgs([]string{"--time-limit", "1ns"})
	if err := cmd.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), "has not ended within 1ns") {
		t.Errorf("got %v", err)
	}
}
