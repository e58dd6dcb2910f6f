# `make` alone lists the targets. Everything runs in .venv, which `make install` creates.
.DEFAULT_GOAL := help
SHELL := bash
.SHELLFLAGS := -euo pipefail -c

PYTHON ?=
TORCH ?=
TESTS ?=
PROCESSES ?= 2
export PYTHON TORCH TESTS PROCESSES

VENV := .venv
PY := $(VENV)/bin/python
EMBEDKIT := $(VENV)/bin/embedkit
READY := $(VENV)/.ready
# One thread per test process: two workers on two cores, and no test depends on the number of threads.
PYTEST := OMP_NUM_THREADS=1 $(PY) -m pytest

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: install
install: $(READY) ## Create .venv and install embedkit (PYTHON=..., TORCH=... to choose)

$(READY): pyproject.toml .ci/install .ci/common .ci/constraints.txt
	@bash .ci/install
	@touch $@

.PHONY: train
train: ## Train, evaluate and report recipes/quickstart.yaml on a CPU, without the Hub
	@bash .ci/train quickstart runs/quickstart

.PHONY: test
test: lint types ## Lint, types and the fast tests
	$(PYTEST) -n 2 --dist loadfile

.PHONY: test-slow
test-slow: $(READY) ## The tests that take minutes
	$(PYTEST) -n 2 --dist loadfile -m slow

.PHONY: torture
torture: $(READY) ## Kill train, mine, encode and eval 50 times at random moments: nothing may be lost
	$(PY) -m tests.torture

.PHONY: test-lowest
test-lowest: ## The fast tests with the lowest versions that pyproject.toml declares (TESTS=... for some)
	@bash .ci/test-ends lowest

.PHONY: test-latest
test-latest: ## The same with the newest versions it allows: what the world broke
	@bash .ci/test-ends latest

.PHONY: test-versions
test-versions: ## Tests of models, training, recipes: lowest and newest transformers, sentence-transformers
	@low=0; bash .ci/test-ends libraries-lowest || low=$$?; bash .ci/test-ends libraries-latest; exit $$low

.PHONY: lock
lock: ## Renew the tested versions in .ci/constraints.txt (TORCH=... for another torch)
	@bash .ci/lock

.PHONY: lint
lint: $(READY) ## ruff: errors and format
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

.PHONY: types
types: $(READY) ## mypy
	$(PY) -m mypy

.PHONY: conformance
conformance: $(READY) ## Compare with the golden values of the methods' authors
	$(PY) -m tests.conformance

.PHONY: recipes
recipes: $(READY) ## Check every shipped recipe (`make test-slow` also trains each for a few steps)
	@for recipe in $$(find recipes -name '*.yaml' | sort); do $(EMBEDKIT) check "$$recipe" || exit 1; echo; done

.PHONY: bench
bench: $(READY) ## The benchmarks against sentence-transformers; most of an hour (DECODER=folder of a causal model)
	@for name in train_step reranker large_batch encode methods store mine refresh; do echo "== $$name"; $(PY) benchmarks/$$name.py || exit 1; done
	@echo "== train_step --pooling cls"; $(PY) benchmarks/train_step.py --pooling cls
	@echo "== decoder"; $(PY) benchmarks/decoder.py $(if $(DECODER),--model "$(DECODER)")

.PHONY: compare
compare: $(READY) ## Methods on one base: make compare BASE=encoder TEXT=sentences.txt DATA=folder [ARGS=--help]
	@$(PY) -m benchmarks.compare $(if $(BASE),--base "$(BASE)") $(if $(TEXT),--text "$(TEXT)") $(if $(DATA),--data "$(DATA)") $(ARGS)

.PHONY: compare-objectives
compare-objectives: $(READY) ## Objectives on one base, by kind of data: BASE=encoder DATA=folder [ARGS=--help]
	@$(PY) -m benchmarks.objectives $(if $(BASE),--base "$(BASE)") $(if $(DATA),--data "$(DATA)") $(ARGS)

.PHONY: docs
docs: $(READY) ## Write docs/reference from the code
	$(PY) docs/generate.py

.PHONY: site
site: .venv-site/.ready ## Build the site of the documentation into build/site; a broken link is an error
	NO_MKDOCS_2_WARNING=1 .venv-site/bin/mkdocs build --config-file .ci/mkdocs.yml

.venv-site/.ready: .ci/site.txt
	$(or $(PYTHON),python3) -m venv .venv-site
	.venv-site/bin/python -m pip install --quiet --requirement $<
	@touch $@

.PHONY: clean
clean: ## Remove caches and builds; runs/ and .venv stay
	rm -rf build dist .pytest_cache .ruff_cache .mypy_cache
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +
