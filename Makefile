# Every command a user or a developer needs. `make demo` and `make test` work from a fresh clone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
STUDY := $(VENV)/.study-installed
DEV := $(VENV)/.dev-installed

.PHONY: demo test check format-check format lint types doctest test-browser bench examples clean

demo: $(STUDY)
	$(BIN)/torchdropout compare digits

test: $(DEV)
	$(BIN)/python -m pytest -q -n 2 -m "not browser and not interpreted"
	TRITON_INTERPRET=1 $(BIN)/python -m pytest -q -m interpreted

check: format-check lint types test doctest

format-check: $(DEV)
	$(BIN)/ruff format --check .

format: $(DEV)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: $(DEV)
	$(BIN)/ruff check .

types: $(DEV)
	$(BIN)/mypy

doctest: $(DEV)
	$(BIN)/python -m pytest -q --doctest-modules src/torchdropout

# A browser is a system package: installed here only where that is possible, otherwise named as missing.
test-browser: $(DEV)
	command -v chromium >/dev/null || { [ "$$(id -u)" = 0 ] && apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium; } \
	  || { echo "test-browser needs chromium: sudo apt-get install chromium" >&2; exit 1; }
	$(BIN)/python -m pytest -q -m browser

bench: $(DEV)
	$(BIN)/python benchmarks/elementwise.py
	$(BIN)/python benchmarks/training.py
	$(BIN)/python benchmarks/study.py

# The textbook experiments at full size. Those on images need TORCHDROPOUT_DATA, the folder that holds mnist/ and fashion-mnist/.
examples: $(DEV)
	status=0; for name in $$($(BIN)/torchdropout example); do echo "== $$name"; $(BIN)/torchdropout example $$name || status=1; done; exit $$status

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(STUDY): $(VENV)/bin/python pyproject.toml constraints.txt
	$(PIP) torch
	$(PIP) -e '.[study]'
	touch $@

$(DEV): $(VENV)/bin/python pyproject.toml constraints.txt
	$(PIP) torch
	$(PIP) -e '.[dev]'
	touch $@ $(STUDY)

clean:
	rm -rf $(VENV) runs build dist .mypy_cache .ruff_cache
