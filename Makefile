VENV := .venv
PYTHON ?= python3
BIN := $(VENV)/bin
# The tested set: CPU builds, exact versions.
PIP := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt
export HF_HUB_OFFLINE = 1
export TOKENIZERS_PARALLELISM = false

.PHONY: demo test test-runtime test-slow test-oldest fuzz sanitize wheels lint docs clean

demo: $(VENV)/.demo
	$(BIN)/dsformer demo --output demo-output

# Side by side, a thread each (tests/conftest.py).
test: $(VENV)/.dev
	$(BIN)/python -m pytest -q -n auto --maxprocesses 4 --dist worksteal

# The runtime by itself: an environment without PyTorch.
test-runtime: $(VENV)/bin/pip
	$(PYTHON) -m venv .venv-runtime
	.venv-runtime/bin/pip install --quiet --disable-pip-version-check -c constraints.txt ./runtime pytest
	cd runtime && ../.venv-runtime/bin/python -m pytest -q -p no:cacheprovider

test-slow: $(VENV)/.dev
	$(BIN)/python -m pytest -q -m slow --timeout 3600

# The artefact and the plug-in on the oldest supported transformers.
test-oldest:
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/pip install --quiet torch==2.13.0 transformers==4.57.6 -e ./runtime -e ".[dev]"
	.venv-oldest/bin/python -m pytest -q tests/layers tests/ops tests/huggingface

# Damaged artefacts of all kinds: refused in one line, or the same outputs.
fuzz: $(VENV)/.dev
	$(BIN)/python tests/fuzz/artefacts.py --cases 20000 --seed 0 --workers 2

# The native kernels under AddressSanitizer and UBSan.
sanitize: $(VENV)/.dev
	cmake -S runtime -B build/sanitized -DDSFORMER_SANITIZE=ON
	cmake --build build/sanitized
	LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libubsan.so)" \
	ASAN_OPTIONS=detect_leaks=0:handle_segv=1:allow_user_segv_handler=0 \
	UBSAN_OPTIONS=print_stacktrace=1,halt_on_error=1 OMP_NUM_THREADS=1 \
	DSFORMER_CPU_LIBRARY=$(CURDIR)/build/sanitized/libdsformer_cpu.so \
	$(BIN)/python -m pytest -q -p no:faulthandler tests/ops/test_cpu.py

# Wheels of dsformer-runtime for Linux, macOS and Windows, in dist.
wheels:
	$(PYTHON) -m venv build/wheels
	build/wheels/bin/pip install --quiet --disable-pip-version-check ziglang==0.17.1 wheel==0.48.0
	build/wheels/bin/python runtime/build_wheels.py

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/mkdocs build --strict --quiet --site-dir site

docs: $(VENV)/.dev
	$(BIN)/mkdocs serve

$(VENV)/bin/pip:
	$(PYTHON) -m venv $(VENV)

# What the native library is built from, when the package is installed.
NATIVE := runtime/pyproject.toml runtime/CMakeLists.txt $(wildcard runtime/csrc/*/*.* runtime/csrc/*/*/*.*) \
          $(wildcard runtime/src/*/*.py runtime/src/*/*/*.py)

$(VENV)/.demo: pyproject.toml constraints.txt $(NATIVE) | $(VENV)/bin/pip
	$(PIP) torch
	$(PIP) -e ./runtime -e ".[demo]"
	touch $@

$(VENV)/.dev: pyproject.toml constraints.txt $(NATIVE) | $(VENV)/bin/pip
	$(PIP) torch
	$(PIP) -e ./runtime -e ".[dev]"
	$(PIP) --no-deps --target $(VENV)/quantizers --upgrade torchao bitsandbytes
	touch $@

clean:
	rm -rf $(VENV) .venv-oldest .venv-runtime build runtime/build site demo-output
