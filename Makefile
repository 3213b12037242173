# `make demo` and `make test` work from a fresh clone; everything they install goes into .venv and the user's cache.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help demo tune-demo nightly-demo test mlflow-test fuzz bench accuracy planning-evidence tuning-evidence served-evidence gpu-check check format pictures schema clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 11

demo: $(VENV)/.for-demo ## measure a real model behind a real Triton, and say where the page is
	$(BIN)/harness run scenarios/demo.yaml

tune-demo: $(VENV)/.for-demo ## search 32 configurations of that model for the best one, in five minutes
	$(BIN)/harness tune scenarios/tune-demo.yaml

nightly-demo: $(VENV)/.for-demo ## three nights of that model: a baseline, the same build, one that is 10% slower
	$(BIN)/python -m tests.evidence.nightly_demo results/nightly-demo

test: $(VENV)/.for-test ## the whole test suite
	$(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder --durations=15 -m "not alone"; beside=$$?; \
	  [ $$beside -gt 1 ] && exit $$beside; $(BIN)/python -m pytest -m alone && exit $$beside

mlflow-test: $(VENV)/.for-test ## `harness mlflow` against a real MLflow server, which takes 0.9 GB of the cache
	$(BIN)/python -c "from tests.publish import mlflow_venv; mlflow_venv.make()"
	HARNESS_TEST_MLFLOW=1 $(BIN)/python -m pytest tests/publish/test_mlflow.py

fuzz: $(VENV)/.for-test ## each parser of what others send on what nobody should send, a minute each
	HARNESS_FUZZ_S=$${HARNESS_FUZZ_S:-60} HARNESS_FUZZ_SEED=$${HARNESS_FUZZ_SEED:-$$(date +%s)} \
	  $(BIN)/python -m pytest tests/fuzz -n 2

bench: $(VENV)/.for-test ## speed: start time, time to load, client CPU beside perf_analyzer's
	$(BIN)/python -m pytest tests/bench --benchmark-only --benchmark-disable-gc -s -o addopts=

accuracy: $(VENV)/.for-test ## measure harness itself (two hours) into docs/accuracy.md
	$(BIN)/harness calibrate --write docs/accuracy.md

planning-evidence: $(VENV)/.for-test ## measure how far the predictions of harness plan are off here (an hour) into docs/planning.md
	$(BIN)/python -m tests.evidence.planning --results results/planning-evidence --write docs/planning.md

tuning-evidence: $(VENV)/.for-test ## measure how far the searches of harness tune end from the best (hours) into docs/tuning.md
	$(BIN)/python -m tests.evidence.tuning --results results/tuning-evidence --write docs/tuning.md

served-evidence: $(VENV)/.for-test ## measure models that others made beside perf_analyzer (ten minutes) into docs/from-perf-analyzer.md
	$(BIN)/python -m tests.evidence.served_models --write docs/from-perf-analyzer.md

gpu-check: $(VENV)/.for-test ## on a machine with a GPU: measure a short scenario, run the GPU tests, write docs/gpu.md
	$(BIN)/harness gpu-check --write docs/gpu.md
	$(BIN)/python -m pytest -m gpu

check: $(VENV)/.for-test ## formatting, linting, strict types, import layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.for-test ## mend what can be mended by machine
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

pictures: $(VENV)/.for-test ## the README's pictures, of the runs in the folders RUN and SWEEP
	PATH=$(abspath $(BIN)):$$PATH $(BIN)/python docs/pictures.py $(RUN) $(SWEEP)

schema: $(VENV)/.for-demo ## the scenario's JSON schema, for editors
	$(BIN)/harness schema > scenarios/scenario.schema.json

clean: ## remove the environment and what tools left
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .benchmarks

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "harness needs Python 3.11 or newer: install it and run e.g. make demo PYTHON=python3.11" >&2; exit 2; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
	  { echo "$(PYTHON) can't make virtual environments: apt-get install python3-venv" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.for-demo: $(VENV)/bin/python pyproject.toml setup.py
	$(BIN)/python -m pip install --quiet --editable '.[export]'
	@touch $@

$(VENV)/.for-test: $(VENV)/bin/python pyproject.toml setup.py
	$(BIN)/python -m pip install --quiet --editable '.[export,dev]'
	@touch $@ $(VENV)/.for-demo
