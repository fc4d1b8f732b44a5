package sftp

import (
	"context"
	"fmt"
	"time"

	"closefs/replicate/sftp/wire"
	"closefs/replicate/staging"
)

// Heartbeat stores stamp and reads it back; see replicate.Target. It is synced
// where the server can, and with it, on a journaling filesystem, every rename
// before it.
func (t *Target) Heartbeat(ctx context.Context, stamp time.Time) (got time.Time, err error) {
	err = t.do(ctx, "heartbeat", "", func(ctx context.Context) error {
		staged := t.tmpPath()
		if err := t.writeFile(ctx, staged, staging.FormatHeartbeat(stamp)); err != nil {
			t.unstage(ctx, t.main.Batch(), staged)
			return t.explain(ctx, stagingLost(err), 0)
		}
		b := t.main.Batch()
		renamed := b.PosixRename(staged, t.abs(staging.Heartbeat))
		opened := b.Open(t.abs(staging.Heartbeat), wire.FlagRead, wire.Attrs{})
		b.Send()
		if err := renamed.Status(ctx); err != nil {
			return err
		}
		h, err := opened.Handle(ctx)
		if err != nil {
			return err
		}
		b = t.main.Batch()
		read := b.Read(h, 0, 1024)
		b.Close(h)
		b.Send()
		data, err := read.Data(ctx)
		if err != nil {
			return err
		}
		got, err = staging.ParseHeartbeat(data)
		return err
	})
	return got, err
}

// writeFile makes a small file of closefs's own, synced where the server can.
func (t *Target) writeFile(ctx context.Context, abs string, data []byte) error {
	b := t.main.Batch()
	opened := b.Open(abs, wire.FlagCreate|wire.FlagTrunc|wire.FlagWrite, wire.Attrs{Flags: wire.AttrPermissions, Mode: 0o600})
	b.Send()
	h, err := opened.Handle(ctx)
	if err != nil {
		return err
	}
	b = t.main.Batch()
	calls := []*wire.Call{b.Write(h, 0, data)}
	if t.caps.Fsync {
		calls = append(calls, b.Fsync(h))
	}
	calls = append(calls, b.Close(h))
	b.Send()
	if err := firstStaging(ctx, calls); err != nil {
		return fmt.Errorf("write %s: %w", abs, err)
	}
	return nil
}
