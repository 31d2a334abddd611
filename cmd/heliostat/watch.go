package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sync/errgroup"
)

// watchDelay gathers the several events of one save of an editor.
const watchDelay = 100 * time.Millisecond

// saveDelay is the same for policies. It may be short: what is found of files that
// change meanwhile does not count, and is looked for again.
const saveDelay = 20 * time.Millisecond

// watchFiles wakes the loop when the hazards change, and has the policies looked at
// when they do. Folders are
// watched, not files, because editors replace files.
func (d *daemon) watchFiles(ctx context.Context, g *errgroup.Group) error {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch files: %w", err)
	}
	add := func(dir string) {
		if err := w.Add(dir); err != nil {
			d.log.WarnContext(ctx, "folder is not watched, changes take effect at the next cycle", "dir", dir, "err", err)
		}
	}
	if dir := d.cfg.Policy.Dir; dir != "" {
		err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err == nil && e.IsDir() {
				add(path)
			}
			return nil
		})
		if err != nil {
			return errors.Join(fmt.Errorf("watch %s: %w", dir, err), w.Close())
		}
	}
	if file := d.cfg.Hazards.File; file != "" {
		add(filepath.Dir(file))
	}
	policies := func(path string) bool {
		rel, err := filepath.Rel(d.cfg.Policy.Dir, path)
		return d.cfg.Policy.Dir != "" && err == nil && filepath.IsLocal(rel)
	}
	g.Go(func() error {
		defer func() { _ = w.Close() }()
		var settled, saved <-chan time.Time
		for {
			select {
			case <-ctx.Done():
				return nil
			case e := <-w.Events:
				if policies(e.Name) {
					saved = time.After(saveDelay)
				} else {
					settled = time.After(watchDelay)
				}
			case <-saved:
				saved = nil
				d.policies.Look()
			case err := <-w.Errors:
				d.log.WarnContext(ctx, "watching files", "err", err)
			case <-settled:
				settled = nil
				d.loop.Poke("a file changed")
			}
		}
	})
	return nil
}
