// Package execute carries out plans, journal first. It alone decides to change
// the world, and it does so through an [Actuator].
package execute

import (
	"context"
	"errors"

	"heliostat/engine"
)

// The classes of a failed submission. Any other error is ambiguous: the call
// may or may not have arrived.
var (
	// ErrRejected means that the server refused and nothing was started.
	ErrRejected = errors.New("refused by the server")
	// ErrNoCredentials means that there is no account to act with.
	ErrNoCredentials = errors.New("no credentials to act with")
	// ErrBusy means that a task runs on the object already: somebody else's, or
	// that of the same call when it arrived twice.
	ErrBusy = errors.New("a task runs on it")
)

// ErrNotEnded means that the server has answered and does not end a session,
// such as to an account without the privilege.
var ErrNotEnded = errors.New("the server does not end the session")

// A Sight is where the object of an action really stands, read just now.
type Sight struct {
	Exists  bool // the VM (at either vCenter) or the host is there
	Source  bool // still as the action's From says, and nothing runs on it
	Arrived bool // as the action wants it to be
	Busy    bool // a task runs on it
	Task    Task // that task, when Busy
	Detail  string
	Code    engine.HoldCode // types why neither Source nor Arrived; "" where Detail alone tells
	Health  Health          // of a VM
}

// A Task is one vCenter task.
type Task struct {
	Key     string      // "vcUUID/task-moid"
	Method  string      // descriptionId, such as VirtualMachine.relocate
	User    string      // who started it
	Ours    bool        // that is the account that acts
	State   string      // queued, running, success, error
	Error   string      // when State is error
	Percent int32       // progress
	Start   engine.Unix // queued at
	End     engine.Unix
}

// Running reports whether the task has not ended.
func (t Task) Running() bool { return t.State == "queued" || t.State == "running" }

// An Actuator acts on vCenters with a session of its own. All methods are safe
// for concurrent use, honour ctx, and never retry a call that changes something.
type Actuator interface {
	// Session returns the key of the session that would carry the action's call
	// to its vCenter, logging in first if need be. Ending that session (by key) makes
	// sure that a call it may still carry is not executed. now is what the
	// vCenter's clock says, which dates its tasks.
	Session(ctx context.Context, a *engine.Action) (key string, now engine.Unix, err error)
	// EndSession ends a session that may still carry an unanswered call. Ending
	// one that is gone is no error. Errors wrap ErrNotEnded when asking again will
	// not help.
	EndSession(ctx context.Context, vc engine.VCenterID, key string) error
	// Look reads where the action's object really stands.
	Look(ctx context.Context, a *engine.Action) (Sight, error)
	// Check asks the server whether the action would go well. Errors wrap
	// ErrRejected when it would not, or ErrBusy. A server that cannot be asked, or an account
	// that may not ask, is no error; one that does not answer is.
	Check(ctx context.Context, a *engine.Action) error
	// Submit starts the action and returns its task as soon as the server has
	// named it. The call goes out with the session of that key, or, when that one
	// is no longer ours, not at all: a call that another session carries would
	// outlive the end of this one. "" is any session. Errors wrap ErrRejected when
	// nothing was started, ErrBusy, or ErrNoCredentials; every other error is ambiguous.
	Submit(ctx context.Context, session string, a *engine.Action) (task string, err error)
	// Wait returns when the task has ended, with its final state. progress may
	// be nil. An error means that the task could not be watched, not that it failed.
	Wait(ctx context.Context, task string, progress func(percent int32)) (Task, error)
	// Tasks lists the tasks on the action's object queued since the moment,
	// from the task history, oldest first, at both ends of a move across vCenters.
	Tasks(ctx context.Context, a *engine.Action, since engine.Unix) ([]Task, error)
	// Mark tells the story inside vSphere: an event on the object and, for host
	// actions, the custom attribute by which the daemon knows its own. Failing
	// to mark fails nothing else.
	Mark(ctx context.Context, a *engine.Action, text string) error
}
