package plan

import (
	"flag"
	"fmt"
	"os"
	"sort"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"closefs/fs/journal"
)

// job is a step that the model's worker carries out in two halves: it looks at
// the source first, and touches the target later.
type job struct {
	step   Step
	src    *inode
	value  int
	mode   uint32
	listed files // Check: the target as it was
}

// world is a primary, a target, and a worker that may die.
type world struct {
	*rapid.T
	prim    *primary
	target  files
	plan    *Plan
	fed     int
	doubt   bool                      // a restart lost what was done
	met     bool                      // a comparison of everything was finished, or none was needed
	done    map[journal.Position]Part // the log of obligations met
	jobs    []*job
	parked  []Step
	history []string
}

func (w *world) note(format string, a ...any) {
	w.history = append(w.history, fmt.Sprintf(format, a...))
}

func (w *world) newPlan(acked journal.Position) {
	w.plan = New(Options{Acked: acked, Replayed: journal.Position(len(w.prim.log))})
	w.fed = int(acked)
	w.jobs, w.parked = nil, nil
}

func (w *world) feed(n int) {
	for ; n > 0 && w.fed < len(w.prim.log); n-- {
		r := w.prim.log[w.fed]
		w.plan.Add(r, w.done[r.Pos])
		w.fed++
	}
	w.logSettled()
}

func (w *world) logSettled() {
	for _, o := range w.plan.TakeSettled() {
		w.done[o.Pos] = w.done[o.Pos].With(o.Part)
	}
}

func (w *world) extras() Extras {
	if w.met {
		return RemoveExtras
	}
	return KeepExtras
}

// restart kills the worker: steps under way may have reached the target or not.
func (w *world) restart(lost bool) {
	for _, j := range w.jobs {
		if rapid.Bool().Draw(w.T, "reached") {
			w.apply(j)
		}
	}
	acked := w.plan.Acked()
	w.logSettled()
	wasReconciling := w.plan.Reconciling()
	w.met = w.met || !wasReconciling
	lost = lost && w.met
	w.note("restart acked %d of %d lost=%v", acked, len(w.prim.log), lost)
	w.doubt = w.doubt || lost
	if lost {
		w.newPlan(journal.Position(len(w.prim.log)))
		w.plan.AddCheck("", RemoveExtras, true)
		return
	}
	w.doubt = w.doubt || wasReconciling
	w.newPlan(acked)
	for newest := range w.done {
		w.feed(int(newest) - w.fed)
	}
	if wasReconciling {
		w.plan.AddCheck("", w.extras(), true)
	}
}

// begin takes a step and looks at its source.
func (w *world) begin(low bool) bool {
	s, ok := w.plan.Next(low)
	if !ok {
		return false
	}
	w.note("begin %v %q -> %q id %d data %v links %q first %v", s.Kind, s.Path, s.To, s.ID, s.Data, s.Links, s.LinkFirst)
	j := &job{step: s}
	switch s.Kind {
	case Sync, Times:
		if s.Gone {
			break
		}
		n := w.prim.files[s.Source]
		if n == nil || s.Kind == Times && !n.isDir() || s.ID != 0 && n.id != s.ID {
			w.retry(s)
			w.logSettled()
			return true
		}
		if n.writers > 0 && n.content != n.closed || n.creat {
			if s.Kind == Sync && n.mode&unix.S_IFMT == unix.S_IFREG && (s.Data || w.target[s.Path] == nil) {
				w.note("writing")
				w.plan.Fail(s, Writing)
				return true
			}
		}
		j.src, j.value, j.mode = n, n.content, n.mode
	case Check:
		j.listed = files{}
		for p, n := range w.target {
			c := *n
			j.listed[p] = &c
		}
	}
	w.jobs = append(w.jobs, j)
	return true
}

func (w *world) retry(s Step) {
	if s.Attempt > 3 && w.fed == len(w.prim.log) && (s.Kind == Sync || s.Kind == Times) {
		w.plan.Fail(s, Recheck)
		return
	}
	w.plan.Fail(s, Later)
	w.parked = append(w.parked, s)
}

