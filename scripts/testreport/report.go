package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// event is a line of go test -json (go doc test2json).
type event struct {
	Action  string
	Package string
	Test    string
	Output  string
	Elapsed float64 // seconds
}

// testName names a test; Package is the import path.
type testName struct{ Package, Test string }

func (n testName) String() string { return n.Package + " " + n.Test }

// report gathers what became of each test.
type report struct {
	out     io.Writer
	result  map[testName]string   // pass, fail, skip
	output  map[testName][]string // until the test passed
	skipped []testName
	failed  int
	passed  int
}

func newReport(out io.Writer) *report {
	return &report{out: out, result: make(map[testName]string), output: make(map[testName][]string)}
}

// readAll reads events to the end. A line that is no event is shown: it is a
// compiler's or the go command's.
func (r *report) readAll(in *bufio.Reader) error {
	for {
		line, err := in.ReadString('\n')
		var e event
		if json.Unmarshal([]byte(line), &e) == nil && e.Action != "" {
			r.take(e)
		} else {
			fmt.Fprint(r.out, line)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read test output: %w", err)
		}
	}
}

func (r *report) take(e event) {
	n := testName{e.Package, e.Test}
	switch e.Action {
	case "output", "build-output":
		if e.Action == "build-output" {
			fmt.Fprint(r.out, e.Output)
		}
		r.output[n] = append(r.output[n], e.Output)
	case "pass", "fail", "skip":
		r.result[n] = e.Action
		r.finish(n, e)
	}
}

// finish accounts for a test, or for a package if n.Test is empty.
func (r *report) finish(n testName, e event) {
	switch {
	case e.Action == "fail":
		r.failed++
		fmt.Fprintf(r.out, "FAIL %s (%.1fs)\n%s", n, e.Elapsed, strings.Join(r.output[n], ""))
	case n.Test == "" && e.Action == "pass":
		fmt.Fprintf(r.out, "ok   %s (%.1fs)\n", n.Package, e.Elapsed)
	case n.Test != "" && e.Action == "skip":
		r.skipped = append(r.skipped, n)
		return // its output is the reason
	case n.Test != "":
		r.passed++
	}
	delete(r.output, n)
}

// conclude prints the summary and tells whether all is well.
func (r *report) conclude(must []testName) bool {
	for _, n := range r.skipped {
		fmt.Fprintf(r.out, "skipped %s: %s\n", n, reason(r.output[n]))
	}
	missed := 0
	for _, n := range must {
		if got := r.result[n]; got != "pass" && got != "fail" {
			missed++
			fmt.Fprintf(r.out, "MUST RUN, but was %s: %s\n", map[bool]string{true: "skipped", false: "not there"}[got == "skip"], n)
		}
	}
	fmt.Fprintf(r.out, "%d passed, %d failed, %d skipped, %d missed that must run\n", r.passed, r.failed, len(r.skipped), missed)
	return r.failed == 0 && missed == 0
}

// reason is what a skipped test printed, without the frame that go test puts
// around it.
func reason(output []string) string {
	said := slices.DeleteFunc(slices.Clone(output), func(s string) bool {
		s = strings.TrimSpace(s)
		return strings.HasPrefix(s, "=== ") || strings.HasPrefix(s, "--- ")
	})
	return strings.TrimSpace(strings.Join(said, " "))
}
