# The commands of this project. `make help` lists them.
PYTHON ?= python3
BIN := .venv/bin
# dvc, and the commands that it starts, are always those of .venv
export PATH := $(CURDIR)/$(BIN):$(PATH)

# the folder that .venv was made in, if this one was moved or copied since: the programs in .venv/bin name their Python by it
MOVED := $(shell made=$$(sed -n '1,2s|^[^/]*\(/.*\)/python[^/]*$$|\1|p' $(BIN)/dvc 2>/dev/null); [ -z "$$made" ] || [ "$$made" -ef $(BIN) ] || echo "$$made")

.DEFAULT_GOAL := help
.PHONY: moved help setup repro baseline experiments release test test-slow test-soak chaos check format tune search ablation profile reference mlflow plots push pull up down status backup restore clean

help: ## List these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: .venv/.done ## Make .venv with everything in it (the other commands do this when needed)

.venv/.done: pyproject.toml constraints.txt $(if $(MOVED),moved)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: %s is Python %d.%d, 3.11 or newer is needed; run make PYTHON=python3.12" % (sys.executable, *sys.version_info[:2]))'
	@git rev-parse --git-dir >/dev/null 2>&1 || { echo "error: this folder is not a git clone, which DVC needs; run git init here" >&2; exit 1; }
	$(PYTHON) -m venv $(if $(MOVED),--clear ).venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

moved:
	@echo 'this folder was moved or copied: .venv was made for $(MOVED), so it is made again'

repro: setup ## Run the whole pipeline, except what has not changed (dvc repro)
	@[ -z "$$RDMC_DATA" ] || { echo "error: RDMC_DATA=$$RDMC_DATA: DVC keeps its files in this folder; unset it for make repro" >&2; exit 1; }
	@python -m pipeline check
	@if [ -n "$$RDMC_BUCKET" ]; then python -m pipeline connect; fi
	dvc repro
	@python -m pipeline baseline --hint

baseline: setup ## Commit dvc.lock, metrics/ and plots/, which experiments are compared with (python -m pipeline baseline)
	@python -m pipeline baseline

experiments: setup ## List the experiments of dvc exp run: figures, changed params (python -m pipeline experiments)
	@python -m pipeline experiments

release: setup ## Run the pipeline and promote the new model if it passes the gate (python -m pipeline release)
	python -m pipeline release

test: setup ## Run the quick tests (pytest, two processes)
	python -m pytest -q -m 'not slow' -n 2 --dist loadfile --max-worker-restart 1 --durations 10 --timeout 240 -o faulthandler_timeout=300

test-slow: setup ## Run the heavy tests (pytest, two processes)
	python -m pytest -q -m 'slow and not soak' -n 2 --dist loadfile

test-soak: setup ## Run the longest tests: ten sweeps with kills, 10,000 requests (pytest, two processes)
	python -m pytest -q -m soak -n 2 --dist loadfile

chaos: setup ## Run a training and a sweep through random faults; as root; CHAOS_SEED=number repeats one (pytest)
	CHAOS_SEED=$(or $(CHAOS_SEED),$(shell shuf -i 0-999999 -n 1)) python -m pytest -q -rP tests/chaos

check: setup ## Check lint, formatting and types (ruff check, ruff format --check, mypy)
	ruff check
	ruff format --check
	mypy

format: setup ## Format the code (ruff check --fix, ruff format)
	ruff check --fix
	ruff format

tune: setup ## Search tune.space of params.yaml for better params; writes best_params.yaml (python -m pipeline tune)
	python -m pipeline tune

ablation: setup ## Compare the recipe with and without its parts, in ablation/; WRITE=docs/ablation.md updates that page (python -m pipeline ablate)
	python -m pipeline ablate $(if $(WRITE),--write $(WRITE))

search: setup ## Search for a smaller architecture; writes architectures/searched (python -m pipeline search)
	python -m pipeline search

profile: setup ## Run the stages with profiles/NAME.yaml in runs/NAME; NAME=rain800-10min (python -m pipeline profile)
	@[ -n "$(NAME)" ] || { echo "error: NAME is not set; name a profile, such as make profile NAME=rain800-10min" >&2; exit 1; }
	python -m pipeline profile $(NAME)

reference: setup ## Train the reference model again; writes rdmc/weights and docs/reference.md (python -m pipeline reference)
	python -m pipeline reference --write docs/reference.md

mlflow: setup ## Serve the MLflow UI; PORT=5001 for another port (python -m pipeline ui)
	@python -m pipeline ui $(if $(PORT),--port $(PORT))

plots: setup ## Draw DVC's plots as a page, dvc_plots/index.html (dvc plots show)
	dvc plots show

push: setup ## Push data and models to the bucket RDMC_BUCKET (python -m pipeline connect, dvc push)
	python -m pipeline connect
	dvc push

pull: setup ## Pull data and models from the bucket RDMC_BUCKET (python -m pipeline connect, dvc pull)
	python -m pipeline connect
	dvc pull

up: setup ## Start PostgreSQL, MLflow, S3 and Ray on this machine, as far as they do not run (python -m pipeline stack up)
	@python -m pipeline stack up

down: setup ## Stop them; the data in .stack stay (python -m pipeline stack down)
	@python -m pipeline stack down

status: setup ## Show which of them run, and where (python -m pipeline stack status)
	@python -m pipeline stack status

backup: setup ## Copy MLflow's database and artifacts and the bucket; TO=folder, else backups/ (python -m pipeline backup)
	python -m pipeline backup $(or $(TO),backups)

restore: setup ## Put a backup back into an empty place; FROM=backups/TIME (python -m pipeline restore)
	@[ -n "$(FROM)" ] || { echo "error: FROM is not set; name a backup, such as make restore FROM=backups/20260101-120000" >&2; exit 1; }
	python -m pipeline restore $(FROM)

clean: ## Delete data, checkpoints and running or stopped trainings (runs/); results and DVC's cache stay
	rm -rf data/checked data/pairs data/leaks.json data/shards checkpoints runs derained dvc_plots