// finish carries out the second half of a job.
func (w *world) finish(j *job, fate int) {
	for i, k := range w.jobs {
		if k == j {
			w.jobs = append(w.jobs[:i], w.jobs[i+1:]...)
			break
		}
	}
	s := j.step
	if fate == 1 { // failed before it reached the target
		w.note("fail %v %q", s.Kind, s.Path)
		w.retry(s)
		w.logSettled()
		return
	}
	if s.Kind == Sync && s.Data && j.src != nil && j.src.content != j.value {
		w.plan.Fail(s, Writing)
		return
	}
	if (s.Kind == Sync || s.Kind == Times) && (s.Low || s.ID == 0) && !s.Gone {
		w.feed(len(w.prim.log))
		if !w.plan.Current(s) {
			w.retry(s)
			w.logSettled()
			return
		}
	}
	out := w.apply(j)
	w.note("apply %v %q -> %q: %v %v", s.Kind, s.Path, s.To, out, fate)
	switch {
	case out != 0:
		if out == Later {
			w.retry(s)
		} else {
			w.doubt = w.doubt || out == NoSource
			w.plan.Fail(s, out)
		}
	case fate == 2: // it was done, but nobody heard of it
		w.retry(s)
	case s.Kind == Check:
		w.feed(len(w.prim.log)) // as the worker does, so that what it found is not older than the plan
		if !w.plan.Current(s) {
			w.retry(s)
			break
		}
		found := w.compare(j)
		w.note("found %+v", found)
		w.plan.Checked(s, found)
	default:
		w.plan.Done(s)
	}
	w.logSettled()
}

// apply does to the target what a worker would.
func (w *world) apply(j *job) Outcome {
	s, t := j.step, w.target
	switch s.Kind {
	case Sync:
		return w.sync(j)
	case Times:
		if n := t[s.Path]; n != nil && n.isDir() {
			n.mode = j.mode
		}
	case Remove:
		if s.Guard && w.prim.files[s.Path] != nil {
			return Pointless
		}
		t.drop(s.Path)
	case Rename:
		if t[s.Path] == nil {
			if s.Attempt > 0 && t[s.To] != nil {
				return 0
			}
			return NoSource
		}
		w.makeParents(s.To)
		t.drop(s.To)
		t.move(s.Path, s.To)
	}
	return 0
}

// makeParents makes the directories above path at the target. Unless the target
// was ever in doubt, none may be missing: a step would have overtaken another.
func (w *world) makeParents(path string) {
	dir := parentOf(path)
	if w.target.dirAt(dir) {
		return
	}
	if !w.doubt {
		w.fail("%q is missing at the target for %q", dir, path)
	}
	w.makeParents(dir)
	w.target.drop(dir)
	w.target.set(dir, &inode{mode: unix.S_IFDIR | 0o755, names: map[string]bool{}})
}

func (w *world) sync(j *job) Outcome {
	s, t := j.step, w.target
	w.makeParents(s.Path)
	old := t[s.Path]
	if s.Gone || j.src.isDir() {
		if old != nil && !old.isDir() {
			t.drop(s.Path)
			old = nil
		}
		if old == nil {
			t.set(s.Path, &inode{names: map[string]bool{}})
		}
		t[s.Path].mode = j.mode | unix.S_IFDIR
		return 0
	}
	if !s.Data {
		if old == nil || old.mode&unix.S_IFMT != j.mode&unix.S_IFMT {
			return Recheck
		}
		old.mode = j.mode
		return 0
	}
	if s.LinkFirst {
		known := 0
		for _, l := range s.Links {
			if w.prim.files[l] == j.src {
				known++
			}
		}
		for _, l := range s.From {
			if n := t[l]; n != nil && !n.isDir() && w.prim.files[l] == j.src {
				if old != nil && old != n {
					t.drop(s.Path)
				}
				t.set(s.Path, n)
				n.mode = j.mode
				return 0
			}
		}
		if len(j.src.names) > 1+known {
			return Later
		}
	}
	if !w.prim.closed[j.value] {
		w.Fatalf("content %d of %q is shipped but was never closed", j.value, s.Path)
	}
	t.drop(s.Path)
	n := &inode{content: j.value, mode: j.mode, names: map[string]bool{}}
	t.set(s.Path, n)
	for _, l := range s.Links {
		if w.prim.files[l] != j.src {
			return Later
		}
		w.makeParents(l)
		t.drop(l)
		t.set(l, n)
	}
	return 0
}

