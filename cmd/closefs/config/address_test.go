package config

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

func TestParseAddress(t *testing.T) {
	for in, want := range map[string]Address{
		"/srv/copy":                        {Path: "/srv/copy"},
		"/srv//copy/":                      {Path: "/srv/copy"},
		"file:///srv/a%20b":                {Path: "/srv/a b"},
		"u@h:/p":                           {User: "u", Host: "h", Port: 22, Path: "/p"},
		"h:/p/":                            {Host: "h", Port: 22, Path: "/p"},
		"u@[fe80::1]:/p":                   {User: "u", Host: "fe80::1", Port: 22, Path: "/p"},
		"u@h:/":                            {User: "u", Host: "h", Port: 22, Path: "/"},
		"u@h:/odd:@name":                   {User: "u", Host: "h", Port: 22, Path: "/odd:@name"},
		"sftp://u@h/p":                     {User: "u", Host: "h", Port: 22, Path: "/p"},
		"sftp://h:2222/p%23":               {Host: "h", Port: 2222, Path: "/p#"},
		"sftp://u@[::1]:2222/abs/./path/.": {User: "u", Host: "::1", Port: 2222, Path: "/abs/path"},
	} {
		got, err := ParseAddress(in)
		if err != nil || got != want {
			t.Errorf("%q: got %+v, %v; want %+v", in, got, err, want)
			continue
		}
		again, err := ParseAddress(got.String())
		if err != nil || again != got {
			t.Errorf("%q: its own form %q gives %+v, %v", in, got, again, err)
		}
	}
}

func TestParseAddressRefuses(t *testing.T) {
	for in, want := range map[string]string{
		"":                     "no host",
		"copy":                 "no host and no absolute path",
		"./copy":               "no host and no absolute path",
		"u@h":                  "no host and no absolute path",
		"u@h:rel":              "not absolute",
		"@h:/p":                "no user",
		"u@:/p":                "no host",
		"u@[::1/p":             "no ']:'",
		"-oProxyCommand=x:/p":  "not a host name",
		"sftp:///p":            "no host",
		"sftp://h":             "not absolute",
		"sftp://h:0/p":         "port out of",
		"sftp://h:99999/p":     "port out of",
		"sftp://u:secret@h/p":  "a password does not belong",
		"sftp://h/p?x":         "'?' and '#'",
		"file://host/p":        "takes no host",
		"https://h/p":          "unknown scheme",
		"/a\x00b":              "NUL",
		"sftp://u@h:22:33/p":   "not a host name",
		"sftp://%zz@h/p":       "not a URL",
		"ssh://u@h/p":          "unknown scheme",
		"u@h y:/p":             "not a host name",
		"a/b@h:/p":             "not a host name",
		"file:///":             "-",
		"sftp://u@h:-1/p":      "not a URL",
		"sftp://u@[::1:2222/p": "not a URL",
	} {
		_, err := ParseAddress(in)
		if want == "-" {
			if err != nil {
				t.Errorf("%q: %v", in, err)
			}
			continue
		}
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", in, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: the password is in %q", in, err)
		}
	}
}

func TestOverlaps(t *testing.T) {
	for _, tc := range []struct {
		a, b string
		want bool
	}{
		{"/a", "/a/", true}, {"/a", "/a/b", true}, {"/a", "/ab", false},
		{"u@h:/p", "sftp://u@H.:22/p", true}, {"u@h:/p", "u@h:/p/q", true},
		{"u@h:/p", "v@h:/p", false}, {"u@h:/p", "sftp://u@h:23/p", false}, {"u@h:/p", "/p", false},
		{"u@[::1]:/p", "u@[0:0::1]:/p", true},
	} {
		a, errA := ParseAddress(tc.a)
		b, errB := ParseAddress(tc.b)
		if errA != nil || errB != nil {
			t.Fatal(errA, errB)
		}
		if a.Overlaps(b) != tc.want || b.Overlaps(a) != tc.want {
			t.Errorf("%s, %s: want %v", tc.a, tc.b, tc.want)
		}
	}
}

func TestTargetNames(t *testing.T) {
	var addrs []Address
	var targets []Target
	for _, u := range []string{"u@web2:/a", "/srv/copy", "u@web2:/b", "u@[::1]:/p", "x@web3:/", "/"} {
		a, err := ParseAddress(u)
		if err != nil {
			t.Fatal(err)
		}
		addrs, targets = append(addrs, a), append(targets, Target{URL: u})
	}
	targets[4].Name = "copy"
	got := TargetNames(targets, addrs)
	for i, name := range got {
		if !nameFit(name) {
			t.Errorf("%s: name %q does not fit", targets[i].URL, name)
		}
	}
	if got[0] != "web2" || !strings.HasPrefix(got[1], "copy-") || !strings.HasPrefix(got[2], "web2-") || got[4] != "copy" {
		t.Errorf("got %q", got)
	}
	if again := TargetNames(targets, addrs); !reflect.DeepEqual(got, again) {
		t.Errorf("got %q, then %q", got, again)
	}
}
