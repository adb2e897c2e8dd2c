# make run: from a fresh clone to the table. make test: the tests. make docs: what is made from the declarations of the keys.
PYTHON ?= python3

.PHONY: run test docs clean

run: .venv/installed
	.venv/bin/udonx run experiments/table3_ablation.toml

test: .venv/installed-test
	.venv/bin/python -m pytest -q -rs

docs: .venv/installed
	.venv/bin/udonx keys --markdown > docs/keys.md
	.venv/bin/udonx schema > experiments/schema.json
	.venv/bin/udonx schema setting > experiments/settings/schema.json

.venv/installed: pyproject.toml
	test -x .venv/bin/python || $(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check -e .
	touch $@

.venv/installed-test: .venv/installed
	.venv/bin/python -m pip install --quiet --disable-pip-version-check -e ".[test]"
	touch $@

clean:
	rm -rf .venv results
