package alerts

import (
	"log/slog"
	"strings"
	"testing"
	"time"
)

// Whatever is delivered, it is refused or every alert made of it can be told from
// others, has a time, and shows nothing but text.
func FuzzDelivery(f *testing.F) {
	f.Add(`{"version":"4","truncatedAlerts":0,"alerts":[{"status":"firing","labels":{"alertname":"CoolingFailed","severity":"critical","dc":"hou1","n":"\u001b"},
 "annotations":{"summary":"CRAC 3","by":"1h"},"startsAt":"2026-09-01T11:58:00.5Z","fingerprint":"5ef77f1f8a3ecf8d","new":[1]}]}`)
	f.Add(`{"alerts":[{"status":"firing","startsAt":"2026-09-01T11:00:00Z","labels":null}]}`)
	f.Add(`{"alerts":[]}`)
	c := DefaultConfig()
	c.Rules = []Rule{
		{Match: map[string]string{"alertname": "Cooling*", "severity": "critical"}, Kind: "cooling", SiteLabel: "dc", DeadlineAnnotation: "by", DeadlineAfter: time.Hour},
		{Match: map[string]string{"alertname": "*"}, Kind: "other", Site: "tokyo", DeadlineLabel: "until"},
	}
	for i := range c.Rules {
		c.Rules[i].SetDefaults()
	}
	in := &Intake{Config: c, Log: slog.New(slog.DiscardHandler)}
	f.Fuzz(func(t *testing.T, body string) {
		read, messages, err := decode([]byte(body))
		if err != nil && len(messages) > 0 || err == nil && len(messages) == 0 && len(read.unreadable) > 0 {
			t.Errorf("%v with %d messages and %v", err, len(messages), read.unreadable)
		}
		for i := range messages {
			a := in.alert(&messages[i])
			if a.Fingerprint == "" || a.StartsAt <= 0 || (a.Status != "firing" && a.Status != "resolved") || strings.ContainsAny(a.Fingerprint+a.Name+a.Summary+a.Severity+string(a.Site), "\x00\x1b\n\u202e") {
				t.Errorf("made %+v", a)
			}
		}
	})
}
