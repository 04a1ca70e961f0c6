# make report   train four heads on a year of groceries, beside two rivals that count, and write reports/quickstart/index.html
# make explore  open these models in the browser, to edit histories and see them disagree
# make check    check style and types, and run the tests that take no browser, kernel or other process: two minutes
# make test     check style and types, run all tests, and see that they reach 90% of the branches
# make fuzz     give all readers thousands of damaged files, and compare with plain readers
# make endure   kill commands at random moments, and run all notebooks twice, for hours: do they end the same?
# make mutate   change the heads, losses, metrics and certificates in many small ways, and see whether the tests notice
# make release-check  try the wheel in empty environments: on each Python, and with the oldest dependencies
# make docs     build the documentation site, site/index.html, with each warning as an error
# make demo     train the two models of cprlab demo, for half an hour, and write its page, docs/demo.html
# make lab      open the notebooks in JupyterLab
# ARGS="…"      is added to what any of these runs, as in: make report ARGS="--seed 1"
PYTHON ?= python3
BIN := .venv/bin
ARGS ?=
HEADS := Recent; Counts; Softmax; Softmax + F; Softmax + CPR:100 + Mi; Softmax + CPR:100 + F + Mi
READY := .venv/.ready
# Python keeps what it compiles of the modules it imports, also where the environment asks it not to: set-up compiles none.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: report explore style check test fuzz endure mutate release-check docs lab setup figures demo notebooks lock clean

report: setup
	$(BIN)/cprlab report --heads "$(HEADS)" --split next-basket --epochs 2 --out reports/quickstart $(ARGS)

explore: setup
	$(BIN)/cprlab explore --split next-basket --epochs 2 $(ARGS)

PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

style: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

check: style
	$(PYTEST) -m "not slow" $(ARGS)

test: style
	$(PYTEST) $(if $(ARGS),$(ARGS),--cov)  # part of the tests covers a part

fuzz: setup
	OMP_NUM_THREADS=1 PYTHONPATH=. $(BIN)/python -m tests.fuzz $(ARGS)

endure: setup
	$(BIN)/python -m tests.endurance.crash
	$(BIN)/python -m tests.endurance.kill_sweep
	$(BIN)/python -m tests.endurance.twice

# The score is the share of the mutants that some test kills; what is left over: .venv/bin/mutmut results
# CI=1 makes Hypothesis try the same examples for each mutant, and wait for a slow machine.
MUTANTS ?=
mutate: setup
	CI=1 OMP_NUM_THREADS=1 $(BIN)/mutmut run --max-children 2 $(MUTANTS)
	$(BIN)/mutmut export-cicd-stats
	cat mutants/mutmut-cicd-stats.json

release-check: setup
	.ci/release $(ARGS)

docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict $(ARGS)
	@echo site/index.html

lab: setup
	$(BIN)/jupyter lab notebooks $(ARGS)

# The figures of README and guide: the report's, and a picture of the explorer, which takes Chromium.
figures: report
	$(BIN)/cprlab figures reports/quickstart figures example reliability
	PYTHONPATH=. $(BIN)/python benchmarks/explorer_screenshot.py figures/explorer.png

demo: setup
	$(BIN)/python -m cprlab.explorer.demo docs/demo.html

# Run the notebooks again, in place, at the settings that stand in them; the explorer's is kept without its widget. Those
# of the appendix train for minutes.
NOTEBOOKS ?= $(filter-out notebooks/pages/explorer.ipynb,$(wildcard notebooks/*.ipynb notebooks/*/*.ipynb))
RUN := $(BIN)/jupyter nbconvert --to notebook --execute --inplace --ExecutePreprocessor.record_timing=False \
  --NotebookExporter.preprocessors=cprlab.pages.html.WithoutProgress
COURSE = $(filter-out notebooks/pages/%,$(NOTEBOOKS))  # with pictures, for readers without a kernel
PAGES = $(filter notebooks/pages/%,$(NOTEBOOKS))
notebooks: setup
	$(if $(strip $(COURSE)),$(RUN) --NotebookExporter.preprocessors=cprlab.pages.html.WithPictures $(COURSE))
	$(if $(strip $(PAGES)),$(RUN) $(PAGES))
	rm -rf notebooks/runs notebooks/*/runs

setup: $(READY)

# The marker is written last, so an interrupted set-up starts again; nothing is installed while the pins stand. To compile
# all that is installed would take twice as long as to install it.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "cprlab needs Python 3.11 or newer; name one with: make $(or $(MAKECMDGOALS),setup) PYTHON=python3.12"; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --disable-pip-version-check --quiet --no-compile --requirement requirements.lock
	$(BIN)/pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation --editable .
	@touch $@

# Choose new pins: the newest versions that pyproject.toml admits. environment.yml repeats them.
lock:
	rm -rf .venv
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet torch==2.13.0
	$(BIN)/pip install --quiet --editable '.[dev]'
	$(BIN)/python -m pip freeze --exclude-editable | sed 's/+cpu$$//' > requirements.lock
	{ sed '/- pip:/q' environment.yml; sed 's/^/      - /' requirements.lock; echo '      - --editable .'; } > .environment.yml
	mv .environment.yml environment.yml
	touch $(READY)

clean:
	rm -rf .venv runs reports mutants .mypy_cache .coverage*
