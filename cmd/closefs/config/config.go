// Package config reads closefs's configuration: the YAML file, its defaults and
// the rules every value has to meet, and the forms in which mountpoints and
// targets are written.
package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"time"

	"github.com/goccy/go-yaml"
)

// ErrInvalid is wrapped by every error about the content of a configuration.
var ErrInvalid = errors.New("invalid configuration")

// A Config is the configuration file. closefs.example.yaml shows every key.
type Config struct {
	Backing       string   `yaml:"backing"`
	Mountpoint    string   `yaml:"mountpoint"`
	State         string   `yaml:"state"`
	Listen        string   `yaml:"listen"`
	Journal       Journal  `yaml:"journal"`
	ShipOpenAfter Duration `yaml:"ship_open_after"`
	SSH           SSH      `yaml:"ssh"`
	Targets       []Target `yaml:"targets"`
	Log           Log      `yaml:"log"`
}

// Journal bounds the journal and says when it is made durable.
type Journal struct {
	Sync    Sync `yaml:"sync"`
	MaxSize Size `yaml:"max_size"`
}

// SSH says how secondaries are reached.
type SSH struct {
	Identity   Strings `yaml:"identity"`
	KnownHosts Strings `yaml:"known_hosts"`
	Ciphers    Strings `yaml:"ciphers"`
}

// A Target is one secondary.
type Target struct {
	Name string `yaml:"name"`
	URL  string `yaml:"url"`
}

// Log says how the daemon logs.
type Log struct {
	Format string `yaml:"format"`
	Level  string `yaml:"level"`
}

// Default is the configuration of an empty file.
func Default() Config {
	return Config{
		Journal:       Journal{Sync: Sync{Interval: 5 * time.Millisecond}, MaxSize: 1 << 30},
		ShipOpenAfter: Duration(30 * time.Second),
		Log:           Log{Format: "text", Level: "info"},
	}
}

// Load reads the file at path over the defaults. Errors wrap ErrInvalid, or the
// error of opening the file.
func Load(path string) (Config, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return Config{}, fmt.Errorf("read configuration: %w", err)
	}
	c, err := Parse(b)
	if err != nil {
		return Config{}, fmt.Errorf("%s:%w", path, err)
	}
	return c, nil
}

// Parse reads a configuration over the defaults and checks its values. Errors
// wrap ErrInvalid and begin with the number of the line where it is known.
func Parse(b []byte) (Config, error) {
	c := Default()
	d := yaml.NewDecoder(bytes.NewReader(b), yaml.Strict())
	switch err := d.Decode(&c); {
	case errors.Is(err, io.EOF), err == nil && reflect.ValueOf(c).IsZero():
		c = Default() // an empty document; the decoder has cleared c
	case err != nil:
		return Config{}, oneLine(err)
	case !errors.Is(d.Decode(new(any)), io.EOF):
		return Config{}, fmt.Errorf(" more than one YAML document: %w", ErrInvalid)
	}
	if err := c.Check(); err != nil {
		return Config{}, fmt.Errorf(" %w", err)
	}
	return c, nil
}

// oneLine turns the library's report, which quotes the source over several
// lines, into "LINE: what is wrong".
func oneLine(err error) error {
	var unknown *yaml.UnknownFieldError
	if errors.As(err, &unknown) {
		return fmt.Errorf("%d: unknown key %q: %w", unknown.Token.Position.Line, unknown.Token.Value, ErrInvalid)
	}
	var at yaml.Error
	if errors.As(err, &at) && at.GetToken() != nil {
		return fmt.Errorf("%d: %s: %w", at.GetToken().Position.Line, at.GetMessage(), ErrInvalid)
	}
	return fmt.Errorf(" %w: %w", err, ErrInvalid)
}

// Bounds of the values. The journal keeps at least two segments of 16 MiB; a
// group timer above a second would make "journaled" mean little after a power cut.
const (
	minMaxSize       = 64 << 20
	maxSyncInterval  = time.Second
	minShipOpenAfter = 100 * time.Millisecond
)

// Check applies the rules that need no look at the machine. Errors wrap ErrInvalid.
func (c *Config) Check() error {
	if c.Journal.MaxSize < minMaxSize {
		return invalid("journal.max_size", c.Journal.MaxSize, "at least "+Size(minMaxSize).String())
	}
	if s := c.Journal.Sync; !s.Always && (s.Interval <= 0 || s.Interval > maxSyncInterval) {
		return invalid("journal.sync", s, `"always" or a duration above 0 and up to 1s`)
	}
	if time.Duration(c.ShipOpenAfter) < minShipOpenAfter {
		return invalid("ship_open_after", c.ShipOpenAfter, "at least "+minShipOpenAfter.String())
	}
	if f := c.Log.Format; f != "text" && f != "json" {
		return invalid("log.format", f, "text or json")
	}
	if _, err := c.Log.SlogLevel(); err != nil {
		return err
	}
	for key, p := range map[string]string{"backing": c.Backing, "mountpoint": c.Mountpoint, "state": c.State} {
		if p != "" && !filepath.IsAbs(p) {
			return invalid(key, p, "an absolute path")
		}
	}
	return c.checkTargets()
}

func (c *Config) checkTargets() error {
	names := make(map[string]bool)
	for i, t := range c.Targets {
		key := fmt.Sprintf("targets[%d]", i)
		if t.URL == "" {
			return invalid(key+".url", t.URL, addressForms)
		}
		if _, err := ParseAddress(t.URL); err != nil {
			return fmt.Errorf("%s.url: %w", key, err)
		}
		if t.Name == "" {
			continue
		}
		if !nameFit(t.Name) {
			return invalid(key+".name", t.Name, "1 to 64 letters, digits, '.', '_' or '-', beginning with a letter or digit")
		}
		if names[t.Name] {
			return invalid(key+".name", t.Name, "a name that no other target has")
		}
		names[t.Name] = true
	}
	return nil
}

func invalid(key string, value any, want string) error {
	return fmt.Errorf("%s: %q: want %s: %w", key, fmt.Sprint(value), want, ErrInvalid)
}
