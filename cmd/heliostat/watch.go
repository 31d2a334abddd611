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

// watchFiles wakes the loop when the policies or the hazards change. Folders are
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
	g.Go(func() error {
		defer func() { _ = w.Close() }()
		var settled <-chan time.Time
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-w.Events:
				settled = time.After(watchDelay)
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
