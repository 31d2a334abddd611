package actuator

import (
	"context"
	"errors"
	"io"
	"testing"

	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"

	"heliostat/engine"
	"heliostat/engine/execute"
)

// TestClassify draws the line between "nothing was started" and "cannot tell".
func TestClassify(t *testing.T) {
	for _, tc := range []struct {
		err      error
		rejected bool
	}{
		{soap.WrapVimFault(&types.NotAuthenticated{}), true},
		{soap.WrapVimFault(&types.NoPermission{}), true},
		{soap.WrapVimFault(&types.InvalidArgument{}), true},
		{soap.WrapVimFault(&types.InvalidState{}), true},
		{soap.WrapVimFault(&types.InvalidPowerState{}), true},
		{soap.WrapVimFault(&types.InvalidHostState{}), true},
		{soap.WrapVimFault(&types.NotSupported{}), true},
		{soap.WrapVimFault(&types.ManagedObjectNotFound{}), true},
		{soap.WrapVimFault(&types.TaskInProgress{}), false}, // it may be that of the same call
		{soap.WrapVimFault(&types.InsufficientResourcesFault{}), true},
		{soap.WrapVimFault(&types.MigrationFault{}), false},
		{soap.WrapVimFault(&types.VMotionInterfaceIssue{}), false},
		{soap.WrapVimFault(&types.HostCommunication{}), false},
		{soap.WrapVimFault(&types.RequestCanceled{}), false},
		{soap.WrapVimFault(&types.SystemError{}), false},
		{soap.WrapVimFault(&types.Timedout{}), false},
		{soap.WrapSoapFault(&soap.Fault{String: "502 from a proxy"}), false},
		{io.ErrUnexpectedEOF, false},
		{context.DeadlineExceeded, false},
	} {
		err := classify(&engine.Action{ID: "c1-0"}, tc.err)
		if errors.Is(err, execute.ErrRejected) != tc.rejected || !errors.Is(err, tc.err) {
			t.Errorf("%v: got %v, want rejected %t", tc.err, err, tc.rejected)
		}
	}
}
