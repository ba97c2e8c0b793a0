# The front door. Every target is a line or two that also works when pasted; `make help` lists them.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:

# What is added to `ensemble serve`, as in `make run ARGS="--listen 127.0.0.1:9000"`, or to the benchmarks.
ARGS ?=
# How often the kill test kills the server, and how often it lets the disk fill up and syncs fail.
KILLS ?= 30
FAULTS ?= 5
# What the kill test and the hostile test build with; `quick` takes a while to build and runs several times faster.
PROFILE ?= dev

CARGO := cargo
# Where Cargo puts what it builds.
TARGET := $(abspath $(or $(CARGO_TARGET_DIR),target))
# What stands ready to run there after a build with PROFILE.
BUILT = $(TARGET)/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE))
# rustup puts Rust there, and not every shell looks there.
export PATH := $(PATH):$(HOME)/.cargo/bin
PAGE_SOURCES := $(shell find frontend/src frontend/public frontend/scripts frontend/index.html \
  frontend/package.json frontend/vite.config.ts frontend/tsconfig.json -type f 2>/dev/null)

.PHONY: help
help: ## Lists the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(firstword $(MAKEFILE_LIST)) | sed -E 's/^([a-z0-9-]+):.*## (.*)$$/\1\t\2/' \
	  | while IFS=$$'\t' read -r target text; do printf '  make %-24s %s\n' "$$target" "$$text"; done

##
## Using it
##

.PHONY: run
run: need-build frontend/dist/index.html ## Sets everything up and starts Ensemble on http://localhost:8080
	scripts/run.sh $(ARGS)

.PHONY: dev
dev: need-build packages ## The server, and the page with reload on http://localhost:5173
	scripts/dev.sh $(ARGS)

.PHONY: setup
setup: need-test packages ## Everything the other targets need, and a .env to fill in
	test -e .env || cp .env.example .env
	$(CARGO) fetch --locked

##
## Checking it
##

.PHONY: test
test: need-test ## Checks and tests everything: Rust, front end, stock clients, kills, browser
	node scripts/test.mjs

.PHONY: test-long
test-long: need-test ## The same with the large figures: 1000 kills, 10^6 hostile frames, 40 000 random patches
	node scripts/test.mjs --long

.PHONY: check
check: packages ## Format, lints, types, layers, rules without tests, generated files
	node scripts/check-layers.mjs
	node scripts/check-source.mjs
	node scripts/check-behavior.mjs
	node scripts/check-reliability.mjs
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	cd frontend && npm run check

.PHONY: test-rust
test-rust: ## All Rust tests
	scripts/test-rust.sh

.PHONY: test-crate
test-crate: ## The tests of one crate, in seconds: make test-crate CRATE=edit
	scripts/test-rust.sh $(or $(CRATE),$(error name the crate: make test-crate CRATE=edit))

.PHONY: test-page
test-page: packages ## The front end's own tests
	cd frontend && npm run test

.PHONY: test-stock
test-stock: packages binary ## Stock Hocuspocus and y-websocket clients against the real server
	cd frontend && npm run test:stock

.PHONY: test-honest
test-honest: packages binary ## Real Yjs clients that nobody may refuse: 20 000 updates, or make test-honest UPDATES=1000000
	cd frontend && $(if $(UPDATES),npm run test:honest-long -- $(UPDATES),npm run test:honest)

.PHONY: e2e
e2e: packages frontend/dist/index.html binary ## The journeys in a browser
	cd frontend && npm run test:e2e

.PHONY: kill-test
kill-test: ## Kills the server, fails its disk, counts what was lost: make kill-test KILLS=100 FAULTS=20
	$(CARGO) build --locked --profile $(PROFILE) -p ensemble-server -p ensemble-bench
	$(BUILT)/ensemble-bench kill --kills $(KILLS)
	$(BUILT)/ensemble-bench kill --kills $(FAULTS) --disk-full
	$(BUILT)/ensemble-bench kill --kills $(FAULTS) --fsync-fails

