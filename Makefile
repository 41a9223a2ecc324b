# Knobs, for example `make ablations SCALE=small SEEDS=0,1,2`; `make help` lists their values.
DATA ?= synthetic
SCALE ?= smoke
SEEDS ?= 0
RUN ?= runs/$(DATA)/$(SCALE)/full/seed0
SOURCE ?=
MODELS ?=
LAUNCHER ?= auto
JOBS ?=
LOGGER ?= csv
ITERATIONS ?= 90000
OPTIONS ?=
PYTHON ?= python3

BIN := .venv/bin
RUNS = runs=runs/$(DATA)/$(SCALE) 'seeds=[$(SEED_LIST)]'
CHOICE = logger=$(LOGGER) data=$(DATA) scale=$(SCALE) seed=$(SEED_LIST)
# SEEDS may be separated by commas or by spaces.
comma := ,
empty :=
SEED_LIST = $(subst $(empty) $(empty),$(comma),$(strip $(SEEDS)))
LAUNCH_one =
# As many jobs at a time as there are cores, each with one thread; one job at a time on a machine with GPUs.
LAUNCH_auto = $(if $(GPUS),,$(LAUNCH_joblib))
GPUS = $(shell nvidia-smi -L 2>/dev/null)
LAUNCH_joblib = hydra/launcher=joblib hydra.launcher.n_jobs=$(or $(JOBS),$(shell getconf _NPROCESSORS_ONLN))
LAUNCH_slurm = hydra/launcher=slurm $(JOBS:%=hydra.launcher.array_parallelism=%)
# Two thirds of the iterations at a constant rate (Sec. 4), however many they are.
SCHEDULE = schedule.constant_iterations=$(shell expr $(ITERATIONS) \* 2 / 3) schedule.decay_iterations=$(shell expr $(ITERATIONS) / 3)
LAUNCH = $(if $(filter undefined,$(origin LAUNCH_$(LAUNCHER))),$(error LAUNCHER: expected auto, one, joblib or slurm, got $(LAUNCHER)),$(LAUNCH_$(LAUNCHER)))

.PHONY: help install lint pip-audit format test test-all audit attack attack-kills attack-surroundings data ablations paper status train evaluate table figures report bench demo dashboard lock clean

help: ## list the targets and knobs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-20s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo; echo "  knobs: DATA=$(DATA) SCALE=$(SCALE) (smoke, small, medium, paper) SEEDS=$(SEEDS) (0,1,2) RUN=FOLDER SOURCE=ZIP_OR_FOLDER MODELS=MODEL,... (of the demo) LAUNCHER=$(LAUNCHER) (one: one job at a time; joblib, slurm; auto: joblib without a GPU) JOBS=$(JOBS) (at a time) LOGGER=$(LOGGER) (csv, wandb) ITERATIONS=$(ITERATIONS) OPTIONS=KEY=VALUE (of paper) PYTHON=$(PYTHON) (3.11 to 3.13)"

install: $(BIN)/.installed ## create .venv with the locked packages
$(BIN)/.installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if (3, 11) <= v < (3, 14) else f"expected Python 3.11 to 3.13, got {v.major}.{v.minor}; name another with PYTHON=")'
	$(PYTHON) -m venv .venv
	awk '/^[a-z]/ {uv = /^uv==/} uv' requirements.lock > .venv/uv.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r .venv/uv.txt
	$(BIN)/uv pip sync --quiet --compile-bytecode --require-hashes requirements.lock
	$(BIN)/uv pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

lint: install ## check style and types
	$(BIN)/ruff check && $(BIN)/ruff format --check && $(BIN)/mypy
pip-audit: install ## look for known vulnerabilities of the locked packages; skipped where the database is out of reach
	@said=$$($(BIN)/pip-audit --disable-pip --require-hashes --vulnerability-service osv --progress-spinner off -r requirements.lock 2>&1) && echo "$$said" || \
	case "$$said" in *"known vulnerabilit"*) echo "$$said"; exit 1;; *) echo "pip-audit: skipped: $$(echo "$$said" | tail -n 1)";; esac
