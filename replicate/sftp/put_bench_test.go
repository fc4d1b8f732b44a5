package sftp

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	pkgsftp "github.com/pkg/sftp"
	"golang.org/x/sync/errgroup"

	"closefs/replicate"
)

// BenchmarkPut compares Put with the same steps made by pkg/sftp, one call
// after the other, on the same connection to a real sshd; the two alternate.
// The metrics are the medians in microseconds and their ratio.
func BenchmarkPut(b *testing.B) {
	if _, err := os.Stat(sshd); err != nil {
		b.Skipf("SKIP: %v", err)
	}
	target, conn, path := openSSHTarget(b)
	bare, err := pkgsftp.NewClient(conn.Client, pkgsftp.UseConcurrentWrites(true))
	check(b, err)
	defer bare.Close()

	for _, size := range []int{1 << 10, 100 << 10, 5 << 20} {
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			content := make([]byte, size)
			for i := range content {
				content[i] = byte(rand.Uint32())
			}
			attr := replicate.Attr{Mode: 0o640, Mtime: time.Unix(1_700_000_000, 0)}
			var ours, theirs []time.Duration
			b.SetBytes(int64(size))
			for i := 0; b.Loop(); i++ {
				start := time.Now()
				check(b, target.Put(b.Context(), fmt.Sprintf("f%d", i%100), bytes.NewReader(content), int64(size), attr, nil))
				middle := time.Now()
				check(b, barePut(bare, path, fmt.Sprintf("g%d", i%100), content, attr))
				ours, theirs = append(ours, middle.Sub(start)), append(theirs, time.Since(middle))
			}
			b.ReportMetric(micros(median(ours)), "put-µs")
			b.ReportMetric(micros(median(theirs)), "bare-µs")
			b.ReportMetric(micros(median(ours))/micros(median(theirs)), "ratio")
		})
	}
}

// BenchmarkPutBesideBulk puts small files while large ones keep the connection
// busy.
func BenchmarkPutBesideBulk(b *testing.B) {
	if _, err := os.Stat(sshd); err != nil {
		b.Skipf("SKIP: %v", err)
	}
	target, _, _ := openSSHTarget(b)
	ctx, stop := context.WithCancel(b.Context())
	var bulk errgroup.Group
	for i := range 4 {
		bulk.Go(func() error {
			content := make([]byte, 32<<20)
			for ctx.Err() == nil {
				err := target.Put(ctx, fmt.Sprint("bulk", i), bytes.NewReader(content), int64(len(content)), replicate.Attr{Mode: 0o644}, nil)
				if err != nil && ctx.Err() == nil {
					return err
				}
			}
			return nil
		})
	}
	var took []time.Duration
	for i := 0; b.Loop(); i++ {
		start := time.Now()
		check(b, target.Put(b.Context(), fmt.Sprint("f", i%100), bytes.NewReader(make([]byte, 1024)), 1024, replicate.Attr{Mode: 0o644}, nil))
		took = append(took, time.Since(start))
	}
	stop()
	check(b, bulk.Wait())
	b.ReportMetric(micros(median(took)), "p50-µs")
	b.ReportMetric(micros(took[len(took)*99/100]), "p99-µs")
}

// openSSHTarget connects to a real sshd.
func openSSHTarget(b *testing.B) (*Target, *connection, string) {
	b.Helper()
	l := newLab(b)
	dir := filepath.Join(b.TempDir(), "target")
	check(b, os.Mkdir(dir, 0o755))
	if os.Geteuid() == 0 {
		check(b, os.Chown(dir, nobody, nobody))
	}
	file := filepath.Join(l.dir, "host_ed25519")
	key := writeKey(b, file, newKey(b), nil)
	addr, account, path := l.startSSHD(b, dir, file)
	d := newDialer(b, l.options(b, addr, account, path, key.PublicKey()))
	conn, err := d.connect(b.Context())
	check(b, err)
	target, err := d.open(b.Context(), conn.session, conn.Close)
	check(b, err)
	b.Cleanup(func() { target.Close() })
	return target, conn, path
}

// barePut is what a straightforward client does.
func barePut(c *pkgsftp.Client, root, name string, content []byte, attr replicate.Attr) error {
	staged := root + "/.closefs/tmp/" + name
	f, err := c.OpenFile(staged, os.O_WRONLY|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return err
	}
	if _, err := f.ReadFromWithConcurrency(bytes.NewReader(content), 64); err != nil {
		return err
	}
	if info, err := f.Stat(); err != nil || info.Size() != int64(len(content)) {
		return fmt.Errorf("stat: %v, %w", info, err)
	}
	for _, step := range []func() error{
		func() error { return f.Chmod(os.FileMode(attr.Mode)) },
		func() error { return c.Chtimes(staged, attr.Mtime, attr.Mtime) },
		f.Sync,
		f.Close,
		func() error { return c.PosixRename(staged, root+"/"+name) },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
