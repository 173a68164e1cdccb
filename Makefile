# `make` lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check --require-hashes
JOBS ?= 2
PYTEST := python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DVC_NO_ANALYTICS := 1

.DEFAULT_GOAL := help
.PHONY: help setup reproduce look use run carry table check readme site test coverage lint accept lock verify clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.installed ## create .venv and install the pinned environment

$(VENV)/.installed: requirements.txt
	@$(PYTHON) -c 'import sys; v = sys.version.split()[0]; sys.exit(sys.version_info < (3, 11) and f"error: Python 3.11 or newer is needed, {sys.executable} is {v}; name another with make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	@# antlr4-python3-runtime has no wheel, and pip checks no hash of what it fetches to build one
	@for package in setuptools antlr4-python3-runtime; do \
		sed -n "/^$$package==/,/[^\\]$$/p" requirements.txt | $(INSTALL) --no-build-isolation -r /dev/stdin || exit; \
	done
	$(INSTALL) -r requirements.txt
	@$(BIN)/python -m compileall -q -j 0 $(VENV)/lib > /dev/null || true  # pip's own uses one core
	@touch $@

reproduce: setup ## run the digits pipeline, as dvc repro does, and print its table
	@python -m tools.campaign digits --jobs $(JOBS) --from-scratch
	@python -m tools.headline results/digits
	@echo "report: reports/digits/report.html"

use: setup ## let dvc see tables/TABLE: without that, it reads the digits alone
	@python -m tools.use -- "$$TABLE"

run: setup ## bring tables/TABLE up to date, or ONLY a stage of it, JOBS stages at a time
	@python -m tools.campaign "$$TABLE" --jobs "$(JOBS)" $(if $(ONLY),--only $(ONLY))

carry: setup ## put what another machine needs to go on with TABLE into checkpoints/ and networks/
	@python -m tools.carry -- "$$TABLE"

look: setup ## run the stages of the digits at their smallest, in a temporary folder: no result
	@python -m tools.look

table: setup ## set up tables/NAME for your images in IMAGES: folders of classes, or Parquet shards
	@python -m tools.table $(if $(STREAM),--stream) -- "$$NAME" "$$IMAGES"

check: setup ## recompute the accuracy of every network in exports/ from the test images
	@python -m tools.check

readme: setup ## fill the tables of README.md, and draw docs/method.png, from the results
	@python -m tools.readme

site: setup ## build the static site in site/ from the results and reports there are
	@trap 'rm -f docs/.dvcignore docs/dvc.lock' EXIT; echo '!dvc.yaml' > docs/.dvcignore && \
		dvc repro --quiet --single-item docs/dvc.yaml:site
	@echo "site: site/index.html"

test: setup ## run the whole test suite
	@$(PYTEST)

coverage: setup ## run it slower, and tell which lines it did not execute
	@$(PYTEST) --cov --cov-report=term-missing:skip-covered --cov-fail-under=90

lint: setup ## ruff and mypy
	@ruff check .
	@ruff format --check .
	@mypy

accept: setup ## show that the code computes what it did at BASE, by chains and TESTS, and tell DVC so
	@python -m tools.accept $(BASE) $(if $(TESTS),--tests $(TESTS))

lock: ## compile requirements.txt, with the hash of every file, from pyproject.toml (needs uv)
	@uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --no-header \
		--no-annotate --generate-hashes --no-strip-extras --quiet --output-file requirements.txt

verify: setup ## run the pipeline in two fresh clones and compare every output's hash
	@python -m tools.repeatability

clean: ## remove what can be rebuilt: checkpoints of unfinished trainings, caches of the tools
	@if [ -d .scratch ]; then python -m tools.clean; fi
	@rm -rf .mypy_cache .ruff_cache .pytest_cache .coverage* *.egg-info
	@find pipeline stages tests benchmarks tools reports -name __pycache__ -type d -prune -exec rm -rf {} +
