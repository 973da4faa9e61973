# One virtual environment, .venv, for everything: 'run' installs what the service needs, 'test' and 'lint' add the rest.
# The stamp files inside it make a second call do nothing until a lock file or pyproject.toml changes.

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
SERVICE := $(VENV)/.installed-service
DEV := $(VENV)/.installed-dev

PORT ?= 8000
export PORT

LOCK := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run test lint format install-dev lock clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(SERVICE) ## Install and start the service on the shipped bundle (PORT=8000)
	@exec $(BIN)/hal serve

# Three files at a time, since many tests wait; then, alone, what measures time or fills the machine (marked serial).
test: $(DEV) ## Install everything and run the tests (ARGS='-k batching -x')
ifdef ARGS
	$(BIN)/python -m pytest $(ARGS)
else
	$(BIN)/python -m pytest --durations=50 --numprocesses 3 --dist loadfile --no-loadscope-reorder -m 'not serial'
	$(BIN)/python -m pytest --durations=50 -m serial
endif

lint: $(DEV) ## Check style, types, import rules and Dockerfiles
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@if [ -x $(BIN)/hadolint ]; then echo "$(BIN)/hadolint docker/*Dockerfile"; $(BIN)/hadolint docker/*Dockerfile; \
	else echo "hadolint has no wheel for this machine: the Dockerfiles were not checked"; fi

format: $(DEV) ## Rewrite the code in the project's style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

install-dev: $(DEV) ## Install everything: service, training, tests and linters

# The development lock holds everything, so the others follow it and 'make test' counts as having installed the service.
lock: ## Pin all dependencies again in locks/ (needs uv; LOCK_ARGS=--upgrade moves them to their newest releases)
	@command -v uv >/dev/null || { echo "make lock needs uv: pip install uv" >&2; exit 1; }
	$(LOCK) --extra dev $(LOCK_ARGS) pyproject.toml --output-file locks/dev.txt
	$(LOCK) --extra service --constraint locks/dev.txt pyproject.toml --output-file locks/service.txt
	$(LOCK) --extra service-gpu --constraint locks/dev.txt pyproject.toml --output-file locks/service-gpu.txt
	$(LOCK) --extra training --constraint locks/dev.txt pyproject.toml --output-file locks/training.txt

clean: ## Remove the virtual environment and everything that the tools cached
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

# A candidate counts when it starts, is of a supported version and can make virtual environments.
NEWEST := 14
$(BIN)/python:
	@for python in $(PYTHON) python3.14 python3.13 python3.12 python3.11 python3; do \
	  if "$$python" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, $(NEWEST)))' 2>/dev/null; then \
	    echo "$$python -m venv $(VENV)"; "$$python" -m venv $(VENV); exit; \
	  fi; \
	done; \
	echo "HAL needs Python 3.11 to 3.$(NEWEST) with its venv module here, and none was found." >&2; \
	echo "'make run' works with Python 3.14 too; training needs TensorFlow, which has no release for it." >&2; \
	echo "Install one (Debian and Ubuntu: apt install python3 python3-venv) or name it: make PYTHON=/path/to/python3.13 ..." >&2; \
	exit 1

$(SERVICE): locks/service.txt pyproject.toml | $(BIN)/python
	$(PIP) install --quiet --require-hashes -r locks/service.txt
	$(PIP) install --quiet --no-deps --editable .
	@touch $@

# The development lock holds every release of the service's lock, so it satisfies both stamps.
$(DEV): NEWEST := 13
$(DEV): locks/dev.txt locks/service.txt pyproject.toml | $(BIN)/python
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info >= (3, $(NEWEST) + 1))' || { \
	  echo "TensorFlow has no release for the Python in $(VENV): it is made again with an older one."; \
	  mv $(VENV) $(VENV).newer; \
	  if $(MAKE) --no-print-directory NEWEST=$(NEWEST) $(BIN)/python; then rm -rf $(VENV).newer; \
	  else mv $(VENV).newer $(VENV); exit 1; fi; }
	$(PIP) install --quiet --require-hashes -r locks/dev.txt
	$(PIP) install --quiet --no-deps --editable .
	@touch $(SERVICE) $@
