package main

import (
	"fmt"
	"os"
	"strings"
)

// module is the prefix of all import paths here.
const module = "closefs/"

// readMustRun reads the list of tests that may not be skipped.
func readMustRun(file string) ([]testName, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var all []testName
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		f := strings.Fields(line)
		if len(f) != 2 {
			return nil, fmt.Errorf("%s: %q: want a package and a test", file, line)
		}
		all = append(all, testName{module + f[0], f[1]})
	}
	return all, nil
}
