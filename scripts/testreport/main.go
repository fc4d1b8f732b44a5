// Testreport reads the output of go test -json, shows how each package did and
// everything that a failed test printed, lists the tests that were skipped with
// their reasons, and fails if a test failed or one that must run was not run.
//
//	go test -json ./... | testreport [-must-run FILE]
//
// FILE has a line per test: the package's path below the module, then the
// test's name. Empty lines and lines that begin with # are ignored.
package main

import (
	"bufio"
	"flag"
	"fmt"
	"os"
)

func main() {
	mustRun := flag.String("must-run", "", "file that lists the tests that may not be skipped")
	flag.Parse()
	ok, err := run(*mustRun)
	if err != nil {
		fmt.Fprintln(os.Stderr, "testreport:", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

func run(mustRun string) (ok bool, err error) {
	var must []testName
	if mustRun != "" {
		if must, err = readMustRun(mustRun); err != nil {
			return false, err
		}
	}
	r := newReport(os.Stdout)
	lines := bufio.NewReader(os.Stdin)
	if err := r.readAll(lines); err != nil {
		return false, err
	}
	return r.conclude(must), nil
}
