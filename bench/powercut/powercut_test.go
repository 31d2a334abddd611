package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"testing"
)

// TestMain lets this binary be the writer.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "-write" {
		if err := mainErr(context.Background(), os.Args[1:], os.Stdout); err != nil {
			_, _ = os.Stderr.WriteString(err.Error() + "\n")
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func TestPowerCuts(t *testing.T) {
	var out bytes.Buffer
	err := mainErr(t.Context(), []string{"-rounds", "3"}, &out)
	if _, ok := errors.AsType[errNotPermitted](err); ok {
		t.Skip("the power of a file system cannot be cut here: ", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	var r result
	if err := json.Unmarshal(out.Bytes(), &r); err != nil || r != (result{Rounds: 3, ControlRounds: 3, ControlLost: 3}) {
		t.Errorf("%s: %v", out.Bytes(), err)
	}
}
