package fs

import "time"

// shipOpen publishes, from time to time, files that stay open.
func (f *FS) shipOpen() {
	every := min(max(f.opts.ShipOpenAfter/4, 10*time.Millisecond), 5*time.Second)
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-f.stopped.Done():
			return
		case <-tick.C:
			for _, of := range f.open.dirtyFiles() {
				f.shipIfDue(of)
			}
		}
	}
}

func (f *FS) shipIfDue(of *openFile) {
	f.order.RLock()
	defer f.order.RUnlock()
	mu := f.inodeLock(of.n.id)
	mu.Lock()
	defer mu.Unlock()
	if !of.dirty || time.Since(of.since) < f.opts.ShipOpenAfter {
		return
	}
	f.publish(of, true)
	of.since = time.Now()
}
