# Each command below does its own set-up, from a fresh clone that has only make and python3 (3.11 or newer).
# Everything is installed into .venv from hashed lock files, once, and again only when a lock file changes.

PYTHON ?= python3
VENV := .venv
CORE := .venv-core
MUTATION := .venv-mutation
ENGINES := .venv-engines
VLLM := .venv-vllm
BOOK := .venv-book
BIN := $(VENV)/bin
PACKAGES := scheduler theory proofs replay argprod
CHECKED := $(PACKAGES) tests $(wildcard benchmarks) docs/extension

MAKEFLAGS += --no-print-directory
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_NO_INPUT := 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test test-slow test-engines test-vllm book test-book check claims bench evaluation mutation lock clean setup

help:
	@echo "make demo       replay generated workloads under six rules, write a report"
	@echo "make test       the tests, without the slow ones; ARGPROD_TRACES=FOLDER adds those on public traces"
	@echo "make test-slow  the slow tests"
	@echo "make test-engines  the tests on real engines, in an environment of their own (1.7 GB)"
	@echo "make test-vllm  the tests on three vLLM servers on this machine's CPU, in an environment of their own (2.7 GB)"
	@echo "make book       build the book into docs/_build/html; make test-book looks at it in Chromium"
	@echo "make check      format, lint, types, layers, public names, derivations and proofs"
	@echo "make claims     the evidence of every claim: derivations, proofs, property tests"
	@echo "make bench      measured ratios against peers"
	@echo "make evaluation every rule, default and tuned, on every workload and load, simulated; takes long, goes on where it stopped"
	@echo "make mutation   how many small faults in scheduler/ the tests notice; takes long"
	@echo "make lock       solve the locked versions again (UPGRADE=1 takes the newest)"
	@echo "make clean      remove environments, caches and results"

demo: $(VENV)/.ready
	@$(BIN)/argprod demo

test: $(VENV)/.ready $(CORE)/.ready
	@ARGPROD_CORE_PYTHON="$(CURDIR)/$(CORE)/bin/python" $(BIN)/python -m pytest -n auto --dist worksteal $(PYTEST_ARGS)

# pytest answers 5 when it found no test: no slow test is not a failure.
test-slow: $(VENV)/.ready $(CORE)/.ready
	@ARGPROD_CORE_PYTHON="$(CURDIR)/$(CORE)/bin/python" $(BIN)/python -m pytest -n auto --dist worksteal -m slow $(PYTEST_ARGS) \
		|| { answer=$$?; [ $$answer -eq 5 ] || exit $$answer; }

# One thread a model: several of them share few cores. Nothing is downloaded while tests run.
test-engines: $(ENGINES)/.ready
	@OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(ENGINES)/bin/python -m pytest tests/engines $(PYTEST_ARGS)

# Three servers take about 6 GB of memory. Tests elsewhere use a server that only looks like one.
test-vllm: $(VLLM)/.ready
	@OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(VLLM)/bin/python -m pytest tests/engines/test_vllm.py -m slow $(PYTEST_ARGS)

# Warnings are errors. All pages are written; their cells are executed again only when they change (`make clean` forgets).
book: $(BOOK)/.ready
	@env -u MPLBACKEND PYTHONPATH="$(CURDIR)" $(BOOK)/bin/jupyter-book build docs --quiet --all -W -n --keep-going
	@echo "the book: docs/_build/html/index.html"

test-book: book
	@$(BOOK)/bin/python -m pytest tests/book -m book $(PYTEST_ARGS)

check: $(VENV)/.ready
	@echo "check: format" && $(BIN)/ruff format --check --quiet $(CHECKED) \
		|| { echo "the files are not formatted; run $(BIN)/ruff format $(CHECKED)"; exit 1; }
	@echo "check: lint" && $(BIN)/ruff check --quiet $(CHECKED)
	@echo "check: types" && $(BIN)/mypy --no-error-summary $(CHECKED)
	@echo "check: layers" && { answer=$$($(BIN)/lint-imports 2>&1) || { echo "$$answer"; exit 1; }; }
	@echo "check: public names" && $(BIN)/python -m argprod.public_names --check
	@echo "check: claims" && { answer=$$($(BIN)/argprod claims --check --no-tests 2>&1) || { echo "$$answer"; exit 1; }; }
	@echo "check: all fine"

claims: $(VENV)/.ready
	@$(BIN)/argprod claims --check

bench: $(VENV)/.ready
	@$(BIN)/python -m benchmarks $(BENCH_ARGS)

evaluation: $(VENV)/.ready
	@$(BIN)/python -m benchmarks.evaluation $(EVALUATION_ARGS)

mutation: $(MUTATION)/.ready
	@$(MUTATION)/bin/python -m benchmarks.mutation $(MUTATION_ARGS)

setup: $(VENV)/.ready

