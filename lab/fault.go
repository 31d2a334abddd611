package lab

import (
	"context"
	"net/http"
	"time"
)

// A Call is one request that reached a vCenter, before it was carried out.
type Call struct {
	VCenter string
	Path    string
	Method  string // of SOAP, "" otherwise
}

// A Fault is what goes wrong with one call. The zero value is nothing.
type Fault struct {
	Delay     time.Duration // the request arrives late, lab time
	Refuse    int           // HTTP status instead of carrying it out
	Lose      bool          // the connection breaks before it is carried out
	LoseReply bool          // it is carried out, and the connection breaks
	Late      time.Duration // it is carried out, and the answer comes late, lab time
	HTML      bool          // it is carried out, and a proxy's page comes back
	Truncate  bool          // it is carried out, and half of the answer comes back
	Double    bool          // it arrives twice, is carried out twice, and the second answer comes back
}

// SetFaults has every call judged by f, nil for none. f is called by many
// goroutines, one at a time.
func (l *Lab) SetFaults(f func(Call) Fault) {
	l.lock()
	defer l.unlock()
	l.faults = f
}

// judge says what goes wrong with a call, by the function that was set and by
// the incidents. Where either does, the function's comes first.
func (l *Lab) judge(v *vcenter, c Call) (f Fault) {
	l.lock()
	defer l.unlock()
	l.advance(l.clock.Now())
	if v.down() {
		return Fault{Lose: true}
	}
	if l.faults != nil {
		f = l.faults(c)
	}
	if f == (Fault{}) {
		f = l.faultOf(v, c)
	}
	return f
}

// lost reports whether the vCenter has gone away while it answered.
func (v *vcenter) lost() bool {
	v.lab.lock()
	defer v.lab.unlock()
	return v.down()
}

// before plays what happens before the call, and reports whether the call is carried out.
func (f *Fault) before(ctx context.Context, clock *Clock, w http.ResponseWriter) bool {
	if f.Delay > 0 {
		// The client may give up meanwhile; what it sent still arrives.
		_ = clock.Sleep(context.WithoutCancel(ctx), f.Delay)
	}
	switch {
	case f.Lose:
		panic(http.ErrAbortHandler) // net/http's way to drop a connection
	case f.Refuse != 0:
		http.Error(w, "refused by the lab", f.Refuse)
		return false
	}
	return true
}

// after plays what happens to the answer, and reports whether it is sent as it is.
func (f *Fault) after(ctx context.Context, v *vcenter, w http.ResponseWriter, a *answer) bool {
	if f.LoseReply || v.lost() || (f.Late > 0 && v.lab.clock.Sleep(ctx, f.Late) != nil) {
		panic(http.ErrAbortHandler)
	}
	switch {
	case f.HTML:
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte("<html><body>502 Bad Gateway</body></html>"))
		return false
	case f.Truncate:
		a.body.Truncate(a.body.Len() / 2)
	}
	return true
}
