package web

import (
	"bytes"
	_ "embed"
	"html/template"
	"net/http"
	"time"

	"heliostat/engine"
)

//go:embed page.html
var pageText string

var page = template.Must(template.New("page").Funcs(template.FuncMap{
	"clock":  func(t time.Time) string { return t.UTC().Format("15:04:05") },
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
