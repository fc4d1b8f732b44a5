package replicate

import (
	"context"
	"log/slog"
	"time"

	"closefs/fs/backing"
)

// Options configure a Worker.
type Options struct {
	Name     string
	Dialer   Dialer
	Journal  Journal
	Backing  *backing.Root
	StateDir string // of this target alone: position, done set
	Log      *slog.Logger
	InFlight int // steps under way at once; 0: 64
	// OnShipped, if set, is called for each file published: time since its
	// record was made, and size in bytes.
	OnShipped func(lag time.Duration, bytes int64)
}

// A Worker brings one target up to date and keeps it so.
type Worker struct{}

// New prepares a worker from its state directory.
func New(o Options) (*Worker, error) { panic("under construction") }

// Run works until ctx ends, then lets what is in flight finish.
func (w *Worker) Run(ctx context.Context) error { panic("under construction") }

// Status is a snapshot.
func (w *Worker) Status() Status { panic("under construction") }
