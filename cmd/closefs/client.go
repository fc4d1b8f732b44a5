package main

import (
	"context"
	"errors"

	"closefs/cmd/closefs/config"
	"closefs/cmd/closefs/control"
	"closefs/cmd/closefs/preflight"
)

// connect finds the daemon of the mountpoint or, with "", of the only mount.
func connect(ctx context.Context, mountpoint string) (*control.Client, error) {
	places := config.DefaultPlaces()
	if mountpoint == "" {
		c, err := control.FindOnly(ctx, places.Sockets)
		if errors.As(err, new(*control.SeveralError)) {
			return nil, usagef("%w", err)
		}
		return c, err
	}
	path, err := preflight.Resolve(mountpoint)
	if err != nil {
		return nil, err
	}
	return control.NewClient(places.Socket(config.Name(path))), nil
}

// argument is the i-th, or "".
func argument(args []string, i int) string {
	if i < len(args) {
		return args[i]
	}
	return ""
}
