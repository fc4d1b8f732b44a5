package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"closefs/cmd/closefs/config"
	"closefs/cmd/closefs/daemon"
	"closefs/cmd/closefs/preflight"
)

// mountFlags are the flags of `closefs mount`; they win over the configuration file.
type mountFlags struct {
	config        string
	to            []string
	state         string
	listen        string
	identity      []string
	knownHosts    []string
	readOnly      bool
	options       []string
	logFormat     string
	logLevel      string
	repairJournal bool
}

func mountCommand() *cobra.Command {
	var f mountFlags
	cmd := &cobra.Command{
		Use:   "mount [flags] [BACKING] MOUNTPOINT",
		Short: "Mount a folder and ship its changes",
		Long: `Mount a folder and ship each completed change to the targets. Stays in the
foreground until it is unmounted.

With one argument closefs is mounted in place, over the directory itself; with
two the real files are in BACKING. A TARGET is written as

    user@host:/abs/path         over SSH
    sftp://user@host[:port]/abs/path
    /abs/path or file:///abs/path   a directory of this machine

and an IPv6 address goes in brackets. --to may be given several times and
replaces the targets of the configuration file, which is /etc/closefs/NAME.yaml
if it exists, NAME being what systemd-escape --path MOUNTPOINT prints.

The mount works whether or not a target can be reached; closefs status tells.

SIGTERM and SIGINT unmount as soon as no file is open, ship what is pending to
the targets that are connected (10 s at most), and end. Until then everything
goes on. A second signal detaches the mount although it is in use: who has files
open there loses them.`,
		Example: `  closefs mount --to backup@web2:/srv/uploads /var/www/uploads
  closefs mount --to /mnt/nas/uploads /srv/uploads /var/www/uploads`,
		Args: takes(0, 2),
		RunE: func(_ *cobra.Command, args []string) error { return mount(f, args) },
	}
	fl := cmd.Flags()
	fl.StringVar(&f.config, "config", "", "configuration `FILE` (default /etc/closefs/NAME.yaml if it exists)")
	fl.StringArrayVar(&f.to, "to", nil, "a `TARGET` to ship to; may be repeated")
	fl.StringVar(&f.state, "state", "", "`DIR` of journal and positions (default /var/lib/closefs/NAME)")
	fl.StringVar(&f.listen, "listen", "", "`ADDR` for /metrics, /healthz, /readyz, as 127.0.0.1:9777 (default none)")
	fl.StringArrayVar(&f.identity, "identity", nil, "private key `FILE`; may be repeated (default ssh-agent and ~/.ssh/id_*)")
	fl.StringArrayVar(&f.knownHosts, "known-hosts", nil, "known_hosts `FILE`; may be repeated (default ~/.ssh/known_hosts and /etc/ssh/ssh_known_hosts)")
	fl.BoolVar(&f.readOnly, "read-only", false, "mount read-only")
	fl.StringArrayVarP(&f.options, "options", "o", nil, "mount options as for mount(8), `OPT,…`")
	fl.StringVar(&f.logFormat, "log-format", "", "`text|json` (default text)")
	fl.StringVar(&f.logLevel, "log-level", "", "`debug|info|warn|error` (default info)")
	fl.BoolVar(&f.repairJournal, "repair-journal", false, "move a damaged journal aside and have every target reconciled")
	return cmd
}

func mount(f mountFlags, args []string) error {
	o, err := f.daemonOptions(args)
	if err != nil {
		return err
	}
	if err := dropResource(); err != nil {
		return err
	}
	// Whatever directory we were started in must not be kept from being unmounted.
	if err := os.Chdir("/"); err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	out := newOutput(o.Config.State)
	o.Log = newLog(o.Config.Log, out)
	o.Ready = out.ready
	stop := stopSignals()
	defer signal.Stop(stop)
	o.Stop = stop
	return daemon.Run(context.Background(), o)
}

// stopSignals receives the signals that ask to stop. Those that our parent has
// us ignore, as nohup(1) and a shell's & do, stay ignored.
func stopSignals() chan os.Signal {
	stop := make(chan os.Signal, 2)
	signal.Notify(stop, syscall.SIGTERM)
	for _, s := range []os.Signal{syscall.SIGINT, syscall.SIGHUP} {
		if !signal.Ignored(s) {
			signal.Notify(stop, s)
		}
	}
	return stop
}

