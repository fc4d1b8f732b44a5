package staging

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestCheckPath(t *testing.T) {
	for _, ok := range []string{"", "a", "a/b", "-x", "a b", "new\nline", "\xff\xfe", "...", ".closefsx", "a/.closefs"} {
		if err := CheckPath(ok); err != nil {
			t.Errorf("CheckPath(%q) = %v", ok, err)
		}
	}
	for _, bad := range []string{"/a", "a/", "a//b", ".", "..", "a/../b", "a/./b", "a\x00b", ".closefs", ".closefs/tmp/x"} {
		if err := CheckPath(bad); !errors.Is(err, ErrPath) {
			t.Errorf("CheckPath(%q) = %v", bad, err)
		}
	}
}

func TestTrashNamesTellPathAndTime(t *testing.T) {
	n := NewNamer("host", 7)
	now := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
	for _, path := range []string{"a", "a/b", "100%/2F", "~/x~y", "new\nline", "\xff"} {
		name, long := n.Trash(path, now)
		got, at, err := ParseTrash(name)
		if err != nil || long || got != path || !at.Equal(now) || strings.Contains(name, "/") {
			t.Errorf("Trash(%q) = %q, %v; parsed %q, %v, %v", path, name, long, got, at, err)
		}
	}
	deep := strings.Repeat("directory/", 100)
	first, long := n.Trash(deep, now)
	second, _ := n.Trash(deep, now)
	if !long || first == second || len(first)+len(PathFile) > nameMax {
		t.Errorf("Trash(deep) = %q (%d bytes), %v, then %q", first, len(first), long, second)
	}
}

func TestStale(t *testing.T) {
	now := time.Now()
	ours, earlier, other := NewNamer("a", 1), NewNamer("a", 2), NewNamer("b", 3)
	for _, c := range []struct {
		name string
		want bool
	}{
		{ours.Tmp(now), false},
		{earlier.Tmp(now), true},
		{other.Tmp(now), false},
		{other.Tmp(now.Add(-25 * time.Hour)), true},
		{"somebody's file", false},
	} {
		if got := ours.Stale(c.name, now); got != c.want {
			t.Errorf("Stale(%q) = %v", c.name, got)
		}
	}
}
