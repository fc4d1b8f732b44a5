package plan

import "closefs/fs/journal"

// window counts what each position still owes, from the acked one on.
type window struct {
	acked journal.Position
	owed  []uint16 // owed[i]: obligations open at acked+1+i
	open  int      // positions that owe something
}

// fed notes that the record at pos owes n things. Positions come in order.
func (w *window) fed(pos journal.Position, n int) {
	for next := w.acked + 1 + journal.Position(len(w.owed)); next < pos; next++ {
		w.owed = append(w.owed, 0)
	}
	w.owed = append(w.owed, uint16(n))
	if n > 0 {
		w.open++
	}
	w.advance()
}

// add notes one more obligation of pos, which still has some.
func (w *window) add(pos journal.Position) { w.owed[pos-w.acked-1]++ }

// settle notes that one obligation of pos is met.
func (w *window) settle(pos journal.Position) {
	i := pos - w.acked - 1
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
