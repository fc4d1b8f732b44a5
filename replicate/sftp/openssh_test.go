package sftp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"closefs/replicate/targettest"
)

const sshd = "/usr/sbin/sshd"

// TestConformanceOpenSSH runs the suite against a real sshd on loopback. As
// root it is set up as the manual recommends: an account without a shell,
// confined to internal-sftp in a chroot. Otherwise it is sftp-server for
// ourselves.
func TestConformanceOpenSSH(t *testing.T) {
	if _, err := os.Stat(sshd); err != nil {
		t.Skipf("SKIP: %v", err)
	}
	uid := os.Geteuid()
	if uid == 0 {
		uid = nobody
	}
	targettest.Run(t, targettest.Kind{UID: uid, Open: func(t *testing.T, dir string) targettest.Fixture {
		l := newLab(t)
		file := filepath.Join(l.dir, "host_ed25519")
		key := writeKey(t, file, newKey(t), nil)
		addr, account, path := l.startSSHD(t, dir, file)
		d := newDialer(t, l.options(t, addr, account, path, key.PublicKey()))
		return targettest.Fixture{Dialer: d, Cut: l.link.cut, Bound: os.Geteuid() == 0}
	}})
}

// startSSHD serves dir. The path is how the account sees it.
func (l *lab) startSSHD(t testing.TB, dir string, hostKeys ...string) (addr, account, path string) {
	t.Helper()
	addr = freeAddr(t)
	_, port, err := net.SplitHostPort(addr)
	check(t, err)
	authorized := filepath.Join(l.dir, "authorized_keys")
	check(t, os.WriteFile(authorized, ssh.MarshalAuthorizedKey(l.public), 0o644))
	check(t, os.Chmod(l.dir, 0o755))
	check(t, os.Chmod(filepath.Dir(l.dir), 0o755))
	conf := fmt.Sprintf(`
ListenAddress 127.0.0.1:%s
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
AuthorizedKeysFile %s
MaxStartups 100
`, port, authorized)
	for _, key := range hostKeys {
		conf += "HostKey " + key + "\n"
	}
	script := `exec "$0" "$@"`
	if os.Geteuid() == 0 {
		account, path = accountName(t), "/uploads"
		conf += "Subsystem sftp internal-sftp -u 0022\nChrootDirectory /mnt\nForceCommand internal-sftp -u 0022\n"
		// The chroot has to be below directories that only root may write to,
		// which no temporary one is: it is made in a mount namespace of its own.
		script = `mount -t tmpfs -o mode=755 tmpfs /mnt && mkdir /mnt/uploads && mount --bind ` + shellQuote(dir) + ` /mnt/uploads && ` + script
		check(t, os.MkdirAll("/run/sshd", 0o755))
	} else {
		current, err := user.Current()
		check(t, err)
		account, path = current.Username, dir
		conf += "Subsystem sftp " + sftpServer + "\n"
	}
	file := filepath.Join(l.dir, "sshd_config")
	check(t, os.WriteFile(file, []byte(conf), 0o600))
	cmd := exec.Command("/bin/sh", "-c", script, sshd, "-D", "-e", "-f", file)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM, Setpgid: true}
	if os.Geteuid() == 0 {
		cmd.SysProcAttr.Unshareflags = syscall.CLONE_NEWNS
	}
	l.run(t, cmd, addr)
	return addr, account, path
}

// run starts cmd, and waits until it listens on addr.
func (l *lab) run(t testing.TB, cmd *exec.Cmd, addr string) {
	t.Helper()
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	check(t, cmd.Start())
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		cmd.Wait()
	}()
	t.Cleanup(func() {
		// sshd's children, one for each connection, are of the same group.
		syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
		<-exited
		if t.Failed() {
			t.Logf("sshd says:\n%s", output.String())
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
		if err == nil {
			conn.Close()
			return
		}
		select {
		case <-exited:
			t.Fatalf("sshd has ended:\n%s", output.String())
		case <-ctx.Done():
			t.Fatalf("sshd does not listen on %s: %v", addr, errors.Join(ctx.Err(), err))
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// freeAddr is an address on loopback that nobody listens on now.
func freeAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	defer l.Close()
	return l.Addr().String()
}

func accountName(t testing.TB) string {
	t.Helper()
	u, err := user.LookupId(fmt.Sprint(nobody))
	check(t, err)
	return u.Username
}

func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
