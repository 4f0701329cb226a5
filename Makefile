# make setup     .venv with the locked dependencies (once; skipped while it is up to date); setup-dev: the tools too
# make demo      everything on an embedded Kafka; ARGS="--duration 60" and the like go to the command
# make test      all that has to pass before a change lands: check, then the tests on a real Kafka
# make check     formatting, lint, types, unit tests and scenarios, laws with few examples: under a minute, no Kafka
# make test-all  test, and the tests that take minutes
# make faults    20 minutes of faults on three brokers under load, judged by the oracles; MINUTES=5 SEED=n, or
#                SABOTAGE=name for a consumer broken on purpose, which has to be noticed
# make bench     the measurements; one alone: BENCH=name, its options: ARGS=...
# make format    put the code into the format that check asks for
# make clean     remove .venv and what tools leave behind

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup setup-dev setup-prefect demo test check lint unit kafka test-all faults bench format clean

VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip install --quiet --disable-pip-version-check
# uv installs the same lock several times as fast; where it can't (a mirror that only pip is set up for), pip does.
INSTALL := ./.ci/install $(PY)
PACKAGES := schemas topology streams consumer actions api cli tests bench
CODE := $(foreach package,$(PACKAGES),$(if $(wildcard $(package)/*.py),$(package)))
# The unit tests and scenarios run on two processes, the tests on Kafka too: there is one broker for all.
WORKERS ?= 2
PYTEST := $(PY) -m pytest -n $(WORKERS)
# A real Prefect server, for the tests alone: what it needs goes with nothing else.
PREFECT := .venv-prefect

# Of each law's examples make check tries a third; make test tries all.
EXAMPLES ?= few
export EXAMPLES
# What was compiled is kept, also where the environment says not to: compiling anew is a third of a short run.
export PYTHONDONTWRITEBYTECODE :=

help:
	@sed -n 's/^# //p' Makefile

setup: $(VENV)/.installed
	@:

# What runs it, and no more: the demo starts without waiting for linters.
$(VENV)/.installed: requirements.lock pyproject.toml
	@python=$$(./.ci/find-python) && \
	  if ! $(PY) -c 'import sys; assert sys.version_info >= (3, 11)' 2>/dev/null; then \
	    echo "making $(VENV) with $$python"; rm -rf $(VENV); "$$python" -m venv $(VENV); \
	  fi
	@echo "installing the locked dependencies"
	@$(INSTALL) requirements.lock
	@$(PIP) --no-deps --no-build-isolation --config-settings editable_mode=compat -e .
	@touch $@

setup-dev: $(VENV)/.installed-dev
	@:

$(VENV)/.installed-dev: $(VENV)/.installed requirements-dev.lock
	@echo "installing the locked tools of development"
	@$(INSTALL) requirements-dev.lock
	@touch $@

setup-prefect: $(PREFECT)/.installed
	@:

# Without --no-deps the certifi that Prefect asks for, and that not every index has, stops it. Compiled here, the
# server starts in seconds also where Python may not keep what it compiles.
$(PREFECT)/.installed: requirements-prefect.lock
	@echo "installing the locked Prefect server of the tests"
	@rm -rf $(PREFECT); python=$$(./.ci/find-python) && "$$python" -m venv $(PREFECT)
	@UV_COMPILE_BYTECODE=1 ./.ci/install $(PREFECT)/bin/python requirements-prefect.lock --no-deps
	@touch $@

demo: setup
	@$(VENV)/bin/automations demo $(ARGS)

# Side by side: while tests wait, types are checked.
check: setup-dev
	@$(MAKE) --no-print-directory --jobs 2 --output-sync=target lint unit

lint: setup-dev
	$(VENV)/bin/ruff format --check $(CODE)
	$(VENV)/bin/ruff check $(CODE)
	$(VENV)/bin/mypy $(addprefix -p ,$(CODE))

unit: setup-dev
	$(PYTEST) -m "not slow" tests/unit tests/scenarios

kafka: setup-dev setup-prefect
	$(PYTEST) --dist loadfile -m "kafka and not slow" tests

test:
	@$(MAKE) --no-print-directory check EXAMPLES=all
	@$(MAKE) --no-print-directory kafka EXAMPLES=all

test-all: test
	EXAMPLES=all $(PYTEST) --dist loadfile -m slow tests

faults: setup-dev
	$(PY) -m tests.faults.campaign --minutes $(or $(MINUTES),20) $(SEED:%=--seed %) $(SABOTAGE:%=--sabotage %) $(ARGS)

bench: setup
	@for script in $(or $(BENCH:%=bench/%.py),$(sort $(wildcard bench/bench_*.py))); do \
	  echo "== $$script"; $(PY) $$script $(ARGS) || exit 1; \
	done

format: setup-dev
	$(VENV)/bin/ruff format $(CODE)
	$(VENV)/bin/ruff check --fix $(CODE)

clean:
	rm -rf $(VENV) $(PREFECT) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
