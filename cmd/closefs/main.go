// Command closefs mounts a folder whose changes are on other hosts milliseconds
// after a file was closed.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	var err error
	if filepath.Base(os.Args[0]) == "mount.closefs" {
		err = mountHelper(os.Args[1:])
	} else {
		err = rootCommand().ExecuteContext(context.Background())
	}
	var said *saidError
	if errors.As(err, &said) {
		os.Exit(said.code())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "closefs:", err)
	}
	os.Exit(exitCode(err))
}
