package web

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"net/http"
	"time"

	"heliostat/engine"
)

//go:embed page.html
var pageText string

var page = template.Must(template.New("page").Funcs(template.FuncMap{
	"clock":  func(t time.Time) string { return t.UTC().Format("15:04:05") },
	"counts": HoldCounts,
	"moment": func(t engine.Unix) string { return t.Time().UTC().Format("Mon 2 Jan 15:04 UTC") },
}).Parse(pageText))

// A pageView is what the page shows: what metrics say without a token, and no name of a VM.
type pageView struct {
	*Status
	Ready string // why the daemon is not ready
}

// Leaving counts the moves under way from where an evacuation is.
func (v pageView) Leaving(demand engine.Subject) (n int) {
	for i := range v.Open {
		if a := &v.Open[i].Record.Action; a.Kind == engine.Move && a.Demand == demand {
			n++
		}
	}
	return n
}

// Needs is what a person should look at, the most urgent first.
func (v pageView) Needs() (needs []string) {
	say := func(is bool, format string, args ...any) {
		if is {
			needs = append(needs, fmt.Sprintf(format, args...))
		}
	}
	say(v.Ready != "", "%s", v.Ready)
	say(v.Paused != nil, "Paused: nothing more is started until 'heliostat resume'.")
	if p := v.Pending; p != nil {
		say(true, "A plan of %s waits for %d of %s until %s UTC: 'heliostat status' shows it.", engine.Count(len(p.Plan.Actions), "action"), int(p.Approvers)-len(p.Approved), engine.Count(int(p.Approvers), "approval"), p.Expires.UTC().Format("15:04"))
		say(p.Doubt != "", "Not all of that plan holds on what is seen now: 'heliostat status' says why.")
	}
	for _, c := range HoldCounts(v.Rails) {
		say(true, "Held back by a rail: %s (%d).", c.Name, c.N)
	}
	say(len(v.Doubted()) > 0, "What vCenters show is not believed (%d), and nothing is done there: 'heliostat status' says why.", len(v.Doubted()))
	say(len(v.Quarantine) > 0, "In quarantine: %d. Look at them in vCenter, then 'heliostat release'.", len(v.Quarantine))
	say(len(v.Swings) > 0, "Moved or switched there and back, again and again: %d. 'heliostat status' names them.", len(v.Swings))
	say(v.Refused != "", "The newest edit of the policies is refused; the revision before serves on.")
	say(v.Waits != "", "The newest edit of the policies waits: 'heliostat policy approve'.")
	say(v.Held, "The policies are rolled back, until they change or 'heliostat policy rollback --resume'.")
	for _, s := range v.Sources {
		say(!s.Up, "Source %s is silent.", s.Name)
	}
	return needs
}

// servePage shows the sites, and each evacuation with its deadline, for a browser.
func servePage(state State) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		s := state.Status()
		var b bytes.Buffer
		if err := page.Execute(&b, pageView{s, ready(s, time.Now())}); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
		h.Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write(b.Bytes()) // a client that is gone needs no answer
	}
}
