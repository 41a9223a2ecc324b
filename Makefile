# Knobs, e.g. `make ablations SCALE=small SEEDS=0,1,2`.
DATA ?= synthetic
SCALE ?= smoke
SEEDS ?= 0
RUN ?= runs/$(DATA)/$(SCALE)/full/seed0
SOURCE ?=
# How `make ablations` starts its jobs: one after the other (empty), joblib (several at a time on this machine) or slurm.
LAUNCHER ?=
# Jobs at a time with a launcher: joblib takes 2 unless told, slurm as many as there is room for.
JOBS ?=
# csv, or wandb to log to Weights & Biases beside it.
LOGGER ?= csv
# The interpreter that makes .venv: 3.11, 3.12 or 3.13.
PYTHON ?= python3

BIN := .venv/bin
ABLATIONS := full,no_at_module,target_add,source_add,both_add,blocks_5,blocks_7,blocks_11,blocks_13
comma := ,
empty :=
# Seeds may be given as 0,1,2 or "0 1 2".
SEED_LIST = $(subst $(empty) $(empty),$(comma),$(strip $(SEEDS)))
CHOICE = logger=$(LOGGER) data=$(DATA) scale=$(SCALE)
LAUNCH_ :=
LAUNCH_joblib = hydra/launcher=joblib hydra.launcher.n_jobs=$(or $(JOBS),2)
LAUNCH_slurm = hydra/launcher=slurm $(JOBS:%=hydra.launcher.array_parallelism=%)
LAUNCH = $(if $(filter undefined,$(origin LAUNCH_$(LAUNCHER))),$(error LAUNCHER: expected joblib or slurm, got $(LAUNCHER)),$(LAUNCH_$(LAUNCHER)))

.DEFAULT_GOAL := help
.PHONY: help install lint format test test-all data ablations status train evaluate table bench dashboard lock clean

help: ## list the targets and knobs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo; echo "  knobs: DATA=$(DATA) SCALE=$(SCALE) (smoke, small, paper) SEEDS=$(SEEDS) (0,1,2) RUN=FOLDER SOURCE=ZIP_OR_FOLDER LAUNCHER=$(LAUNCHER) (joblib, slurm) JOBS=$(JOBS) LOGGER=$(LOGGER) (csv, wandb) PYTHON=$(PYTHON)"

install: $(BIN)/.installed ## create .venv with the locked packages

$(BIN)/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if (3, 11) <= v < (3, 14) else f"expected Python 3.11 to 3.13, got {v.major}.{v.minor}; name another with PYTHON=")'
	$(PYTHON) -m venv .venv
	awk '/^[a-z]/ {uv = /^uv==/} uv' requirements.lock > .venv/uv.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r .venv/uv.txt
	$(BIN)/uv pip sync --quiet --require-hashes requirements.lock
	$(BIN)/uv pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

lint: install ## check style and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: install ## format the code
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

test: install ## run the fast tests, under 5 minutes on 2 cores
	$(BIN)/pytest -n 2

test-all: install ## run all tests
	$(BIN)/pytest -n 2 -m ""

data: install ## prepare the data set DATA (market1501, deepfashion, deepfashion_176) from the download in SOURCE
	$(BIN)/twostream-prepare data=$(DATA) 'source="$(SOURCE)"'

ablations: install ## train and evaluate what is not finished of the paper's nine ablations, print Tables 3 to 5
	@status=0; \
	$(BIN)/twostream-train -m $(CHOICE) $(LAUNCH) ablation=$(ABLATIONS) seed=$(SEED_LIST) || status=$$?; \
	$(BIN)/twostream-status runs=runs/$(DATA)/$(SCALE) 'seeds=[$(SEED_LIST)]' unless_done=true; \
	$(BIN)/twostream-table runs=runs/$(DATA)/$(SCALE) 'seeds=[$(SEED_LIST)]' || status=$$?; \
	exit $$status

status: install ## show where the ablations and all other runs stand
	@$(BIN)/twostream-status runs=runs/$(DATA)/$(SCALE) 'seeds=[$(SEED_LIST)]'

train: install ## train and evaluate the full model
	$(BIN)/twostream-train $(CHOICE) seed=$(SEED_LIST)

evaluate: install ## generate and score the test pairs of the run in RUN
	$(BIN)/twostream-evaluate run=$(RUN)

table: install ## print the tables of the runs that are there
	$(BIN)/twostream-table runs=runs/$(DATA)/$(SCALE) 'seeds=[$(SEED_LIST)]'

bench: install ## measure Table 2, training, its levers and growth, and the loader on this machine; 5 minutes on 2 cores
	$(BIN)/twostream-benchmark out=experiments/results/benchmark

dashboard: install ## upload the runs to Weights & Biases, make workspace and report of them (wandb login first)
	$(BIN)/twostream-dashboard runs=runs/$(DATA)/$(SCALE) 'seeds=[$(SEED_LIST)]'

lock: install ## renew requirements.lock from pyproject.toml
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --all-extras --upgrade --generate-hashes --no-emit-index-url --no-header --no-annotate pyproject.toml --output-file requirements.lock

clean: ## remove .venv and caches; runs and data stay
	rm -rf .venv .hypothesis .pytest_cache .mypy_cache .ruff_cache
