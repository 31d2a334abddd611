package engine

import (
	"encoding/json"
	"fmt"
	"time"
)

// An EntryKind names what a journal entry records.
type EntryKind string

// The kinds of entry, roughly in the order in which a cycle writes them.
const (
	EntryInput    EntryKind = "input"    // digests of a plan's Input: InputRecord
	EntryDecision EntryKind = "decision" // what the policies said: DecisionRecord
	EntryVetoes   EntryKind = "vetoes"   // the vetoes of one round
	EntryPlan     EntryKind = "plan"     // a Plan: PlanRecord
	EntryIntent   EntryKind = "intent"   // an action is about to be submitted: ActionRecord
	EntryTask     EntryKind = "task"     // it was submitted, and this is its task: ActionRecord
	EntryEnded    EntryKind = "ended"    // it is over: ActionRecord
	EntryHealth   EntryKind = "health"   // how a VM is after its move: HealthRecord
	EntryAlert    EntryKind = "alert"    // an alert, durable before it was acknowledged
	EntryApproval EntryKind = "approval" // a person approved or rejected a plan
	EntryRevision EntryKind = "revision" // a bundle was taken into service, or refused
	EntryOperator EntryKind = "operator" // pause, resume and the like
	EntryCycle    EntryKind = "cycle"    // a cycle ended: CycleRecord
)

// An Entry is one record of the journal. Entries are only ever appended; each
// carries the hash of the one before.
type Entry struct {
	Seq   uint64          `json:"seq"`
	At    time.Time       `json:"at"` // UTC
	Cycle uint64          `json:"cycle"`
	Kind  EntryKind       `json:"kind"`
	Blobs []string        `json:"blobs,omitempty"` // digests of the content-addressed files it refers to
	Data  json.RawMessage `json:"data,omitempty"`
	Prev  string          `json:"prev"` // Hash of the entry before; "" for the first
	Hash  string          `json:"hash,omitempty"`
}

// Seal numbers the entry, links it to the one before and computes its hash.
func (e *Entry) Seal(seq uint64, prev string) error {
	e.Seq, e.Prev, e.Hash = seq, prev, ""
	h, err := e.sum()
	if err != nil {
		return err
	}
	e.Hash = h
	return nil
}

// Verify reports whether the entry is what was sealed as number seq after prev.
func (e *Entry) Verify(seq uint64, prev string) error {
	if e.Seq != seq {
		return fmt.Errorf("entry %d: numbered %d", seq, e.Seq)
	}
	if e.Prev != prev {
		return fmt.Errorf("entry %d: does not follow the entry before it", seq)
	}
	h, err := e.sum()
	if err != nil {
		return err
	}
	if h != e.Hash {
		return fmt.Errorf("entry %d: content does not match its hash", seq)
	}
	return nil
}

func (e *Entry) sum() (string, error) {
	c := *e
	c.Hash = ""
	b, err := Encode(c)
	if err != nil {
		return "", err
	}
	return DigestBytes(b), nil
}

// NewEntry makes an entry with data in canonical encoding. The journal numbers,
// dates and seals it.
func NewEntry(cycle uint64, kind EntryKind, data any, blobs ...string) (Entry, error) {
	raw, err := Encode(data)
	if err != nil {
		return Entry{}, err
	}
	return Entry{Cycle: cycle, Kind: kind, Data: raw, Blobs: blobs}, nil
}

// An InputRecord names the large parts of one plan's Input by digest.
type InputRecord struct {
	Level    Mode   `json:"level"`
	Shadow   string `json:"shadow,omitempty"`
	Snapshot string `json:"snapshot"`
	History  string `json:"history"`
	Decision string `json:"decision"`
	Rest     string `json:"rest"` // all other fields of the Input
	// Ended are the IDs of the ended actions that History has taken in with
	// this cycle, so that a restart folds each exactly once.
	Ended []string `json:"ended,omitempty"`
}

// A DecisionRecord sums up what the policies said in a cycle; the whole is in a file by digest.
type DecisionRecord struct {
	Revision string        `json:"revision"`
	Digest   string        `json:"digest"`
	Opinions int           `json:"opinions"`
	Failures []RuleFailure `json:"failures,omitempty"`
}

// A PlanRecord is a plan in the journal: small plans inline, the rest by digest.
type PlanRecord struct {
	Level   Mode   `json:"level"`
	Shadow  string `json:"shadow,omitempty"`
	Hash    string `json:"hash"`
	Digest  string `json:"digest"` // of the canonical encoding
	Actions int    `json:"actions"`
	Holds   int    `json:"holds"`
	Refused string `json:"refused,omitempty"` // why Check refused it
	Review  Review `json:"review,omitzero"`
	// Certificates is the digest of what its evacuations with a deadline can save: a
	// list of [Certificate].
	Certificates string `json:"certificates,omitempty"`
}

