package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// treeDirs is how many directories a tree has, d00 and so on.
const treeDirs = 100

// fillTree makes a tree of files small files.
func fillTree(root string, files int) error {
	for i := range treeDirs {
		if err := os.MkdirAll(filepath.Join(root, fmt.Sprintf("d%02d", i)), 0o755); err != nil {
			return err
		}
	}
	content := []byte(strings.Repeat("an image of long ago ", 50))
	for i := range files {
		name := filepath.Join(root, fmt.Sprintf("d%02d", i%treeDirs), fmt.Sprintf("old-%06d.jpg", i))
		if err := os.WriteFile(name, content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// copyTree makes to an equal tree of from, owned by account.
func copyTree(from, to, account string) error {
	for _, args := range [][]string{{"cp", "-a", from, to}, {"chown", "-R", account, to}} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%v: %w: %s", args, err, out)
		}
	}
	return nil
}

// lab is what the measurement needs to know of the secondary.
type lab struct {
	address, port        string
	url                  string // of the uploads directory
	uploads              string // that directory on this machine's disk
	identity, knownHosts string
	account              string // uid:gid that owns it
}

// insideUploads is the uploads directory as closefs-rsync sees it.
const insideUploads = "/run/closefs-lab/chroot/uploads"

func readLab(file string) (lab, error) {
	f, err := os.Open(file)
	if err != nil {
		return lab{}, err
	}
	defer f.Close()
	env := make(map[string]string)
	for lines := bufio.NewScanner(f); lines.Scan(); {
		key, value, _ := strings.Cut(lines.Text(), "=")
		env[key] = value
	}
	l := lab{address: env["LAB_1_ADDRESS"], port: env["LAB_1_PORT"], url: env["LAB_1_URL"], uploads: env["LAB_1_UPLOADS"],
		identity: env["LAB_IDENTITY"], knownHosts: env["LAB_KNOWN_HOSTS"], account: "7022:7022"}
	if l.address == "" {
		return l, fmt.Errorf("%s: no LAB_1_ADDRESS: not what lab up prints", file)
	}
	return l, nil
}
