package config

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"net/url"
	"os/user"
	"path"
	"strconv"
	"strings"
)

const addressForms = "user@host:/abs/path, sftp://user@host[:port]/abs/path, /abs/path or file:///abs/path"

// An Address says where a secondary is: a directory of this machine, or a
// directory reached by SFTP.
type Address struct {
	User string // of SFTP; empty: the local user's name
	Host string // empty: a local directory; an IPv6 address has no brackets here
	Port int    // of SFTP; 22 if not given
	Path string // absolute and clean
}

// ParseAddress reads the forms of a target on the command line and in the
// configuration. Errors wrap ErrInvalid and show the value.
func ParseAddress(s string) (Address, error) {
	a, problem := parseAddress(s)
	if problem == "" {
		problem = a.problem()
	}
	if problem != "" {
		return Address{}, fmt.Errorf("target %q: %s; want %s: %w", hidePassword(s), problem, addressForms, ErrInvalid)
	}
	a.Path = path.Clean(a.Path)
	return a, nil
}

func parseAddress(s string) (a Address, problem string) {
	switch {
	case strings.Contains(s, "\x00"):
		return a, "contains a NUL byte"
	case strings.HasPrefix(s, "/"):
		return Address{Path: s}, ""
	case strings.HasPrefix(s, "sftp://"), strings.HasPrefix(s, "file://"):
		return parseURL(s)
	case strings.Contains(s, "://"):
		return a, "unknown scheme"
	default:
		return parseSCP(s)
	}
}

func parseURL(s string) (Address, string) {
	u, err := url.Parse(s)
	if err != nil {
		return Address{}, "not a URL"
	}
	if u.RawQuery != "" || u.Fragment != "" {
		return Address{}, "'?' and '#' have to be written as %3F and %23"
	}
	if u.Scheme == "file" {
		if u.Host != "" {
			return Address{}, "file:// takes no host"
		}
		return Address{Path: u.Path}, ""
	}
	if _, has := u.User.Password(); has {
		return Address{}, "a password does not belong into a target; use a key"
	}
	a := Address{User: u.User.Username(), Host: u.Hostname(), Port: 22, Path: u.Path}
	if a.Host == "" {
		return Address{}, "no host"
	}
	if p := u.Port(); p != "" {
		a.Port, err = strconv.Atoi(p)
		if err != nil || a.Port < 1 || a.Port > 65535 {
			return Address{}, "port out of 1 to 65535"
		}
	}
	return a, ""
}

// parseSCP reads [user@]host:/path as scp(1) does; an IPv6 host is in brackets.
func parseSCP(s string) (Address, string) {
	a := Address{Port: 22}
	login, rest, ok := strings.Cut(s, "@")
	if ok && !strings.ContainsAny(login, ":/") {
		a.User, s = login, rest
		if login == "" {
			return a, "no user before '@'"
		}
	}
	if strings.HasPrefix(s, "[") {
		a.Host, s, ok = strings.Cut(s[1:], "]")
		if !ok || !strings.HasPrefix(s, ":") {
			return a, "no ']:' after the address"
		}
		a.Path = s[1:]
	} else if a.Host, a.Path, ok = strings.Cut(s, ":"); !ok {
		return a, "no host and no absolute path"
	}
	if a.Host == "" {
		return a, "no host"
	}
	return a, ""
}

func (a Address) problem() string {
	if !strings.HasPrefix(a.Path, "/") {
		return "the path is not absolute"
	}
	_, noIP := netip.ParseAddr(a.Host)
	if strings.ContainsAny(a.Host, " /@") || strings.HasPrefix(a.Host, "-") || strings.Contains(a.Host, ":") && noIP != nil {
		return "not a host name"
	}
	return ""
}

// hidePassword keeps a password that was put into a URL out of messages.
func hidePassword(s string) string {
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok {
		return s
	}
	login, host, ok := strings.Cut(rest, "@")
	name, _, has := strings.Cut(login, ":")
	if !ok || !has {
		return s
	}
	return scheme + "://" + name + ":…@" + host
}

// Local says that the target is a directory of this machine.
func (a Address) Local() bool { return a.Host == "" }

// String is the address as a URL or, if local, as a path.
func (a Address) String() string {
	if a.Local() {
		return a.Path
	}
	u := url.URL{Scheme: "sftp", Host: a.Host, Path: a.Path}
	if strings.Contains(a.Host, ":") {
		u.Host = "[" + a.Host + "]"
	}
	if a.Port != 22 {
		u.Host += ":" + strconv.Itoa(a.Port)
	}
	if a.User != "" {
		u.User = url.User(a.User)
	}
	return u.String()
}

// Login is the account to log in with.
func (a Address) Login() string {
	if a.User != "" || a.Local() {
		return a.User
	}
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return "root"
}

// Overlaps says that one of two addresses is, as written, the other or inside it.
// Different accounts of one host do not overlap: each may have a chroot of its own.
func (a Address) Overlaps(b Address) bool {
	if a.Login() != b.Login() || a.Port != b.Port || hostKey(a.Host) != hostKey(b.Host) {
		return false
	}
	return Inside(a.Path, b.Path) || Inside(b.Path, a.Path)
}

// Inside says whether the clean absolute path p is dir or below it.
func Inside(p, dir string) bool {
	return p == dir || dir == "/" || strings.HasPrefix(p, dir+"/")
}

// hostKey makes spellings of one host equal.
func hostKey(h string) string {
	if ip, err := netip.ParseAddr(h); err == nil {
		return ip.Unmap().String()
	}
	return strings.TrimSuffix(strings.ToLower(h), ".")
}

// TargetNames gives every target its name: the one from the configuration, or
// the host (a local directory: its last element). Where that is taken by a
// target before it, a hash of the address follows.
func TargetNames(targets []Target, addrs []Address) []string {
	names := make([]string, len(targets))
	taken := make(map[string]bool)
	for i, t := range targets {
		if names[i] = t.Name; t.Name != "" {
			taken[t.Name] = true
		}
	}
	for i, a := range addrs {
		if names[i] != "" {
			continue
		}
		if names[i] = plainName(a); taken[names[i]] {
			sum := sha256.Sum256([]byte(a.String()))
			names[i] += "-" + hex.EncodeToString(sum[:4])
		}
		taken[names[i]] = true
	}
	return names
}

func plainName(a Address) string {
	from := a.Host
	if a.Local() {
		from = path.Base(a.Path)
	}
	name := strings.Map(func(r rune) rune {
		if strings.ContainsRune("._-", r) || r < 128 && isAlnum(byte(r)) {
			return r
		}
		return '_'
	}, from)
	name = strings.TrimLeft(name, "._-")
	if name = name[:min(len(name), 40)]; name == "" {
		return "target"
	}
	return name
}

// nameFit says whether a target's name can be a directory's name and a label.
func nameFit(name string) bool {
	if name == "" || len(name) > 64 || !isAlnum(name[0]) {
		return false
	}
	for i := range len(name) {
		if !isAlnum(name[i]) && !strings.ContainsRune("._-", rune(name[i])) {
			return false
		}
	}
	return true
}

func isAlnum(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}
