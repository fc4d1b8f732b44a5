package replicate

import (
	"container/heap"
	"math/rand/v2"
	"time"

	"closefs/replicate/plan"
)

// retries holds steps that failed, by when they are to be tried again.
type retries []retry

type retry struct {
	at   time.Time
	step plan.Step
}

func (r retries) Len() int           { return len(r) }
func (r retries) Less(i, j int) bool { return r[i].at.Before(r[j].at) }
func (r retries) Swap(i, j int)      { r[i], r[j] = r[j], r[i] }
func (r *retries) Push(x any)        { *r = append(*r, x.(retry)) }
func (r *retries) Pop() any {
	last := (*r)[len(*r)-1]
	*r = (*r)[:len(*r)-1]
	return last
}

// later has a step tried again after a pause that grows with its attempts.
func (w *Worker) later(s plan.Step) {
	pause := min(minBackoff<<min(s.Attempt, 10), maxBackoff)
	pause = pause/2 + rand.N(pause)
	heap.Push(&w.retries, retry{time.Now().Add(pause), s})
}

// wakeDue wakes the steps whose time has come and tells how long it is until
// the next one's.
func (w *Worker) wakeDue(now time.Time) time.Duration {
	for len(w.retries) > 0 {
		if wait := w.retries[0].at.Sub(now); wait > 0 {
			return wait
		}
		w.plan.Wake(heap.Pop(&w.retries).(retry).step)
	}
	return maxBackoff
}
