package sftp

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"closefs/replicate"
	"closefs/replicate/sftp/wire"
	"closefs/replicate/staging"
)

// readdirAhead is how many requests for entries are on their way at once.
// OpenSSH answers each with up to 100.
const readdirAhead = 4

// Lstat describes path; see replicate.Target. A symlink's destination is asked
// for in the same round trip.
func (t *Target) Lstat(ctx context.Context, path string) (e replicate.Entry, err error) {
	err = t.do(ctx, "lstat", path, func(ctx context.Context) error {
		return t.withAccess(ctx, reach{ways: []string{path}}, func() error {
			up, name := staging.Split(path)
			if err := t.verifyDir(ctx, up); err != nil {
				return err
			}
			b := t.main.Batch()
			seen, link := b.Lstat(t.abs(path)), b.Readlink(t.abs(path))
			b.Send()
			a, err := seen.Attrs(ctx)
			if err != nil {
				return err
			}
			e = entry(wire.Name{Name: name, Attrs: a})
			if isSymlink(a) {
				e.Dest, err = destination(ctx, link)
			}
			return err
		})
	})
	return e, err
}

func destination(ctx context.Context, link *wire.Call) (string, error) {
	names, err := link.Names(ctx)
	if err == nil && len(names) != 1 {
		err = fmt.Errorf("%w: %d answers", wire.ErrPacket, len(names))
	}
	if err != nil {
		return "", fmt.Errorf("read symlink: %w", err)
	}
	return names[0].Name, nil
}

// entry is what the protocol tells of a name.
func entry(n wire.Name) replicate.Entry {
	e := replicate.Entry{
		Name: n.Name, Mode: n.Attrs.Mode, UID: n.Attrs.UID, GID: n.Attrs.GID,
		Mtime: time.Unix(int64(n.Attrs.Mtime), 0),
	}
	if n.Attrs.Mode&unix.S_IFMT == unix.S_IFREG {
		e.Size = int64(n.Attrs.Size)
	}
	return e
}

// List returns the entries of directory path; see replicate.Target.
func (t *Target) List(ctx context.Context, path string) (entries []replicate.Entry, err error) {
	err = t.do(ctx, "list", path, func(ctx context.Context) error {
		return t.withAccess(ctx, reach{ways: []string{path}, self: path, lands: t.abs(path)}, func() error {
			if err := t.verifyDir(ctx, path); err != nil {
				return err
			}
			names, err := t.readDir(ctx, t.abs(path))
			if errors.Is(err, wire.NoSuchFile) {
				t.parents.reset()
			}
			if err != nil {
				return err
			}
			entries, err = t.describe(ctx, path, names)
			return err
		})
	})
	return entries, err
}

// describe makes entries of what readDir returned, asking for the destinations
// of symlinks all at once.
func (t *Target) describe(ctx context.Context, path string, names []wire.Name) ([]replicate.Entry, error) {
	entries := make([]replicate.Entry, 0, len(names))
	links := make(map[int]*wire.Call)
	b := t.main.Batch()
	for _, n := range names {
		if path == "" && n.Name == staging.Dir {
			continue
		}
		if isSymlink(n.Attrs) {
			links[len(entries)] = b.Readlink(t.abs(path) + "/" + n.Name)
		}
		entries = append(entries, entry(n))
	}
	b.Send()
	for i, link := range links {
		dest, err := destination(ctx, link)
		if err != nil && !errors.Is(err, wire.NoSuchFile) && !errors.Is(err, wire.Failure) {
			return nil, err
		}
		entries[i].Dest = dest // "" if it has been replaced since
	}
	return entries, nil
}

// readDir reads a whole directory, given by its absolute path, without "." and "..".
func (t *Target) readDir(ctx context.Context, abs string) ([]wire.Name, error) {
	b := t.main.Batch()
	opened := b.Opendir(abs)
	b.Send()
	h, err := opened.Handle(ctx)
	if err != nil {
		return nil, err
	}
	defer func() {
		b := t.main.Batch()
		b.Close(h)
		b.Send()
	}()
	var names []wire.Name
	for err == nil {
		b := t.main.Batch()
		var calls [readdirAhead]*wire.Call
		for i := range calls {
			calls[i] = b.Readdir(h)
		}
		b.Send()
		for _, call := range calls {
			more, cerr := call.Names(ctx)
			if cerr != nil && err == nil {
				err = cerr
			}
			for _, n := range more {
				switch {
				case n.Name == "." || n.Name == "..":
				case n.Name == "" || strings.ContainsAny(n.Name, "/\x00"):
					err = fmt.Errorf("%w: the server lists the name %q", wire.ErrPacket, n.Name)
				default:
					names = append(names, n)
				}
			}
		}
	}
	if errors.Is(err, wire.EOF) {
		return names, nil
	}
	return nil, err
}
