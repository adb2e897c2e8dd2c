# From a fresh clone: `make run` to the first table, `make test` for the tests.
# For contributors: `make format`, `make lint`, `make types`, `make docs`, `make snapshots`.
PYTHON ?= python3
SOURCES := registry udonx tests benchmarks

.PHONY: run test format lint types docs snapshots clean

run: .venv/installed
	.venv/bin/udonx run experiments/table3_ablation.toml

test: .venv/installed-test
	.venv/bin/python -m pytest -q -rs

format: .venv/installed-dev
	.venv/bin/ruff check --fix $(SOURCES)
	.venv/bin/ruff format $(SOURCES)

lint: .venv/installed-dev
	.venv/bin/ruff check $(SOURCES)
	.venv/bin/ruff format --check $(SOURCES)
	.venv/bin/lint-imports
	.venv/bin/codespell

types: .venv/installed-dev
	.venv/bin/mypy

# What is generated from the declarations of keys and components.
docs: .venv/installed
	.venv/bin/udonx keys --markdown > docs/keys.md
	.venv/bin/udonx schema > experiments/schema.json
	.venv/bin/udonx schema setting > experiments/settings/schema.json

# The same, and the list of what is registered that the tests compare with.
snapshots: docs
	.venv/bin/python -m tests.snapshots

.venv/installed: pyproject.toml
	test -x .venv/bin/python || $(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check -e .
	touch $@

.venv/installed-test: .venv/installed
	.venv/bin/python -m pip install --quiet --disable-pip-version-check -e ".[test]"
	touch $@

.venv/installed-dev: .venv/installed
	.venv/bin/python -m pip install --quiet --disable-pip-version-check -e ".[dev]"
	touch $@

clean:
	rm -rf .venv results
