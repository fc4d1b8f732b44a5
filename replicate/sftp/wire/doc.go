// Package wire speaks version 3 of the SSH file transfer protocol
// (draft-ietf-secsh-filexfer-02, and OpenSSH's PROTOCOL for its extensions) from
// the client's side, with requests that are started without waiting for the
// answers of those before.
//
// That is the reason why it exists beside github.com/pkg/sftp, whose methods
// each wait for their answer: a put of a small file there takes one round trip
// for each of open, write, chmod, chtimes, fsync, fstat, close and rename, here
// three in all. It can also set owner, mode and times by one request on the
// handle, set a symlink's own times (lsetstat@openssh.com), and write in packets
// as long as the server allows (limits@openssh.com).
//
// Requests of one Batch, and of one goroutine, reach the server in their order.
// A server "MUST process requests relating to the same file in the order in
// which they are received" (section 6.1 of the draft); OpenSSH's processes all
// of them in order.
package wire
