# Everything runs in .venv, which the first target that needs it makes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: demo test lint format bench fuzz kernels wheels clean

demo: $(VENV)/installed  ## enlarge a sample photo; pictures in demo/
	$(BIN)/atdsr demo --output demo --overwrite

# tests may share the machine with other work, and spinning threads would wait for each other
test: export OMP_WAIT_POLICY = PASSIVE
test: export OMP_NUM_THREADS = 1
test: lint  ## every check there is
	$(BIN)/python -m pytest -n auto --dist loadfile

lint: $(VENV)/installed-test
	$(BIN)/ruff format --check src tests benchmarks runs hatch_build.py
	$(BIN)/ruff check src tests benchmarks runs hatch_build.py
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

format: $(VENV)/installed-test  ## as lint wants it
	$(BIN)/ruff format src tests benchmarks runs hatch_build.py
	$(BIN)/ruff check --fix src tests benchmarks runs hatch_build.py

bench: export OMP_WAIT_POLICY = PASSIVE
bench: $(VENV)/installed-test  ## speed and memory; DAT=FILE SET=FOLDER BENCH_FULL=1, see docs/speed.md
	$(BIN)/python benchmarks/speed.py $(if $(DAT),--dat $(DAT))
	$(BIN)/python benchmarks/memory.py
	$(BIN)/python benchmarks/train_step.py $(SET)
	$(if $(BENCH_FULL),$(BIN)/python benchmarks/sizes.py --figure docs/figures/speed-sizes.svg)

SECONDS ?= 60
fuzz: $(VENV)/installed-test  ## the readers of untrusted files; SECONDS=600 for each, TARGET=name for one
	$(BIN)/python -c 'import atheris' 2>/dev/null || $(BIN)/pip install --quiet -c constraints.txt -e ".[test,fuzz]"
	$(BIN)/python benchmarks/fuzz.py --seconds $(SECONDS) $(if $(TARGET),--target $(TARGET))

kernels:  ## compile the C code in place, where it changed
	$(PYTHON) hatch_build.py

wheels: $(VENV)/installed-test  ## to hand out, for all machines; in dist/
	$(BIN)/pip install --quiet -c constraints.txt ziglang
	$(BIN)/python -m build --no-isolation --sdist
	for target in $$($(BIN)/python -c 'import hatch_build; print(*hatch_build.RELEASED)'); do \
		ATDSR_BUILD_TARGET=$$target $(BIN)/python -m build --no-isolation --wheel || exit 1; \
	done

clean:
	rm -rf $(VENV) demo dist

$(VENV)/installed: pyproject.toml constraints.txt hatch_build.py $(wildcard src/atdsr/network/kernels/cpu/*.[ch])
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "atdsr needs Python 3.11 or newer; name one: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet -c constraints.txt -e .
	touch $@

$(VENV)/installed-test: $(VENV)/installed
	$(BIN)/pip install --quiet -c constraints.txt -e ".[test]"
	$(BIN)/python -c 'import triton' 2>/dev/null || \
		$(BIN)/pip install --quiet -c constraints.txt -e ".[test,interpreter]"
	touch $@
