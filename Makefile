# Everything on a fresh machine: `make demo` and `make test` make .venv, install, and run.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WORKERS ?= 2
SITE := docs/_build/html

.PHONY: help demo test docs verify bench dist lint clean

help:
	@echo "make demo    fit the real MovieLens table, print the comparison, write an HTML page"
	@echo "make test    lint, types, layers and the test suite"
	@echo "make docs    the site in docs/_build/html, with every notebook executed"
	@echo "make verify  the random tests at several times their size; writes docs/verification.md"
	@echo "make bench   the tables of docs/benchmarks.md, with the peers installed"
	@echo "make dist    the wheel, tried in an environment of its own"
	@echo "make clean   remove the environment and the caches"

$(VENV)/python.ok:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 12))' || { \
	  echo "bayesmf needs Python 3.12 or newer; '$(PYTHON)' is $$($(PYTHON) -V 2>&1). Install one, then: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

# One stamp for each set of extras, so that the second command installs only what it lacks.
$(VENV)/%.ok: pyproject.toml $(VENV)/python.ok
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[$*]"
	@touch $@

demo: $(VENV)/datasets.ok
	$(BIN)/python -m bayesmf.demo

lint: $(VENV)/test.ok
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: $(VENV)/test.ok lint
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(PYTEST_ARGS)

docs: $(VENV)/docs.ok
	rm -rf $(SITE) docs/reference/generated
	$(BIN)/sphinx-build -W --keep-going -q -b html -c docs -d docs/_build/doctrees . $(SITE)
	$(BIN)/python -m docs.check_site $(SITE)
	@echo "Open $(SITE)/index.html: it needs no network."

dist: $(VENV)/dist.ok
	rm -rf dist
	$(BIN)/python -m build --quiet --outdir dist
	$(BIN)/python -m tests.wheel dist

verify: $(VENV)/test.ok
	$(BIN)/python -m tests.resuming 20
	$(BIN)/python -m pytest -n $(WORKERS) --thorough -m thorough
	$(BIN)/python -m tests.statistical.verify

bench: $(VENV)/bench.ok
	$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) docs/_build docs/reference/generated dist .hypothesis .mypy_cache .ruff_cache .pytest_cache .import_linter_cache demo.html