// compare is what a Check finds: the target as it was listed against the primary now.
func (w *world) compare(j *job) []Found {
	s := j.step
	base := s.Source
	here, there := w.prim.files[base], j.listed[base]
	if here == nil {
		if there != nil && base != "" && w.met {
			return []Found{{Extra: true}}
		}
		return nil
	}
	var out []Found
	add := func(name, path string, deep bool) {
		a, b := w.prim.files[path], j.listed[path]
		f := Found{Name: name, ID: a.id, Mode: a.mode, Deep: deep && a.isDir()}
		switch {
		case b == nil || b.mode&unix.S_IFMT != a.mode&unix.S_IFMT:
			f.Attr, f.Data, f.Makes = true, !a.isDir(), a.isDir()
		case !a.isDir() && a.content != b.content:
			f.Data = true
		case a.mode != b.mode:
			f.Attr = true
		}
		if names := a.sorted(); !a.isDir() && len(names) > 1 {
			f.Linked = names[0] != path
			for _, l := range names {
				if l != path {
					f.Links = append(f.Links, l)
				}
			}
		}
		if f.Data || f.Attr || f.Deep || f.Linked {
			out = append(out, f)
		}
	}
	if base != "" {
		add("", base, false)
	}
	if !s.Deep || !here.isDir() {
		return out
	}
	for _, p := range w.prim.children(base) {
		_, name := split(p)
		add(name, p, true)
	}
	for _, p := range j.listed.children(base) {
		if !w.met {
			break
		}
		if _, name := split(p); w.prim.files[p] == nil && name != ".closefs" {
			out = append(out, Found{Name: name, Extra: true})
		}
	}
	return out
}

var names = []string{"a", "b", "c"}

func (w *world) path() string {
	p := rapid.SampledFrom(names).Draw(w.T, "p1")
	for range rapid.IntRange(0, 2).Draw(w.T, "depth") {
		p += "/" + rapid.SampledFrom(names).Draw(w.T, "p")
	}
	return p
}

// existing draws a path that exists, most of the time.
func (w *world) existing() string {
	var all []string
	for p := range w.prim.files {
		if p != "" {
			all = append(all, p)
		}
	}
	if len(all) == 0 {
		return "a"
	}
	sort.Strings(all)
	return rapid.SampledFrom(all).Draw(w.T, "existing")
}

func (w *world) change() {
	p := w.prim
	before := len(p.log)
	switch rapid.IntRange(0, 15).Draw(w.T, "change") {
	case 0, 1, 2:
		if n := p.openFile(w.path()); n != nil {
			p.write(n)
			p.close(n)
		}
	case 3:
		if n := p.openFile(w.existing()); n != nil {
			p.write(n)
		}
	case 4:
		if len(p.open) > 0 {
			p.close(p.open[rapid.IntRange(0, len(p.open)-1).Draw(w.T, "open")])
		}
	case 5, 6:
		p.mk(w.path(), unix.S_IFDIR|0o755)
	case 7:
		p.mk(w.path(), unix.S_IFLNK|0o777)
	case 8, 9:
		p.rm(w.existing())
	case 10, 11, 12:
		p.rename(w.existing(), w.path())
	case 13:
		p.exchange(w.existing(), w.existing())
	case 14:
		p.chmod(w.existing(), uint32(0o600+rapid.IntRange(0, 7).Draw(w.T, "mode")))
	case 15:
		p.hardlink(w.existing(), w.path())
	}
	for _, r := range p.log[before:] {
		w.note("record %d kind %d %q -> %q id %d %q", r.Pos, r.Kind, r.Path, r.To, r.ID, r.Links)
	}
}

