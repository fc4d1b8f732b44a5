package config

import (
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestExampleShowsTheDefaults(t *testing.T) {
	got, err := Load("closefs.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if got.Backing == "" || got.Mountpoint == "" || got.State == "" || got.Listen == "" || len(got.Targets) != 1 {
		t.Errorf("a key is missing from the example: %+v", got)
	}
	want := Default()
	got.Backing, got.Mountpoint, got.State, got.Listen, got.Targets = "", "", "", "", nil
	got.SSH = SSH{}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the example has\n%+v\nthe defaults are\n%+v", got, want)
	}
}

// Every key of the structs is in the example, so that a new one is documented.
func TestExampleShowsEveryKey(t *testing.T) {
	b, err := os.ReadFile("closefs.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var walk func(reflect.Type)
	walk = func(typ reflect.Type) {
		for i := range typ.NumField() {
			f := typ.Field(i)
			if key := f.Tag.Get("yaml"); key != "" && !strings.Contains(string(b), key+":") {
				t.Errorf("key %q of %s is not in the example", key, typ.Name())
			}
			ft := f.Type
			if ft.Kind() == reflect.Slice {
				ft = ft.Elem()
			}
			if ft.Kind() == reflect.Struct {
				walk(ft)
			}
		}
	}
	walk(reflect.TypeFor[Config]())
}

func TestParse(t *testing.T) {
	c, err := Parse([]byte(`
mountpoint: /m
journal: {sync: always, max_size: 64MiB}
ship_open_after: 1d
ssh: {identity: /k, known_hosts: [/a, /b]}
targets: [{url: "u@h:/p"}]
`))
	if err != nil {
		t.Fatal(err)
	}
	if !c.Journal.Sync.Always || c.Journal.MaxSize != 64<<20 || time.Duration(c.ShipOpenAfter) != 24*time.Hour {
		t.Errorf("got %+v", c)
	}
	if len(c.SSH.Identity) != 1 || len(c.SSH.KnownHosts) != 2 {
		t.Errorf("lists: %+v", c.SSH)
	}
	for _, empty := range []string{"", "# nothing\n", "---\n"} {
		if c, err := Parse([]byte(empty)); err != nil || !reflect.DeepEqual(c, Default()) {
			t.Errorf("%q: got %+v, %v", empty, c, err)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, tc := range []struct{ name, in, want string }{
		{"unknown key", "mountpoint: /m\nmuontpoint: /m\n", `2: unknown key "muontpoint"`},
		{"unknown nested key", "journal:\n  sync: 5ms\n  sink: 1\n", `3: unknown key "sink"`},
		{"key of a target", "targets:\n  - url: a@b:/c\n    bandwidth: 5\n", `3: unknown key "bandwidth"`},
		{"key twice", "listen: a\nlisten: b\n", "2: "},
		{"not YAML", "a: [", "1: "},
		{"not a mapping", "- a\n", "1: "},
		{"two documents", "listen: a\n---\nlisten: b\n", "more than one YAML document"},
		{"size", "journal: {max_size: 5MB}", `1: "5MB": want a size`},
		{"small journal", "journal: {max_size: 1MiB}", `journal.max_size: "1MiB": want at least 64MiB`},
		{"huge size", "journal: {max_size: 9999999999TiB}", `want a size`},
		{"sync", "journal: {sync: soon}", `1: "soon": want a duration`},
		{"sync bound", "journal: {sync: 2s}", `journal.sync: "2s": want`},
		{"no sync", "journal: {sync: 0s}", `journal.sync: "0s": want`},
		{"duration", "ship_open_after: 3", `"3": want a duration`},
		{"short", "ship_open_after: 1ms", `ship_open_after: "1ms": want at least 100ms`},
		{"list", "ship_open_after: [1]", "1: want a single value"},
		{"format", "log: {format: xml}", `log.format: "xml": want text or json`},
		{"level", "log: {level: loud}", `log.level: "loud": want debug`},
		{"relative", "backing: srv", `backing: "srv": want an absolute path`},
		{"no url", "targets: [{name: a}]", `targets[0].url: "": want`},
		{"url", "targets: [{url: 'ftp://h/p'}]", `targets[0].url: target "ftp://h/p": unknown scheme`},
		{"name", "targets: [{name: a/b, url: 'h:/p'}]", `targets[0].name: "a/b": want`},
		{"name twice", "targets: [{name: a, url: 'h:/p'}, {name: a, url: 'i:/p'}]", `targets[1].name: "a": want`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := Parse([]byte(tc.in))
			if err == nil || !errors.Is(err, ErrInvalid) && !strings.Contains(err.Error(), ErrInvalid.Error()) {
				t.Fatalf("got %v, want ErrInvalid", err)
			}
			if !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %q, want one line with %q", err, tc.want)
			}
		})
	}
}
