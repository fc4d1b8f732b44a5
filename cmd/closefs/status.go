package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"closefs/cmd/closefs/control"
	"closefs/replicate"
)

func statusCommand() *cobra.Command {
	var asJSON, watch bool
	cmd := &cobra.Command{
		Use:   "status [flags] [MOUNTPOINT]",
		Short: "Show how a mount and its targets are",
		Long: `Show how a mount and its targets are. The first line says whether all is well.
MOUNTPOINT may be left out while one mount runs.

A target is connecting, synced, shipping, reconciling, needs-reconcile or
stopped; its lag is the age of the oldest change that it has not acked.`,
		Args: takes(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := connect(cmd.Context(), argument(args, 0))
			if err != nil {
				return err
			}
			defer c.Close()
			show := func(s control.Status) error { return printStatus(cmd.OutOrStdout(), s, time.Now()) }
			if asJSON {
				show = func(s control.Status) error { return json.NewEncoder(cmd.OutOrStdout()).Encode(s) }
			}
			if watch {
				return watchStatus(cmd.Context(), c, cmd.OutOrStdout(), !asJSON, show)
			}
			s, err := c.Status(cmd.Context())
			if err != nil {
				return err
			}
			return show(s)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	cmd.Flags().BoolVar(&watch, "watch", false, "print again each second, until interrupted")
	return cmd
}

// watchStatus shows the status each second until it is interrupted or the daemon ends.
func watchStatus(ctx context.Context, c *control.Client, w io.Writer, screen bool, show func(control.Status) error) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	f, ok := w.(*os.File)
	screen = screen && ok && term.IsTerminal(int(f.Fd()))
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		s, err := c.Status(ctx)
		if errors.Is(err, context.Canceled) {
			return nil
		}
		if err != nil {
			return err
		}
		if screen {
			fmt.Fprint(w, "\x1b[H\x1b[2J") // cursor home, clear the screen
		}
		if err := show(s); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// printStatus writes lines of at most 80 columns, but for paths and errors,
// which are not cut.
func printStatus(w io.Writer, s control.Status, now time.Time) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n", s.Mountpoint, verdict(s))
	if s.Backing != s.Mountpoint {
		fmt.Fprintf(&b, "backing  %s\n", s.Backing)
	}
	fmt.Fprintf(&b, "%s  pid %d  since %s\n", s.State, s.PID, s.Since.Local().Format("2006-01-02 15:04:05"))
	fmt.Fprintf(&b, "journal  positions %d to %d, %s\n", s.Journal.First, s.Journal.Last, bytesText(s.Journal.Bytes))
	if len(s.Targets) > 0 {
		fmt.Fprintf(&b, "\n%-20s %-15s %9s %11s %9s %9s\n", "TARGET", "STATE", "LAG", "PENDING", "BYTES", "LAST ACK")
	}
	for _, t := range s.Targets {
		fmt.Fprintf(&b, "%-20s %-15s %9s %11d %9s %9s\n", short(t.Name, 20), t.State, secondsText(t.LagSeconds),
			t.PendingChanges, bytesText(t.PendingBytes), ago(t.LastAckedAt, now))
		if t.LastError != "" {
			fmt.Fprintf(&b, "  %s: %s\n", t.URL, t.LastError)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// verdict says in a few words whether all is well.
func verdict(s control.Status) string {
	if s.State == control.Stopping {
		return "is stopping"
	}
	if len(s.Targets) == 0 {
		return "is well; no targets: changes are journaled and go nowhere"
	}
	var synced, behind int
	var bad []string
	for _, t := range s.Targets {
		switch replicate.State(t.State) {
		case replicate.Synced:
			synced++
		case replicate.Shipping, replicate.Reconciling:
			behind++
		default:
			bad = append(bad, t.Name+" is "+t.State)
		}
	}
	switch {
	case len(bad) > 0:
		return "NOT well: " + strings.Join(bad, ", ")
	case behind > 0:
		return fmt.Sprintf("is well, %d of %d targets up to date, %d catching up", synced, len(s.Targets), behind)
	case synced == 1:
		return "all is well, the target is up to date"
	}
	return fmt.Sprintf("all is well, all %d targets are up to date", synced)
}

func short(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return s[:n-1] + "…"
}

func bytesText(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	f, i := float64(n), 0
	for f >= 1024 && i < len(units)-1 {
		f, i = f/1024, i+1
	}
	if i == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", f, units[i])
}

func secondsText(s float64) string {
	d := time.Duration(s * float64(time.Second))
	switch {
	case d == 0:
		return "none"
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < 48*time.Hour:
		return d.Round(time.Second).String()
	}
	return fmt.Sprintf("%dd%dh", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
}

func ago(at *time.Time, now time.Time) string {
	if at == nil {
		return "never"
	}
	return secondsText(max(now.Sub(*at), time.Millisecond).Seconds())
}
