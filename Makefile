# `make run` takes mail on 127.0.0.1:8025 and keeps it in ./var/Maildir; `make test` runs the suite.
# Python 3.11 or newer with venv is all that is needed (another one: make PYTHON=python3.13 run). Everything is
# installed into .venv; nothing outside this folder is touched.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet install

# What `make run` adds to the command line: make run ARGS="--listen tcp:2525 --domain example.org"
ARGS ?=
CERTIFICATE := var/development.pem
# What `make test` runs, and in how many processes: make test TESTS=tests.wire JOBS=1
TESTS ?= tests
JOBS ?= 2

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install run certificate test coverage lint format types layers docs changelog bench soak counts wheel check clean

help: ## this list
	@sed -nE 's/^([a-z]+):.*## (.*)/  make \1 @\2/p' $(MAKEFILE_LIST) | awk -F@ '{printf "%-18s %s\n", $$1, $$2}'

# --- the environment: made once, made again when pyproject.toml changes ----------------------------------------------

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is not installed; twistsmtp needs Python 3.11 or newer"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("twistsmtp needs Python 3.11 or newer; $(PYTHON) is " + sys.version.split()[0] + ". Name another with: make PYTHON=python3.13 ...")'
	@echo "making $(VENV)"
	@$(PYTHON) -m venv --clear $(VENV) || { echo "$(PYTHON) cannot make a virtual environment: is its venv module installed (Debian: python3-venv)?"; rm -rf $(VENV); exit 1; }

# An installation that was cut short leaves packages by halves, which pip then takes for whole: start afresh.
define install
	@if [ -e $(VENV)/unfinished ]; then echo "the last installation was cut short: starting afresh"; $(PYTHON) -m venv --clear $(VENV); fi
	@touch $(VENV)/unfinished
	@$(PIP) --editable $(1)
	@rm $(VENV)/unfinished
endef

$(VENV)/installed: pyproject.toml | $(BIN)/python
	@echo "installing twistsmtp"
	$(call install,.)
	@touch $@

$(VENV)/installed-dev: pyproject.toml | $(BIN)/python
	@echo "installing twistsmtp and its development tools"
	$(call install,'.[dev]')
	@touch $(VENV)/installed $@

install: $(VENV)/installed-dev ## make .venv with the package (editable) and all the tools

# --- use -------------------------------------------------------------------------------------------------------------

# A development certificate is for this machine alone: not if it is said where to listen, and not beside another one.
TRY_TLS := $(if $(strip $(foreach option,--listen --tls-cert --config,$(findstring $(option),$(ARGS)))),,yes)

run: $(VENV)/installed $(if $(TRY_TLS),certificate) ## take mail on 127.0.0.1:8025 for localhost and this machine, into ./var/Maildir
	@exec $(BIN)/twistd --nodaemon --pidfile= smtp --delivery maildir:var/Maildir:create=yes $(if $(TRY_TLS),--tls-cert $(CERTIFICATE)) $(ARGS)

certificate: $(VENV)/installed ## make a certificate to try TLS with, for this machine alone: var/development.pem
	@mkdir -p var
	@$(BIN)/python -m twistsmtp.tls.development $(CERTIFICATE) >/dev/null

# --- the checks ------------------------------------------------------------------------------------------------------

test: $(VENV)/installed-dev ## run the suite (a part of it: make test TESTS=tests.wire)
	@$(BIN)/python -m twisted.trial -j$(JOBS) $(TESTS)

coverage: $(VENV)/installed-dev ## run the suite and hold its coverage against the floor in pyproject.toml
	@rm -f .coverage .coverage.*
	@$(BIN)/python -m coverage run -m twisted.trial -j$(JOBS) tests
	@$(BIN)/python -m coverage combine --quiet
	@$(BIN)/python -m coverage report

lint: $(VENV)/installed-dev ## style, formatting, length of modules, changelog fragments
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@find twistsmtp -name '*.py' -exec awk 'END { if (FNR > 400) { print FILENAME ": " FNR " lines; a module over 400 is two"; exit 1 } }' {} ';' | { ! grep .; }
	@$(BIN)/towncrier build --draft --version next >/dev/null

format: $(VENV)/installed-dev ## mend what ruff can mend
	@$(BIN)/ruff check --fix
	@$(BIN)/ruff format

types: $(VENV)/installed-dev ## mypy --strict, on all of it and as a user's application sees it
	@$(BIN)/mypy
	@$(BIN)/mypy --strict --config-file= --follow-imports=silent --cache-dir=.mypy_cache/user tests/typing_app/application.py

layers: $(VENV)/installed-dev ## a module imports only from the floors below its own
	@$(BIN)/lint-imports --no-logo

docs: $(VENV)/installed-dev ## build docs/_build/html; a warning is an error
	@$(BIN)/sphinx-build -q -W --keep-going -j auto -b html docs docs/_build/html

check: lint types layers docs coverage ## all of the above, as CI does

# --- and the rest ----------------------------------------------------------------------------------------------------

changelog: $(VENV)/installed-dev ## show how the next release's changes would read
	@$(BIN)/towncrier build --draft --version next

bench: $(VENV)/installed-dev ## measure this server beside others; without ARGS, all that docs/performance.rst shows
	@$(BIN)/python benchmarks/bench.py $(or $(ARGS),--figures docs/figures)

soak: $(VENV)/installed-dev ## send a million messages, and see whether it grows
	@$(BIN)/python benchmarks/soak.py $(or $(ARGS),--json docs/figures/soak.json)

counts: $(VENV)/installed-dev ## count what a message takes (where: make counts ARGS="--functions kept")
	@$(BIN)/python benchmarks/counts.py $(ARGS)

wheel: $(VENV)/installed-dev ## build dist/*.whl and the source archive
	@$(BIN)/python -m build

clean: ## remove all that make made, but not the mail in ./var
	@rm -rf $(VENV) build dist docs/_build .coverage .coverage.* htmlcov .hypothesis .import_linter_cache .mypy_cache .ruff_cache
	@rm -rf _trial_temp* twisted/plugins/dropin.cache benchmarks/.cache
	@find twistsmtp twisted tests docs benchmarks examples -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
