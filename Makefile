# Two commands matter: `make demo` shows what this does, `make test` shows that it does it. Both set up what they
# need in .venv on a machine with nothing but Python 3.11 to 3.13 and make. No Docker needed.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

VENV := .venv
BIN := $(VENV)/bin
# The newest Python that is really there (a version manager's stub exists without one behind it), and of one that is
# built with optimisations before any other: they make it faster by half. Distributions build theirs so, and do not say.
SUPPORTED := import ensurepip, sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))
OPTIMISED := import sys, sysconfig; args = sysconfig.get_config_var("CONFIG_ARGS") or ""; \
	sys.exit(not ("--enable-optimizations" in args or sys.base_prefix == "/usr"))
PYTHON ?= $(shell for python in python3.13 python3.12 python3.11 python3 python /usr/bin/python3; do \
	"$$python" -c '$(SUPPORTED)' >/dev/null 2>&1 || continue; any=$${any:-$$python}; \
	"$$python" -c '$(OPTIMISED)' >/dev/null 2>&1 && echo "$$python" && exit; done; echo "$${any:-}")
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
COMPOSE ?= $(shell docker compose version >/dev/null 2>&1 && echo docker compose || echo build/docker-compose)
export KAFKA_IMAGE ?= apache/kafka:4.1.0
export PYTHON_IMAGE ?= python:3.12-slim
export BELUGA_IMAGE ?= beluga-stream:latest
# More words for pytest: make test ARGS='-k joins -x'
ARGS ?=

.PHONY: help
help: ## This list
	@printf '%s\n\n' 'make TARGET, the first two being the ones to start with:'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' Makefile
	@printf '\n%s\n' 'BELUGA_TEST_BROKER = host:port, docker, jars or embedded chooses the broker of make test.'

.PHONY: demo
demo: $(VENV)/.run ## Run the demo here: stories go in, what they are about streams out
	@$(BIN)/beluga demo

.PHONY: test
test: $(VENV)/.test ## Run the tests with the best broker there is: BELUGA_TEST_BROKER, Docker, embedded
	@$(BIN)/python -m pytest --numprocesses 4 $(ARGS)

.PHONY: setup
setup: $(VENV)/.test ## Only set up .venv, with everything to develop

.PHONY: check check-style check-types check-editor check-layers check-scripts
check: check-style check-types check-editor check-layers check-scripts ## Style, types and layers: ruff, mypy, pyright, import-linter, shellcheck
check-style: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
check-types: $(VENV)/.test
	$(BIN)/mypy
check-editor: $(VENV)/.test
	$(BIN)/pyright --pythonpath $(BIN)/python --warnings
check-layers: $(VENV)/.test
	$(BIN)/lint-imports
check-scripts:
	@if command -v shellcheck >/dev/null; then \
		shellcheck -x .ci/run .ci/*.sh deploy/*.sh deploy/*/*.sh; else echo 'shellcheck is not installed: skipped'; fi

.PHONY: format
format: $(VENV)/.test ## Let ruff format the code and mend what it can
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format --quiet .

.PHONY: bench
bench: $(VENV)/.test ## Measure throughput and latency on Apache Kafka (Docker, or its jars by Maven)
	@$(BIN)/python -m benchmarks $(ARGS)

.PHONY: chaos
chaos: $(VENV)/.test ## Harm processes and broker under load, and lose nothing: make chaos MINUTES=10 SEED=1
	@$(BIN)/python -m tests.chaos $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED)) $(ARGS)

.PHONY: simulate
simulate: $(VENV)/.test ## Let everything fail in a simulated engine, and compare: make simulate SEEDS=1000
	@rm -rf build/coverage && mkdir -p build/coverage
	@COVERAGE_PROCESS_START=pyproject.toml SEEDS=$(SEEDS) $(BIN)/python -m pytest -q -n auto tests/simulation $(ARGS)
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report $(if $(ARGS),,--fail-under=$$(( $(SEEDS) < 200 ? 0 : 95 )))
SEEDS ?= 200

.PHONY: kafka
kafka: $(VENV)/.test ## Run an Apache Kafka here, without Docker, until Ctrl-C (needs Java and Maven)
	@$(BIN)/python -m tests.brokers jars

.PHONY: docs
docs: $(VENV)/.docs ## Write the pages of docs/ that follow from the code, and those of the API into build/docs
	$(BIN)/python docs/generate.py
	$(BIN)/pdoc --output-directory build/docs beluga_stream
	@echo 'build/docs/index.html'

.PHONY: image
image: ## Build the image (and stand-ins for its base where it cannot be pulled)
	@deploy/images.sh beluga

.PHONY: compose-up
compose-up: $(if $(filter build/%,$(COMPOSE)),build/docker-compose) ## Kafka, coordinator, two workers and ingest in Docker
	@deploy/images.sh kafka beluga
	$(COMPOSE) up --detach --no-build --wait

.PHONY: observed
observed: $(VENV)/.test $(if $(filter build/%,$(COMPOSE)),build/docker-compose) ## Run in Docker: traces, panels and alerts of a run
	@deploy/images.sh kafka beluga temporal prometheus jaeger grafana
	@BELUGA_OBSERVED=1 BELUGA_COMPOSE_COMMAND='$(COMPOSE)' $(BIN)/python -m pytest tests/acceptance/test_observed_stack.py $(ARGS)

.PHONY: compose-down
compose-down: ## Stop them and keep their data
	$(COMPOSE) --profile '*' down --timeout 45

.PHONY: compose-clean
compose-clean: ## Stop them and delete their data
	$(COMPOSE) --profile '*' down --timeout 45 --volumes

.PHONY: constraints
constraints: ## Write constraints.txt anew: the newest packages that fit Python 3.11, so also the later ones
	rm -rf build/constraints
	$(PYTHON_311) -m venv build/constraints
	build/constraints/bin/python -m pip install --quiet hatchling editables
	build/constraints/bin/python -m pip install --quiet --no-build-isolation -e '.[test,docs]'
	{ sed '/^#/!d' constraints.txt; build/constraints/bin/python -m pip freeze --exclude-editable \
		--exclude pip --exclude setuptools | sort -f; } > build/constraints/new.txt
	mv build/constraints/new.txt constraints.txt
PYTHON_311 ?= python3.11

.PHONY: clean
clean: ## Remove .venv, build/ and caches
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# One virtual environment; each stamp says what is in it. They depend on what decides its content, so a second
# `make demo` starts at once.
$(VENV)/.created:
	@test -n '$(PYTHON)' || { echo 'Python 3.11, 3.12 or 3.13 is needed and none was found; name one: make PYTHON=...' >&2; exit 1; }
	@echo 'Setting up $(VENV) with $(shell $(PYTHON) --version 2>&1) of $(PYTHON): once, about a minute'
	@$(PYTHON) -m venv --clear $(VENV)
	@touch $@

# The build backend comes from constraints.txt too, hence no isolation.
$(VENV)/.run: $(VENV)/.created pyproject.toml constraints.txt
	@$(PIP_INSTALL) hatchling editables
	@$(PIP_INSTALL) --no-build-isolation -e '.[demo,http]'
	@touch $@

$(VENV)/.test: $(VENV)/.run
	@$(PIP_INSTALL) --no-build-isolation -e '.[test]'
	@touch $@

$(VENV)/.docs: $(VENV)/.test
	@$(PIP_INSTALL) --no-build-isolation -e '.[docs]'
	@touch $@

build/docker-compose:
	@deploy/compose/build.sh $@
