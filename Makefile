# Alluvia's commands. `make` alone says what there is.

# One target folder for every checkout and for CI, outside the repository.
export CARGO_TARGET_DIR ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/alluvia/target

RIG := tests/rig
MINUTES ?= 10
RECORDS ?= 100000
SEED ?= $(shell date +%s)

.DEFAULT_GOAL := help
.PHONY: help demo test test-cluster check fmt audit dist broker services bench bench-peers bench-merge bench-state bench-sql bench-topics soak fuzz-admission oracle-json oracle-streaming

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## the quickstart: an embedded broker, generated events, a local Delta table
	@echo "make demo: a first build takes some 15 minutes on two cores, later ones seconds"
	cargo run -- demo

test: services ## all tests, against a real broker and real readers (ALLUVIA_SKIP_SERVICES=1 skips those)
	cargo test

test-cluster: services ## the chart and the install page on a real Kubernetes API server (built once, minutes; root, Debian 12)
ifneq ($(ALLUVIA_SKIP_SERVICES),1)
	@$(RIG)/chart prepare apiserver
endif
	cargo test --test it cluster:: -- --ignored --nocapture

check: ## what needs no service: format, clippy, unit tests
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings
	cargo test --lib

fmt: ## format the code
	cargo fmt

audit: ## licences, advisories, duplicate versions of the crates that must be one (needs cargo-deny)
	@command -v cargo-deny >/dev/null || { echo "make audit: cargo-deny is missing; install it: cargo install --locked cargo-deny" >&2; exit 1; }
	cargo deny check

dist: ## a release: archive with completions and manual pages, checksums, SBOM, licences (BINARY=path takes one at hand, INTO=folder)
ifndef BINARY
	@echo "make dist: an optimised build takes half an hour and more on two cores"
	cargo build --locked --profile dist --bin alluvia
endif
	@packaging/dist --binary $(or $(BINARY),$(CARGO_TARGET_DIR)/dist/alluvia) --into $(or $(INTO),$(CARGO_TARGET_DIR)/dist/release)

services: ## fetch Kafka, the readers and Azurite into the cache (the tests do it too; quick when they are there)
ifneq ($(ALLUVIA_SKIP_SERVICES),1)
	@$(RIG)/kafka prepare
	@$(RIG)/readers prepare
	@$(RIG)/azurite prepare
	@$(RIG)/chart prepare
endif

broker: ## a real Kafka broker by hand: prints its addresses and how to stop it
	@$(RIG)/kafka start

bench: services ## workload W1: Alluvia and the raw limit, and the latency of small batches (ARGS="--rounds 5", ARGS=--tls)
	$(RIG)/readers python benches/e2e/run.py $(ARGS)

bench-peers: services ## the same with a hand-written Python loop and Spark 4.0
	$(RIG)/readers python benches/e2e/run.py --peers --only throughput $(ARGS)

bench-merge: services ## workload W2: merges by key into large tables, beside delta-rs (ARGS="--peers --keys 1000000,10000000,100000000")
	$(RIG)/readers python benches/e2e/merge.py $(ARGS)

bench-state: services ## workload W3: windows, watermarks and deduplication (ARGS="--peers": beside Spark 4.0)
	$(RIG)/readers python benches/e2e/state.py $(ARGS)

bench-sql: services ## workload W4: a query over W1, 3 of 100 columns, a static join, 100,000 batches in a row
	$(RIG)/readers python benches/e2e/sql.py $(ARGS)

bench-topics: services ## a stream over 1,000 topics: CPU while nothing comes, time of a look, of a scrape (ARGS="--topics 1000")
	$(RIG)/readers python benches/e2e/topics.py $(ARGS)

soak: services ## random kills, stops, broker crashes and storage faults, optimised as a release is (MINUTES=10 SEED=…)
	$(call one_test,soak,--release --features failpoints)

fuzz-admission: ## random records into random tables: each is a row or a dead letter, and readers agree (RECORDS=100000 SEED=…)
	ALLUVIA_FUZZ_RECORDS=$(RECORDS) ALLUVIA_SEED=$(SEED) cargo test --test it fuzz_admission -- --nocapture

oracle-json: ## the JSON conformance cases; closes with `N passed, N failed` (ALLUVIA_ORACLE=folder for other cases)
	$(call one_test,oracle_json,)

oracle-streaming: ## Spark's answers to streaming SQL; closes with `N passed, N failed` (ALLUVIA_ORACLE=folder, THEME=stateless,…)
	$(call one_test,oracle_streaming,)

# One test of tests/it by name, with its output; an unknown name is an error, as cargo would run nothing and call it well.
define one_test
	@cargo test --quiet $(2) --test it -- --list 2>/dev/null | grep -q '$(1).*: test$$' || { echo "make: tests/it has no test named $(1)" >&2; exit 1; }
	ALLUVIA_SOAK_MINUTES=$(MINUTES) ALLUVIA_SOAK_SEED=$(SEED) cargo test $(2) --test it $(1) -- --include-ignored --nocapture
endef
