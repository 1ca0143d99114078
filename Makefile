# make demo  - install and run the main job on embedded data
# make docs-site - the documentation as a site in build/site
# make test  - set up everything the tests need and run them all (what .ci/run calls)
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
DATA   := $(wildcard $(CURDIR)/../shared/data)
export INSITU_DATA ?= $(DATA)

.PHONY: demo test check unit docs docs-site bench clean

demo: $(VENV)/.core
	$(BIN)/insitu compare --jobs 2

test: check unit

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

unit: $(VENV)/.dev
	bash scripts/setup-system.sh
	$(BIN)/pytest -n 2

docs: $(VENV)/.core
	$(BIN)/python scripts/render_docs.py

docs-site: $(VENV)/.docs
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs build/site

bench: $(VENV)/.core
	$(BIN)/python benchmarks/step_time.py --out benchmarks/results/step_time.json

$(VENV)/.core: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/.dev: $(VENV)/.core
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

$(VENV)/.docs: $(VENV)/.core
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[docs]'
	touch $@

clean:
	rm -rf $(VENV) build dist
