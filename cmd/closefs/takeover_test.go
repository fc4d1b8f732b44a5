package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// kills is how often a daemon dies in each of these tests.
const kills = 30

// TestTakeOver: an application works while the daemon that is mounted in place is
// killed and started again. All that it was told is done reaches the target:
// nothing was done to the directory itself between two mounts.
func TestTakeOver(t *testing.T) {
	p := newPlace(t)
	apps := []*application{{dir: p.dir}}
	p.killAll(t, apps)
	if bytes.Contains(p.log.Bytes(), []byte("unseen")) {
		t.Errorf("the directory was uncovered in between:\n%s", p.log.Bytes())
	}
	p.check(t, apps)
}

// TestTakeOverShared: the mount below propagates mounts (mount_namespaces(7)), as
// systemd has it; another application sees them by way of a peer.
func TestTakeOverShared(t *testing.T) {
	p := newPlaceIn(t, func(base, peer string) {
		must(t, unix.Mount("tmpfs", base, "tmpfs", 0, ""), unix.Mount("", base, "", unix.MS_SHARED, ""),
			unix.Mount(base, peer, "", unix.MS_BIND, ""))
		t.Cleanup(func() { must(t, unix.Unmount(peer, unix.MNT_DETACH), unix.Unmount(base, unix.MNT_DETACH)) })
	})
	apps := []*application{{dir: p.dir, name: "a"}, {dir: filepath.Join(p.peer, "up"), name: "b"}}
	p.killAll(t, apps)
	p.check(t, apps)
}

// TestTakeOverOfMountRoot: the directory is the root of a filesystem of its own, and
// another one is mounted in it.
func TestTakeOverOfMountRoot(t *testing.T) {
	p := newPlace(t)
	must(t, unix.Mount("tmpfs", p.dir, "tmpfs", 0, ""), os.Mkdir(p.dir+"/sub", 0o755),
		unix.Mount("tmpfs", p.dir+"/sub", "tmpfs", 0, ""), os.WriteFile(p.dir+"/sub/file", nil, 0o644))
	t.Cleanup(func() { must(t, unix.Unmount(p.dir, unix.MNT_DETACH)) })
	for range 3 {
		d := p.start(t)
		if _, err := os.Stat(p.dir + "/sub/file"); err != nil {
			t.Error(err)
		}
		d.kill(t)
	}
	p.check(t, nil)
}

// TestTakeOverKilled: the daemon is killed while it takes over, at any moment.
func TestTakeOverKilled(t *testing.T) {
	p := newPlace(t)
	apps := []*application{{dir: p.dir}}
	l := p.start(t)
	closefs(t, "wait", "--timeout", "1m", p.dir)
	l.kill(t)
	stop := p.run(t, apps)
	for i := range 2 * kills {
		d := p.launch(t)
		time.Sleep(time.Duration(i) * time.Millisecond) // the stimulus: the moment of the kill
		d.kill(t)
	}
	stop()
	p.check(t, apps)
}

// A place is a directory that closefs is mounted over, with all that belongs to it.
type place struct {
	dir, state, target string
	peer               string // where dir's parent is seen as well
	log                bytes.Buffer
}

func newPlace(t *testing.T) *place { return newPlaceIn(t, func(_, _ string) {}) }

// newPlaceIn lets prepare mount something at base, in which the directory is made.
func newPlaceIn(t *testing.T, prepare func(base, peer string)) *place {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("SKIP: only root takes a mount over")
	}
	dir := t.TempDir()
	base, peer := filepath.Join(dir, "base"), filepath.Join(dir, "peer")
	must(t, os.Mkdir(base, 0o755), os.Mkdir(peer, 0o755))
	prepare(base, peer)
	p := &place{dir: base + "/up", state: dir + "/state", target: dir + "/target", peer: peer}
	must(t, os.Mkdir(p.dir, 0o755), os.Mkdir(p.target, 0o755))
	t.Cleanup(func() {
		sweep(t, p.dir[:len(p.dir)-1]) // what a failure left mounted
		if t.Failed() {
			t.Logf("the daemons' log ends with\n%s", p.log.Bytes()[max(0, p.log.Len()-4000):])
		}
	})
	return p
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// A life of the daemon.
type life struct{ cmd *exec.Cmd }

func (p *place) launch(t *testing.T) life {
	t.Helper()
	cmd := exec.Command("closefs", "mount", "--state", p.state, "--to", p.target, p.dir)
	cmd.Stdout, cmd.Stderr = &p.log, &p.log
	must(t, cmd.Start())
	return life{cmd}
}

