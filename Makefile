# Foldline's commands. Works with GNU make 3.81 (the one on macOS) and later.
#
#   PYTHON=/path/to/python3.12   the interpreter that makes .venv; the first suitable one on the PATH otherwise
#   ARGS="--trials 4"            handed on to the sweep, to pytest or to the benchmark

VENV := .venv
BIN := $(VENV)/bin
PYTHON ?=
ARGS ?=

# A day of half-hourly readings, the coming twelve hours, and a budget of a few minutes on two cores.
TUNE := --sample sea-temperature --lookback 48 --horizon 24 --trials 12 --max-epochs 9

# One stamp for each set of packages: installed again only after one of these two files has changed.
RUN_STAMP := $(VENV)/run.stamp
DEV_STAMP := $(VENV)/dev.stamp
WHAT_TO_INSTALL := pyproject.toml constraints.txt

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help tune test lint faults bench audit install install-dev clean distclean
.NOTPARALLEL:  # two pips must not work on one environment

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

tune: $(RUN_STAMP)  ## Install if need be, then search for the best LSTM on the built-in data
	$(BIN)/python ray_jobs/tune_lstm.py $(TUNE) $(ARGS)

test: lint  ## Install if need be, then lint and run the tests
	$(BIN)/python -m tests $(ARGS)

lint: $(DEV_STAMP)  ## Check style, formatting and types
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy

faults: $(DEV_STAMP)  ## Disturb sweeps in every way (hours) and write docs/reliability.md
	$(BIN)/python -m tests.faults $(ARGS)

bench: $(RUN_STAMP)  ## Compare a sweep with Ray's guides and with plain PyTorch
	$(BIN)/python benchmarks/sweep.py $(ARGS)

audit: $(RUN_STAMP)  ## Ask for known vulnerabilities of the exact versions in constraints.txt (needs the network)
	$(BIN)/python -m pip install --quiet pip-audit
	$(BIN)/python -m pip_audit --requirement constraints.txt --no-deps --disable-pip

install: $(RUN_STAMP)  ## Make .venv and install Foldline, nothing more

install-dev: $(DEV_STAMP)  ## The same with the tools for tests and lint

clean:  ## Remove caches and build outputs; runs/, benchmarks/results/ and .venv stay
	rm -rf build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . \( -path ./.git -o -path ./$(VENV) -o -path ./runs \) -prune \
		-o -type d -name __pycache__ -prune -exec rm -rf {} +

distclean: clean  ## The same, and remove .venv
	rm -rf $(VENV)

# A working .venv is kept and updated. Plain `venv` also mends one whose interpreter has gone away.
define make_venv
@$(BIN)/python -c 'import pip' 2>/dev/null || { \
	for python in $(if $(PYTHON),"$(PYTHON)",python3.11 python3.12 python3.13 python3.14 python3); do \
		if "$$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
			echo "Making $(VENV) with $$python"; \
			exec "$$python" -m venv $(VENV); \
		fi; \
	done; \
	echo "no Python 3.11 or newer with venv found$(if $(PYTHON), at $(PYTHON)): install one," \
		"or name it: make PYTHON=/path/to/python3.11 $(or $(MAKECMDGOALS),tune)" >&2; \
	exit 1; \
}
endef

# pip compiles its 17,000 files one after another, so that is left to every core at once, but for the packages' own
# tests. It is not skipped: a module compiled at its first import may warn about its syntax there, and in the tests a
# warning is an error.
define install
$(BIN)/python -m pip install --no-compile -c constraints.txt -e '$(1)'
@$(BIN)/python -W ignore -m compileall -q -j 0 -x '/tests?/' $(VENV)/lib >/dev/null 2>&1 || true
endef

$(RUN_STAMP): $(WHAT_TO_INSTALL)
	$(make_venv)
	$(call install,.)
	@touch $@

$(DEV_STAMP): $(WHAT_TO_INSTALL)
	$(make_venv)
	$(call install,.[dev])
	@touch $(RUN_STAMP) $@
