# Everything happens in a virtual environment beside this file; it is made when first needed.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
JOBS ?= auto

.PHONY: run test matrix matrix-quick soak bench record lint wheel clean

run: $(VENV)/.run ## an update of three devices, in front of the reader
	$(BIN)/hanbench run $(ARGS)

test: $(VENV)/.dev ## the tests, under 5 minutes
	$(BIN)/python -m pytest -n $(JOBS) -m "not matrix" $(ARGS)

matrix: $(VENV)/.dev ## sweeps and fuzz, at most 45 minutes
	HANBENCH_MATRIX=full $(BIN)/python -m pytest -n $(JOBS) -m matrix $(ARGS)

matrix-quick: $(VENV)/.dev ## a slice of every sweep
	HANBENCH_MATRIX=quick $(BIN)/python -m pytest -n $(JOBS) -m matrix $(ARGS)

soak: export HANBENCH_MATRIX := soak
soak: $(VENV)/.dev ## a million mutants for everything that reads, ten times the lossy airs, every power cut twice: a day
	@PYTHONPATH=tests:.:tests/matrix $(BIN)/python tests/matrix/test_mutation_fuzz.py
	@PYTHONPATH=tests:.:tests/devices $(BIN)/python tests/devices/test_power_cuts_in_operation.py
	$(BIN)/python -m pytest -n $(JOBS) -m matrix $(ARGS) tests/matrix/test_mutation_fuzz.py \
		tests/devices/test_stack_loss.py tests/devices/test_power_cuts_in_operation.py

bench: $(VENV)/.dev ## measured ratios, printed and judged
	$(BIN)/python -m bench $(ARGS)

record: $(VENV)/.dev ## what foreign hosts say to a stick, recorded anew
	$(BIN)/python tests/interop/record.py $(ARGS)

lint: $(VENV)/.dev ## style, types, import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

wheel: $(VENV)/.dev
	$(BIN)/pip wheel --quiet --no-deps --wheel-dir dist .

clean:
	rm -rf $(VENV) dist build

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.run: pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install -qq --disable-pip-version-check -e .
	touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install -qq --disable-pip-version-check -e '.[dev]'
	touch $@ $(VENV)/.run
