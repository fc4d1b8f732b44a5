package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"closefs/cmd/closefs/daemon"
	"closefs/replicate"
	"closefs/replicate/sftp"
)

// trustFlags are the flags of `closefs trust`.
type trustFlags struct {
	knownHosts  []string
	yes         bool
	fingerprint string
}

func trustCommand() *cobra.Command {
	var f trustFlags
	cmd := &cobra.Command{
		Use:   "trust [flags] HOST[:PORT]",
		Short: "Show a host's keys and, if you say so, trust them from now on",
		Long: `Ask the SSH server of a host for its keys, show their fingerprints, and after a
yes add them to known_hosts. Compare the fingerprints with what the host itself
says:

    for k in /etc/ssh/ssh_host_*_key.pub; do ssh-keygen -lf $k; done

A host whose key has changed is refused (exit code 5) until its old line is
removed from known_hosts.`,
		Args: takes(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			addr, err := hostAddress(args[0])
			if err != nil {
				return err
			}
			if len(f.knownHosts) == 0 {
				f.knownHosts = daemon.DefaultKnownHosts()
			}
			return f.trust(cmd.Context(), addr, cmd.InOrStdin(), cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringArrayVar(&f.knownHosts, "known-hosts", nil, "known_hosts `FILE`; may be repeated, the first is added to\n(default ~/.ssh/known_hosts, then /etc/ssh/ssh_known_hosts)")
	cmd.Flags().BoolVar(&f.yes, "yes", false, "do not ask")
	cmd.Flags().StringVar(&f.fingerprint, "fingerprint", "", "trust only the key with this `SHA256:…`, without asking")
	return cmd
}

// hostAddress reads HOST, HOST:PORT, an IPv6 address, or one in brackets.
func hostAddress(s string) (string, error) {
	bad := usagef("host %q: want HOST or HOST:PORT, an IPv6 address in brackets", s)
	if ip, err := netip.ParseAddr(s); err == nil {
		return net.JoinHostPort(ip.String(), "22"), nil
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		host, port, err = net.SplitHostPort(s + ":22")
	}
	if err != nil || host == "" || strings.ContainsAny(host, " /@") {
		return "", bad
	}
	if n, err := net.LookupPort("tcp", port); err != nil || n == 0 {
		return "", bad
	}
	return net.JoinHostPort(host, port), nil
}

func (f trustFlags) trust(ctx context.Context, addr string, in io.Reader, out io.Writer) error {
	keys, err := sftp.FetchHostKeys(ctx, addr)
	if err != nil {
		return err
	}
	known, err := f.known(addr, keys)
	if err != nil {
		return err
	}
	if known != nil {
		fmt.Fprintf(out, "%s is trusted already: %s\n", addr, describeKey(known))
		return nil
	}
	if keys, err = f.choose(addr, keys, in, out); err != nil {
		return err
	}
	for _, k := range keys {
		if err := sftp.AppendKnownHost(f.knownHosts[0], addr, k); err != nil {
			return err
		}
	}
	fmt.Fprintf(out, "added to %s\n", f.knownHosts[0])
	return nil
}

// known returns the key that is known already, nil if nothing is known of the
// host, or an error that wraps replicate.ErrRefused if other keys are, or if a
// key is revoked.
func (f trustFlags) known(addr string, keys []ssh.PublicKey) (ssh.PublicKey, error) {
	files := slices.DeleteFunc(slices.Clone(f.knownHosts), func(file string) bool {
		_, err := os.Stat(file)
		return errors.Is(err, fs.ErrNotExist)
	})
	check, err := knownhosts.New(files...)
	if err != nil {
		return nil, fmt.Errorf("known hosts: %w", err)
	}
	remote := &net.TCPAddr{} // lines are found by the name that is asked for
	var match ssh.PublicKey
	var changed error
	for _, k := range keys {
		err := check(addr, remote, k)
		var other *knownhosts.KeyError
		switch {
		case err == nil:
			match = k
		case errors.As(err, new(*knownhosts.RevokedError)):
			return nil, fmt.Errorf("%w: %s shows a revoked key: %s", replicate.ErrRefused, addr, describeKey(k))
		case errors.As(err, &other) && len(other.Want) > 0 && (changed == nil || other.Want[0].Key.Type() == k.Type()):
			changed = changedKey(addr, k, other.Want)
		}
	}
	if match != nil {
		return match, nil
	}
	return nil, changed
}

// changedKey tells both fingerprints, and the line to remove if the change is right.
func changedKey(addr string, shown ssh.PublicKey, want []knownhosts.KnownKey) error {
	var lines []string
	for _, w := range want {
		lines = append(lines, fmt.Sprintf("%s (%s line %d)", describeKey(w.Key), w.Filename, w.Line))
	}
	return fmt.Errorf("%w: the key of %s has changed, or somebody is in between: it shows %s; known is %s; if the change is right, remove that line and call again",
		replicate.ErrRefused, addr, describeKey(shown), strings.Join(lines, ", "))
}

// choose returns the keys that the flags or the user say to trust.
func (f trustFlags) choose(addr string, keys []ssh.PublicKey, in io.Reader, out io.Writer) ([]ssh.PublicKey, error) {
	fmt.Fprintf(out, "%s shows:\n", addr)
	for _, k := range keys {
		fmt.Fprintf(out, "  %s\n", describeKey(k))
	}
	if f.fingerprint != "" {
		same := slices.DeleteFunc(slices.Clone(keys), func(k ssh.PublicKey) bool {
			return ssh.FingerprintSHA256(k) != f.fingerprint
		})
		if len(same) == 0 {
			return nil, fmt.Errorf("%w: %s shows no key with fingerprint %s", replicate.ErrRefused, addr, f.fingerprint)
		}
		return same, nil
	}
	if f.yes {
		return keys, nil
	}
	fmt.Fprint(out, "Trust it from now on (yes/no)? ")
	answer, err := bufio.NewReader(in).ReadString('\n')
	if strings.TrimSpace(strings.ToLower(answer)) == "yes" {
		return keys, nil
	}
	if err != nil {
		fmt.Fprintln(out)
	}
	return nil, fmt.Errorf("%s: not trusted: the answer was not yes", addr)
}

func describeKey(k ssh.PublicKey) string {
	return strings.TrimPrefix(k.Type(), "ssh-") + " " + ssh.FingerprintSHA256(k)
}
