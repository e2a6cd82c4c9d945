# make install | demo | test | lint | check (lint and test: exactly what CI runs) | format | zoo (big models, slow)
PYTHON ?= python3
WORKERS ?= 2
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
ZOO := $(VENV)/.zoo

.PHONY: install demo test lint check format zoo

install: $(STAMP)

# Build isolation would fetch the build tools unpinned, so they are installed from the constraints first.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt setuptools torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation -c constraints.txt -e '.[dev]'
	touch $@

demo: install
	$(BIN)/laconic demo

test: install
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadscope

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/deptry .
	$(BIN)/vulture

check: lint test

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Each model in processes of its own; torch is installed and pinned already, so that the libraries keep it.
zoo: $(ZOO)
	$(BIN)/python -m pytest -q -m zoo tests/zoo

$(ZOO): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation -c constraints.txt -e '.[zoo]'
	touch $@
