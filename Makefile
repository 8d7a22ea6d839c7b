# `make demo` and `make test` need nothing but git, make and Python 3.11 or newer: the first target that needs an
# environment makes .venv. Choose another interpreter with `make test PYTHON=/path/to/python3.12`.

VENV ?= .venv
BIN := $(VENV)/bin
WORKERS ?= 2

# The first name that really runs (a version manager's shim may not), is new enough and can make an environment.
USABLE := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for name in python3.11 python3.12 python3.13 python3 python; do \
	$$name -c '$(USABLE)' >/dev/null 2>&1 && command -v $$name && break; done)

.PHONY: help demo test test-fast test-slow lint clean

help:
	@echo "make demo       synthesize panels, train, evaluate, predict: under 10 minutes on 2 cores; results in demo/"
	@echo "make test       all tests but the slow ones: under 12 minutes on 2 cores"
	@echo "make test-fast  those that start no commands of their own"
	@echo "make test-slow  the slow tests"
	@echo "make lint       ruff and pyright"
	@echo "make clean      remove the environment and the demo's results"

# One stamp a set of extras; newer requirements install again.
$(VENV)/installed-%: pyproject.toml
	@test -n "$(PYTHON)" || { echo "make: no Python 3.11 or newer with venv found; give PYTHON=/path/to/python3" >&2; exit 1; }
	test -x $(BIN)/pip || $(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[$*]'
	@touch $@

# What is already there is kept: a second `make demo` goes on where the first was stopped.
demo: $(VENV)/installed-test
	test -e demo/panels.zarr || $(BIN)/python launch/synthesize.py --generator=microseismic --config=quickstart \
		--num_examples=200 --output=demo/panels.zarr
	$(BIN)/python launch/train.py --config=configs/quickstart.py --workdir=demo/run
	$(BIN)/python launch/evaluate.py --workdir=demo/run --split=test
	test -e demo/prediction.zarr || $(BIN)/python launch/predict.py --workdir=demo/run --input=demo/panels.zarr \
		--region=example:180-199 --output=demo/prediction.zarr
	@echo "figures:" && ls demo/run/figures/*.png

test: $(VENV)/installed-test
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile -m "not slow"

test-fast: $(VENV)/installed-test
	$(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile -m "not slow and not end_to_end"

test-slow: $(VENV)/installed-test
	$(BIN)/python -m pytest -q -m slow

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

clean:
	rm -rf $(VENV) demo
