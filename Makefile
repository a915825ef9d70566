# The same few commands everywhere: at home, in CI, in the README.
PYTHON ?= python3

.PHONY: install check quick test docs format bench

install:  ## the package with everything that development needs
	$(PYTHON) -m pip install -e ".[dev]"

check:  ## style and types
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy
	hadolint Dockerfile

quick:  ## the tests that take less than a minute together
	OMP_NUM_THREADS=1 $(PYTHON) -m pytest -m "not slow and not browser" --numprocesses=auto

test:  ## all tests; minutes
	$(PYTHON) -m pytest

docs:  ## the documentation site, in site/; any warning is an error
	NO_MKDOCS_2_WARNING=1 $(PYTHON) -m mkdocs build --strict --quiet

format:
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

bench:  ## time to loss and memory; minutes, on an idle machine
	$(PYTHON) benchmarks/time_to_loss.py
	$(PYTHON) benchmarks/resources.py
