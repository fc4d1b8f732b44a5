package replicate

import "closefs/fs/journal"

// Journal is what a worker needs of *journal.Journal.
type Journal interface {
	First() journal.Position
	Last() journal.Position
	Changed() (<-chan struct{}, func())
	NewReader(after journal.Position) (*journal.Reader, error)
	IsDirty(journal.FileID) bool
	PowerLost() bool
}
