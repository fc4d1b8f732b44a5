package plan

import "fmt"

// dump lists what is pending, for a history that ends stuck.
func (p *Plan) dump() (out []string) {
	show := func(o *op) {
		if o != nil {
			out = append(out, fmt.Sprintf("%v %q->%q fix %v state %d deps %d parked %d queued %v low %v born %v linkFirst %v waiters %d/%d",
				o.kind, o.path, o.to, o.fix, o.state, o.deps, o.parked, o.queued, o.low, o.born, o.linkFirst, len(o.waiters), len(o.runWaiters)))
		}
	}
	p.root.walk(func(n *node) {
		out = append(out, fmt.Sprintf("node %q", n.path()))
		show(n.sync)
		show(n.run)
		show(n.times)
		show(n.check)
		for _, l := range n.linked {
			out = append(out, "linked:")
			show(l)
		}
	})
	out = append(out, "fences:")
	p.fences.under(show)
	for _, o := range p.fences.ops {
		show(o)
	}
	return out
}
