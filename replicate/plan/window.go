package plan

import (
	"math/bits"

	"closefs/fs/journal"
)

// window counts what each position still owes, from the acked one on.
type window struct {
	acked journal.Position
	owed  []uint16 // owed[i]: obligations open at acked+1+i
	open  int      // positions that owe something
	main  int      // obligations but those of directory times
}

// fed notes that the record at pos owes n things. Positions come in order.
func (w *window) fed(pos journal.Position, todo Part) {
	n := bits.OnesCount8(uint8(todo))
	w.main += bits.OnesCount8(uint8(todo &^ anyTimes))
	for next := w.acked + 1 + journal.Position(len(w.owed)); next < pos; next++ {
		w.owed = append(w.owed, 0)
	}
	w.owed = append(w.owed, uint16(n))
	if n > 0 {
		w.open++
	}
	w.advance()
}

// add notes one more obligation of pos, which still has some: a comparison.
func (w *window) add(pos journal.Position) {
	w.owed[pos-w.acked-1]++
	w.main++
}

// settle notes that an obligation is met.
func (w *window) settle(o Obligation) {
	if o.Part&anyTimes == 0 {
		w.main--
	}
	i := o.Pos - w.acked - 1
	w.owed[i]--
	if w.owed[i] == 0 {
		w.open--
		w.advance()
	}
}

func (w *window) advance() {
	n := 0
	for n < len(w.owed) && w.owed[n] == 0 {
		n++
	}
	w.acked += journal.Position(n)
	w.owed = w.owed[n:]
}
