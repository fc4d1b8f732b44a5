// Package control is how the closefs commands talk to the daemon that serves a
// mount: JSON over HTTP on a unix socket that only its owner may use. Client
// and server share the types of this file.
//
//	GET  /v1/status    → Status
//	POST /v1/wait      WaitRequest → WaitResult
//	POST /v1/unmount   → {} once the mount is gone; 409 while files are open
//	GET  /v1/version   → Version
//
// An error is {"error": "…"} with a status of 400 or above.
package control

import (
	"context"
	"time"
)

// Status is a mount as `closefs status --json` prints it.
type Status struct {
	Mountpoint string    `json:"mountpoint"`
	Backing    string    `json:"backing"`
	Role       string    `json:"role"`
	State      string    `json:"state"` // starting, serving, stopping
	PID        int       `json:"pid"`   // of the process that serves the mount
	Since      time.Time `json:"since"` // when it began to
	Journal    Journal   `json:"journal"`
	Targets    []Target  `json:"targets"`
}

// States of a mount.
const (
	Starting = "starting" // the mount does not answer yet
	Serving  = "serving"
	Stopping = "stopping" // asked to stop: waiting for open files, then for what is in flight
)

// Journal is what the journal holds.
type Journal struct {
	First uint64 `json:"first"` // position of the oldest record
	Last  uint64 `json:"last"`  // position of the newest record; 0: none yet
	Bytes int64  `json:"bytes"`
}

// Target is one secondary. State is one of replicate.State.
type Target struct {
	Name           string     `json:"name"`
	URL            string     `json:"url"`
	State          string     `json:"state"`
	Acked          uint64     `json:"acked"`
	PendingChanges int64      `json:"pending_changes"`
	PendingBytes   int64      `json:"pending_bytes"`
	LagSeconds     float64    `json:"lag_seconds"`
	LastError      string     `json:"last_error"`
	LastAckedAt    *time.Time `json:"last_acked_at"` // null: never in the life of this daemon
}

// WaitRequest asks until when to wait: until everything closed before the
// request is acked.
type WaitRequest struct {
	// Timeout in nanoseconds; 0: none.
	Timeout time.Duration `json:"timeout"`
	// Copies is the number of targets that have to have acked; 0: all.
	Copies int `json:"copies"`
	// Paths, if there are any, are all that has to be acked: relative to the
	// mountpoint, arbitrary bytes (base64 in JSON).
	Paths [][]byte `json:"paths,omitempty"`
}

// WaitResult is the outcome of waiting.
type WaitResult struct {
	Done     bool      `json:"done"`
	Position uint64    `json:"position"` // what was waited for
	Lagging  []Lagging `json:"lagging"`  // not Done: who has not acked it
}

// Lagging is a target that did not ack in time.
type Lagging struct {
	Name   string `json:"name"`
	Reason string `json:"reason"` // in words
}

// Version is what the daemon was built from.
type Version struct {
	Version string `json:"version"`
	Go      string `json:"go"`
}

// failure is the body of an answer that is an error.
type failure struct {
	Error string `json:"error"`
}

// A Service is the daemon behind the socket.
type Service interface {
	Status() Status
	Version() Version
	// Wait returns when the request is met, when its timeout has passed (not
	// Done), or with ctx's error.
	Wait(ctx context.Context, r WaitRequest) (WaitResult, error)
	// Unmount returns when the mount is gone, or with what keeps it busy.
	Unmount(ctx context.Context) error
}
