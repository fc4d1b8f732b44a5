package fs

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"closefs/fs/journal"
)

// Recover appends what a daemon that died could not: first the changes that it
// had begun (Options.Intents), then the content of each file that the journal
// calls dirty. Afterwards only those are dirty that somebody still writes
// through what is left of the mount before. Mount calls it.
func (f *FS) Recover() error {
	f.order.Lock()
	defer f.order.Unlock()
	begun, forget := f.intents.left()
	for _, in := range begun {
		if err := f.recoverIntent(in); err != nil {
			return fmt.Errorf("recover %q: %w", in.path, err)
		}
	}
	dirty := f.journal.Dirty()
	for _, d := range dirty {
		if err := f.recoverDirty(d); err != nil {
			return fmt.Errorf("recover %q: %w", d.Path, err)
		}
	}
	forget()
	if len(begun)+len(dirty) > 0 {
		f.log.Info("recovered", "dirty_files", len(dirty), "changes_begun", len(begun))
	}
	return nil
}

// recoverDirty records what is at the path of a dirty file.
func (f *FS) recoverDirty(d journal.DirtyFile) error {
	st, err := f.root.Lstat(d.Path)
	switch {
	case gone(err):
		// Unlinked by somebody else, or open and unlinked when the daemon died.
		return f.appendAll(&journal.Record{
			Kind: journal.Remove, ID: d.ID, Mode: unix.S_IFREG, Path: d.Path, Last: true,
		})
	case err != nil:
		return err
	case st.ID == d.ID && isRegular(st.Mode):
		return f.recoverContent(&st, d.Path)
	}
	// Something else is there: the dirty file is gone, and that is to be shipped.
	if err := f.appendAll(&journal.Record{Kind: journal.Clean, ID: d.ID, Mode: unix.S_IFREG, Path: d.Path}); err != nil {
		return err
	}
	return f.recordPath(d.Path)
}

// recoverIntent records a change that may have been made and not recorded.
func (f *FS) recoverIntent(in intent) error {
	if in.to == "" {
		return f.recordPath(in.path)
	}
	recorded, err := f.renameRecorded(in)
	if err != nil || in.id == 0 {
		// It cannot be told whether it was made and recorded: look at both names.
		return errors.Join(f.recordPath(in.path), f.recordPath(in.to))
	}
	if recorded {
		return nil
	}
	to, err := f.root.Lstat(in.to)
	if gone(err) || err == nil && uint64(to.ID) != in.id {
		return nil // not made
	}
	if err != nil {
		return err
	}
	from, err := f.root.Lstat(in.path)
	if err != nil && !gone(err) {
		return err
	}
	if err == nil && from.ID == to.ID {
		return nil // two names of one file: rename(2) did nothing
	}
	// Whatever is at the old name came there by an exchange: nobody else could
	// change anything until the rename was recorded.
	return f.appendAll(&journal.Record{
		Kind: journal.Rename, ID: to.ID, Mode: to.Mode, Path: in.path, To: in.to, Exchange: err == nil,
	})
}

// renameRecorded tells whether the journal has the record of a rename.
func (f *FS) renameRecorded(in intent) (bool, error) {
	records, err := f.journal.NewReader(in.after)
	if err != nil {
		return false, err
	}
	defer records.Close()
	for records.Next() {
		r := records.Record()
		if r.Kind == journal.Rename && uint64(r.ID) == in.id && r.Path == in.path && r.To == in.to {
			return true, nil
		}
	}
	return false, records.Err()
}

// recordPath records what is at path now, in the words of an operation that
// would have led there.
func (f *FS) recordPath(path string) error {
	st, err := f.root.Lstat(path)
	switch {
	case gone(err):
		return f.appendAll(&journal.Record{Kind: journal.Remove, Path: path})
	case err != nil:
		return err
	case isRegular(st.Mode):
		return f.appendAll(f.contentRecord(&st, path))
	case path == "":
		return f.appendAll(f.attrRecord(&st, path))
	}
	return f.appendAll(makeRecord(&st, path), f.attrRecord(&st, path))
}

// gone tells whether an error of Lstat means that nothing has that name.
func gone(err error) bool {
	return err == unix.ENOENT || err == unix.ENOTDIR || err == unix.ELOOP
}

// appendAll is record for where a failure must be told.
func (f *FS) appendAll(records ...*journal.Record) error {
	for _, r := range records {
		if _, err := f.journal.Append(r); err != nil {
			return fmt.Errorf("append: %w", err)
		}
	}
	return nil
}
