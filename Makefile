# Every chore is one verb; each makes .venv first if need be.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Matrices here are small: one thread per process, further cores for further runs.
export OMP_NUM_THREADS := 1

.PHONY: demo test test-slow test-sc2 edge-proof check build clean help
help:            ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

$(STAMP): pyproject.toml constraints.txt CMakeLists.txt $(wildcard mast_edge/native/*.cpp mast_edge/native/*.hpp mast_edge/native/*.inc)
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --upgrade pip
	$(BIN)/python -m pip install -q -c constraints.txt torch
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[train,export,onnx,report,dev]'
	@touch $@

build: $(STAMP)  ## make .venv, compile and install

demo: build      ## train, export and evaluate sparse agents on 3m, beside dense ones (about 5 minutes)
	$(BIN)/python -m mast_edge.experiments.demo

test: build      ## the default test suite, on two cores
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-slow: build ## the longer tests
	$(BIN)/python -m pytest -m slow

test-sc2: build  ## unmodified SMAC over serve-sc2; MAST_EDGE_SMAC_PYTHON names the interpreter that has SMAC
	$(BIN)/python -m pytest -m sc2

edge-proof: build ## exported C on emulated small processors; AGENTS="FOLDER ..." for other agents than the committed
	$(BIN)/python benchmarks/edge_proof.py $(AGENTS)

check: build     ## ruff, mypy --strict, import-linter
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:           ## remove builds, keep runs
	rm -rf build $(VENV) .mypy_cache .ruff_cache .pytest_cache
