package plan

// queue holds ops that can run, oldest first. An op that was cancelled, moved
// to the other queue or made to wait meanwhile is passed over.
type queue struct {
	ops []*op
	low bool
}

func (q *queue) push(o *op) { q.ops = append(q.ops, o) }

// pop returns the oldest op that is still to be started, or nil.
func (q *queue) pop() *op {
	for len(q.ops) > 0 {
		o := q.ops[0]
		q.ops[0] = nil
		q.ops = q.ops[1:]
		if !o.queued || o.low != q.low {
			continue
		}
		o.queued = false
		if o.state == waiting && o.deps == 0 && o.parked == notParked {
			return o
		}
	}
	return nil
}
