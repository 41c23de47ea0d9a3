# Everything sets itself up: Python 3.11, 3.12 or 3.13, make and a package index are enough.
#
#   PYTHON=python3.12   the interpreter to use           VENV=.venv-x   another environment
#   TESTS=tests/unit    which tests                      ARGS='-k name -x'   more for pytest
#   WORKERS=2           test processes at once           DJANGO='Django~=5.2.0'   pin Django
#   SEED=7              the faults of a chaos run          PORT=8080         where docs-serve listens

VENV ?= .venv
BIN = $(VENV)/bin
WORKERS ?= 2
ARGS ?=
TESTS ?=
DJANGO ?=
SEED ?=
PORT ?= 8000
MATRIX ?= 3.11 3.12 3.13

export PIP_DISABLE_PIP_VERSION_CHECK = 1

# True for an interpreter that the package supports. (On 3.14 ReArq's command line does not start.)
SUPPORTED = import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
# A name on PATH may be a shim that runs nothing, so each is asked.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	if "$$python" -c '$(SUPPORTED)' >/dev/null 2>&1; then command -v "$$python"; break; fi; done)

.DEFAULT_GOAL := help
.PHONY: help install test test-matrix test-django-cfg docs-test soak chaos chaos-long demo dev screenshots coverage build clean FORCE
.PHONY: bench bench-scale bench-space bench-peers docs docs-serve
.PHONY: lint lint-code lint-format lint-types lint-rooms lint-migrations

help:  ## show what there is
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# ---------------------------------------------------------------- the environment

# Made anew when the interpreter changes; what is in it follows pyproject.toml.
$(VENV)/python-version: FORCE
	@if [ -z "$(PYTHON)" ] || ! "$(PYTHON)" -c '$(SUPPORTED)' >/dev/null 2>&1; then \
		echo "This needs Python 3.11, 3.12 or 3.13 with venv, and '$(PYTHON)' is not that." >&2; \
		echo "Install one (Debian and Ubuntu: apt install python3 python3-venv; macOS: brew install python@3.13)" >&2; \
		echo "or name one that you have: make $(MAKECMDGOALS) PYTHON=/path/to/python3.12" >&2; \
		exit 1; \
	fi
	@version="$$("$(PYTHON)" -c 'import sys; print(sys.base_prefix, *sys.version_info[:3])')"; \
	if [ "$$version" != "$$(cat $@ 2>/dev/null)" ]; then \
		echo "making $(VENV) with $(PYTHON) ..."; \
		"$(PYTHON)" -m venv --clear $(VENV) && echo "$$version" > $@; \
	fi

$(VENV)/installed: $(VENV)/python-version pyproject.toml
	@echo "installing into $(VENV) (a minute or two at first) ..."
	@$(BIN)/python -m pip install -qq --editable '.[dev]' $(if $(DJANGO),'$(DJANGO)')
	@touch $@

install: $(VENV)/installed  ## make or refresh .venv

# ---------------------------------------------------------------- tests

test: $(VENV)/installed  ## run all tests (TESTS=folder ARGS='-k name')
	$(BIN)/python -m pytest -n $(WORKERS) $(ARGS) $(TESTS)

docs-test: $(VENV)/installed  ## run the code blocks of README and docs
	$(BIN)/python -m pytest $(ARGS) tests/docs

# A warning is an error: a link or an anchor that leads nowhere, a page that the index does not name. All pages are
# written anew, as each holds the navigation.
docs: $(VENV)/installed  ## build the site of README and docs in build/docs
	@$(BIN)/python -m sphinx --fail-on-warning --keep-going --nitpicky --quiet --fresh-env --write-all \
		-c docs/site -d build/doctrees . build/docs
	@echo "open build/docs/index.html, or make docs-serve"

docs-serve: docs  ## build it, and show it at http://127.0.0.1:8000 (PORT=8080)
	$(BIN)/python -m http.server --bind 127.0.0.1 --directory build/docs $(PORT)