func closefs(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("closefs", args...).CombinedOutput(); err != nil {
		t.Fatalf("closefs %v: %v: %s", args, err, out)
	}
}

// start returns when the mount is served.
func (p *place) start(t *testing.T) life {
	t.Helper()
	l := p.launch(t)
	for deadline := time.Now().Add(patience); exec.Command("closefs", "status", p.dir).Run() != nil; {
		if time.Now().After(deadline) {
			t.Fatalf("not mounted within %s", patience)
		}
		time.Sleep(5 * time.Millisecond) // between two looks at the condition
	}
	return l
}

func (l life) kill(t *testing.T) {
	t.Helper()
	must(t, l.cmd.Process.Kill())
	l.cmd.Wait() // says that it was killed
}

// run has the applications work until the function returned is called.
func (p *place) run(t *testing.T, apps []*application) (stop func()) {
	var stopped atomic.Bool
	var running sync.WaitGroup
	for _, a := range apps {
		running.Go(func() {
			for a.err == nil && !stopped.Load() {
				a.step()
			}
		})
	}
	return func() {
		stopped.Store(true)
		running.Wait()
		for _, a := range apps {
			if a.err != nil {
				t.Error(a.err)
			}
		}
	}
}

// killAll has the applications work while the daemon dies and comes back.
func (p *place) killAll(t *testing.T, apps []*application) {
	t.Helper()
	l := p.start(t)
	closefs(t, "wait", "--timeout", "1m", p.dir) // the first reconcile would find all
	stop := p.run(t, apps)
	for range kills {
		before := apps[0].count.Load()
		l.kill(t)
		l = p.start(t)
		for apps[0].count.Load() == before {
			time.Sleep(time.Millisecond) // between two looks at the condition
		}
	}
	l.kill(t)
	stop()
}

// check starts a last daemon and compares directory and target.
func (p *place) check(t *testing.T, apps []*application) {
	t.Helper()
	l := p.start(t)
	closefs(t, "wait", "--timeout", "1m", p.dir)
	closefs(t, "unmount", p.dir)
	must(t, l.cmd.Wait())
	want, got := files(t, p.dir), files(t, p.target)
	for name, content := range want {
		if there, ok := got[name]; !ok || there != content {
			t.Errorf("%s: at the target %v %q, want %q", name, ok, there, content)
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("%s: only at the target", name)
		}
	}
	for _, a := range apps {
		a.check(t, got)
	}
}

// files maps the names of all files below dir to their contents.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := make(map[string]string)
	must(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.Name() == ".closefs":
			return fs.SkipDir
		}
		if e.Type().IsRegular() {
			content, err := os.ReadFile(path)
			all[path[len(dir):]] = string(content)
			return err
		}
		return nil
	}))
	return all
}

// An application writes files, renames them and reads them back.
type application struct {
	dir, name string
	count     atomic.Int64 // files done
	tried     int
	begun     bool // the file tried last was opened
	done      []int
	err       error
}

func (a *application) path(n int) string { return fmt.Sprintf("%s/%s%d", a.dir, a.name, n) }

// step goes on with another file if the mount is dead: whether that one was done is unknown.
func (a *application) step() {
	n := a.tried
	err := a.upload(n)
	switch {
	case err == nil:
		a.done = append(a.done, n)
		a.count.Add(1)
	case errors.Is(err, unix.ENOTCONN), errors.Is(err, unix.ECONNABORTED), errors.Is(err, unix.EIO):
	default:
		a.err = fmt.Errorf("file %d: %w", n, err)
	}
	if a.begun {
		a.tried++ // it may be there, in part
	}
}

func (a *application) upload(n int) error {
	temp := a.path(n) + ".part"
	f, err := os.Create(temp)
	if a.begun = err == nil; !a.begun {
		return err
	}
	_, err = fmt.Fprint(f, n)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(temp, a.path(n)); err != nil {
		return err
	}
	content, err := os.ReadFile(a.path(n))
	if err == nil && string(content) != fmt.Sprint(n) {
		err = fmt.Errorf("read back %q", content)
	}
	return err
}

// check says what was done and is missing.
func (a *application) check(t *testing.T, got map[string]string) {
	t.Helper()
	for _, n := range a.done {
		name := a.path(n)[len(a.dir):]
		if got[name] != fmt.Sprint(n) {
			t.Errorf("%s was done and is not at the target: %q", name, got[name])
		}
	}
	t.Logf("%d files tried, %d done", a.tried, len(a.done))
}
