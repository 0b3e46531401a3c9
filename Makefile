# Everything runs in .venv, which the first target that needs it makes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: demo test lint format clean

demo: $(VENV)/installed  ## enlarge a sample photo; pictures in demo/
	$(BIN)/atdsr demo --output demo

# tests may share the machine with other work, and spinning threads would wait for each other
test: export OMP_WAIT_POLICY = PASSIVE
test: export OMP_NUM_THREADS = 1
test: lint  ## every check there is
	$(BIN)/python -m pytest -n auto --dist loadfile

lint: $(VENV)/installed-test
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

format: $(VENV)/installed-test  ## as lint wants it
	$(BIN)/ruff format src tests benchmarks
	$(BIN)/ruff check --fix src tests benchmarks

clean:
	rm -rf $(VENV) demo dist

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "atdsr needs Python 3.11 or newer; name one: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -c constraints.txt -e .
	touch $@

$(VENV)/installed-test: $(VENV)/installed
	$(BIN)/pip install --quiet -c constraints.txt -e ".[test]"
	touch $@
