package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"time"

	"closefs/cmd/closefs/control"
	"closefs/fs/journal"
	"closefs/replicate"
)

var _ control.Service = (*daemon)(nil)

// role is that of a host that applications write to.
const role = "primary"

// Status describes the mount for `closefs status`.
func (d *daemon) Status() control.Status {
	j := d.journal.Stats()
	s := control.Status{
		Mountpoint: d.c.Mountpoint, Backing: d.c.Backing, Role: role, State: d.state.Load().(string),
		PID: os.Getpid(), Since: d.since,
		Journal: control.Journal{First: uint64(j.First), Last: uint64(j.Last), Bytes: j.Bytes},
		Targets: make([]control.Target, 0, len(d.targets)),
	}
	now := time.Now()
	for _, st := range d.statuses() {
		s.Targets = append(s.Targets, describe(st, now))
	}
	return s
}

func (d *daemon) statuses() []replicate.Status {
	all := make([]replicate.Status, len(d.targets))
	for i, t := range d.targets {
		all[i] = t.status()
	}
	return all
}

func describe(s replicate.Status, now time.Time) control.Target {
	t := control.Target{Name: s.Name, URL: s.URL, State: string(s.State), Acked: uint64(s.Acked),
		PendingChanges: s.PendingChanges, PendingBytes: s.PendingBytes,
		LagSeconds: s.Lag(now).Seconds(), LastError: s.LastError}
	if !s.LastAckedAt.IsZero() {
		at := s.LastAckedAt
		t.LastAckedAt = &at
	}
	return t
}

// Version tells what this process was built from.
func (d *daemon) Version() control.Version {
	return control.Version{Version: d.o.Version, Go: runtime.Version()}
}

// Unmount unmounts for `closefs unmount`; the process ends afterwards.
func (d *daemon) Unmount(ctx context.Context) error {
	r := unmountRequest{ctx: ctx, done: make(chan error, 1)}
	select {
	case d.unmounts <- r:
		return <-r.done
	case <-d.gone:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Wait waits for what has been closed by now to be acked.
func (d *daemon) Wait(ctx context.Context, r control.WaitRequest) (control.WaitResult, error) {
	need := len(d.targets)
	if r.Copies > need {
		return control.WaitResult{}, fmt.Errorf("wait for %d copies: there are %d targets", r.Copies, need)
	}
	if r.Copies > 0 {
		need = r.Copies
	}
	if r.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, r.Timeout)
		defer cancel()
	}
	if err := d.settle(ctx); err != nil {
		return d.outcome(ctx, control.WaitResult{}, []control.Lagging{{Name: "(mount)", Reason: "closes are not journaled yet: " + err.Error()}})
	}
	pos := d.journal.Last()
	paths := make([]string, len(r.Paths))
	for i, p := range r.Paths {
		paths[i] = string(p)
	}
	lagging := d.waitAcked(ctx, pos, paths, need)
	return d.outcome(ctx, control.WaitResult{Position: uint64(pos), Done: lagging == nil}, lagging)
}

// settle waits for the closes that have returned; once the mount is gone all are journaled.
func (d *daemon) settle(ctx context.Context) error {
	err := d.fs.Settle(ctx)
	select {
	case <-d.gone:
		return nil
	default:
		return err
	}
}

// outcome is an error only if the client went away or the daemon ends.
func (d *daemon) outcome(ctx context.Context, res control.WaitResult, lagging []control.Lagging) (control.WaitResult, error) {
	if !res.Done && errors.Is(ctx.Err(), context.Canceled) {
		return res, errors.New("wait: closefs is stopping")
	}
	res.Lagging = lagging
	return res, nil
}

// waitAcked returns nil when need targets have acked, or who has not.
func (d *daemon) waitAcked(ctx context.Context, pos journal.Position, paths []string, need int) []control.Lagging {
	ctx, enough := context.WithCancel(ctx)
	defer enough()
	var mu sync.Mutex
	acked := make([]bool, len(d.targets))
	count := 0
	var waits sync.WaitGroup
	for i, t := range d.targets {
		waits.Go(func() {
			if t.worker.WaitAcked(ctx, pos, paths) != nil {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			acked[i] = true
			if count++; count >= need {
				enough()
			}
		})
	}
	waits.Wait()
	if count >= need {
		return nil
	}
	lagging := []control.Lagging{}
	for i, t := range d.targets {
		if !acked[i] {
			lagging = append(lagging, control.Lagging{Name: t.name, Reason: lagReason(t.status())})
		}
	}
	return lagging
}

// lagReason says in words why a target has not acked.
func lagReason(s replicate.Status) string {
	why := string(s.State)
	if s.PendingChanges > 0 {
		why += fmt.Sprintf(", %d changes pending", s.PendingChanges)
	}
	if s.LastError != "" {
		why += ": " + s.LastError
	}
	return why
}
