package wire

import "fmt"

// A Code is what a status reply says (section 7 of the draft).
type Code uint32

// The codes of version 3.
const (
	OK               Code = 0
	EOF              Code = 1
	NoSuchFile       Code = 2
	PermissionDenied Code = 3
	Failure          Code = 4 // anything else: what it was the server does not tell
	BadMessage       Code = 5
	NoConnection     Code = 6
	ConnectionLost   Code = 7
	OpUnsupported    Code = 8
)

var codeNames = [...]string{
	"ok", "end of file", "no such file", "permission denied", "failure", "bad message",
	"no connection", "connection lost", "operation unsupported",
}

func (c Code) String() string {
	if int(c) < len(codeNames) {
		return codeNames[c]
	}
	return fmt.Sprintf("status %d", uint32(c))
}

// Error makes a Code an error that errors.Is finds.
func (c Code) Error() string { return "sftp: " + c.String() }
