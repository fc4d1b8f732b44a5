package journal

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// smallDisk mounts a tmpfs of that many bytes for the test.
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("SKIP: mounting a small disk needs root")
	}
	dir := t.TempDir()
	if err := unix.Mount("closefs-test", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Fatalf("mount tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func TestFullDisk(t *testing.T) {
	disk := smallDisk(t, "1m")
	dir := filepath.Join(disk, "journal")
	j, err := OpenDir(dir, Options{SegmentSize: 64 << 10, MaxSize: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	mustAppend(t, j, Record{Kind: Open, ID: 1, Path: "open"})
	stored := fillUp(t, j)
	if s := j.Stats(); s.AppendErrors == 0 || s.Last != stored {
		t.Fatalf("%+v, stored up to %d", s, stored)
	}
	readAll(t, j, 0)
	if err := j.Sync(); err != nil {
		t.Fatalf("sync of what was stored: %v", err)
	}
	j.Retain(stored - 5000)
	after := appendWhenRoom(t, j)
	all := readAll(t, j, j.First()-1)
	if n := len(all); n < 3 || all[n-1].Pos != after || all[n-2].Kind != Gap {
		t.Fatalf("at the end: %+v %+v", all[n-2], all[n-1])
	}
	// A Gap may still have found room where the change after it did not.
	if s := j.Stats(); s.Gaps < 1 || s.Gaps > 2 || !j.IsDirty(1) {
		t.Fatalf("%+v", s)
	}
}

// fillUp appends until the disk is full and tells the last position stored.
func fillUp(t *testing.T, j *Journal) (stored Position) {
	t.Helper()
	for {
		pos, err := j.Append(&Record{Kind: Attr, Path: "some/path"})
		if err == nil {
			stored = pos
			continue
		}
		if !errors.Is(err, unix.ENOSPC) {
			t.Fatalf("on a full disk: %v", err)
		}
		return stored
	}
}

// appendWhenRoom appends until it succeeds: a failure is remembered for a while.
func appendWhenRoom(t *testing.T, j *Journal) Position {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; {
		pos, err := j.Append(&Record{Kind: Attr, Path: "after"})
		if err == nil {
			return pos
		}
		if !errors.Is(err, unix.ENOSPC) || time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(spareRetry / 4)
	}
}

// A journal that exists opens on a disk without room; a new one does not.
func TestOpenOnFullDisk(t *testing.T) {
	disk := smallDisk(t, "1m")
	dir := filepath.Join(disk, "journal")
	o := Options{SegmentSize: 64 << 10, MaxSize: 1 << 30}
	j, err := OpenDir(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	mustAppend(t, j, Record{Kind: Attr, Path: "a"})
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	hog, err := os.Create(filepath.Join(disk, "hog"))
	if err != nil {
		t.Fatal(err)
	}
	defer hog.Close()
	for err == nil {
		_, err = hog.Write(make([]byte, 4096))
	}
	if _, err := OpenDir(filepath.Join(disk, "new"), o); !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("a new journal on a full disk: %v", err)
	}
	if j, err = OpenDir(dir, o); err != nil {
		t.Fatalf("a journal on a full disk: %v", err)
	}
	mustAppend(t, j, Record{Kind: Attr, Path: "b"})
	if len(readAll(t, j, 0)) != 2 {
		t.Fatal("records are missing")
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
}
