# Targets set up their own environment on first use. Needs Linux, Python 3.11+ (with venv) and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DISTRIBUTIONS := core plugins/vpp plugins/linux plugins/ipam plugins/datastore plugins/ksr plugins/contiv plugins/embeddedvpp cni plugins/sandbox
SETUPS := $(addsuffix /setup.cfg,$(DISTRIBUTIONS)) tests/requirements.txt
PYTEST_ARGS ?=

.PHONY: help demo test check bench clean

help:
	@echo "make demo   two nodes and four pods, then everything taken down again"
	@echo "make test   all tests that this machine can run (the others are skipped, with the reason)"
	@echo "make check  ruff, mypy, import-linter"
	@echo "make bench  benchmarks, as ratios to a reference in the same run"
	@echo "make clean  remove the environment"

$(VENV)/.ready: $(SETUPS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; name one by 'make PYTHON=python3.12 ...'"; exit 1; }
	@echo "Setting up $(VENV) (first use, about a minute)"
	@$(PYTHON) -m venv $(VENV) || { echo "Python's venv module is needed (Debian: apt install python3-venv)"; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check 'setuptools>=77' wheel
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation \
	  --config-settings editable_mode=compat $(addprefix -e ./,$(DISTRIBUTIONS)) -r tests/requirements.txt
	@touch $@

demo: $(VENV)/.ready
	@$(BIN)/contivpp sandbox demo

test: $(VENV)/.ready
	$(BIN)/python -m tests.run $(PYTEST_ARGS)

check: $(VENV)/.ready
	$(BIN)/ruff check --no-cache .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.ready
	$(BIN)/python -m tests.bench

clean:
	rm -rf $(VENV)
