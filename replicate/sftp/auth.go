package sftp

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"closefs/replicate"
)

// identities are the keys that one Dial may show, with the connection to the
// agent that holds some of them.
type identities struct {
	files []ssh.Signer
	names []string // what was tried, for the message
	agent net.Conn
}

// authenticate collects the keys. A key file that cannot be used is an error
// at once, lest a wrong account of the reason come from the server; an
// encrypted one is passed over if there is an agent, which may have it open.
func (d *Dialer) authenticate() (*identities, error) {
	id := &identities{}
	for _, file := range d.o.IdentityFiles {
		signer, err := readIdentity(file)
		if errors.As(err, new(*ssh.PassphraseMissingError)) {
			if d.o.AgentSocket != "" {
				continue
			}
			err = errors.New("it is encrypted: add it to an ssh-agent, or use a key of its own without passphrase")
		}
		if err != nil {
			return nil, fmt.Errorf("identity %s: %w: %w", file, replicate.ErrRefused, err)
		}
		id.files = append(id.files, signer)
		id.names = append(id.names, file)
	}
	if d.o.AgentSocket != "" {
		conn, err := net.Dial("unix", d.o.AgentSocket)
		if err != nil && len(id.files) == 0 {
			return nil, fmt.Errorf("ssh-agent: %w: %w", replicate.ErrRefused, err)
		}
		if err == nil {
			id.agent = conn
			id.names = append(id.names, "ssh-agent")
		}
	}
	if len(id.names) == 0 {
		return nil, fmt.Errorf("%s: %w: neither an identity file nor an ssh-agent to authenticate with", d.addr(), replicate.ErrRefused)
	}
	return id, nil
}

func readIdentity(file string) (ssh.Signer, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	return ssh.ParsePrivateKey(b)
}

// methods shows the files' keys first: servers close after a few that do not
// fit, and an agent may hold many.
func (id *identities) methods() []ssh.AuthMethod {
	return []ssh.AuthMethod{ssh.PublicKeysCallback(func() ([]ssh.Signer, error) {
		signers := id.files
		if id.agent != nil {
			held, err := agent.NewClient(id.agent).Signers()
			if err != nil && len(signers) == 0 {
				return nil, fmt.Errorf("ssh-agent: %w", err)
			}
			signers = append(signers[:len(signers):len(signers)], held...)
		}
		return signers, nil
	})}
}

// Close ends the connection to the agent.
func (id *identities) Close() error {
	if id.agent == nil {
		return nil
	}
	return id.agent.Close()
}

// handshakeError tells what a person can do about a failed handshake.
func (d *Dialer) handshakeError(err error, check *checker, id *identities) error {
	if check.err != nil {
		return check.err
	}
	// Neither of the two has a type of its own.
	denied := strings.Contains(err.Error(), "unable to authenticate") ||
		strings.Contains(err.Error(), "Too many authentication failures")
	if check.passed && denied {
		return fmt.Errorf("%s: %w: user %q is not let in with any key of %s",
			d.addr(), replicate.ErrRefused, d.o.User, strings.Join(id.names, ", "))
	}
	if errors.As(err, new(*ssh.AlgorithmNegotiationError)) {
		return fmt.Errorf("%s: %w: %w", d.addr(), replicate.ErrRefused, err)
	}
	return fmt.Errorf("%s: %w: %w", d.addr(), replicate.ErrConnection, err)
}
