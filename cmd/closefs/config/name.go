package config

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/user"
	"path"
	"path/filepath"
	"strconv"
	"strings"
)

// Name makes the name of a mount from its mountpoint by the rules of
// systemd-escape --path (systemd.unit(5), "String escaping for inclusion in unit names").
func Name(mountpoint string) string {
	p := strings.Trim(path.Clean("/"+mountpoint), "/")
	if p == "" {
		return "-"
	}
	var b strings.Builder
	for i := range len(p) {
		switch c := p[i]; {
		case c == '/':
			b.WriteByte('-')
		case isAlnum(c), c == ':', c == '_', c == '.' && i > 0:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, `\x%02x`, c)
		}
	}
	return b.String()
}

// Places are the directories of one user's mounts.
type Places struct {
	Config  string // of NAME.yaml
	State   string // of the state directories
	Sockets string // of the control sockets
}

// DefaultPlaces are those of the user running: root's, or by the XDG base
// directory specification.
func DefaultPlaces() Places {
	uid := os.Geteuid()
	if uid == 0 {
		return Places{Config: "/etc/closefs", State: "/var/lib/closefs", Sockets: "/run/closefs"}
	}
	home := Home()
	p := Places{
		Config:  filepath.Join(xdg("XDG_CONFIG_HOME", filepath.Join(home, ".config")), "closefs"),
		State:   filepath.Join(xdg("XDG_STATE_HOME", filepath.Join(home, ".local/state")), "closefs"),
		Sockets: filepath.Join(os.TempDir(), "closefs-"+strconv.Itoa(uid)),
	}
	if run := xdg("XDG_RUNTIME_DIR", ""); run != "" {
		p.Sockets = filepath.Join(run, "closefs")
	}
	return p
}

// Home is the home directory of the user running: $HOME or, where that is not
// set, as in a systemd service, the one in the user database. "" if there is none.
func Home() string {
	if home, err := os.UserHomeDir(); err == nil {
		return home
	}
	if u, err := user.Current(); err == nil {
		return u.HomeDir
	}
	return ""
}

// xdg is the variable's value; relative ones are invalid and ignored.
func xdg(variable, fallback string) string {
	if v := os.Getenv(variable); filepath.IsAbs(v) {
		return v
	}
	return fallback
}

// maxSocketPath is what fits into sockaddr_un.sun_path (unix(7)) with its final NUL.
const maxSocketPath = 107

// Socket is the control socket of the mount called name. A name too long for a
// socket's address, or for a file's name, is cut and ends in a hash.
func (p Places) Socket(name string) string {
	s := filepath.Join(p.Sockets, name+".sock")
	if len(s) <= maxSocketPath && len(name) < 240 {
		return s
	}
	keep := max(0, min(40, maxSocketPath-len(p.Sockets)-len("/-.sock")-16))
	return filepath.Join(p.Sockets, shortened(name, keep)+".sock")
}

// StateDir is the default state directory of the mount called name.
func (p Places) StateDir(name string) string {
	if len(name) > 240 {
		name = shortened(name, 200)
	}
	return filepath.Join(p.State, name)
}

// File is the default configuration file of the mount called name.
func (p Places) File(name string) string {
	if len(name) > 240 {
		name = shortened(name, 200)
	}
	return filepath.Join(p.Config, name+".yaml")
}

func shortened(name string, keep int) string {
	sum := sha256.Sum256([]byte(name))
	return name[:min(keep, len(name))] + "-" + hex.EncodeToString(sum[:8])
}
