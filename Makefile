# Everything that a person or the CI does here. `make` lists it. ARGS= is passed on: make test ARGS="-k lmdb -x"
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

BIN := .venv/bin
STAMP := .venv/.installed
ARGS ?=
N ?= 1000

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## */\1\t/' | awk -F'\t' '{printf "  make %-8s %s\n", $$1, $$2}'

.PHONY: setup
setup: $(STAMP) ## make .venv and install exactly what requirements.lock names (a second run is instant)

$(STAMP): requirements.lock pyproject.toml
	@.ci/setup
	@touch $@

.PHONY: demo
demo: setup ## every flight out of New York in 2013, over HTTP, learnt as it comes; then serves
	@$(BIN)/headwater demo $(ARGS)

.PHONY: test
test: setup ## run the tests
# Bytecode is kept whatever the environment says: many tests start processes. Files in their order, so that none that is long comes last.
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

.PHONY: bench
bench: setup ## run every hot path against its peers; ARGS='--only SLUG', '--json FILE', '--quick', '--list'
	@$(BIN)/python -m bench $(ARGS)

.PHONY: faults
faults: setup ## break a small app in every known way, N=1000 times; ARGS='--json FILE', '--seed S', '--only F7', '--no-known-bad'
	@$(BIN)/headwater faults --n $(N) $(ARGS)

.PHONY: check
check: setup ## format, lint, types, layers, documents
	@$(BIN)/ruff format --check --quiet . || { echo "Run: .venv/bin/ruff format ."; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/python .ci/documents.py

.PHONY: lock
lock: setup ## resolve requirements.lock again from pyproject.toml; ARGS=--upgrade for newer versions
	@[ -x $(BIN)/uv ] || $(BIN)/python -m pip install -qq uv
	@cp requirements.lock .venv/new.lock
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	    --all-extras --custom-compile-command "make lock" pyproject.toml -o .venv/new.lock $(ARGS) > /dev/null
	@if grep -nE '://|^-' .venv/new.lock; then echo "The new lock names a host or an option (above); nothing was changed."; exit 1; fi
	@cmp -s .venv/new.lock requirements.lock && echo "requirements.lock is up to date." || mv .venv/new.lock requirements.lock

.PHONY: clean
clean: ## remove .venv and all caches
	@rm -rf .venv dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