# Django 5.2 on Python 3.11, the newest Django on the others. Each in its own environment.
test-matrix:  ## run the tests on each Python found: 3.11 with Django 5.2, 3.12 and 3.13 with the newest
	@missing=; failed=; \
	for version in $(MATRIX); do \
		python="$$($(MAKE) --no-print-directory --silent find-python-$$version)"; \
		if [ -z "$$python" ]; then missing="$$missing $$version"; continue; fi; \
		case $$version in 3.11) django='Django~=5.2.0';; *) django='Django>=6.0,<7';; esac; \
		echo "== Python $$version ($$python), $$django"; \
		$(MAKE) --no-print-directory test VENV=".venv-$$(echo $$version | tr -d .)" \
			PYTHON="$$python" DJANGO="$$django" || failed="$$failed $$version"; \
	done; \
	[ -z "$$missing" ] || echo "not run, no interpreter found on PATH or under ~/.pyenv: Python$$missing"; \
	[ -z "$$failed" ] || { echo "failed: Python$$failed"; exit 1; }

# Apart from the others, as some 200 packages are installed for it, into .venv-django-cfg, and Python 3.12 is needed.
test-django-cfg: $(VENV)/installed  ## run a project of the real django-cfg, and show what it says
	$(BIN)/python -m pytest -m django_cfg -rP $(ARGS) tests/acceptance/test_django_cfg.py

# Prints the path of Python 3.x, or nothing.
find-python-%:
	@for python in python$* $(HOME)/.pyenv/versions/$*.*/bin/python; do \
		if "$$python" -c 'import venv, ensurepip' >/dev/null 2>&1; then command -v "$$python"; break; fi; \
	done

soak: $(VENV)/installed  ## run the tests that take minutes: a million rows, a hundred thousand jobs
	$(BIN)/python -m pytest -m soak $(ARGS) tests/soak

chaos: $(VENV)/installed  ## a thousand jobs while processes and servers are killed, frozen and wiped (SEED=7)
	$(BIN)/python -m chaos --jobs 1000 $(if $(SEED),--seed $(SEED)) $(ARGS)

chaos-long: $(VENV)/installed  ## the same with 20,000 jobs, for 20 minutes
	$(BIN)/python -m chaos --jobs 20000 --minutes 20 $(if $(SEED),--seed $(SEED)) $(ARGS)

coverage: $(VENV)/installed  ## run all tests and show which branches they miss
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -n $(WORKERS) $(ARGS) $(TESTS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

# ---------------------------------------------------------------- figures

bench: $(VENV)/installed  ## measure the engine and the limit of its servers, write docs/explanation/performance.md
	$(BIN)/python -m benchmarks.engine $(ARGS)

bench-scale: $(VENV)/installed  ## the same with millions of rows, many queues and workers, six minutes
	$(BIN)/python -m benchmarks.scale $(ARGS)

bench-space: $(VENV)/installed  ## measure what jobs take of disk and memory, write docs/explanation/scaling.md
	$(BIN)/python -m benchmarks.space $(ARGS)

bench-peers: $(VENV)/installed  ## the same for other task queues, twenty minutes (ARGS='--only ours,dramatiq')
	$(BIN)/python -m benchmarks.peers $(ARGS)

# ---------------------------------------------------------------- gates

lint: lint-code lint-format lint-types lint-rooms lint-migrations  ## run all gates (make -k lint: don't stop at the first)

lint-code: $(VENV)/installed
	$(BIN)/ruff check .

lint-format: $(VENV)/installed
	$(BIN)/ruff format --check .

lint-types: $(VENV)/installed
	$(BIN)/mypy

lint-rooms: $(VENV)/installed
	$(BIN)/lint-imports

lint-migrations: $(VENV)/installed
	$(BIN)/python -m django makemigrations --check --dry-run --settings tests.settings

# ---------------------------------------------------------------- the example

demo: $(VENV)/installed  ## run the example shop through a few thousand jobs and show what happened
	$(BIN)/python example_project/demo.py

dev: $(VENV)/installed  ## the same, and leave it running for browsing
	$(BIN)/python example_project/demo.py --keep

screenshots: $(VENV)/installed  ## take the docs' pictures of the admin anew, in the example shop
	$(BIN)/python example_project/screenshots.py $(ARGS)

build: $(VENV)/installed  ## make the wheel and the source archive in dist/
	$(BIN)/python -m build

clean:  ## remove environments, caches and builds
	rm -rf .venv .venv-* build dist htmlcov .coverage .coverage.* *.egg-info
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
