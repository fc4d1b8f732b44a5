package main

import (
	"slices"
	"strings"
	"testing"
)

func TestParseHelper(t *testing.T) {
	for in, want := range map[string]string{
		"/srv /m":     "mount -- /srv /m",
		"none /m":     "mount -- /m",
		"/m /m -o rw": "mount -- /m",
		"/srv /m -n -s -v -t fuse.closefs -N 5 -o defaults,user,x-systemd.requires=a,comment=b,_netdev": "mount -- /srv /m",
		"/srv /m -sv -oto=u@h:/p,to=/q,ro -o noexec":                                                    "mount --to=u@h:/p --to=/q --read-only -o noexec -- /srv /m",
		"-o config=/etc/c.yaml,state=/s,listen=:1 /srv /m":                                              "mount --config=/etc/c.yaml --state=/s --listen=:1 -- /srv /m",
		"/srv /m -s -o what=ever":                                                                       "mount -- /srv /m",
	} {
		h, err := parseHelper(strings.Fields(in))
		if err != nil || !slices.Equal(h.command(), strings.Fields(want)) {
			t.Errorf("%q: got %v, %v; want %s", in, h.command(), err, want)
		}
	}
	for _, in := range []string{"", "/srv", "/srv /m x", "/srv /m -o", "/srv /m -x", "/srv /m -o what=ever", "/srv /m -o config"} {
		if _, err := parseHelper(strings.Fields(in)); exitCode(err) != exitUsage {
			t.Errorf("%q: got %v, want a usage error", in, err)
		}
	}
}
