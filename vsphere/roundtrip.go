package vsphere

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/vmware/govmomi/vim25/methods"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// waitMargin is how long past its own MaxWaitSeconds a long poll may stay
// unanswered before the network is presumed to have stalled.
const waitMargin = 30 * time.Second

// A roundTripper gives every call a deadline, sends calls that only read a
// second time after a connection error, and notices a lost session.
type roundTripper struct {
	next    soap.RoundTripper
	session *Session
	conn    atomic.Pointer[Conn] // nil while logging in
}

// RoundTrip implements soap.RoundTripper.
func (r *roundTripper) RoundTrip(ctx context.Context, req, res soap.HasFault) error {
	err := r.once(ctx, req, res)
	if err != nil && reads(req) && ctx.Err() == nil && connectionError(err) {
		err = r.once(ctx, req, res)
	}
	switch {
	case err == nil:
		r.session.used()
	case IsNotAuthenticated(err):
		if c := r.conn.Load(); c != nil {
			r.session.drop(c)
		}
	}
	return err
}

func (r *roundTripper) once(ctx context.Context, req, res soap.HasFault) error {
	ctx, cancel := context.WithTimeout(ctx, r.timeout(req))
	defer cancel()
	return r.next.RoundTrip(ctx, req, res)
}

func (r *roundTripper) timeout(req soap.HasFault) time.Duration {
	w, ok := req.(*methods.WaitForUpdatesExBody)
	if !ok || w.Req.Options == nil || w.Req.Options.MaxWaitSeconds == nil {
		return r.session.opts.CallTimeout
	}
	return time.Duration(*w.Req.Options.MaxWaitSeconds)*time.Second + waitMargin
}

// reads reports whether sending the call twice does no harm and gives the same
// answer. What is not listed is sent once. ContinueRetrievePropertiesEx is not:
// its token is used up by the first call. Neither is WaitForUpdatesEx: its loop
// starts again with what it knows.
func reads(req soap.HasFault) bool {
	switch req.(type) {
	case *methods.RetrieveServiceContentBody, *methods.CurrentTimeBody, *methods.RetrievePropertiesExBody, *methods.RetrievePropertiesBody,
		*methods.QueryPerfBody, *methods.QueryPerfCounterBody, *methods.FindByUuidBody, *methods.FindAllByUuidBody, *methods.PlaceVmBody,
		*methods.SessionIsActiveBody:
		return true
	}
	return false
}

// connectionError reports whether the call failed for want of a connection: no
// answer from the server, and no verdict on its certificate.
func connectionError(err error) bool {
	return !Answered(err) && !soap.IsCertificateUntrusted(err) && !errors.Is(err, ErrPin)
}

// Unreachable reports whether a call failed for want of an answer, so that the
// next one is likely to wait in vain as well.
func Unreachable(err error) bool { return err != nil && !Answered(err) }

// Answered reports whether the server itself answered, with a fault. Any other
// error leaves open whether the call arrived.
func Answered(err error) bool {
	var f faulter
	return errors.As(err, &f)
}

// A faulter is one of govmomi's errors that carry a fault.
type faulter interface {
	Fault() types.BaseMethodFault
}

// Fault returns the fault that the server answered with, nil when err is
// anything else, such as a broken connection.
func Fault(err error) types.BaseMethodFault {
	var f faulter
	if errors.As(err, &f) {
		return f.Fault()
	}
	return nil
}

// IsNotAuthenticated reports whether the vCenter does not know the session.
func IsNotAuthenticated(err error) bool { return isFault[types.NotAuthenticated](err) }

// IsGone reports whether the object that a call was about does not exist.
func IsGone(err error) bool { return isFault[types.ManagedObjectNotFound](err) }

// isFault reports whether err is the fault T.
func isFault[T any](err error) bool {
	_, ok := any(Fault(err)).(*T)
	return ok
}
