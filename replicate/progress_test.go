package replicate

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"closefs/replicate/plan"
)

func reopen(t *testing.T, p *progress) *progress {
	t.Helper()
	if err := p.close(); err != nil {
		t.Fatal(err)
	}
	q, err := openProgress(p.path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { q.close() })
	return q
}

func newProgress(t *testing.T) *progress {
	t.Helper()
	p, err := openProgress(filepath.Join(t.TempDir(), "progress"))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestProgressIsKept(t *testing.T) {
	p := newProgress(t)
	if p.known || p.met {
		t.Fatal("a new file is known")
	}
	since := time.Unix(1_700_000_000, 123)
	must(t, p.begin(7, since))
	p = reopen(t, p)
	if !p.known || p.met || !p.reconciling || p.acked != 7 || !p.since.Equal(since) {
		t.Fatalf("after begin: %+v", p)
	}
	must(t, p.finish())
	must(t, p.log([]plan.Obligation{{Pos: 9, Part: plan.Main}, {Pos: 9, Part: plan.TimesFrom}, {Pos: 8, Part: plan.Main}}))
	p = reopen(t, p)
	if !p.known || !p.met || p.reconciling || p.done[9] != plan.Main|plan.TimesFrom || p.done[8] != plan.Main {
		t.Fatalf("after finish and log: %+v", p)
	}
	must(t, p.setAcked(8, since.Add(time.Second)))
	must(t, p.rewrite())
	p = reopen(t, p)
	if p.acked != 8 || p.done[9] != plan.Main|plan.TimesFrom || p.done[8] != 0 || !p.since.Equal(since.Add(time.Second)) {
		t.Fatalf("after rewrite: %+v", p)
	}
}

// TestProgressTorn cuts the file at every length: what was whole stays, and an
// entry that was not is never believed.
func TestProgressTorn(t *testing.T) {
	p := newProgress(t)
	must(t, p.begin(1, time.Unix(1, 0)))
	must(t, p.finish())
	must(t, p.setAcked(5, time.Time{}))
	p.close()
	whole, err := os.ReadFile(p.path)
	must(t, err)
	for n := range whole {
		must(t, os.WriteFile(p.path, whole[:n], 0o600))
		q, err := openProgress(p.path)
		must(t, err)
		if q.acked == 5 {
			t.Errorf("cut at %d of %d: acked %d", n, len(whole), q.acked)
		}
		if q.known != (n >= entrySize) {
			t.Errorf("cut at %d: known %v", n, q.known)
		}
		q.close()
	}
}

func TestProgressDamaged(t *testing.T) {
	p := newProgress(t)
	must(t, p.begin(1, time.Unix(1, 0)))
	must(t, p.finish())
	p.close()
	b, err := os.ReadFile(p.path)
	must(t, err)
	for i := range b[:len(b)-entrySize] {
		c := append([]byte(nil), b...)
		c[i] ^= 0x20
		must(t, os.WriteFile(p.path, c, 0o600))
		q, err := openProgress(p.path)
		must(t, err)
		if q.known {
			t.Errorf("byte %d flipped: the file is believed", i)
		}
		q.close()
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
