package e2e

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
)

// Contents that tell whether they are whole: length of what follows the header
// (8 bytes), its SHA-256, then that many bytes.
const contentHeader = 8 + sha256.Size

// newContent returns a content of its own with a payload of n bytes.
func newContent(r *rand.Rand, n int) []byte {
	b := make([]byte, contentHeader+n)
	payload := b[contentHeader:]
	for i := 0; i+8 <= n; i += 8 {
		binary.LittleEndian.PutUint64(payload[i:], r.Uint64())
	}
	binary.LittleEndian.PutUint64(b, uint64(n))
	sum := sha256.Sum256(payload)
	copy(b[8:], sum[:])
	return b
}

// checkWhole says what is wrong with a content; nil if it is one that
// newContent made.
func checkWhole(b []byte) error {
	if len(b) < contentHeader {
		return fmt.Errorf("%d bytes, less than a header", len(b))
	}
	if n := binary.LittleEndian.Uint64(b); n != uint64(len(b)-contentHeader) {
		return fmt.Errorf("%d bytes of %d", len(b)-contentHeader, n)
	}
	if sum := sha256.Sum256(b[contentHeader:]); string(sum[:]) != string(b[8:contentHeader]) {
		return fmt.Errorf("%d bytes with another checksum", len(b)-contentHeader)
	}
	return nil
}

// writeInPieces makes the file at path hold b, by several writes on one open
// file, as an application does that streams an upload.
func writeInPieces(path string, b []byte) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	piece := len(b)/3 + 1
	for off := 0; off < len(b); off += piece {
		if _, err := f.Write(b[off:min(off+piece, len(b))]); err != nil {
			f.Close()
			return err
		}
	}
	return f.Close()
}
