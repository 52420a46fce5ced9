# Two commands matter: `make demo` and `make test`. Both install what they need in .venv.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check format bench

# The extras a user of everything needs; `gpu` brings an ONNX Runtime that runs on CPUs too.
.venv/installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version.split()[0])'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable '.[training,serving,compare,gpu]'
	touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/pip install --quiet --editable '.[training,serving,compare,gpu,dev]'
	touch $@

# 16 epochs on scikit-learn's digits, versions 8 and 16 served and compared.
demo: .venv/installed
	PATH="$(CURDIR)/$(BIN):$$PATH" ./demo.sh

test: check
	$(BIN)/pytest

# Format, lint, types, and who may import whom.
check: .venv/installed-dev
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# This project and its peers on the same work; writes docs/benchmarks.md.
bench: .venv/installed-dev
	$(BIN)/python -m benchmarks.training
