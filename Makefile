# One profile, --release, for everything: see the comment on it in Cargo.toml.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup install demo demo-train demo-kafka test bench bench-long fmt lint bless

# A recipe starts with the environment that all builds share.
ENV := . scripts/env.sh &&

help: ## print this
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

setup: ## install what the build needs and Cargo cannot bring
	@scripts/setup.sh

# What is built for the demo and the tests, so that nothing is compiled twice.
PREFIX ?= $(HOME)/.local
install: setup ## build lockstep and put it into ~/.local/bin, or PREFIX/bin
	@$(ENV) cargo build --release --workspace --bins --examples && install -D -m 755 "$$CARGO_TARGET_DIR/release/lockstep" "$(PREFIX)/bin/lockstep" && echo "$(PREFIX)/bin/lockstep"

demo: setup ## run the demo on the flights of 2013
	@$(ENV) scripts/demo.sh

demo-train: setup ## compare what a model is trained on with what it is served, by SQL and by Lockstep, which needs Python and PyPI
	@$(ENV) scripts/demo-train.sh

demo-kafka: setup ## run it through a Kafka broker, which needs Java and Maven
	@$(ENV) scripts/demo-kafka.sh

test: setup ## run every test
	@$(ENV) cargo test --release --workspace

bench: setup ## run the benchmarks, in minutes
	@$(ENV) cargo bench --workspace --bench ingest --bench backfill --bench lookup --bench train --bench kafka --bench push --bench snapshot --bench serve --bench score

bench-long: setup ## run the benchmarks with their long cases
	@$(ENV) LOCKSTEP_BENCH_LONG=1 cargo bench --workspace --bench ingest --bench backfill --bench lookup --bench train --bench kafka --bench push --bench snapshot --bench serve --bench score

fmt: ## format the code
	@$(ENV) cargo fmt --all

lint: setup ## check format, lints and, where cargo-deny is installed, dependencies
	@$(ENV) cargo fmt --all --check
	@$(ENV) cargo clippy --release --workspace --all-targets -- -D warnings
	@$(ENV) if command -v cargo-deny >/dev/null; then cargo deny check; fi

bless: setup ## rewrite the expected outputs of tests from what they now print; read the diff
	@$(ENV) LOCKSTEP_BLESS=1 cargo test --release --workspace
