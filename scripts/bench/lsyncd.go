package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// startLsyncd has lsyncd watch the contender's tree and call rsync over ssh,
// delay seconds after a change.
func startLsyncd(delay int) func(context.Context, settings, lab, *contender) error {
	return func(_ context.Context, s settings, l lab, c *contender) error {
		config := filepath.Join(s.primary, c.remote+".lua")
		if err := os.WriteFile(config, []byte(lsyncdConfig(delay, l, c)), 0o644); err != nil {
			return err
		}
		return startProgram(c, exec.Command("lsyncd", "-nodaemon", config), config+".log")
	}
}

func lsyncdConfig(delay int, l lab, c *contender) string {
	ssh := fmt.Sprintf("ssh -p %s -i %s -o UserKnownHostsFile=%s -o BatchMode=yes", l.port, l.identity, l.knownHosts)
	return fmt.Sprintf(`settings { nodaemon = true }
sync {
	default.rsync,
	source = %q,
	target = "closefs-rsync@%s:%s/%s",
	delay = %d,
	rsync = { archive = true, rsh = %q },
}
`, c.source, l.address, insideUploads, c.remote, delay, ssh)
}
