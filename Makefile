# Everything lives in .venv; the first call makes it, later calls reuse it.
PYTHON ?= python3
BIN := .venv/bin
MINUTES ?=
# Threads: numerical tests run in two processes of one thread each, which is faster here than one of two.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q

.PHONY: demo test lint unit clean

demo: .venv/.installed
	$(BIN)/suffuse demo digits $(if $(MINUTES),--minutes $(MINUTES))

test: lint unit

lint: .venv/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/basedpyright

unit: .venv/.installed
	$(PYTEST) -n 2 --dist worksteal

.venv/.installed: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv runs
