package main

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"closefs/cmd/closefs/config"
	"closefs/cmd/closefs/control"
	"closefs/cmd/closefs/preflight"
)

func waitCommand() *cobra.Command {
	var timeout, copies string
	cmd := &cobra.Command{
		Use:   "wait [flags] [MOUNTPOINT [PATH…]]",
		Short: "Wait until all that was closed so far is at the targets",
		Long: `Wait until every change made before the call is durable at all targets, or at as
many as --copies says. With PATHs only these count, and what is below them; a
PATH is relative to the mountpoint, or absolute and inside it. MOUNTPOINT may be
left out while one mount runs.

A target that is away is waited for; with --timeout closefs gives up then, says
which targets lag and why, and exits with 4.`,
		Args: takes(0, -1),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := waitRequest(timeout, copies, args)
			if err != nil {
				return err
			}
			c, err := connect(cmd.Context(), argument(args, 0))
			if err != nil {
				return err
			}
			defer c.Close()
			return wait(cmd, c, r)
		},
	}
	cmd.Flags().StringVar(&timeout, "timeout", "", "give up after `DURATION`, as 30s (default: never)")
	cmd.Flags().StringVar(&copies, "copies", "all", "`all|K`: how many targets have to have it")
	return cmd
}

func waitRequest(timeout, copies string, args []string) (r control.WaitRequest, err error) {
	if timeout != "" {
		d, err := config.ParseDuration(timeout)
		if err != nil || d == 0 {
			return r, usagef("--timeout %q: want a duration as 500ms, 30s or 1h", timeout)
		}
		r.Timeout = time.Duration(d)
	}
	if copies != "all" {
		if r.Copies, err = strconv.Atoi(copies); err != nil || r.Copies < 1 {
			return r, usagef("--copies %q: want all or a number from 1", copies)
		}
	}
	if len(args) > 1 {
		r.Paths, err = below(args[0], args[1:])
	}
	return r, err
}

// below makes paths relative to the mountpoint.
func below(mountpoint string, paths []string) ([][]byte, error) {
	typed, err := filepath.Abs(mountpoint)
	if err != nil {
		return nil, fmt.Errorf("mountpoint %s: %w", mountpoint, err)
	}
	real, err := preflight.Resolve(mountpoint)
	if err != nil {
		return nil, err
	}
	var rel [][]byte
	for _, p := range paths {
		r, ok := relative(p, typed, real)
		if !ok {
			return nil, usagef("path %q: is not inside the mountpoint %s", p, real)
		}
		rel = append(rel, []byte(r))
	}
	return rel, nil
}

// relative finds p below one of the spellings of the mountpoint. Only p's parent
// is resolved: p itself may be a symlink, and is what counts.
func relative(p string, roots ...string) (string, bool) {
	if !filepath.IsAbs(p) {
		return inRoot(filepath.Join("/", p), "/")
	}
	p = filepath.Clean(p)
	for _, root := range roots {
		if r, ok := inRoot(p, root); ok {
			return r, true
		}
	}
	parent, err := preflight.Resolve(filepath.Dir(p))
	if err != nil {
		return "", false
	}
	return inRoot(filepath.Join(parent, filepath.Base(p)), roots[len(roots)-1])
}

func inRoot(p, root string) (string, bool) {
	if !config.Inside(p, root) {
		return "", false
	}
	return strings.TrimPrefix(strings.TrimPrefix(p, root), "/"), true
}

func wait(cmd *cobra.Command, c *control.Client, r control.WaitRequest) error {
	if r.Copies > 0 {
		st, err := c.Status(cmd.Context())
		if err != nil {
			return err
		}
		if r.Copies > len(st.Targets) {
			return usagef("--copies %d: %s has %d targets", r.Copies, st.Mountpoint, len(st.Targets))
		}
	}
	res, err := c.Wait(cmd.Context(), r)
	if err != nil {
		return err
	}
	if res.Done {
		return nil
	}
	var who []string
	for _, l := range res.Lagging {
		who = append(who, fmt.Sprintf("%s (%s)", l.Name, l.Reason))
	}
	return fmt.Errorf("%w after %s: not acked by %s", errTimedOut, r.Timeout, strings.Join(who, "; "))
}
