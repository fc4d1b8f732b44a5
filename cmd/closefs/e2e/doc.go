// Package e2e tests closefs as its users meet it: the built program, a real
// mount, real OpenSSH servers on the network namespaces of scripts/lab. It has
// tests only.
//
// Each test has a primary with a mount of its own and a directory of its own on
// a secondary (site_test.go), does something to the mount, waits with `closefs
// wait`, and ends by comparing both trees (tree_test.go).
//
// The sizes are those of continuous integration; CLOSEFS_CAMPAIGN=1 takes the
// long ones, and single ones are set by the variables that sizes_test.go names.
// The tests need root (namespaces and mounts) and are skipped without.
package e2e
