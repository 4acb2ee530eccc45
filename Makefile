# `make help` lists the targets. Works with GNU make 3.81 (macOS).
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
UV     := $(BIN)/uv pip
SECONDS_OF_DEMO ?= 30
# Installing may take minutes without output on a slow network.
say_installing = echo "Installing $(1) into $(VENV); the first time takes a while ..."
MINUTES ?= 30
SOAK_LINES ?= 1000000
# Most tests wait. Processes do not share servers that are given by URL.
TEST_PROCESSES ?= $(if $(TEST_REDIS_URL)$(POSTGRES_URL)$(MYSQL_URL)$(MONGODB_URL)$(TEST_RABBITMQ_URL),0,2)

.PHONY: help setup demo demo-queue test lint types unit others faults containers chaos soak bench audit release-check ci-servers lock pictures clean

help:
	@echo "Try it"
	@echo "  make demo           run two replicas on embedded servers for $(SECONDS_OF_DEMO) seconds"
	@echo "  make demo-queue     send a file and HTTP messages through an embedded queue for $(SECONDS_OF_DEMO) seconds"
	@echo "Develop"
	@echo "  make setup          install the producer into $(VENV)"
	@echo "  make lock           update requirements/*.txt"
	@echo "  make pictures       take the pictures of the README again (requires Chromium and pngquant)"
	@echo "  make clean          remove $(VENV) and caches"
	@echo "Test"
	@echo "  make test           run linters, type checks and all tests"
	@echo "  make lint|types|unit|faults   run only this part of the tests"
	@echo "  make chaos          inject faults around real replicas for MINUTES=$(MINUTES) (CHAOS='--seed 7 --json FILE')"
	@echo "  make soak           relay SOAK_LINES=$(SOAK_LINES) lines through RabbitMQ while relay, consumer and broker are killed"
	@echo "  make containers     test the image and docker-compose.yml in Docker (on Debian 12 as root: starts its own Docker Engine)"
	@echo "Measure"
	@echo "  make bench          measure the figures of docs/performance.md (BENCH='--list' lists them; BENCH='throughput --rounds 5')"
	@echo "Release"
	@echo "  make audit          check the locked packages for known vulnerabilities"
	@echo "  make release-check  build, install and run the wheel, and compare versions"
	@echo "CI"
	@echo "  make ci-servers     install the servers that the tests use"

setup: $(VENV)/.setup

$(VENV)/.uv: requirements/uv.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "'$(PYTHON)' must be Python 3.11 or newer: apt install python3 python3-venv, or brew install python (then: make PYTHON=python3.13 ...)"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
	  { echo "Python's venv module is missing: apt install python3-venv, or brew install python"; exit 1; }
	@$(call say_installing,uv)
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@touch $@

$(VENV)/.setup: $(VENV)/.uv requirements/demo.txt pyproject.toml
	@$(call say_installing,what the producer needs)
	@$(UV) install --quiet --python $(BIN)/python --require-hashes -r requirements/demo.txt
	@$(UV) install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@echo 'Installed $(BIN)/peekaping-producer. To run it by its name: export PATH="$$PWD/$(BIN):$$PATH"'
	@touch $@

$(VENV)/.dev: $(VENV)/.setup requirements/dev.txt
	@$(call say_installing,what the tests need)
	@$(UV) install --quiet --python $(BIN)/python --require-hashes -r requirements/dev.txt
	@touch $@

demo: setup
	@echo "Starting Redis, a database, two replicas and a consumer ..."
	@$(BIN)/peekaping-producer demo --seconds $(SECONDS_OF_DEMO)

demo-queue: setup
	@echo "Starting Redis, relay, serve and two consumers ..."
	@$(BIN)/peekaping-producer demo-queue --seconds $(SECONDS_OF_DEMO)

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

# Its results depend on timing: do not run other tests beside it.
faults: $(VENV)/.dev
	$(BIN)/pytest tests/chaos/test_short.py

containers: $(VENV)/.dev
	tests/containers/with-engine.sh $(BIN)/pytest tests/containers

soak: $(VENV)/.dev
	PIPELINE_LINES=$(SOAK_LINES) $(BIN)/pytest tests/e2e/test_pipeline.py -k many_lines --timeout 0

chaos: $(VENV)/.dev
	$(BIN)/python -m tests.chaos --minutes $(MINUTES) $(CHAOS)

pictures: $(VENV)/.dev
	$(BIN)/python -m tests.browser.pictures

bench: $(VENV)/.dev
	$(BIN)/python -m bench $(BENCH)

ci-servers:
	deploy/ci-servers.sh

# A venv of its own: the requirements of pip-audit must not constrain the locked packages.
$(VENV)/audit/.done: $(VENV)/.uv requirements/audit.txt
	@$(PYTHON) -m venv --without-pip $(VENV)/audit
	@$(UV) install --quiet --python $(VENV)/audit/bin/python --require-hashes -r requirements/audit.txt
	@touch $@

audit: $(VENV)/audit/.done
	@$(VENV)/audit/bin/python deploy/audit.py

release-check: $(VENV)/.dev
	@$(BIN)/python deploy/release_check.py

# uv writes hashes only, and not the address of the index.
LOCK := $(UV) compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header
lock: $(VENV)/.uv
	$(LOCK) requirements/uv.in -o requirements/uv.txt
	$(LOCK) requirements/audit.in -o requirements/audit.txt
	$(LOCK) requirements/compare.in -o requirements/compare.txt
	$(LOCK) pyproject.toml -c requirements/held-back.in -o requirements/base.txt
	$(LOCK) pyproject.toml --group build --extra embedded -c requirements/base.txt -o requirements/demo.txt
	$(LOCK) pyproject.toml --group build --extra embedded --group dev -c requirements/demo.txt -o requirements/dev.txt

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage dist build
