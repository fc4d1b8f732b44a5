package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// startBareSFTP opens the connection over which each file is put at once: what
// SFTP itself costs with the guarantees that closefs gives.
func startBareSFTP(_ context.Context, _ settings, l lab, c *contender) error {
	conn, err := dialSSH(l, "closefs")
	if err != nil {
		return err
	}
	c.onStop(func() { conn.Close() })
	client, err := sftp.NewClient(conn, sftp.UseConcurrentWrites(true))
	if err != nil {
		return err
	}
	root := "/uploads/" + c.remote
	staging := root + "/.staging"
	if err := client.Mkdir(staging); err != nil {
		return err
	}
	c.ship = func(rel string) error {
		return put(client, filepath.Join(c.source, rel), staging+"/"+filepath.Base(rel), root+"/"+rel)
	}
	return nil
}

func dialSSH(l lab, user string) (*ssh.Client, error) {
	key, err := os.ReadFile(l.identity)
	if err != nil {
		return nil, err
	}
	signer, err := ssh.ParsePrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", l.identity, err)
	}
	verify, err := knownhosts.New(l.knownHosts)
	if err != nil {
		return nil, err
	}
	return ssh.Dial("tcp", net.JoinHostPort(l.address, l.port), &ssh.ClientConfig{
		User: user, Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)}, HostKeyCallback: verify,
		HostKeyAlgorithms: []string{ssh.KeyAlgoED25519},
	})
}

// put is one request after the other: stage, sync, attributes, atomic rename.
func put(c *sftp.Client, from, staged, final string) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	fi, err := os.Lstat(from)
	if err != nil {
		return err
	}
	f, err := c.OpenFile(staged, os.O_WRONLY|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return fmt.Errorf("create %s: %w", staged, err)
	}
	defer f.Close()
	if _, err := f.Write(content); err != nil {
		return fmt.Errorf("write %s: %w", staged, err)
	}
	if err := f.Chmod(fi.Mode().Perm()); err != nil {
		return fmt.Errorf("chmod %s: %w", staged, err)
	}
	if err := c.Chtimes(staged, fi.ModTime(), fi.ModTime()); err != nil {
		return fmt.Errorf("set times of %s: %w", staged, err)
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("fsync %s: %w", staged, err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("close %s: %w", staged, err)
	}
	return c.PosixRename(staged, final)
}
