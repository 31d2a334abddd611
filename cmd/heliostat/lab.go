package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"heliostat/lab"
)

// labFlags are the flags of the lab command.
type labFlags struct {
	listen string
	load   string
	demand string
	write  string
	faults string
	inject string // address of the control endpoint
	seed   uint64
	speed  float64
}

func newLab(g *globals) *cobra.Command {
	f := labFlags{}
	cmd := &cobra.Command{
		Use:   "lab",
		Short: "Simulate vCenters for any vSphere client",
		Long: `Lab simulates the demo's three datacentres, each with a vCenter of its own, until it
is stopped. Live moves take the time that memory, dirty rate, disks and the link
give them; hosts go to standby and wake; loads follow the hour. Any vSphere client
can connect.

With --load it serves a recorded vCenter instead (a folder or .tar.gz written by
'govc object.save').

With --faults things go wrong, as a file says: calls are lost, tasks fail, vCenters
restart, people move VMs. With --control more can be injected while the lab runs, at
an address of this machine. docs/lab.md lists the kinds.`,
		Example: `  heliostat lab --listen 127.0.0.1:8989 --speed 60 --write-config ./lab
  heliostat run --config ./lab/heliostat.yaml      # in another terminal
  heliostat lab --load vcenter.tar.gz --write-config ./lab
  heliostat lab --faults faults.yaml --control 127.0.0.1:8980
  curl -d '[{kind: vcenter_restarts, vcenter: tokyo, for: 3m}]' http://127.0.0.1:8980/faults`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, cfg, err := f.build()
			if err != nil {
				return err
			}
			if err := l.Serve(cmd.Context(), f.listen); err != nil {
				return err
			}
			defer l.Close()
			control, err := f.spoil(cmd.Context(), l)
			if err != nil {
				return err
			}
			if err := f.announce(cmd.OutOrStdout(), l, cfg, control, g.json); err != nil {
				return err
			}
			<-cmd.Context().Done()
			return nil
		},
	}
	fl := cmd.Flags()
	fl.StringVar(&f.listen, "listen", "127.0.0.1:8989", "address of the first vCenter; the others count up (port 0: any)")
	fl.StringVar(&f.load, "load", "", "serve this recorded vCenter")
	fl.StringVar(&f.demand, "demand", "", "CSV file of VM loads of your own (header 'time,vm0,vm1,...', percent of CPU)")
	fl.StringVar(&f.write, "write-config", "", "write a configuration for 'heliostat run' into this folder")
	fl.StringVar(&f.faults, "faults", "", "YAML or JSON file of what goes wrong, and when")
	fl.StringVar(&f.inject, "control", "", "loopback address at which faults can be injected (port 0: any)")
	fl.Uint64Var(&f.seed, "seed", 1, "seed of the fleet, its load and the draws of faults")
	fl.Float64Var(&f.speed, "speed", 1, "lab seconds in a wall second")
	return cmd
}

func (f *labFlags) build() (*lab.Lab, lab.Config, error) {
	if f.speed <= 0 || f.speed > 10_000 {
		return nil, lab.Config{}, codeError{exitUsage, fmt.Errorf("--speed: %v is not between 0 and 10000", f.speed)}
	}
	if f.load != "" {
		if f.demand != "" {
			return nil, lab.Config{}, codeError{exitUsage, errors.New("--demand: a recorded vCenter has the loads that were recorded")}
		}
		l, err := lab.Load(f.load)
		return l, recordedConfig(l), err
	}
	cfg := lab.DemoConfig(f.seed)
	cfg.Speed, cfg.Start, cfg.Demand = f.speed, time.Now(), demoDemand(cfg)
	if f.demand != "" {
		file, err := os.Open(f.demand)
		if err != nil {
			return nil, cfg, err
		}
		defer func() { _ = file.Close() }()
		d, err := lab.ReadDemandCSV(file)
		if err != nil {
			return nil, cfg, fmt.Errorf("--demand %s: %w", f.demand, err)
		}
		cfg.Demand = d
	}
	l, err := lab.New(cfg)
	return l, cfg, err
}

// spoil has go wrong what the file says, and listens for more; it returns where.
func (f *labFlags) spoil(ctx context.Context, l *lab.Lab) (control string, err error) {
	if f.faults != "" {
		data, err := os.ReadFile(f.faults)
		if err != nil {
			return "", fmt.Errorf("--faults: %w", err)
		}
		list, err := l.ReadIncidents(f.faults, data)
		if err != nil {
			return "", codeError{exitConfig, err}
		}
		if _, err := l.Inject(list...); err != nil {
			return "", err
		}
	}
	if f.inject == "" {
		return "", nil
	}
	if control, err = l.ServeControl(ctx, f.inject); err != nil {
		return "", codeError{exitUsage, fmt.Errorf("--control: %w", err)}
	}
	return control, nil
}

// recordedConfig is a configuration for a vCenter of which only the recording is
// known: one site, where it stands unknown, so at 0 N 0 E.
func recordedConfig(l *lab.Lab) lab.Config {
	if l == nil {
		return lab.Config{}
	}
	return lab.Config{Sites: []lab.SiteConfig{{Name: "recorded", Region: "recorded", TimeZone: "UTC", PUE: 1, Clusters: []lab.ClusterConfig{{}}}}}
}

// announce says where the vCenters are and how to go on.
func (f *labFlags) announce(w io.Writer, l *lab.Lab, cfg lab.Config, control string, asJSON bool) error {
	endpoints := l.Endpoints()
	if f.load != "" {
		for i := range endpoints {
			endpoints[i].Site = "recorded"
		}
	}
	var files labFiles
	if f.write != "" {
		var err error
		files, err = writeLabFiles(f.write, cfg, endpoints, labOptions{every: 10 * time.Second, minGap: time.Second, recorded: f.load != "", listen: "127.0.0.1:0"})
		if err != nil {
			return err
		}
	}
	if asJSON {
		return printJSON(w, struct {
			VCenters []lab.Endpoint `json:"vcenters"`
			Config   string         `json:"config,omitempty"`
			Control  string         `json:"control,omitempty"`
		}{endpoints, files.config, control})
	}
	var b strings.Builder
	for _, e := range endpoints {
		fmt.Fprintf(&b, "%-12s %s  user %s  password %s  certificate %s\n", e.Name, e.URL, e.Username, e.Password, e.Thumbprint)
	}
	if control != "" {
		fmt.Fprintf(&b, "%-12s %s\n", "faults", control)
	}
	if files.config != "" {
		fmt.Fprintf(&b, "\nheliostat run --config %s\n", files.config)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
