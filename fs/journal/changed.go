package journal

import (
	"slices"
	"sync"
	"sync/atomic"
)

// subscribers are poked after each append. The append path only loads a
// pointer; the list behind it is replaced, never changed.
type subscribers struct {
	mu   sync.Mutex // taken to replace the list
	list atomic.Pointer[[]chan struct{}]
}

func (s *subscribers) add() (<-chan struct{}, func()) {
	c := make(chan struct{}, 1)
	s.change(func(l []chan struct{}) []chan struct{} { return append(l, c) })
	return c, func() {
		s.change(func(l []chan struct{}) []chan struct{} {
			return slices.DeleteFunc(l, func(o chan struct{}) bool { return o == c })
		})
	}
}

func (s *subscribers) change(fn func([]chan struct{}) []chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var l []chan struct{}
	if old := s.list.Load(); old != nil {
		l = slices.Clone(*old)
	}
	l = fn(l)
	s.list.Store(&l)
}

func (s *subscribers) poke() {
	l := s.list.Load()
	if l == nil {
		return
	}
	for _, c := range *l {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}
