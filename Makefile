# Everything runs in .venv, which is made here and made anew when the pins change.
# `make demo` shows the whole way through; `make test` is what must pass; `make quick` is what of
# it takes a minute, for while one works.

python := .venv/bin/python
names := data/names.txt
run := runs/demo

# One thread: the model is small, and pytest runs its workers side by side.
export OMP_NUM_THREADS ?= 1

.PHONY: demo test quick lint clean

demo: .venv/installed
	$(python) -m gradsmith generate --check
	$(python) -m gradsmith generate --check --target c
	@for number in 1 2 3 4; do \
		echo; echo "Exercise $$number"; \
		$(python) -m gradsmith exercise $$number || exit 1; \
	done; echo
	$(python) -m gradsmith train --steps 20000 --names $(names) --out $(run) --overwrite

test: lint
	$(python) -m pytest -n auto

quick: .venv/installed
	$(python) -m ruff check --quiet
	$(python) -m pytest -n auto -x -q -m "not slow"

lint: .venv/installed
	$(python) -m ruff check
	$(python) -m ruff format --check
	$(python) -m pyright --warnings

clean:
	rm -rf .venv runs dist

.venv/installed: pyproject.toml constraints.txt
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 11) and \
		"gradsmith needs python3 >= 3.11, and this one is " + sys.version.split()[0])'
	python3 -m venv .venv
	$(python) -m pip install --quiet --constraint constraints.txt hatchling editables
	$(python) -m pip install --quiet --constraint constraints.txt --no-build-isolation --editable '.[dev]'
	touch $@
