package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/bbolt"

	"heliostat/engine"
)

// An alert's status.
const (
	firing   = "firing"
	resolved = "resolved"
	stale    = "stale"
)

// resolvedFor is how long a resolved alert is remembered, so that a late
// duplicate of its firing from the other half of a highly available pair is
// known for what it is: a day, six of Alertmanager's default repeat intervals.
const resolvedFor = 24 * time.Hour

// SaveAlert makes an alert durable, and reports whether it says something new.
// What is new is journaled in the same transaction. Of one fingerprint the
// latest episode (by its start) counts; of one episode the same status again
// only lengthens its life, and firing after resolved is a late duplicate. So
// delivering a message twice, or by two senders, changes nothing.
func (j *Journal) SaveAlert(ctx context.Context, a engine.Alert) (isNew bool, err error) {
	if a.Fingerprint == "" || (a.Status != firing && a.Status != resolved) {
		return false, fmt.Errorf("save alert %s: fingerprint %q, status %q", a.Name, a.Fingerprint, a.Status)
	}
	j.alerts.Lock()
	defer j.alerts.Unlock()
	old, known, err := j.alert(a.Fingerprint)
	if err != nil {
		return false, fmt.Errorf("save alert %s: %w", a.Name, err)
	}
	next, isNew := follow(old, known, a)
	if known && next == old {
		return false, nil
	}
	var entries []engine.Entry
	if isNew {
		e, err := engine.NewEntry(j.Last().Cycle, engine.EntryAlert, next)
		if err != nil {
			return false, fmt.Errorf("save alert %s: %w", a.Name, err)
		}
		entries = append(entries, e)
	}
	raw, err := engine.Encode(next)
	if err != nil {
		return false, fmt.Errorf("save alert %s: %w", a.Name, err)
	}
	// A crash before this leaves nothing, and the sender, which has had no
	// answer, sends again; a crash after it leaves entry and alert.
	err = j.append(ctx, entries, func(tx *bbolt.Tx) error {
		b := tx.Bucket(bucketAlerts)
		return errors.Join(b.Put([]byte(a.Fingerprint), raw), j.forget(b))
	})
	if err != nil {
		return false, fmt.Errorf("save alert %s: %w", a.Name, err)
	}
	return isNew, nil
}

// follow is what is known after a, given what was known before.
func follow(old engine.Alert, known bool, a engine.Alert) (next engine.Alert, isNew bool) {
	switch {
	case !known || a.StartsAt > old.StartsAt:
		return a, true
	case a.StartsAt == old.StartsAt && old.Status == firing && a.Status == resolved:
		return a, true
	case old.Status == firing && a.Status == firing:
		// Two senders may date one alert differently: an earlier start is it too.
		old.ReceivedAt = max(old.ReceivedAt, a.ReceivedAt)
		old.ExpiresAt = max(old.ExpiresAt, a.ExpiresAt)
	}
	return old, false
}

// Alerts returns the alerts that are known at a moment, by fingerprint. One that
// fires past its ExpiresAt is stale, never resolved: nobody said that it is over.
// It stays until somebody does.
func (j *Journal) Alerts(now time.Time) ([]engine.Alert, error) {
	var alerts []engine.Alert
	err := j.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucketAlerts).ForEach(func(_, raw []byte) error {
			var a engine.Alert
			if err := json.Unmarshal(raw, &a); err != nil {
				return err
			}
			if forgotten(&a, now) {
				return nil
			}
			if a.Status == firing && a.ExpiresAt <= engine.At(now) {
				a.Status = stale
			}
			alerts = append(alerts, a)
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("read alerts: %w", err)
	}
	return alerts, nil
}

func forgotten(a *engine.Alert, now time.Time) bool {
	return a.Status == resolved && now.Sub(a.ReceivedAt.Time()) > resolvedFor
}

func (j *Journal) alert(fingerprint string) (a engine.Alert, known bool, err error) {
	err = j.db.View(func(tx *bbolt.Tx) error {
		raw := tx.Bucket(bucketAlerts).Get([]byte(fingerprint))
		if raw == nil {
			return nil
		}
		known = true
		return json.Unmarshal(raw, &a)
	})
	return a, known, err
}

// forget removes resolved alerts that are no longer shown.
func (j *Journal) forget(b *bbolt.Bucket) error {
	now := j.now()
	var gone [][]byte
	err := b.ForEach(func(k, raw []byte) error {
		var a engine.Alert
		// One that cannot be read is left for Alerts to complain of.
		if json.Unmarshal(raw, &a) == nil && forgotten(&a, now) {
			gone = append(gone, bytes.Clone(k))
		}
		return nil
	})
	for _, k := range gone {
		err = errors.Join(err, b.Delete(k))
	}
	return err
}
