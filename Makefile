# Two commands do everything: `make report` (measure, fit, predict, run live, compare, tell) and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
STUDY := experiments/digits-diffusion
TIMED := tests/live tests/measure tests/scripts tests/study

export OMP_NUM_THREADS := 1
export OPENBLAS_NUM_THREADS := 1

.PHONY: help report report-full report-lm test test-all lint mutate train clean

help:
	@echo "make report       measure this machine, fit, predict, run live, compare: about 8 minutes, then open"
	@echo "                  report/digits-diffusion/report.pdf"
	@echo "make report-full  the same study with longer runs: about an hour"
	@echo "make report-lm    the language-model study (installs torch)"
	@echo "make test         the tests that need no torch"
	@echo "make test-all     all tests (installs torch)"
	@echo "make lint         ruff, mypy and the import contract"
	@echo "make mutate       break formulas of qmodel/theory one at a time: does a test notice? (an hour)"

# A stamp per set of extras: installation runs again only when the requirements change.
$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed; name one with: make PYTHON=/path/to/python3.11" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.report: $(VENV)/.made pyproject.toml constraints.txt
	$(PIP) -e '.[live,pdf]'
	@touch $@

$(VENV)/.test: $(VENV)/.made pyproject.toml constraints.txt
	$(PIP) -e '.[live,pdf,dev]'
	@touch $(VENV)/.report $@

$(VENV)/.torch: $(VENV)/.made pyproject.toml constraints.txt
	$(PIP) -e '.[live,pdf,dev,torch,train]'
	@touch $(VENV)/.report $(VENV)/.test $@

report: $(VENV)/.report
	$(BIN)/qmodel study $(STUDY)/study.toml

report-full: $(VENV)/.report
	$(BIN)/qmodel study $(STUDY)/study-full.toml

report-lm: $(VENV)/.torch
	$(BIN)/qmodel study experiments/language-model/study.toml

# What computes runs on two cores at once; what keeps time runs alone.
test: $(VENV)/.test
	$(BIN)/python -m pytest -m "not torch and not slow" -rs -n 2 --dist loadfile tests $(TIMED:%=--ignore=%)
	$(BIN)/python -m pytest -m "not torch and not slow" -rs $(TIMED)

test-all: $(VENV)/.torch
	$(BIN)/python -m pytest -rs

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

mutate: $(VENV)/.test
	$(BIN)/python scripts/mutate.py

train: $(VENV)/.torch
	$(BIN)/python scripts/train_digits_diffusion.py

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .coverage
