# Two commands: `make demo` and `make test`. Each sets up its own virtual environment first.
# `make app`: the program that starts without Python, for the system that it is built on, into dist/zemosaic-patch.
# `make gpu-check`: all that a GPU can show, with the Python that is there (or PYTHON=...) and its CuPy, in six minutes.
# `make gpu-wheels`: small packages that a machine with a GPU and no network may lack, for GPU_PYTHON, into gpu-wheels/.
# `make test-browser`: the window in Chromium, as its owner uses it, and tiles of the sky in Aladin Lite.
# `make test-numpy1`: what depends on NumPy, under NumPy 1.26; and that it gives the bytes of the other's.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
VENV1 ?= .venv-numpy1
# what Numba left behind of a plain installation would hide the sources
LEFT = rm -rf $(foreach package,nanstack zemosaic_patch,$(1)/lib/*/site-packages/$(package))
PYTEST := -m pytest -n 2 --dist worksteal

GPU_PYTHON ?= 3.10 3.11 3.12 3.13

.PHONY: demo test test-browser test-numpy1 lint clean app gpu-check gpu-wheels

demo: $(VENV)/.installed
	$(BIN)/zemosaic-patch demo --mosaic --overwrite -o zemosaic-patch-demo

test: $(VENV)/.installed
	$(BIN)/python $(PYTEST)

test-browser: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet -e ".[browser]"
	$(BIN)/python -m pytest -m browser tests/zemosaic_patch/ui/test_browser.py tests/zemosaic_patch/test_hips_browser.py

test-numpy1: $(VENV)/.installed $(VENV1)/.installed
	ZEMOSAIC_PATCH_OTHER_PYTHON=$(abspath $(BIN)/python) $(VENV1)/bin/python $(PYTEST) -m numpy_bytes

app: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet -e ".[app]"
	$(call LEFT,$(VENV))
	$(BIN)/pyinstaller --noconfirm --log-level WARN packaging/app.spec

gpu-check:
	$(PYTHON) benchmarks/gpu_check.py

gpu-wheels:
	$(PYTHON) benchmarks/gpu_packages.py $(GPU_PYTHON)

lint: $(VENV)/.installed
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e ".[test,lint]"
	$(call LEFT,$(VENV))
	touch $@

$(VENV1)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV1)
	$(VENV1)/bin/python -m pip install --quiet --upgrade pip
	$(VENV1)/bin/python -m pip install --quiet -e ".[test]" "numpy<2"
	$(call LEFT,$(VENV1))
	touch $@

clean:
	rm -rf $(VENV) $(VENV1) build dist gpu-wheels *.egg-info zemosaic-patch-demo
