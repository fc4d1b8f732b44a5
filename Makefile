# Every target works from a clean clone: what it needs is installed by
# scripts/setup (as root, or through sudo).

SHELL       := /bin/bash
BIN         := bin/closefs
LINT        := .cache/bin/golangci-lint
VERSION     ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
PREFIX      ?= /usr/local
FUZZTIME    ?= 60s
CRASH_KILLS ?= 30
# The programs of sbin are not on an ordinary user's PATH everywhere.
export PATH := $(PATH):/usr/local/go/bin:/usr/sbin:/sbin
# The version control stamp needs a complete clone; VERSION says the same.
GOFLAGS     += -buildvcs=false
export GOFLAGS

.PHONY: help build test race lint fuzz crash campaign bench bench-fs demo install clean setup

help: ## what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-10s %s\n", $$1, $$2}' Makefile

build: ## bin/closefs
	go build -trimpath -ldflags "-X main.version=$(VERSION)" -o $(BIN) ./cmd/closefs

setup: ## install what building, testing and the demonstration need
	@scripts/setup

test: setup build ## unit, model and end-to-end tests, the short form (about 5 minutes on 2 cores)
	scripts/test

race: setup build ## the same under the race detector
	scripts/test -race

campaign: setup build ## the tests at their full sizes (about an hour)
	CLOSEFS_CAMPAIGN=1 scripts/test -timeout 3h

crash: setup build ## kill -9 of the daemon at random moments under load, CRASH_KILLS times
	CLOSEFS_KILLS=$(CRASH_KILLS) scripts/test -only 'TestKilled|TestCrash|TestRandomOperationsKilled' -timeout 2h ./fs/... ./replicate/... ./cmd/closefs/e2e

fuzz: ## each fuzz target for FUZZTIME
	scripts/fuzz $(FUZZTIME)

lint: $(LINT) ## gofmt, go vet and the linters of .golangci.yml
	$(LINT) run ./...
	$(LINT) fmt --diff

# Built once into .cache, at the version of tools.mod: about a minute on 2 cores.
$(LINT): tools.mod tools.sum
	go build -modfile=tools.mod -o $@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint

bench: build ## close-to-visible lag against bare SFTP and lsyncd; rewrites docs/performance.md
	@scripts/setup bench
	scripts/bench/run

bench-fs: setup ## benchmarks of the filesystem and the journal
	go test -run '^$$' -bench . -benchmem ./fs/...

demo: setup build ## mount a folder with a secondary inside the process, until Ctrl-C
	$(BIN) demo

install: build ## bin/closefs to PREFIX/bin (default /usr/local), and its name as a mount helper
	install -D -m 755 $(BIN) $(DESTDIR)$(PREFIX)/bin/closefs
	install -d $(DESTDIR)/sbin
	ln -sf $(PREFIX)/bin/closefs $(DESTDIR)/sbin/mount.closefs

clean: ## what was built
	rm -rf bin .cache
