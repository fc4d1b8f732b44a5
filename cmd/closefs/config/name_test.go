package config

import (
	"os/exec"
	"os/user"
	"strings"
	"testing"
)

var escaped = map[string]string{
	"/":                   "-",
	"/var/www/uploads":    "var-www-uploads",
	"/var//www/uploads/":  "var-www-uploads",
	"/a-b/c_d":            `a\x2db-c_d`,
	"/.hidden/.x":         `\x2ehidden-.x`,
	"/sp ace/ü":           `sp\x20ace-\xc3\xbc`,
	"/colon:/back\\slash": `colon:-back\x5cslash`,
}

func TestName(t *testing.T) {
	for in, want := range escaped {
		if got := Name(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func TestNameIsSystemds(t *testing.T) {
	program, err := exec.LookPath("systemd-escape")
	if err != nil {
		t.Skip("no systemd-escape here")
	}
	for in := range escaped {
		out, err := exec.Command(program, "--path", in).Output()
		if err != nil {
			t.Fatal(err)
		}
		if want := strings.TrimSuffix(string(out), "\n"); Name(in) != want {
			t.Errorf("%q: got %q, systemd-escape says %q", in, Name(in), want)
		}
	}
}

func TestSocketFits(t *testing.T) {
	long := Name("/tmp/" + strings.Repeat("very-long/", 50))
	for _, p := range []Places{{Sockets: "/run/closefs"}, {Sockets: "/run/user/1000/closefs"}} {
		s := p.Socket(long)
		if len(s) > maxSocketPath {
			t.Errorf("%d bytes: %s", len(s), s)
		}
		if s == p.Socket(long+"x") {
			t.Errorf("two names share %s", s)
		}
	}
	p := Places{Sockets: "/run/closefs"}
	if got := p.Socket("var-www"); got != "/run/closefs/var-www.sock" {
		t.Errorf("got %s", got)
	}
}

// A systemd service has no $HOME: root's known_hosts is found all the same.
func TestHomeWithoutHOME(t *testing.T) {
	t.Setenv("HOME", "/elsewhere")
	if got := Home(); got != "/elsewhere" {
		t.Errorf("got %q", got)
	}
	u, err := user.Current()
	if err != nil {
		t.Skip("this user is in no database")
	}
	t.Setenv("HOME", "")
	if got := Home(); got != u.HomeDir {
		t.Errorf("got %q, want %q", got, u.HomeDir)
	}
}