# Two stamps: new versions rebuild the environment, a changed pyproject.toml only links the project again.
$(VENV)/.ready $(MUTATION)/.ready $(ENGINES)/.ready $(VLLM)/.ready $(BOOK)/.ready: %/.ready: %/.locked pyproject.toml
	@$*/bin/python -m pip install -qq --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.locked: requirements/dev.lock
	@$(call need-python)
	@echo "setting up $(VENV) (once, about a minute)"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install -qq --require-hashes --requirement requirements/dev.lock
	@touch $@

# The core install alone: what a serving application has when it imports scheduler.
$(CORE)/.ready: requirements/core.lock | $(VENV)/.locked
	@echo "setting up $(CORE) (once, a few seconds)"
	@$(PYTHON) -m venv --clear --without-pip $(CORE)
	@$(BIN)/python -m pip --python $(CORE)/bin/python install -qq --require-hashes --requirement requirements/core.lock
	@touch $@

# What is in dev.lock, and mutmut.
$(MUTATION)/.locked: requirements/dev.lock requirements/mutation.lock
	@$(call need-python)
	@echo "setting up $(MUTATION) (once, about a minute)"
	@$(PYTHON) -m venv --clear $(MUTATION)
	@$(MUTATION)/bin/python -m pip install -qq --require-hashes --requirement requirements/dev.lock --requirement requirements/mutation.lock
	@touch $@

# The pins of engines have no hashes: which build of torch it is, each machine decides.
$(ENGINES)/.locked: requirements/dev.lock requirements/engines.txt
	@$(call need-python)
	@echo "setting up $(ENGINES) (once, a few minutes)"
	@$(PYTHON) -m venv --clear $(ENGINES)
	@$(ENGINES)/bin/python -m pip install -qq --require-hashes --requirement requirements/dev.lock
	@$(ENGINES)/bin/python -m pip install -qq --requirement requirements/engines.txt
	@touch $@

# Without the dependencies that vLLM names and CPUs do not need: triton alone is 1 GB.
$(VLLM)/.locked: requirements/dev.lock requirements/vllm.txt
	@$(call need-python)
	@echo "setting up $(VLLM) (once, a few minutes)"
	@$(PYTHON) -m venv --clear $(VLLM)
	@$(VLLM)/bin/python -m pip install -qq --require-hashes --requirement requirements/dev.lock
	@$(VLLM)/bin/python -m pip install -qq --no-deps --requirement requirements/vllm.txt
	@touch $@

# All of dev.lock (some of it older: the parser of the book does not read the newest Markdown), the tools of the book, and
# what drives a browser.
$(BOOK)/.locked: requirements/book.lock
	@$(call need-python)
	@echo "setting up $(BOOK) (once, about a minute)"
	@$(PYTHON) -m venv --clear $(BOOK)
	@$(BOOK)/bin/python -m pip install -qq --require-hashes --requirement requirements/book.lock
	@touch $@

define need-python
command -v $(PYTHON) >/dev/null \
	|| { echo "argprod needs Python 3.11 or newer, and $(PYTHON) was not found; name another with make PYTHON=..."; exit 1; }; \
$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	|| { echo "argprod needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) -V 2>&1); name another with make PYTHON=..."; exit 1; }; \
$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null \
	|| { echo "this $(PYTHON) cannot make virtual environments: install the package python3-venv (Debian, Ubuntu), then run make again"; exit 1; }
endef

# The solver of versions lives in a folder of its own for the time of one run.
lock:
	@$(call need-python)
	@echo "solving versions (about half a minute)"
	@tool=$$(mktemp -d) && trap 'rm -rf "$$tool"' EXIT && mkdir -p requirements \
	&& $(PYTHON) -m venv "$$tool/venv" && "$$tool/venv/bin/pip" install -qq uv \
	&& solve() { "$$tool/venv/bin/uv" --no-config pip compile --quiet pyproject.toml --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-header $(if $(UPGRADE),--upgrade) "$$@"; } \
	&& solve --output-file requirements/core.lock \
	&& solve --extra full --extra testing --extra second-opinion --extra dev --constraint requirements/core.lock --output-file requirements/dev.lock \
	&& solve --extra mutation --constraint requirements/dev.lock --output-file requirements/mutation.lock \
	&& { [ -f requirements/book.lock ] || cp requirements/dev.lock requirements/book.lock; } \
	&& solve --extra full --extra testing --extra second-opinion --extra dev --extra docs --extra browser \
		--constraint requirements/core.lock --output-file requirements/book.lock
	@echo "wrote core.lock, dev.lock, mutation.lock and book.lock in requirements/"

clean:
	@rm -rf $(VENV) $(CORE) $(MUTATION) $(ENGINES) $(VLLM) $(BOOK) .venv-aiconfigurator .venv-dynamo .venv-vidur *.egg-info build dist out docs/_build mutants
	@rm -rf .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache .coverage argprod-report*.html
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
