// Package plan decides what a secondary is still owed.
//
// Records go in, in the journal's order; steps come out that may run at once;
// the caller reports each as done or failed. The package does no I/O and knows
// no clock, so that a history can be tried out in microseconds.
//
// # The idea
//
// The plan is convergent, not a replay. Work on a name is "make the target's P
// equal to what the primary's P is when the step runs" (Sync), so any number of
// records about P is one step. Two things have an order that a secondary must
// respect, and these stay ordered operations: removing a name (Remove) and
// moving one (Rename).
//
// Pending Syncs live in a tree in the namespace of the newest record that was
// fed: that is where the primary has the files now. A Rename record moves the
// pending subtree along and makes it wait for the rename at the target:
//
//	content a/x          tree: a/x
//	rename  a → b        tree: b/x      ordered: Rename a → b
//
//	steps: Rename a → b, then Sync b/x
//
// Ordered operations, and steps that run now, are entered in a second tree (the
// fence) under the path they work on at the target:
//
//	a new Sync of P waits for   fences on P or above it, and for the Sync that
//	                            makes the directory P is in
//	a new Remove or Rename      the same, and for fences below its paths
//
// so a step never overtakes one that it depends on, and everything else runs
// at once.
//
// What the target never had needs neither Rename nor Remove: a Sync is fresh as
// long as its record created the name, no step for it ever started and nothing
// is in doubt. A fresh file that is removed costs nothing; a fresh file or
// directory that is renamed is made under its final name.
//
// A directory whose making is owed may be renamed while an ordered operation
// waits to move something into it. Then its Sync cannot move behind the rename
// (each would wait for the other); it is pinned: carried out under the old name
// at the target, with the attributes that the primary's directory has now under
// the new one.
//
// A directory's times change whenever something in it does, so they are set by a
// step of their own (Times), after the steps for its children.
//
// # Obligations
//
// Each record owes parts: its main part (an exchange on a target that has none:
// three), and the times of the directories it touched. A step carries the
// obligations of all records that it satisfies; Done returns them, and the caller
// logs them before it believes them. The plan's Acked position is the newest
// below which nothing is owed. After a restart the caller feeds the records
// from the acked position again with what was logged, and the plan owes exactly
// the rest. What ran when the caller died is owed again: its outcome is unknown,
// and no step that depends on it can have started, so the target is in the
// state before or after that one step: repeating it is safe. Nothing is taken
// for fresh in such a replay, and no step may be taken before all records up to
// the newest that was logged are fed: the names of what was logged are the names
// at that point.
//
// # Checks
//
// Reconciling is the same plan fed from another side: a Check step compares one
// directory (or one name) with the primary's, and reports what differs; that
// becomes Syncs, Removes and further Checks of low priority, unless a live change
// is pending for the name anyway. While checks are pending, renames add a check of
// their destination, because what they move may not have been compared yet.
package plan
