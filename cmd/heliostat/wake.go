package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"heliostat/collectors/vcenter"
	"heliostat/configs"
	"heliostat/engine"
	"heliostat/vsphere"
	"heliostat/vsphere/actuator"
)

func newWake(g *globals) *cobra.Command {
	var mine, dry bool
	cmd := &cobra.Command{
		Use:   "wake --mine",
		Short: "Wake every host that the daemon put in standby, without the daemon",
		Long: `Wake the hosts that carry the daemon's own mark and are in standby. It needs the
configuration and the vCenters only: no journal, no policies, no planner, no daemon.
The unit heliostat-wake.service runs it when the daemon has failed for good, so that
what was put to sleep does not stay asleep. Hosts that a person put in standby are
left alone.`,
		Example: "  heliostat wake --mine --dry-run\n  heliostat wake --mine",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !mine {
				return codeError{exitUsage, errors.New("wake what? --mine wakes what the daemon put in standby")}
			}
			cfg, err := g.load()
			if err != nil {
				return err
			}
			log, err := g.logger(cfg.Log)
			if err != nil {
				return err
			}
			return wakeMine(cmd.Context(), cfg, log, cmd.OutOrStdout(), dry)
		},
	}
	cmd.Flags().BoolVar(&mine, "mine", false, "the hosts that carry the daemon's own mark")
	cmd.Flags().BoolVar(&dry, "dry-run", false, "list them, and wake none")
	return cmd
}

// wakeWithin bounds what is done at one vCenter: another may answer.
const wakeWithin = 20 * time.Minute

// wakeMine wakes at all vCenters at once; a silent one keeps no other waiting.
func wakeMine(ctx context.Context, cfg *configs.Config, log *slog.Logger, w io.Writer, dry bool) error {
	act, err := actuator.New(ctx, cfg.VCenters, actuator.Options{Logger: log})
	if err != nil {
		return err
	}
	results := make(chan string)
	var g errgroup.Group
	errs := make([]error, len(cfg.VCenters))
	for i, v := range cfg.VCenters {
		g.Go(func() error {
			ctx, cancel := context.WithTimeout(ctx, wakeWithin)
			defer cancel()
			if err := wakeAt(ctx, v, act, log, dry, results); err != nil {
				errs[i] = fmt.Errorf("vCenter %s: %w", v.Name, err)
			}
			return nil
		})
	}
	go func() {
		_ = g.Wait() // errors are in errs
		close(results)
	}()
	n := 0
	for line := range results {
		n++
		_, _ = fmt.Fprintln(w, line)
	}
	if n == 0 && errors.Join(errs...) == nil {
		_, _ = fmt.Fprintln(w, "no host carries the daemon's mark and is in standby")
	}
	return errors.Join(errors.Join(errs...), act.Close())
}

func wakeAt(ctx context.Context, v vsphere.Config, act *actuator.Actuator, log *slog.Logger, dry bool, results chan<- string) (err error) {
	hosts, err := asleep(ctx, v, log)
	if err != nil {
		return err
	}
	var g errgroup.Group
	for _, h := range hosts {
		if dry {
			results <- fmt.Sprintf("%s: in standby by %s", h.Name, strings.TrimPrefix(h.Mark, "standby "))
			continue
		}
		g.Go(func() error {
			vc, _ := engine.SplitRef(h.ID)
			a := engine.Action{ID: "wake-mine", Kind: engine.Wakeup, Name: h.Name, From: engine.Place{VCenter: vc, Host: h.ID}}
			task, err := act.Submit(ctx, "", &a)
			if err == nil {
				_, err = act.Wait(ctx, task, nil)
			}
			if err != nil {
				results <- fmt.Sprintf("%s: %v", h.Name, err)
				return fmt.Errorf("wake %s: %w", h.Name, err)
			}
			// Its mark goes once it is back: the daemon owns its state no more.
			if err := act.Mark(ctx, &a, "heliostat wake --mine: woken without the daemon"); err != nil {
				log.WarnContext(ctx, "cannot take the mark off", "host", h.Name, "err", err)
			}
			results <- h.Name + ": woken"
			return nil
		})
	}
	return g.Wait()
}

// asleep lists the hosts in standby that carry the daemon's mark.
func asleep(ctx context.Context, v vsphere.Config, log *slog.Logger) (hosts []engine.Host, err error) {
	session, err := vsphere.Dial(ctx, v, v.Reader, vsphere.Options{Logger: log})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, session.Close()) }()
	src := vcenter.New(vcenter.Config{NoTags: true, Logger: log}, session)
	watch, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- src.Run(watch) }()
	defer func() {
		stop()
		<-ended // it only says that it was stopped
	}()
	for {
		o, err := src.Observe(ctx)
		switch {
		case errors.Is(err, vcenter.ErrNotReady) && ctx.Err() == nil:
			pause(ctx, 200*time.Millisecond)
			continue
		case err != nil:
			return nil, err
		}
		for _, h := range o.Inventory.Hosts {
			if h.SleepsByUs() {
				hosts = append(hosts, h)
			}
		}
		return hosts, nil
	}
}
