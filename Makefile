# Two commands do everything: `make demo` and `make test`. Both install or name what is missing, and work when run twice.

SHELL := /bin/bash
.DEFAULT_GOAL := help

# What the truth corpus counted, for the end of `make test`.
FIGURES := target/tmp/truth.txt target/tmp/truth-real.txt

# Tests at a time. Most of them wait for a server, a cluster or a time to pass, and leave the cores to others.
TEST_THREADS ?= 6

.PHONY: help
help: ## Show the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
# So that the operator says which build it is; without a repository, the version alone.
demo: export LOCKSTEP_COMMIT := $(shell git rev-parse --short HEAD 2>/dev/null)
demo: tools ## Tell the first stories on a real local cluster, and leave it running
	cargo run --quiet --release --package lockstep-demo

.PHONY: demo-down
demo-down: tools ## End what `make demo` left running
	cargo run --quiet --release --package lockstep-demo -- down

.PHONY: test
test: test-tools format lint ## Everything that CI runs: formatting, lints, all tests
	cargo run --quiet --package lockstep-cluster -- build --profile control-plane
	cargo run --quiet --package lockstep-cluster -- build --profile node
	cargo run --quiet --package lockstep-cluster -- helm
	@rm -f $(FIGURES)
	INSTA_UPDATE=no RUST_TEST_THREADS=$(TEST_THREADS) cargo test --workspace --no-fail-fast; result=$$?; cat $(FIGURES); exit $$result

.PHONY: bench
bench: tools ## Measure what users wait for, as JSON on standard output
	@cargo run --quiet --package lockstep-cluster -- build --profile control-plane >&2
	@cargo bench --quiet --package lockstep --bench latency

.PHONY: format
format: tools
	cargo fmt --all --check

.PHONY: lint
lint: tools
	cargo clippy --workspace --all-targets -- --deny warnings

.PHONY: crds
crds: tools ## Write crds/ and docs/api.md anew from the types
	cargo run --quiet -- crd > crds/lockstep.dev_coordinatedworkloads.yaml
	UPDATE=1 cargo test --quiet --package lockstep --test docs api::

.PHONY: manifests
manifests: crds ## Write what is made of types and chart: crds/, docs/api.md, manifests/install.yaml, the chart's README
# One after the other: what one of them writes is rendered by the next.
	UPDATE=1 cargo test --quiet --package lockstep --test chart derived -- --test-threads=1

.PHONY: tools
tools:
	@tests/tools.sh

.PHONY: test-tools
test-tools:
	@tests/tools.sh test
