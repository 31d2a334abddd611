package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"heliostat/engine"
	"heliostat/web"
)

func newApprove(g *globals) *cobra.Command {
	var number int
	var yes bool
	cmd := &cobra.Command{
		Use: "approve HASH", Short: "Let an advised plan be carried out",
		Long: `Approve the plan that waits. HASH is the beginning of its hash, at least six digits,
as 'heliostat status' shows it. What has changed since the plan was made is not done.

A plan that empties a site is approved at a terminal only, by typing how many actions
it has, or with --yes and --expect-count.`,
		Example: "  heliostat approve 3f9a0c\n  heliostat approve 3f9a0c --expect-count 147 --yes", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := g.daemon(cmd.Context())
			if err != nil {
				return err
			}
			s, err := c.Status(cmd.Context())
			if err != nil {
				return codeError{exitDaemon, err}
			}
			if s.Pending != nil && strings.HasPrefix(s.Pending.Hash, args[0]) {
				in, file := cmd.InOrStdin().(*os.File)
				out := cmd.OutOrStdout()
				if g.json { // a machine reads what is left there
					out = cmd.ErrOrStderr()
				}
				if number, err = confirm(s.Pending, number, yes, cmd.InOrStdin(), file && terminal(in), out); err != nil {
					return err
				}
			} // of any other the daemon knows better what to say
			if err := c.Approve(cmd.Context(), args[0], number); err != nil {
				return err
			}
			if s, err = c.Status(cmd.Context()); err != nil {
				return codeError{exitDaemon, err}
			}
			return carriedOut(g, cmd, args, approvedSaid(s, args[0]))
		},
	}
	cmd.Flags().IntVar(&number, "expect-count", 0, "how many actions the plan must have")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask, at a terminal, before a site is emptied")
	return cmd
}

// approvedSaid says what an approval has come to: more may be needed.
func approvedSaid(s *web.Status, hash string) string {
	if p := s.Pending; p != nil && strings.HasPrefix(p.Hash, hash) {
		return fmt.Sprintf("approved; the plan waits for %s%s, until %s", engine.Count(int(p.Approvers)-len(p.Approved), "approval"), approvedBy(p), p.Expires.UTC().Format("15:04:05 UTC"))
	}
	return "approved"
}

// terminal reports whether somebody can be at the other end.
func terminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// confirm makes sure that a person means it, before a site is emptied. It returns
// how many actions that person takes the plan to have.
func confirm(p *web.PendingPlan, count int, yes bool, in io.Reader, person bool, out io.Writer) (int, error) {
	sites := p.Plan.Evacuates()
	switch {
	case len(sites) == 0 || (person && yes && count != 0):
		return count, nil
	case !person:
		return 0, codeError{exitUsage, fmt.Errorf("plan %.12s empties site %s: approve it at a terminal; --yes does not count off one", p.Hash, strings.Join(sites, ", "))}
	case yes:
		return 0, codeError{exitUsage, errors.New("--yes: --expect-count is missing: how many actions does the plan have?")}
	}
	_, _ = fmt.Fprintf(out, "Plan %.12s empties site %s: %s.\nType the number of actions to approve it: ", p.Hash, strings.Join(sites, ", "), engine.Count(len(p.Plan.Actions), "action"))
	line, err := bufio.NewReader(in).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	}
	if count, err = strconv.Atoi(strings.TrimSpace(line)); err != nil {
		return 0, errors.New("not approved")
	}
	return count, nil
}
