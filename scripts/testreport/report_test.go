package main

import (
	"bufio"
	"strings"
	"testing"
)

const sample = `{"Action":"run","Package":"closefs/a","Test":"TestGood"}
{"Action":"output","Package":"closefs/a","Test":"TestGood","Output":"fine\n"}
{"Action":"pass","Package":"closefs/a","Test":"TestGood","Elapsed":0.1}
{"Action":"output","Package":"closefs/a","Test":"TestSkipped","Output":"    a_test.go:1: needs root\n"}
{"Action":"skip","Package":"closefs/a","Test":"TestSkipped"}
{"Action":"pass","Package":"closefs/a","Elapsed":0.2}
`

func conclude(t *testing.T, input string, must ...testName) (string, bool) {
	t.Helper()
	var out strings.Builder
	r := newReport(&out)
	if err := r.readAll(bufio.NewReader(strings.NewReader(input))); err != nil {
		t.Fatal(err)
	}
	ok := r.conclude(must)
	return out.String(), ok
}

func TestReport(t *testing.T) {
	failing := `{"Action":"output","Package":"closefs/a","Test":"TestBad","Output":"why\n"}
{"Action":"fail","Package":"closefs/a","Test":"TestBad"}
`
	cases := []struct {
		name, input string
		must        []testName
		ok          bool
		says        string
	}{
		{"well", sample, []testName{{"closefs/a", "TestGood"}}, true, "1 passed, 0 failed, 1 skipped, 0 missed"},
		{"reason", sample, nil, true, "needs root"},
		{"failure", sample + failing, nil, false, "why"},
		{"skipped", sample, []testName{{"closefs/a", "TestSkipped"}}, false, "was skipped: closefs/a TestSkipped"},
		{"absent", sample, []testName{{"closefs/a", "TestGone"}}, false, "was not there: closefs/a TestGone"},
		{"no event", "# closefs/b\nb.go:1: syntax error\n" + sample, nil, true, "syntax error"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			out, ok := conclude(t, c.input, c.must...)
			if ok != c.ok || !strings.Contains(out, c.says) {
				t.Errorf("ok %v, want %v; want %q in\n%s", ok, c.ok, c.says, out)
			}
		})
	}
}
