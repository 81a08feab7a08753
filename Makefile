# make demo · make test · make lint · make bench. Each builds .venv from constraints.txt first.
PYTHON ?= $(firstword $(foreach p,python3.11 python3.12 python3,$(if $(shell $(p) -c 'import sys; sys.exit(not ((3,11) <= sys.version_info[:2] < (3,13)))' 2>/dev/null && echo ok),$(p))))
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test chaos soak lint bench model clean help
.DEFAULT_GOAL := help

help:  ## show this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10

$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "make: needs Python 3.11 or 3.12 on PATH (or make PYTHON=/path/to/python3.11)"; exit 1; }
	@echo "Building $(VENV) from constraints.txt (a few minutes, once) ..."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-compile --constraint constraints.txt --editable '.[embedded,kafka,beamline,dashboard,plot,dev]'
	@$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true  # pip does so too, on one core; some is no Python
	@touch $@

demo: $(STAMP)  ## a synthesis, a beamline and the agent on this machine; ends with a plot
	$(BIN)/qd-agent demo --output demo-output $(DEMO_ARGS)

# Two at a time, file by file in the order of the tree: the campaign, the longest of them, begins.
# A lost process ends the tests: another one would begin with the test that it was lost with.
# Where Python is told to keep no compiled modules, each of hundreds of processes would compile ours.
test: export PYTHONDONTWRITEBYTECODE =
test: $(STAMP)  ## every test, on real servers and processes
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --max-worker-restart 0 $(TEST_ARGS)

chaos: $(STAMP)  ## an hour of faults around a real agent, by a new seed (CHAOS_ARGS="--seed 7 --minutes 5")
	$(BIN)/python -m tests.system.chaos.campaign --minutes 60 $(CHAOS_ARGS)

soak: $(STAMP)  ## 100,000 small frames through one agent: memory, open files, disk (over an hour)
	$(BIN)/python -m tests.system.chaos.soak $(SOAK_ARGS)

lint: $(STAMP)  ## ruff, basedpyright (strict) and the layer contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright
	$(BIN)/lint-imports

bench: $(STAMP)  ## measured claims, as ratios to a peer or a floor taken in the same run
	$(BIN)/python -m benchmarks

model: $(STAMP)  ## make qd_agent/models/pbs again, from nothing (seeded)
	$(BIN)/qd-train build --output qd_agent/models/pbs

clean:  ## remove what make built
	rm -rf $(VENV) demo-output
