package sftp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"closefs/replicate"
)

// fetchTimeout bounds one handshake of FetchHostKeys.
const fetchTimeout = 10 * time.Second

// FetchHostKeys asks the SSH server at addr (host:port) for every host key that
// it has, one connection for each type, without authenticating. The keys are
// unverified: show their fingerprints to a person before storing them.
func FetchHostKeys(ctx context.Context, addr string) ([]ssh.PublicKey, error) {
	var keys []ssh.PublicKey
	for _, algorithms := range [][]string{
		{ssh.KeyAlgoED25519},
		{ssh.KeyAlgoECDSA256}, {ssh.KeyAlgoECDSA384}, {ssh.KeyAlgoECDSA521},
		{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256},
	} {
		key, err := fetchHostKey(ctx, addr, algorithms)
		if errors.As(err, new(*ssh.AlgorithmNegotiationError)) {
			continue // it has no key of this type
		}
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%s: %w: it has no host key of a type that closefs knows", addr, replicate.ErrRefused)
	}
	return keys, nil
}

// errSeen ends a handshake as soon as the key is there.
var errSeen = errors.New("host key seen")

func fetchHostKey(ctx context.Context, addr string, algorithms []string) (ssh.PublicKey, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", replicate.ErrConnection, err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	var seen ssh.PublicKey
	_, _, _, err = ssh.NewClientConn(conn, addr, &ssh.ClientConfig{
		HostKeyAlgorithms: algorithms,
		HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error {
			seen = key
			return errSeen
		},
	})
	if seen == nil {
		return nil, fmt.Errorf("%s: %w: %w", addr, replicate.ErrConnection, err)
	}
	return seen, nil
}

// AppendKnownHost adds a line for addr (host:port) and key to file, making it
// (0600) and its directory (0700) if they are missing. The line is written by
// one write to the end of the file, so that others who do the same at the same
// time lose nothing, and synced.
func AppendKnownHost(file, addr string, key ssh.PublicKey) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return fmt.Errorf("known hosts: %w", err)
	}
	f, err := os.OpenFile(file, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("known hosts: %w", err)
	}
	defer f.Close()
	line := knownhosts.Line([]string{knownhosts.Normalize(addr)}, key) + "\n"
	if unfinished, err := endsWithinLine(f); err != nil {
		return fmt.Errorf("known hosts: %w", err)
	} else if unfinished {
		line = "\n" + line
	}
	if _, err := f.WriteString(line); err != nil {
		return fmt.Errorf("known hosts: %w", err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("known hosts: %w", err)
	}
	return nil
}

// endsWithinLine says whether the last line of f has no newline.
func endsWithinLine(f *os.File) (bool, error) {
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return false, err
	}
	var last [1]byte
	if _, err := f.ReadAt(last[:], info.Size()-1); err != nil {
		return false, err
	}
	return last[0] != '\n', nil
}
