# `make demo` shows it running, `make test` proves it. Works with GNU make 3.81 (macOS).
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
UV     := $(BIN)/uv pip
SECONDS_OF_DEMO ?= 30
# Said once, before minutes of silence on a slow network.
say_installing = echo "Installing $(1) into $(VENV); the first time takes a while ..."
MINUTES ?= 30
# Most tests wait. Servers that are given by URL are not shared between processes.
TEST_PROCESSES ?= $(if $(TEST_REDIS_URL)$(POSTGRES_URL)$(MYSQL_URL)$(MONGODB_URL),0,2)

.PHONY: help setup demo test lint types unit others faults containers chaos bench audit release-check ci-servers lock clean

help:
	@echo "make demo        run two replicas against embedded servers for $(SECONDS_OF_DEMO) seconds"
	@echo "make test        install what the tests need and run all of them, with the linters"
	@echo "make setup       only make $(VENV) with the program in it"
	@echo "make lint|types|unit   a part of make test"
	@echo "make faults      the short form of make chaos, as a test of three minutes"
	@echo "make chaos       break everything around real replicas for MINUTES=$(MINUTES) (CHAOS='--seed 7 --json FILE')"
	@echo "make containers  the stack of docker-compose.yml as a test, in the Docker that answers, or as root on Debian 12 in its own"
	@echo "make bench       measure each row of docs/performance.md (BENCH='throughput --rounds 5 --json FILE'; --list)"
	@echo "make audit       look the locked packages up in the list of known vulnerabilities"
	@echo "make release-check  build what a release holds, install it elsewhere, run it, and compare the versions"
	@echo "make lock        resolve requirements/*.txt anew"
	@echo "make clean       remove $(VENV) and caches"

setup: $(VENV)/.setup

$(VENV)/.uv: requirements/uv.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "Python 3.11 or newer is needed as '$(PYTHON)': apt install python3 python3-venv, or brew install python (then: make PYTHON=python3.13 ...)"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
	  { echo "Python's venv module is missing: apt install python3-venv, or brew install python"; exit 1; }
	@$(call say_installing,uv)
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@touch $@

$(VENV)/.setup: $(VENV)/.uv requirements/demo.txt pyproject.toml
	@$(call say_installing,what the program needs)
	@$(UV) install --quiet --python $(BIN)/python --require-hashes -r requirements/demo.txt
	@$(UV) install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.setup requirements/dev.txt
	@$(call say_installing,what the tests need)
	@$(UV) install --quiet --python $(BIN)/python --require-hashes -r requirements/dev.txt
	@touch $@

demo: setup
	@echo "Starting a Redis, a database, two replicas and a consumer ..."
	@$(BIN)/peekaping-producer demo --seconds $(SECONDS_OF_DEMO)

test: lint types unit

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(VENV)/.dev
	$(BIN)/mypy

unit: faults
	@$(MAKE) --no-print-directory others

others: $(VENV)/.dev
	$(BIN)/pytest -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder --ignore=tests/chaos/test_short.py \
	  --ignore=tests/containers --cov --cov-report=term

# Judged by the time that things take: not beside the other tests.
faults: $(VENV)/.dev
	$(BIN)/pytest tests/chaos/test_short.py

containers: $(VENV)/.dev
	tests/containers/with-engine.sh $(BIN)/pytest tests/containers

chaos: $(VENV)/.dev
	$(BIN)/python -m tests.chaos --minutes $(MINUTES) $(CHAOS)

bench: $(VENV)/.dev
	$(BIN)/python -m bench $(BENCH)

ci-servers:
	deploy/ci-servers.sh

# A venv of its own: what pip-audit needs must not decide what is locked for the tests.
$(VENV)/audit/.done: $(VENV)/.uv requirements/audit.txt
	@$(PYTHON) -m venv --without-pip $(VENV)/audit
	@$(UV) install --quiet --python $(VENV)/audit/bin/python --require-hashes -r requirements/audit.txt
	@touch $@

audit: $(VENV)/audit/.done
	@$(VENV)/audit/bin/python deploy/audit.py

release-check: $(VENV)/.dev
	@$(BIN)/python deploy/release_check.py

# uv writes hashes only; the address of the index it asked is never recorded.
LOCK := $(UV) compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header
lock: $(VENV)/.uv
	$(LOCK) requirements/uv.in -o requirements/uv.txt
	$(LOCK) requirements/audit.in -o requirements/audit.txt
	$(LOCK) pyproject.toml -c requirements/held-back.in -o requirements/base.txt
	$(LOCK) pyproject.toml --group build --extra embedded -c requirements/base.txt -o requirements/demo.txt
	$(LOCK) pyproject.toml --group build --extra embedded --group dev -c requirements/demo.txt -o requirements/dev.txt

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage dist build
