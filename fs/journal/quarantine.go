package journal

import (
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Quarantine moves the segments of a damaged journal into a new directory below
// dir and tells its path; nothing is deleted. The next Open begins an empty
// journal with a Gap record, at a position above all that were ever handed out;
// what was dirty is not known any more, and every target has to be reconciled.
// ErrLocked while the journal is open.
func Quarantine(dir string) (moved string, err error) {
	lock, err := lockDir(dir)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if moved, err = quarantine(osDisk{}, dir); err != nil {
		return "", fmt.Errorf("quarantine journal %s: %w", dir, err)
	}
	return moved, nil
}

// quarantine makes the state's ceiling good before anything moves, so that a
// crash in between loses no position. Newest segments go first: what is left
// after a crash is a journal that ends early, which Open refuses or accepts but
// never takes for another.
func quarantine(d disk, dir string) (string, error) {
	st, _, err := openState(d, dir)
	if err != nil {
		return "", err
	}
	defer st.file.Close()
	j := &Journal{opts: Options{disk: d}, dir: dir}
	firsts, err := j.list()
	if err != nil {
		return "", err
	}
	ceiling, err := usedCeiling(d, dir, firsts)
	if err != nil {
		return "", err
	}
	if err := st.update(func(s *state) { s.clean, s.ceiling = false, max(s.ceiling, ceiling, 2) }); err != nil {
		return "", err
	}
	moved, err := os.MkdirTemp(dir, "damaged-"+time.Now().UTC().Format("20060102T150405")+"-")
	if err != nil {
		return "", err
	}
	for i := len(firsts) - 1; i >= 0; i-- {
		name := segmentName(firsts[i])
		if err := d.rename(filepath.Join(dir, name), filepath.Join(moved, name)); err != nil {
			return "", err
		}
	}
	if err := d.syncDir(moved); err != nil {
		return "", err
	}
	return moved, d.syncDir(dir)
}

// usedCeiling is above every position that the segments can hold, and what a
// lost one behind them can: the state file knows better if it is whole.
func usedCeiling(d disk, dir string, firsts []Position) (Position, error) {
	var ceiling Position
	for _, first := range firsts {
		f, err := d.open(filepath.Join(dir, segmentName(first)), os.O_RDONLY)
		if err != nil {
			return 0, err
		}
		size, err := f.size()
		f.Close()
		if err != nil {
			return 0, err
		}
		ceiling = max(ceiling, first+3*Position(max(size, 16<<20)/minFrame+1))
	}
	return ceiling, nil
}
