package sftp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"closefs/replicate"
	"closefs/replicate/sftp/wire"
)

// window is how much of one file is sent ahead of the answers, in bytes. It is
// the window that OpenSSH gives an SSH channel: more would only wait here.
const window = 2 << 20

// cleanupTimeout bounds how long a failed step goes on to remove what it staged.
const cleanupTimeout = 10 * time.Second

// Put publishes a regular file; see replicate.Target, and doc.go for the requests.
func (t *Target) Put(ctx context.Context, path string, src io.ReaderAt, size int64, attr replicate.Attr, ready func() error) error {
	return t.do(ctx, "put", path, func(ctx context.Context) error {
		session := t.main
		if size > bulkSize {
			session = t.bulk
			select {
			case t.bulkSlots <- struct{}{}:
				defer func() { <-t.bulkSlots }()
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		p := &put{t: t, session: session, path: path, staged: t.tmpPath(), src: src, size: size, attr: attr}
		err := p.stage(ctx)
		if err == nil && ready != nil {
			err = ready()
		}
		if err == nil {
			err = t.publish(ctx, p.staged, path)
		}
		if err != nil {
			err = t.explain(ctx, err, size)
			p.cleanup(ctx)
		}
		return err
	})
}

// put is one file on its way.
type put struct {
	t       *Target
	session *wire.Client
	path    string
	staged  string // absolute
	src     io.ReaderAt
	size    int64
	attr    replicate.Attr

	opened bool     // the request to make staged has been sent
	handle string   // of staged; "" once its close has been sent
	writes []unread // sent, not answered, oldest first
	ahead  int      // their bytes
}

// unread is a write whose answer has not been looked at.
type unread struct {
	call *wire.Call
	n    int
}

// stage makes the staged file, whole, synced and with its attributes. The same
// round trip that makes it tells whether a directory is in the way.
func (p *put) stage(ctx context.Context) error {
	if err := p.t.withAccess(ctx, reach{ways: []string{p.path}}, func() error { return p.open(ctx) }); err != nil {
		return err
	}
	if err := p.fill(ctx); err != nil {
		return err
	}
	return p.finish(ctx)
}

func (p *put) open(ctx context.Context) error {
	if err := p.t.verify(ctx, p.path); err != nil {
		return err
	}
	b := p.session.Batch()
	there := b.Lstat(p.t.abs(p.path))
	opened := b.Open(p.staged, wire.FlagCreate|wire.FlagExcl|wire.FlagWrite, wire.Attrs{Flags: wire.AttrPermissions, Mode: 0o600})
	b.Send()
	p.opened = true
	var err error
	if p.handle, err = opened.Handle(ctx); err != nil {
		return stagingLost(err)
	}
	a, err := there.Attrs(ctx)
	switch {
	case errors.Is(err, wire.NoSuchFile):
		return nil
	case err != nil:
		p.cleanup(ctx)
		return err
	case isDir(a):
		return replicate.ErrIsDir
	}
	return nil
}

// stagingLost makes an error of making something in .closefs/tmp that is not
// there any more one that ends the connection: the next Dial will tell why.
func stagingLost(err error) error {
	if errors.Is(err, wire.NoSuchFile) {
		return fmt.Errorf("%w: .closefs/tmp is gone: %w", replicate.ErrConnection, err)
	}
	return fmt.Errorf("stage: %w", err)
}

// fill sends the content but for its last piece, which finish sends along with
// what follows it.
func (p *put) fill(ctx context.Context) error {
	piece := p.piece()
	buf := make([]byte, min(p.size, piece))
	for off := int64(0); p.size-off > piece; off += piece {
		if err := p.read(buf, off); err != nil {
			return err
		}
		b := p.session.Batch()
		p.write(b, buf, off)
		b.Send()
		if err := p.await(ctx, window); err != nil {
			return err
		}
	}
	return nil
}

// piece is the length of one write. Longer ones than the 32 KiB that every
// server takes save work at both ends: 5 MiB took 12.8 ms in pieces of 32 KiB,
// 6.1 in those of 128, and 8.3 in those of 255, which is OpenSSH's limit.
func (p *put) piece() int64 { return int64(min(p.session.Limits().Write, 128<<10)) }

// read fills buf from the source.
func (p *put) read(buf []byte, off int64) error {
	n, err := p.src.ReadAt(buf, off)
	if n == len(buf) {
		return nil
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read source at %d of %d: %w", off+int64(n), p.size, err)
}

func (p *put) write(b *wire.Batch, data []byte, off int64) {
	p.writes = append(p.writes, unread{call: b.Write(p.handle, uint64(off), data), n: len(data)})
	p.ahead += len(data)
}

// await takes answers until no more than limit bytes are unanswered.
func (p *put) await(ctx context.Context, limit int) error {
	for p.ahead > limit {
		w := p.writes[0]
		p.writes = p.writes[1:]
		p.ahead -= w.n
		if err := w.call.Status(ctx); err != nil {
			return fmt.Errorf("write: %w", err)
		}
	}
	return nil
}

// finish sends the last piece and all that has to be done before the rename,
// and waits for every answer.
func (p *put) finish(ctx context.Context) error {
	last := p.size
	if p.size > 0 {
		last = (p.size - 1) % p.piece()
		last++
	}
	buf := make([]byte, last)
	if err := p.read(buf, p.size-last); err != nil {
		return err
	}
	b := p.session.Batch()
	if last > 0 {
		p.write(b, buf, p.size-last)
	}
	var calls []*wire.Call
	for _, a := range p.t.attrs(p.attr) {
		calls = append(calls, b.Fsetstat(p.handle, a))
	}
	var synced *wire.Call
	if p.t.caps.Fsync {
		synced = b.Fsync(p.handle)
	}
	fstat, closed := b.Fstat(p.handle), b.Close(p.handle)
	b.Send()
	p.handle = ""
	if err := p.await(ctx, 0); err != nil {
		return err
	}
	if err := firstError(ctx, calls); err != nil {
		return err
	}
	if synced != nil {
		if err := synced.Status(ctx); err != nil {
			return fmt.Errorf("sync: %w", err)
		}
	}
	a, err := fstat.Attrs(ctx)
	if err != nil {
		return fmt.Errorf("fstat: %w", err)
	}
	if err := closed.Status(ctx); err != nil {
		return fmt.Errorf("close: %w", err)
	}
	return p.check(ctx, a)
}

// check compares what the server says is staged with what should be. A server
// that does not keep the order of requests (pkg/sftp's, for one) may have looked
// at the file before the last write, or set its times before that. All writes
// have been answered by now, so both are done again, and then count.
func (p *put) check(ctx context.Context, a wire.Attrs) error {
	if p.whole(a) && (p.attr.Mtime.IsZero() || a.Mtime == seconds(p.attr.Mtime)) {
		return nil
	}
	b := p.t.main.Batch()
	var calls []*wire.Call
	for _, a := range p.t.attrs(p.attr) {
		calls = append(calls, b.Setstat(p.staged, a))
	}
	b.Send()
	if err := firstError(ctx, calls); err != nil {
		return err
	}
	a, err := p.t.lstatNow(ctx, p.staged)
	if err == nil && !p.whole(a) {
		err = fmt.Errorf("staged file has %d bytes instead of %d", a.Size, p.size)
	}
	return err
}

// whole says whether the server tells the right length, if it tells one at all.
func (p *put) whole(a wire.Attrs) bool {
	return a.Flags&wire.AttrSize == 0 || a.Size == uint64(p.size)
}

// cleanup removes the staged file, even if the caller has given up meanwhile.
// The removal follows the open on the same session, so that it finds the file
// even where nobody waited for the answer to the open.
func (p *put) cleanup(ctx context.Context) {
	if !p.opened {
		return
	}
	b := p.session.Batch()
	if p.handle != "" {
		b.Close(p.handle)
		p.handle = ""
	}
	p.t.unstage(ctx, b, p.staged)
}

// unstage removes an absolute staged path by the last request of b.
func (t *Target) unstage(ctx context.Context, b *wire.Batch, staged string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	defer context.AfterFunc(t.ctx, cancel)()
	removed := b.Remove(staged)
	b.Send()
	if err := removed.Status(ctx); err != nil && !errors.Is(err, wire.NoSuchFile) && t.ctx.Err() == nil {
		t.log.Warn("cannot remove a staged file", "target", t.root, "file", staged, "error", err)
	}
}

// publish renames the absolute staged path to path.
func (t *Target) publish(ctx context.Context, staged, path string) error {
	return t.withAccess(ctx, reach{ways: []string{path}}, func() error {
		if err := t.verify(ctx, path); err != nil {
			return err
		}
		b := t.main.Batch()
		renamed := b.PosixRename(staged, t.abs(path))
		b.Send()
		err := renamed.Status(ctx)
		if err == nil {
			return nil
		}
		return fmt.Errorf("publish: %w", t.whyNotPublished(ctx, err, path))
	})
}

// whyNotPublished finds what a refused rename of a staged entry means.
func (t *Target) whyNotPublished(ctx context.Context, err error, path string) error {
	switch {
	case errors.Is(err, wire.NoSuchFile):
		t.parents.reset()
	case errors.Is(err, wire.Failure):
		if a, lerr := t.lstatNow(ctx, t.abs(path)); lerr == nil && isDir(a) {
			return fmt.Errorf("%w: %w", replicate.ErrIsDir, err)
		}
	}
	return err
}