func (w *world) work() {
	switch k := rapid.IntRange(0, 20).Draw(w.T, "work"); {
	case k < 5:
		w.feed(rapid.IntRange(1, 4).Draw(w.T, "feed"))
	case k < 11:
		w.begin(rapid.IntRange(0, 3).Draw(w.T, "low") == 0)
	case k < 18:
		if len(w.jobs) > 0 {
			j := w.jobs[rapid.IntRange(0, len(w.jobs)-1).Draw(w.T, "job")]
			w.finish(j, rapid.SampledFrom([]int{0, 0, 0, 0, 1, 2}).Draw(w.T, "fate"))
		}
	case k < 20:
		w.wakeAll()
	default:
		w.restart(rapid.IntRange(0, 3).Draw(w.T, "lost") == 0)
	}
}

func (w *world) wakeAll() {
	for _, s := range w.parked {
		w.plan.Wake(s)
	}
	w.parked = nil
}

// settleDown lets everything come to its end and demands that it does.
func (w *world) settleDown() {
	for len(w.prim.open) > 0 {
		w.prim.close(w.prim.open[0])
		r := w.prim.log[len(w.prim.log)-1]
		w.note("record %d kind %d %q -> %q id %d %q", r.Pos, r.Kind, r.Path, r.To, r.ID, r.Links)
	}
	for range 10_000 {
		w.feed(1 << 30)
		w.wakeAll()
		for w.begin(false) || w.begin(true) {
		}
		if len(w.jobs) == 0 && len(w.parked) == 0 {
			break
		}
		for _, j := range append([]*job(nil), w.jobs...) {
			w.finish(j, 0)
		}
	}
	if w.plan.Acked() != journal.Position(len(w.prim.log)) || w.plan.Pending() != 0 || w.plan.Reconciling() {
		w.fail("stuck: acked %d of %d, %d pending, %d of checks", w.plan.Acked(), len(w.prim.log), w.plan.Pending(), w.plan.born)
	}
	if len(w.plan.root.children) != 0 || w.plan.fences.below != 0 || w.plan.bytes != 0 {
		w.fail("left over: %d nodes, %d fences, %d bytes", len(w.plan.root.children), w.plan.fences.below, w.plan.bytes)
	}
	w.target.drop(".closefs")
	if a, b := w.prim.describe(), w.target.describe(); a != b {
		w.fail("primary\n%starget\n%s", a, b)
	}
}

func (w *world) fail(format string, a ...any) {
	for _, h := range w.history {
		w.Log(h)
	}
	for _, l := range w.plan.dump() {
		w.Log(l)
	}
	w.Fatalf(format, a...)
}

func history(t *rapid.T) {
	root := &inode{mode: unix.S_IFDIR | 0o755, names: map[string]bool{"": true}}
	w := &world{T: t, prim: newPrimary(), target: files{"": root}, done: map[journal.Position]Part{}}
	w.target.set(".closefs", &inode{mode: unix.S_IFDIR | 0o700, names: map[string]bool{}})
	w.newPlan(0)
	if w.met = rapid.Bool().Draw(t, "met"); !w.met {
		w.doubt = true
		w.plan.AddCheck("", KeepExtras, true)
	}
	for range rapid.IntRange(1, 60).Draw(t, "length") {
		if rapid.Bool().Draw(t, "change or work") {
			w.change()
		} else {
			w.work()
		}
	}
	w.settleDown()
}

// TestConvergence tries random histories: CLOSEFS_HISTORIES of them, by default
// 200,000 (5,000,000 in a campaign). A history that fails is shrunk, and rapid
// says how to run it again.
func TestConvergence(t *testing.T) {
	n := os.Getenv("CLOSEFS_HISTORIES")
	switch {
	case n != "":
	case os.Getenv("CLOSEFS_CAMPAIGN") != "":
		n = "5000000"
	case testing.Short():
		n = "20000"
	default:
		n = "200000"
	}
	if err := flag.Set("rapid.checks", n); err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, history)
}
