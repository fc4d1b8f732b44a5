package main

import (
	"context"
	"errors"
	"fmt"

	"closefs/cmd/closefs/config"
	"closefs/cmd/closefs/daemon"
	"closefs/replicate"
)

// The exit codes are a contract with scripts.
const (
	exitFine    = 0
	exitFailed  = 1
	exitUsage   = 2 // usage or configuration
	exitMount   = 3 // cannot mount
	exitTimeout = 4 // timed out
	exitTarget  = 5 // target unreachable or refused
)

// errTimedOut: what was waited for did not come in time.
var errTimedOut = errors.New("timed out")

// usageError is about how closefs was called.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error {
	return &usageError{fmt.Errorf(format, args...)}
}

// exitCode is the class of an error. What was asked for counts before what came of it.
func exitCode(err error) int {
	switch {
	case err == nil:
		return exitFine
	case errors.As(err, new(*usageError)), errors.Is(err, config.ErrInvalid):
		return exitUsage
	case errors.Is(err, daemon.ErrCannotMount):
		return exitMount
	case errors.Is(err, errTimedOut), errors.Is(err, context.DeadlineExceeded):
		return exitTimeout
	case errors.Is(err, replicate.ErrRefused), errors.Is(err, replicate.ErrConnection):
		return exitTarget
	}
	return exitFailed
}
