package journal

// Stats are figures of a moment.
type Stats struct {
	First        Position // oldest record kept
	Last         Position // newest record
	SyncedPos    Position // newest record known to be durable
	Bytes        int64    // of all segment files and the spare
	MaxBytes     int64    // Options.MaxSize
	Segments     int      // without the spare
	Records      uint64   // appended by this process, with the journal's own
	AppendErrors uint64   // appends and syncs that failed
	Gaps         uint64   // Gap records the journal has put in
	Dirty        int      // files opened for writing and not closed
}

// Stats takes the figures.
func (j *Journal) Stats() Stats {
	j.mu.Lock()
	defer j.mu.Unlock()
	return Stats{
		First:        j.segments[0].first,
		Last:         j.Last(),
		SyncedPos:    Position(j.synced.Load()),
		Bytes:        j.bytes(),
		MaxBytes:     j.opts.MaxSize,
		Segments:     len(j.segments),
		Records:      j.appended,
		AppendErrors: j.errors,
		Gaps:         j.gaps,
		Dirty:        len(j.dirty),
	}
}