// daemonOptions puts configuration file, flags and arguments together.
func (f mountFlags) daemonOptions(args []string) (daemon.Options, error) {
	mountpoint := ""
	if len(args) > 0 {
		mountpoint = args[len(args)-1]
	}
	c, err := f.load(mountpoint)
	if err != nil {
		return daemon.Options{}, err
	}
	if mountpoint != "" {
		c.Mountpoint = mountpoint
	}
	if len(args) == 2 {
		c.Backing = args[0]
	}
	if err := f.over(&c); err != nil {
		return daemon.Options{}, err
	}
	if err := resolvePlaces(&c); err != nil {
		return daemon.Options{}, err
	}
	if err := c.Check(); err != nil {
		return daemon.Options{}, err
	}
	options, ro := f.mountOptions()
	return daemon.Options{Config: c, Socket: config.DefaultPlaces().Socket(config.Name(c.Mountpoint)),
		ReadOnly: f.readOnly || ro, MountOptions: options, RepairJournal: f.repairJournal, Version: versionText()}, nil
}

// load reads --config, or the default file of the mountpoint if it exists.
func (f mountFlags) load(mountpoint string) (config.Config, error) {
	if f.config != "" {
		c, err := config.Load(f.config)
		if err != nil && !errors.Is(err, config.ErrInvalid) {
			err = usagef("%w", err)
		}
		return c, err
	}
	if mountpoint == "" {
		return config.Config{}, usagef("no MOUNTPOINT and no --config; usage: closefs mount [--to TARGET]… [BACKING] MOUNTPOINT")
	}
	path, err := preflight.Resolve(mountpoint)
	if err != nil {
		return config.Config{}, err
	}
	c, err := config.Load(config.DefaultPlaces().File(config.Name(path)))
	if errors.Is(err, fs.ErrNotExist) {
		return config.Default(), nil
	}
	return c, err
}

// over puts the flags that were given over the configuration.
func (f mountFlags) over(c *config.Config) error {
	for _, s := range []struct {
		from string
		to   *string
	}{{f.state, &c.State}, {f.listen, &c.Listen}, {f.logFormat, &c.Log.Format}, {f.logLevel, &c.Log.Level}} {
		if s.from != "" {
			*s.to = s.from
		}
	}
	for _, l := range []struct {
		from []string
		to   *config.Strings
	}{{f.identity, &c.SSH.Identity}, {f.knownHosts, &c.SSH.KnownHosts}} {
		if len(l.from) > 0 {
			*l.to = l.from
		}
		for i, file := range *l.to { // the daemon's working directory will be another
			if abs, err := filepath.Abs(file); err == nil {
				(*l.to)[i] = abs
			}
		}
	}
	if len(f.to) > 0 {
		c.Targets = nil
	}
	for _, to := range f.to {
		if _, err := config.ParseAddress(to); err != nil {
			return err
		}
		c.Targets = append(c.Targets, config.Target{URL: to})
	}
	return nil
}

// mountOptions splits -o, and takes out "ro", which means --read-only.
func (f mountFlags) mountOptions() (options []string, readOnly bool) {
	for _, o := range strings.Split(strings.Join(f.options, ","), ",") {
		switch o {
		case "", "rw", "defaults":
		case "ro":
			readOnly = true
		default:
			options = append(options, o)
		}
	}
	return options, readOnly
}

// resolvePlaces makes the directories absolute and free of symlinks, and fills
// in the defaults that depend on the mountpoint.
func resolvePlaces(c *config.Config) (err error) {
	if c.Mountpoint == "" {
		return usagef("no MOUNTPOINT: neither an argument nor in the configuration file")
	}
	if c.Mountpoint, err = preflight.Resolve(c.Mountpoint); err != nil {
		return err
	}
	if c.Backing == "" {
		c.Backing = c.Mountpoint
	}
	if c.Backing, err = preflight.Resolve(c.Backing); err != nil {
		return err
	}
	if c.State == "" {
		c.State = config.DefaultPlaces().StateDir(config.Name(c.Mountpoint))
	}
	c.State, err = preflight.Resolve(c.State)
	return err
}

// newLog makes the log of the daemon. The configuration has been checked.
func newLog(l config.Log, w io.Writer) *slog.Logger {
	level, err := l.SlogLevel()
	if err != nil {
		level = slog.LevelInfo
	}
	o := &slog.HandlerOptions{Level: level}
	if l.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}
