package dir

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"closefs/replicate"
	"closefs/replicate/staging"
)

// Heartbeat stores stamp and reads it back; see replicate.Target. It is also
// where a target that has been unmounted, or mounted over, is noticed.
func (t *Target) Heartbeat(ctx context.Context, stamp time.Time) (got time.Time, err error) {
	err = t.do(ctx, "heartbeat", "", func() error {
		if err := t.stillThere(); err != nil {
			return err
		}
		name := t.names.Tmp(time.Now())
		if err := t.writeFile(t.tmp, name, staging.FormatHeartbeat(stamp)); err != nil {
			return err
		}
		if err := unix.Renameat(t.tmp, name, t.root.FD(), staging.Heartbeat); err != nil {
			return err
		}
		fd, err := t.open(staging.Heartbeat, unix.O_RDONLY|unix.O_NOFOLLOW)
		if err != nil {
			return err
		}
		f := os.NewFile(uintptr(fd), staging.Heartbeat)
		defer f.Close()
		b, err := io.ReadAll(f)
		if err != nil {
			return err
		}
		got, err = staging.ParseHeartbeat(b)
		return err
	})
	return got, err
}

// stillThere says whether the path that was dialed still leads to the
// directory that is open.
func (t *Target) stillThere() error {
	var open, now unix.Stat_t
	if err := unix.Fstat(t.root.FD(), &open); err != nil {
		return err
	}
	if err := unix.Stat(t.path, &now); err != nil {
		return fmt.Errorf("%w: %s: %w", replicate.ErrConnection, t.path, err)
	}
	if open.Dev != now.Dev || open.Ino != now.Ino {
		return fmt.Errorf("%w: %s is another directory now", replicate.ErrConnection, t.path)
	}
	return nil
}
