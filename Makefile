# The same words everywhere. PYTHON: the interpreter of the environment to work in.
PYTHON ?= python

install:
	$(PYTHON) -m pip install -c constraints.txt torch==2.13.0
	$(PYTHON) -m pip install -r requirements-dev.txt

check:
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy
	$(PYTHON) -c "from importlinter.cli import lint_imports_command; lint_imports_command()"

test:
	$(PYTHON) -m pytest -m "not slow and not gpu"

test-all:
	$(PYTHON) -m pytest -m "not gpu"

bench:
	$(PYTHON) bench/pipeline.py
	$(PYTHON) bench/eval.py
	$(PYTHON) bench/merge.py
	$(PYTHON) bench/train.py
	$(PYTHON) bench/tokens.py
	$(PYTHON) bench/corpus.py
	$(PYTHON) bench/plugins.py
	$(PYTHON) bench/effect.py

docs:
	$(PYTHON) -m mkdocs build --strict
	$(PYTHON) -m pytest tests/contract

.PHONY: install check test test-all bench docs
