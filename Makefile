# Two commands: `make demo` and `make test`. Each sets up its own virtual environment first.
# `make test-numpy1`: what depends on NumPy, under NumPy 1.26; and that it gives the bytes of the other's.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
VENV1 ?= .venv-numpy1
PYTEST := -m pytest -n 2 --dist worksteal

.PHONY: demo test test-numpy1 lint clean

demo: $(VENV)/.installed
	$(BIN)/zemosaic-patch demo --mosaic --overwrite -o zemosaic-patch-demo

test: $(VENV)/.installed
	$(BIN)/python $(PYTEST)

test-numpy1: $(VENV)/.installed $(VENV1)/.installed
	ZEMOSAIC_PATCH_OTHER_PYTHON=$(abspath $(BIN)/python) $(VENV1)/bin/python $(PYTEST) -m numpy_bytes

lint: $(VENV)/.installed
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e ".[test,lint]"
	touch $@

$(VENV1)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV1)
	$(VENV1)/bin/python -m pip install --quiet --upgrade pip
	$(VENV1)/bin/python -m pip install --quiet -e ".[test]" "numpy<2"
	touch $@

clean:
	rm -rf $(VENV) $(VENV1) build *.egg-info zemosaic-patch-demo
