# The commands of this project. `make demo` and `make test` are all that a fresh machine needs.
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help setup demo ui test lint format lock clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## Make .venv with the locked packages (uv if there is one, else pip)

# Run again only when the requirements change.
$(STAMP): pyproject.toml requirements.lock
	@set -eu; \
	if command -v uv >/dev/null 2>&1; then \
	  [ -x $(BIN)/python ] || uv venv --python '>=3.11,<3.14' $(VENV); \
	  VIRTUAL_ENV='$(CURDIR)/$(VENV)' uv pip install -c requirements.lock -e '.[demo,test]'; \
	else \
	  if [ ! -x $(BIN)/python ]; then \
	    for python in python3.12 python3.13 python3.11 python3 python none; do \
	      $$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
	        >/dev/null 2>&1 && break; \
	    done; \
	    if [ $$python = none ]; then \
	      echo 'No Python 3.11, 3.12 or 3.13 was found: install one, or uv.' >&2; exit 1; \
	    fi; \
	    echo "Making $(VENV) with $$($$python --version)"; \
	    $$python -m venv $(VENV); \
	  fi; \
	  $(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip >/dev/null; \
	  echo 'Installing the locked packages; this takes some minutes the first time'; \
	  $(BIN)/python -m pip install --quiet -c requirements.lock -e '.[demo,test]'; \
	fi; \
	touch $@

demo: setup ## Run the whole pipeline on a real rat and six simulated mice
	@$(BIN)/glmhmm demo

ui: setup ## Open the Dagster and MLflow pages
	@$(BIN)/glmhmm ui

test: setup ## Run the whole test suite
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

lint: setup ## Check style, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup ## Put the code into the project's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: ## Write requirements.lock anew (needs uv)
	uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 \
	  --fork-strategy fewest --no-emit-index-url -o requirements.lock

clean: ## Remove what tools cached (not data, not results)
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