format: install ## format the code
	$(BIN)/ruff check --fix && $(BIN)/ruff format
test: install ## run the fast tests, about 4 minutes on 2 cores
	$(BIN)/pytest -n 2
test-all: install ## run all tests
	$(BIN)/pytest -n 2 -m ""
audit: install ## compare networks, training, metrics and statistics with independent references, write docs/audit.md
	$(BIN)/pytest -n 2 -m "" --audit=docs/audit.md
attack: install ## give every reader damaged inputs, write the table of docs/reliability.md; 2.5 minutes
	$(BIN)/python tests/attack/run_attack.py --page docs/reliability.md
attack-surroundings: install ## run commands on full disks and in odd folders, write another table of it; 10 minutes
	$(BIN)/python tests/attack/run_attack.py surroundings --page docs/reliability.md
attack-kills: install ## kill and signal every command that writes, write another table of it; 10 minutes
	$(BIN)/python tests/attack/run_attack.py kills --page docs/reliability.md
data: install ## prepare the dataset DATA (market1501, deepfashion, deepfashion_176, own) from the download in SOURCE
	$(BIN)/twostream-prepare data=$(DATA) 'source="$(SOURCE)"'
ablations: install ## train and evaluate the unfinished ones of the nine ablations, print Tables 3 to 5, write a report
	@status=0; $(BIN)/twostream-train -m $(CHOICE) $(LAUNCH) sweep=ablations || status=$$?; \
	$(BIN)/twostream-status $(RUNS) unless_done=true; $(BIN)/twostream-table $(RUNS) || status=$$?; \
	$(BIN)/twostream-report $(RUNS) || status=$$?; exit $$status
paper: SCALE = paper
paper: install ## on a GPU: benchmarks; full, w/o AT-module and PATN on DATA at SCALE=paper; the ablations at small; resumes
	for part in inference training networks scaling curves loader startup; do \
	  test -f runs/benchmark/cuda/$$part.json || $(BIN)/twostream-benchmark "parts=[$$part]" device=cuda || exit; done
	$(BIN)/twostream-train -m $(CHOICE) $(LAUNCH) performance=gpu $(SCHEDULE) ablation=full,no_at_module,patn 'variant=$${ablation}' $(OPTIONS)
	$(BIN)/twostream-table $(RUNS) 'specs=[experiments/table1_market.yaml,experiments/table3_at_module.yaml]'
	$(MAKE) ablations DATA=synthetic SCALE=small
status: install ## show the state of the ablations and all other runs, until all have ended
	@$(BIN)/twostream-status $(RUNS) watch=true
train: install ## train and evaluate the full model
	$(BIN)/twostream-train $(CHOICE)
evaluate: install ## generate and score the test pairs of the run in RUN
	$(BIN)/twostream-evaluate run=$(RUN)
table: install ## print the tables of the existing runs
	$(BIN)/twostream-table $(RUNS)
figures: install ## draw Figures 4 and 5 and the correspondence from the existing runs of seed 0
	$(BIN)/twostream-figure runs=runs/$(DATA)/$(SCALE)
report: install ## write the tables, figures, test pairs and curves of the existing runs as one HTML file
	$(BIN)/twostream-report $(RUNS)
bench: install ## measure inference (Table 2), training, its optimizations, networks, scaling and loss curves, data loading and startup; 7 minutes on 2 cores
	$(BIN)/twostream-benchmark out=experiments/results/benchmark
demo: install ## open a page in the browser that puts a person into a pose that you drag
	$(BIN)/twostream-demo $(if $(MODELS),'models=[$(MODELS)]')
dashboard: install ## upload the runs to Weights & Biases with a workspace and a report (wandb login first)
	$(BIN)/twostream-dashboard $(RUNS)
lock: install ## update requirements.lock from pyproject.toml
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --all-extras --upgrade --generate-hashes --no-emit-index-url --no-header --no-annotate pyproject.toml --output-file requirements.lock
clean: ## remove .venv and caches; runs and data stay
	rm -rf .venv .hypothesis .pytest_cache .mypy_cache .ruff_cache
