# make run: from a fresh clone to the table. make test: the tests.
PYTHON ?= python3

.PHONY: run test clean

run: .venv/installed
	.venv/bin/udonx run experiments/table3_ablation.toml

test: .venv/installed-test
	.venv/bin/python -m pytest -q -rs

.venv/installed: pyproject.toml
	test -x .venv/bin/python || $(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check -e .
	touch $@

.venv/installed-test: .venv/installed
	.venv/bin/python -m pip install --quiet --disable-pip-version-check -e ".[test]"
	touch $@

clean:
	rm -rf .venv results
