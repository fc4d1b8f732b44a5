package main

import (
	"slices"
	"strings"
)

// mountHelper is closefs called by mount(8) as mount.closefs:
//
//	mount.closefs BACKING MOUNTPOINT [-fnsv] [-t TYPE] [-N NAMESPACE] [-o OPTIONS]
//
// It mounts, leaves the daemon in the background and returns when the mount
// answers. BACKING "none" or the mountpoint itself: in place.
func mountHelper(args []string) error {
	h, err := parseHelper(args)
	if err != nil || h.fake {
		return err
	}
	return startBackground(h.command())
}

// helperCall is a call of mount.closefs.
type helperCall struct {
	backing, mountpoint string
	options             string
	fake, sloppy        bool
	flags               []string // of closefs mount, from options
}

func parseHelper(args []string) (*helperCall, error) {
	h := &helperCall{}
	var places []string
	for i := 0; i < len(args); i++ {
		a := args[i]
		switch {
		case len(a) < 2 || a[0] != '-':
			places = append(places, a)
		case strings.ContainsRune("otN", rune(a[1])):
			value := a[2:]
			if value == "" {
				if i++; i == len(args) {
					return nil, usagef("mount.closefs: %s wants a value", a)
				}
				value = args[i]
			}
			if a[1] == 'o' {
				h.options += "," + value
			}
		default:
			if bad := strings.Trim(a[1:], "fnsv"); bad != "" {
				return nil, usagef("mount.closefs: unknown flag %q", a)
			}
			h.fake = h.fake || strings.Contains(a, "f")
			h.sloppy = h.sloppy || strings.Contains(a, "s")
		}
	}
	if len(places) != 2 {
		return nil, usagef("mount.closefs: %d arguments; usage: mount.closefs BACKING MOUNTPOINT [-o OPTIONS]", len(places))
	}
	h.backing, h.mountpoint = places[0], places[1]
	return h, h.translate()
}

// Options of fstab(5) that mount(8) or systemd act upon, or that are the default.
var (
	ignoredOptions = []string{"defaults", "rw", "auto", "noauto", "user", "nouser", "users", "owner", "group",
		"_netdev", "nofail", "silent", "loud", "exec", "async"}
	kernelOptions = []string{"noexec", "suid", "nosuid", "dev", "nodev", "noatime", "atime", "relatime",
		"norelatime", "strictatime", "nodiratime", "diratime", "lazytime", "nosymfollow", "sync", "dirsync"}
)

// translate turns the options of mount(8) into flags of closefs mount.
func (h *helperCall) translate() error {
	for _, o := range strings.Split(h.options, ",") {
		key, value, hasValue := strings.Cut(o, "=")
		switch {
		case o == "", slices.Contains(ignoredOptions, o), strings.HasPrefix(o, "x-"), strings.HasPrefix(o, "X-"), key == "comment":
		case hasValue && slices.Contains([]string{"config", "to", "state", "listen", "identity", "known-hosts", "log-format", "log-level"}, key):
			h.flags = append(h.flags, "--"+key+"="+value)
		case o == "ro":
			h.flags = append(h.flags, "--read-only")
		case slices.Contains(kernelOptions, o):
			h.flags = append(h.flags, "-o", o)
		case !h.sloppy:
			return usagef("mount.closefs: unknown option %q: want config=, to=, state=, listen=, identity=, known-hosts=, log-format=, log-level=, ro or an option of mount(8)", o)
		}
	}
	return nil
}

func (h *helperCall) command() []string {
	args := append([]string{"mount"}, h.flags...)
	args = append(args, "--")
	if h.backing != "none" && h.backing != h.mountpoint {
		args = append(args, h.backing)
	}
	return append(args, h.mountpoint)
}
