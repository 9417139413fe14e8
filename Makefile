# Everything a checkout needs, from one place. `make` alone lists the targets.
#
# A target sets up .venv once, and again only when pyproject.toml or constraints.txt changed.
# Only relative paths are used here, so a checkout may lie in a folder with spaces in its name.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help demo setup test check lint simulate model drills fuzz fuzz-atheris bench protocol clean

PYTHON ?=
VENV   ?= .venv
JOBS   ?= 2
SCHEDULES ?= 10000
SECONDS ?= 60
BUS    ?=

BIN  := $(VENV)/bin
DEMO := $(VENV)/.whole-demo
DEV  := $(VENV)/.whole-dev
PINS := pyproject.toml constraints.txt

# two processes with two threads each on two cores would wait for one another
TESTED = OMP_NUM_THREADS=1 $(BIN)/python

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile
	@echo "  PYTHON=...     which Python 3.11-3.13 makes $(VENV) (default: the first one found)"
	@echo "  JOBS=$(JOBS)         how many processes run the tests"

demo: $(DEMO)  ## a real job across a real git bus: needle in a haystack on a pretrained model
	@$(BIN)/kakeya_remote demo

setup: $(DEMO)  ## this machine as a runner: make setup BUS=git@git.example:lab/bus.git
	@$(BIN)/kakeya_remote setup $(if $(BUS),--bus "$(BUS)")

test: $(DEV)  ## every test
	@$(TESTED) -m pytest -n $(JOBS) --dist loadgroup

check: lint  ## lint, types, import contracts, workflow files, and the unit tests
	@$(TESTED) -m pytest -q -n $(JOBS) --dist loadgroup tests/unit

lint: $(DEV)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy --strict
	$(BIN)/lint-imports
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/zizmor --offline --quiet .github/workflows

simulate: $(DEV)  ## 10,000 random schedules of the protocol in memory, with the shipped runner
	@$(BIN)/python -m tests.simulation --schedules $(SCHEDULES) --jobs $(JOBS)

model: $(DEV)  ## every world of a small model of the protocol, and three planted bugs
	@$(BIN)/python -m tests.model

drills: $(DEV)  ## faults on real servers, the short form; python -m tests.drills has the rest
	@$(TESTED) -m tests.drills --brief --jobs 3

fuzz: $(DEV)  ## 10,000 hostile inputs and more for the parsers of wire data
	@$(TESTED) -m tests.fuzz

fuzz-atheris: $(DEV)  ## the same led by coverage, with atheris, for as long as SECONDS says
	@$(BIN)/python -m pip install --quiet --no-input --disable-pip-version-check atheris==3.0.0
	@$(TESTED) -m tests.fuzz.by_coverage --seconds $(SECONDS)

bench: $(DEV)  ## measure what the documentation states in numbers
	@$(BIN)/python -m benchmarks

protocol: $(DEV)  ## draw the state diagram of bridge/PROTOCOL.md from the table again
	@$(BIN)/python -m bridge.protocol

clean:  ## remove what the targets made, except results (.kakeya)
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis \
	  .import_linter_cache
	find . -name __pycache__ -not -path './.kakeya/*' -type d -prune -exec rm -rf {} +

# The set-up. A file `.partial` lies in the environment while it is being changed: an environment
# that was cut short is found by it and begun again, never taken for a whole one.
# `editable_mode=compat` is a plain path on sys.path: the other mode costs 18 ms at every start.

$(DEMO): $(PINS)
	$(call set_up,$(RUNS))

$(DEV): $(PINS)
	$(call set_up,dev)
	@touch $(DEMO)

comma := ,
# MLX runs on Apple's own processors alone
APPLE := $(filter Darwin-arm64,$(shell uname -s)-$(shell uname -m))
RUNS  := reports$(comma)workloads$(if $(APPLE),$(comma)mlx)

define set_up
@set -e; \
if [ -e $(VENV)/.partial ] || ! $(BIN)/python -c '' 2>/dev/null; then \
  $(choose_python); \
  rm -rf $(VENV); mkdir -p $(VENV); touch $(VENV)/.partial; \
  "$$python" -m venv $(VENV); \
fi; \
touch $(VENV)/.partial; \
echo "setting up $(VENV) with [$(1)]: torch and its libraries are some 5 GB, a minute or more" >&2; \
quiet=--quiet; if [ -t 1 ]; then quiet=; fi; \
PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt \
  $(BIN)/python -m pip install $$quiet --no-input --disable-pip-version-check \
  --constraint constraints.txt --config-settings editable_mode=compat --editable ".[$(1)]"; \
rm $(VENV)/.partial; \
touch $@
endef

define choose_python
if [ -n "$(PYTHON)" ]; then set -- "$(PYTHON)"; \
else set -- python3 python3.13 python3.12 python3.11; fi; \
python=; \
for name do \
  if "$$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' \
    >/dev/null 2>&1; then python=$$name; break; fi; \
done; \
if [ -z "$$python" ]; then \
  echo "no Python 3.11, 3.12 or 3.13 found (tried: $$*)" >&2; \
  echo "install one, or name it: make PYTHON=/path/to/python3.12 ..." >&2; \
  exit 1; \
fi
endef
