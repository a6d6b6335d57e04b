VENV := .venv
PYTHON ?= python3
BIN := $(VENV)/bin
# The tested set: CPU builds, exact versions.
PIP := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt
export HF_HUB_OFFLINE = 1
export TOKENIZERS_PARALLELISM = false

.PHONY: demo test test-slow test-oldest lint docs clean

demo: $(VENV)/.demo
	$(BIN)/dsformer demo --output demo-output

test: $(VENV)/.dev
	$(BIN)/python -m pytest -q

test-slow: $(VENV)/.dev
	$(BIN)/python -m pytest -q -m slow --timeout 3600

# The artefact and the plug-in on the oldest supported transformers.
test-oldest:
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/pip install --quiet torch==2.13.0 transformers==4.57.6 -e ".[dev]"
	.venv-oldest/bin/python -m pytest -q tests/layers tests/ops tests/huggingface

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mkdocs build --strict --quiet --site-dir site

docs: $(VENV)/.dev
	$(BIN)/mkdocs serve

$(VENV)/bin/pip:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml constraints.txt | $(VENV)/bin/pip
	$(PIP) torch
	$(PIP) -e ".[demo]"
	touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/bin/pip
	$(PIP) torch
	$(PIP) -e ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) .venv-oldest site demo-output
