// Package dir is a secondary that is a local directory or one on a mounted
// network filesystem.
//
// Every path is resolved by openat2(2) below the descriptor that Dial opened,
// with RESOLVE_BENEATH and RESOLVE_NO_SYMLINKS, and every change is made
// relative to the parent's descriptor. A symlink, or a directory that is moved
// meanwhile, therefore cannot lead it elsewhere: there is no window.
//
// What is new is made under .closefs/tmp, synced, and renamed into place; then
// the directory that it was renamed into is synced, so that a step that was
// reported done survives a power cut at the target. A crash leaves at most an
// entry in .closefs/tmp, which the next Dial removes.
//
// An unmounted network filesystem looks like an empty directory. Dial refuses a
// root with nothing in it, not even .closefs, if this target was met before, and
// Heartbeat ends the connection when the path no longer leads to the directory
// that Dial opened.
package dir
