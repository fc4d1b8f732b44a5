package sftpserver

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"

	"closefs/replicate/sftp/wire"
)

func newSigner(t *testing.T) ssh.Signer {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	check(t, err)
	s, err := ssh.NewSignerFromKey(key)
	check(t, err)
	return s
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// start serves root to the returned key.
func start(t *testing.T, root string) (*Server, string, ssh.Signer) {
	t.Helper()
	key := newSigner(t)
	s, err := New(Options{Root: root, AuthorizedKeys: []ssh.PublicKey{key.PublicKey()}})
	check(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		check(t, s.Close())
		if err := <-done; !errors.Is(err, ErrClosed) {
			t.Errorf("Serve = %v", err)
		}
	})
	return s, l.Addr().String(), key
}

func dial(s *Server, addr string, key ssh.Signer) (*ssh.Client, error) {
	return ssh.Dial("tcp", addr, &ssh.ClientConfig{
		User: "anybody", Auth: []ssh.AuthMethod{ssh.PublicKeys(key)}, HostKeyCallback: ssh.FixedHostKey(s.HostKeys()[0]),
	})
}

// client is somebody else's, to see that the server speaks the protocol and
// not only our dialect.
func client(t *testing.T, root string) *sftp.Client {
	t.Helper()
	s, addr, key := start(t, root)
	conn, err := dial(s, addr, key)
	check(t, err)
	t.Cleanup(func() { conn.Close() })
	c, err := sftp.NewClient(conn, sftp.UseConcurrentWrites(true))
	check(t, err)
	return c
}

func TestSpeaksWithOtherClients(t *testing.T) {
	root := t.TempDir()
	c := client(t, root)
	check(t, c.MkdirAll("/a/b"))
	f, err := c.Create("/a/b/f")
	check(t, err)
	content := make([]byte, 1<<20)
	_, _ = rand.Read(content)
	_, err = f.Write(content)
	check(t, err)
	check(t, f.Sync())
	check(t, f.Close())
	got, err := os.ReadFile(filepath.Join(root, "a/b/f"))
	if err != nil || string(got) != string(content) {
		t.Errorf("the file has %d bytes, %v", len(got), err)
	}
	f, err = c.Open("a/b/../b/f")
	check(t, err)
	got, err = io.ReadAll(f)
	if err != nil || string(got) != string(content) {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
	check(t, f.Close())
	check(t, c.Link("/a/b/f", "/g"))
	check(t, c.PosixRename("/g", "/h"))
	if err := c.Rename("/h", "/a"); err == nil {
		t.Error("the protocol's own rename has replaced something")
	}
	infos, err := c.ReadDir("/")
	slices.SortFunc(infos, func(x, y os.FileInfo) int { return strings.Compare(x.Name(), y.Name()) })
	if err != nil || len(infos) != 2 || infos[0].Name() != "a" || infos[1].Name() != "h" || infos[1].Size() != 1<<20 {
		t.Errorf("listed %v, %v", infos, err)
	}
	if v, err := c.StatVFS("/"); err != nil || v.Blocks == 0 {
		t.Errorf("statvfs = %+v, %v", v, err)
	}
	if p, err := c.RealPath("."); err != nil || p != "/" {
		t.Errorf("realpath = %q, %v", p, err)
	}
	check(t, c.RemoveAll("/a"))
}

// TestStaysInside tries to get out of the root, by paths and by symlinks.
func TestStaysInside(t *testing.T) {
	dir := t.TempDir()
	root, victim := filepath.Join(dir, "root"), filepath.Join(dir, "victim")
	check(t, os.Mkdir(root, 0o755))
	check(t, os.WriteFile(victim, []byte("untouched"), 0o644))
	c := client(t, root)
	check(t, c.Symlink("../victim", "/link"))
	check(t, c.Symlink("..", "/up"))
	check(t, c.Symlink("/", "/slash"))
	check(t, c.Mkdir("/d"))
	for _, path := range []string{"/link", "/up/victim", "/slash" + victim, "../victim", "/d/../../victim", "/../../" + victim} {
		if f, err := c.OpenFile(path, os.O_WRONLY); err == nil {
			t.Errorf("opened %q", path)
			f.Close()
		}
		if err := c.Chmod(path, 0o777); err == nil {
			t.Errorf("changed the mode of %q", path)
		}
		if err := c.Truncate(path, 0); err == nil {
			t.Errorf("truncated %q", path)
		}
	}
	for _, path := range []string{"/up/victim", "/slash" + victim, "/up/new", "/up/root/d"} {
		if c.Remove(path) == nil || c.PosixRename(path, "/stolen") == nil || c.PosixRename("/d", path) == nil ||
			c.Link(path, "/stolen") == nil || c.Mkdir(path) == nil || c.Symlink("x", path) == nil {
			t.Errorf("a change went through %q", path)
		}
	}
	if got, err := os.ReadFile(victim); err != nil || string(got) != "untouched" {
		t.Errorf("the victim has %q, %v", got, err)
	}
}

func TestRefusesOthers(t *testing.T) {
	s, addr, key := start(t, t.TempDir())
	if conn, err := dial(s, addr, newSigner(t)); err == nil {
		conn.Close()
		t.Error("a key that is not authorized came in")
	}
	conn, err := dial(s, addr, key)
	check(t, err)
	defer conn.Close()
	session, err := conn.NewSession()
	check(t, err)
	if err := session.Run("id"); err == nil {
		t.Error("a command was run")
	}
	if _, err := conn.Dial("tcp", addr); err == nil {
		t.Error("a connection was forwarded")
	}
}

func TestNewRefuses(t *testing.T) {
	if _, err := New(Options{Root: t.TempDir()}); err == nil {
		t.Error("New took no authorized key")
	}
	if _, err := New(Options{Root: filepath.Join(t.TempDir(), "none"), AuthorizedKeys: []ssh.PublicKey{newSigner(t).PublicKey()}}); err == nil {
		t.Error("New took a missing directory")
	}
}

// FuzzAnswer feeds a session with requests of any form.
func FuzzAnswer(f *testing.F) {
	for _, typ := range []byte{wire.Open, wire.Write, wire.Setstat, wire.Readdir, wire.Extended, wire.Init, 0, 255} {
		f.Add(typ, []byte{0, 0, 0, 1, 0, 0, 0, 1, 'a', 255, 255, 255, 255})
	}
	dir := f.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { root.Close() })
	f.Fuzz(func(t *testing.T, typ byte, body []byte) {
		s := newSession(root, struct {
			io.Reader
			io.Writer
		}{})
		answer, err := s.answer(typ, wire.NewFields(body))
		if err == nil && len(answer) < 5 {
			t.Errorf("answer %v", answer)
		}
		for _, h := range s.handles {
			h.file.Close()
		}
	})
}