// An OperatorRecord is a person's order.
type OperatorRecord struct {
	Op      string  `json:"op"` // pause, resume, release, prune, evacuate, cancel_evacuation, drill
	Who     string  `json:"who"`
	Reason  string  `json:"reason,omitempty"`
	Subject Subject `json:"subject,omitzero"` // what is released
	Cut     uint64  `json:"cut,omitempty"`    // of prune: values that only entries up to this one refer to were removed
	By      Unix    `json:"by,omitzero"`      // the deadline of what is to be evacuated

	Certificate string `json:"certificate,omitempty"` // of a drill: digest of what it came to
}

// An ApprovalRecord is a person's answer to an advised plan.
type ApprovalRecord struct {
	Hash     string `json:"hash"`
	Approved bool   `json:"approved"`
	Who      string `json:"who"`
	Reason   string `json:"reason,omitempty"`
}

// A RevisionRecord says which bundle serves, and what is wrong with one that does not.
type RevisionRecord struct {
	Serving   string `json:"serving"`
	Refused   string `json:"refused,omitempty"`
	Bundle    string `json:"bundle,omitempty"`    // digest of the file with all of the serving bundle
	By        string `json:"by,omitempty"`        // what brought it into service: start, folder, url, a person's order
	Held      bool   `json:"held,omitempty"`      // a person went back to it
	Candidate string `json:"candidate,omitempty"` // the newest that does not serve, where it has a revision
	Waits     string `json:"waits,omitempty"`     // why that waits for a person
}

// An ActionState is where an action stands.
type ActionState string

// The states. A terminal state is never rewritten.
const (
	StateIntent    ActionState = "intent"    // journaled, not known to be submitted
	StateStarted   ActionState = "started"   // a task runs
	StateSucceeded ActionState = "succeeded" // verified at its destination
	StateFailed    ActionState = "failed"    // over, and not at its destination
	StateRejected  ActionState = "rejected"  // never started: the server refused the call
	StateStale     ActionState = "stale"     // not submitted: the world had changed
	StateLost      ActionState = "lost"      // cannot be told what became of it: a person must look
)

// Terminal reports whether the state is final.
func (s ActionState) Terminal() bool { return s != StateIntent && s != StateStarted }

// An ActionRecord is one step of an action in the journal.
type ActionRecord struct {
	Action  Action      `json:"action"`
	State   ActionState `json:"state"`
	Task    string      `json:"task,omitempty"`    // "vcUUID/task-moid"
	Session string      `json:"session,omitempty"` // key of the session that submits
	Error   string      `json:"error,omitempty"`
	Code    HoldCode    `json:"code,omitempty"` // types Error where the action was not started
	Started Unix        `json:"started,omitzero"`
	Clock   Unix        `json:"clock,omitzero"` // the vCenter's, just before the intent: no task of the action is older
	Ended   Unix        `json:"ended,omitzero"`
	TookS   int64       `json:"took_s,omitzero"` // by the vCenter's clock; Action.Estimate says what was expected
	Plan    string      `json:"plan"`            // hash of the plan it came from
	Adopted bool        `json:"adopted,omitempty"`
}

// A HealthRecord says how a VM is some time after its move.
type HealthRecord struct {
	Action string `json:"action"`
	VM     VMID   `json:"vm"`
	Name   string `json:"name"`
	Host   HostID `json:"host"` // that it was moved to
	Well   bool   `json:"well"` // it runs there, no worse off than before
	// Unknown says that nobody could tell: it is neither well nor unwell.
	Unknown bool   `json:"unknown,omitempty"`
	Detail  string `json:"detail,omitempty"` // what is wrong, or why that is not known
}

// A CycleRecord closes a cycle.
type CycleRecord struct {
	Actions   int   `json:"actions"` // started in this cycle
	Open      int   `json:"open"`
	Holds     int   `json:"holds"`
	Gaps      int   `json:"gaps"`
	VMs       int   `json:"vms"`
	Hosts     int   `json:"hosts"`
	HostsOn   int   `json:"hosts_on"`
	PowerW    int64 `json:"power_w"`
	MS        int64 `json:"ms"` // how long it took
	PlanMS    int64 `json:"plan_ms"`
	Rounds    int   `json:"rounds"` // of veto
	Evaluated int64 `json:"evaluated"`
	// Rails are what was held back beside the plans' holds.
	Rails []Hold `json:"rails,omitempty"`
}
