package sftp

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"closefs/replicate"
)

// HostKeyProblem is what is wrong with a host key.
type HostKeyProblem string

// What can be wrong with a host key.
const (
	HostKeyUnknown HostKeyProblem = "unknown" // no known_hosts line names the host
	HostKeyChanged HostKeyProblem = "changed" // lines name the host, with other keys
	HostKeyRevoked HostKeyProblem = "revoked" // a @revoked line has this very key
	HostKeyInvalid HostKeyProblem = "invalid" // a certificate that is expired, for another host, …
)

// A HostKeyError refuses a server because of its host key. It wraps
// replicate.ErrRefused.
type HostKeyError struct {
	Addr        string // host:port
	Type        string // of the key shown, as ssh-ed25519
	Fingerprint string // of the key shown, as SHA256:…
	Problem     HostKeyProblem
	Known       []knownhosts.KnownKey // what is known instead
	Err         error                 // details of HostKeyInvalid
}

// Error says it in one line, with what to do.
func (e *HostKeyError) Error() string {
	shown := fmt.Sprintf("host key of %s: %s %s", e.Addr, e.Type, e.Fingerprint)
	switch e.Problem {
	case HostKeyUnknown:
		return fmt.Sprintf("%s is not in known_hosts: check it and store it with: closefs trust %s", shown, knownhosts.Normalize(e.Addr))
	case HostKeyChanged:
		var known []string
		for _, k := range e.Known {
			known = append(known, fmt.Sprintf("%s %s (%s:%d)", k.Key.Type(), ssh.FingerprintSHA256(k.Key), k.Filename, k.Line))
		}
		return fmt.Sprintf("%s has changed, or somebody is in between: known is %s", shown, strings.Join(known, ", "))
	case HostKeyRevoked:
		return shown + " is revoked in known_hosts"
	}
	return fmt.Sprintf("%s is not valid: %v", shown, e.Err)
}

// Unwrap returns replicate.ErrRefused and the details.
func (e *HostKeyError) Unwrap() []error {
	if e.Err == nil {
		return []error{replicate.ErrRefused}
	}
	return []error{replicate.ErrRefused, e.Err}
}

// hostKeys are the known_hosts files as they are now.
type hostKeys struct {
	check ssh.HostKeyCallback
}

// readHostKeys reads the files that exist.
func readHostKeys(files []string) (*hostKeys, error) {
	existing := slices.DeleteFunc(slices.Clone(files), func(file string) bool {
		_, err := os.Stat(file)
		return errors.Is(err, os.ErrNotExist)
	})
	check, err := knownhosts.New(existing...)
	if err != nil {
		return nil, fmt.Errorf("known hosts: %w: %w", replicate.ErrRefused, err)
	}
	return &hostKeys{check: check}, nil
}

// known returns what is known of addr: the lines' keys, authorities among them.
func (k *hostKeys) known(addr string) []knownhosts.KnownKey {
	var e *knownhosts.KeyError
	if errors.As(k.check(addr, noAddr{}, noKey{}), &e) {
		return e.Want
	}
	return nil
}

// algorithms orders the host key algorithms so that the server picks a key that
// is known. Without this a server with several keys shows its favourite, which
// then looks like a changed one if another is known. The other algorithms
// follow, so that a host that really has other keys now is told apart from one
// that speaks no common algorithm.
func (k *hostKeys) algorithms(addr string) []string {
	var first []string
	for _, key := range k.known(addr) {
		if isAuthority(key) {
			first = append(certAlgorithms(), first...)
		} else {
			first = append(first, plainAlgorithms(key.Key.Type())...)
		}
	}
	var all []string
	for _, algorithm := range append(first, ssh.SupportedAlgorithms().HostKeys...) {
		// A certificate of an authority that is not known would only be unknown.
		unwanted := strings.Contains(algorithm, certSuffix) && !slices.Contains(first, algorithm)
		if !unwanted && !slices.Contains(all, algorithm) {
			all = append(all, algorithm)
		}
	}
	return all
}

// certSuffix marks the algorithms of certificates (PROTOCOL.certkeys).
const certSuffix = "-cert-v01@"

// plainAlgorithms are those that a key of the type can sign with: RSA keys do
// not with the SHA-1 of their type's name any more.
func plainAlgorithms(keyType string) []string {
	if keyType == ssh.KeyAlgoRSA {
		return []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256}
	}
	return []string{keyType}
}

func certAlgorithms() []string {
	return slices.DeleteFunc(ssh.SupportedAlgorithms().HostKeys, func(algorithm string) bool {
		return !strings.Contains(algorithm, certSuffix)
	})
}

// isAuthority looks at the line that key is from; knownhosts does not tell.
func isAuthority(key knownhosts.KnownKey) bool {
	f, err := os.Open(key.Filename)
	if err != nil {
		return false
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		if n == key.Line {
			return strings.HasPrefix(strings.TrimSpace(lines.Text()), "@cert-authority")
		}
	}
	return false
}

// checker verifies the host key of one connection and keeps the verdict, which
// the handshake's error would bury.
type checker struct {
	keys   *hostKeys
	addr   string
	passed bool
	err    error
}

func (k *hostKeys) checker(addr string) *checker { return &checker{keys: k, addr: addr} }

func (c *checker) callback(_ string, remote net.Addr, key ssh.PublicKey) error {
	err := c.keys.check(c.addr, remote, key)
	if err == nil {
		c.passed = true
		return nil
	}
	c.err = c.problem(key, err)
	return c.err
}

func (c *checker) problem(key ssh.PublicKey, err error) error {
	e := &HostKeyError{Addr: c.addr, Type: key.Type(), Fingerprint: ssh.FingerprintSHA256(key)}
	var keyError *knownhosts.KeyError
	switch {
	case errors.As(err, &keyError) && len(keyError.Want) == 0:
		e.Problem = HostKeyUnknown
	case errors.As(err, &keyError):
		e.Problem, e.Known = HostKeyChanged, keyError.Want
	case errors.As(err, new(*knownhosts.RevokedError)):
		e.Problem = HostKeyRevoked
	default:
		e.Problem, e.Err = HostKeyInvalid, err
	}
	return e
}

// noKey is a key that no line can have, noAddr an address that none names.
type noKey struct{}

func (noKey) Type() string                        { return "none" }
func (noKey) Marshal() []byte                     { return nil }
func (noKey) Verify([]byte, *ssh.Signature) error { return errors.New("no key") }

type noAddr struct{}

func (noAddr) Network() string { return "tcp" }
func (noAddr) String() string  { return "0.0.0.0:0" }