.PHONY: hostile-test
hostile-test: ## Sends hostile bytes while people type: make hostile-test SECONDS=30, or FRAMES=1000000
	$(CARGO) build --locked --profile $(PROFILE) -p ensemble-server -p ensemble-bench
	$(BUILT)/ensemble-bench hostile --seconds $(or $(SECONDS),30) $(if $(FRAMES),--frames $(FRAMES))

.PHONY: crowd-test
crowd-test: ## Five people type while turns write in the same long document, and nothing is lost
	$(CARGO) build --locked --profile $(PROFILE) -p ensemble-server -p ensemble-bench
	$(BUILT)/ensemble-bench crowd --seconds $(or $(SECONDS),2) --rounds 1

.PHONY: fuzz
fuzz: ## Fuzzes what reads strangers' bytes: make fuzz TARGET=update SECONDS=600; all without TARGET
	scripts/fuzz.sh $(or $(SECONDS),60) $(if $(findstring command,$(origin TARGET)),$(TARGET))

.PHONY: apply-patch-scenarios
apply-patch-scenarios: ## Runs a folder of patch scenarios: make apply-patch-scenarios DIR=...
	$(CARGO) run --locked -q -p ensemble-edit --example apply_patch_scenarios -- $(or $(DIR),$(error name the folder: make apply-patch-scenarios DIR=...))

# Patches for each count of context lines, as many as the promise says.
PATCHES ?= 10000
.PHONY: random-patches
random-patches: ## Random edits of real sources in every format; none may land in a wrong place: DIR=... names others
	$(CARGO) run --locked -q --profile quick -p ensemble-edit --example random_patches -- $(or $(DIR),backend) $(PATCHES)

.PHONY: bench-edit
bench-edit: ## What comparing and placing costs, beside the crate `similar` alone
	$(CARGO) bench --locked -q --profile quick -p ensemble-edit --bench diff

.PHONY: bench
bench: ## Benchmarks and latencies, with the release profile; one of them: make bench ARGS=fanout
	$(CARGO) build --locked --release -p ensemble-server -p ensemble-bench
	$(TARGET)/release/ensemble-bench $(or $(ARGS),all)
	$(if $(ARGS),,$(MAKE) --no-print-directory bench-store bench-admission)

.PHONY: bench-store
bench-store: ## What one commit for many updates is worth, at 1, 30 and 300 updates/s; a part of make bench
	$(CARGO) bench --locked -q -p ensemble-store --bench group_commit

.PHONY: bench-admission
bench-admission: ## What admitting one update costs, in documents of every size; a part of make bench
	$(CARGO) bench --locked -q -p ensemble-sync --bench admission

.PHONY: audit
audit: ## Licences and advisories; installs cargo-deny where it is missing, which takes minutes
	scripts/audit.sh

##
## Writing it
##

.PHONY: fmt
fmt: packages ## Formats both languages
	$(CARGO) fmt --all
	cd frontend && npm run format

.PHONY: gen
gen: ## Writes the generated files: TypeScript types of the wire, .env.example
	scripts/gen.sh

.PHONY: bless
bless: packages ## Accepts changed snapshots
	cd frontend && npx vitest run --project unit --update

.PHONY: docs
docs: ## The documentation of the crates, private items included
	$(CARGO) doc --workspace --no-deps --document-private-items --locked

.PHONY: clean
clean: ## Removes what was built; keeps the data
	$(CARGO) clean
	rm -rf frontend/dist frontend/node_modules frontend/test-results

##
## Parts of the above
##

.PHONY: need-build
need-build:
	@scripts/need.sh build

.PHONY: need-test
need-test:
	@scripts/need.sh test

.PHONY: packages
packages: frontend/node_modules/.package-lock.json

frontend/node_modules/.package-lock.json: frontend/package-lock.json
	cd frontend && npm ci --no-audit --no-fund
	@touch $@

.PHONY: page
page: frontend/dist/index.html ## Builds the page

frontend/dist/index.html: frontend/node_modules/.package-lock.json $(PAGE_SOURCES)
	cd frontend && npm run build
	@touch $@

# The program that stock clients and browsers are tested with; the Rust tests have built it already.
test-stock test-honest e2e: export ENSEMBLE_BIN := $(TARGET)/debug/ensemble
.PHONY: binary
binary:
	$(CARGO) build --locked -p ensemble-server
