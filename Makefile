# Two commands for a fresh clone: `make repro` and `make test`. Both make .venv first; nothing outside this folder is installed.

# The first Python that is new enough; to choose another: make PYTHON=/path/to/python repro
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(or $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$python" -c '$(NEW_ENOUGH)' 2> /dev/null && echo "$$python" && break; done),python3)
INSTALLED := .venv/.installed
PIP := .venv/bin/python -m pip install --no-user --no-input --disable-pip-version-check --quiet --require-hashes
# The lines of one package in the lock, its hashes among them, as a file of requirements.
pinned = sed -n '/^$(1)==/,/[^\]$$/p' requirements.txt
# uv reads no settings of pip's: of the index it is told.
UV := UV_DEFAULT_INDEX="$${UV_DEFAULT_INDEX:-$${PIP_INDEX_URL:-$$(.venv/bin/python -m pip config get global.index-url 2> /dev/null)}}" \
	.venv/bin/python -m uv

# DVC runs the stages as `python -m stages...`: that python must be the one in .venv.
export PATH := $(CURDIR)/.venv/bin:$(PATH)
# And it runs them with the shell in SHELL, which may refuse everything (a service's account) or not be a POSIX shell.
export SHELL
# In containers a user may have no name and no home: DVC, which asks for both, would fail.
export USER ?= $(firstword $(shell id -un 2> /dev/null) $(shell id -u))
export HOME ?= /
# With these, Python would find neither this folder's modules nor its own.
unexport PYTHONSAFEPATH PYTHONHOME
# Images of containers often set this one: each stage, a process of its own, would compile the code again.
unexport PYTHONDONTWRITEBYTECODE

# A variable's value as one word of the shell, as it was typed (columns have blanks, quotes and dollars), after an option; nothing without.
given = $(if $(value $(1)),$(2) '$(subst ','\'',$(value $(1)))')

.DEFAULT_GOAL := help
.PHONY: help repro preview test test-all serve demo triton remove rename check format lock sbom hooks clean

help:  ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-9s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

repro: $(INSTALLED)  ## rebuild what changed in params.yaml, the code or the data, several stages at once; some of it: make repro ARGS=train@mnist_cnn
	@.venv/bin/python -m pipelines.rebuilding.repro $(ARGS)
	@echo "Metrics of every model: .venv/bin/dvc metrics show. Exported models: models/*/exported/."
	@test -z "$$(git status --porcelain --untracked-files=normal -- dvc.lock models 2> /dev/null)" || \
		echo "To keep this build as a version: git add params.yaml dvc.yaml dvc.lock data models && git commit -m 'What was built'"

preview: $(INSTALLED)  ## show which stages would run now, and why; for some of them: make preview ARGS=train@mnist_cnn
	@.venv/bin/python -m pipelines.dvc.preview $(ARGS)

test: $(INSTALLED)  ## run the tests (a few minutes)
	@.venv/bin/python -m pytest

test-all: $(INSTALLED)  ## run the slow tests as well
	@.venv/bin/python -m pytest -m ""

serve: $(INSTALLED)  ## serve the deployments of prefect.yaml, on schedule and in the UI; starts a Prefect server if none is configured
	@exec .venv/bin/python -m pipelines.deployments

demo: $(INSTALLED)  ## serve a page on loopback in which the exported models run; on another port: make demo PORT=8010
	@exec .venv/bin/python -m web.assemble logs/demo --serve $(if $(PORT),--port $(PORT))

triton: $(INSTALLED)  ## write the exported models as a model repository for NVIDIA's Triton, in logs/triton
	@.venv/bin/python examples/triton.py logs/triton models

new: $(INSTALLED)  ## a dataset and a model of your own table, pictures or texts: make new DATA=~/orders.csv TARGET=price; more: ARGS="--drop id", ARGS=--help
	@.venv/bin/python -m entries.new $(call given,DATA) $(call given,TARGET,--target) $(call given,NAME,--name) $(ARGS)

remove: $(INSTALLED)  ## remove a model, dataset or source: make remove NAME=line_sgd; only show what would be removed: ARGS=--dry-run
	@.venv/bin/python -m entries.remove $(NAME) $(ARGS)

rename: $(INSTALLED)  ## rename a model, which is not trained again, or a dataset: make rename OLD=line_sgd NEW=line_plain
	@.venv/bin/python -m entries.rename $(OLD) $(NEW) $(ARGS)

check: $(INSTALLED)  ## lint: ruff, its formatter and mypy
	@.venv/bin/python -m ruff check
	@.venv/bin/python -m ruff format --check
	@.venv/bin/python -m mypy

format: $(INSTALLED)  ## let ruff fix and format the code
	@.venv/bin/python -m ruff check --fix
	@.venv/bin/python -m ruff format

lock: $(INSTALLED)  ## write requirements.txt from pyproject.toml; with newer versions of everything: make lock ARGS=--upgrade
	@.venv/bin/python -m uv pip compile --quiet --universal --python-version 3.11 --group dev --no-annotate --generate-hashes \
		--custom-compile-command "make lock" $(ARGS) --output-file requirements.txt pyproject.toml

sbom: $(INSTALLED)  ## list what is installed, with versions and hashes, in logs/sbom.json (CycloneDX)
	@rm -rf logs/sbom && mkdir -p logs/sbom
	@.venv/bin/python -m uv pip freeze --quiet --python .venv/bin/python > logs/sbom/installed.txt
	@$(UV) init --quiet --bare --no-workspace --name reprise --python .venv/bin/python logs/sbom
	@$(UV) add --quiet --project logs/sbom --no-sync --requirements logs/sbom/installed.txt
	@.venv/bin/python -m uv export --quiet --project logs/sbom --frozen --preview-features sbom-export --format cyclonedx1.5 \
		--output-file logs/sbom.json
	@rm -rf logs/sbom && echo "logs/sbom.json"

hooks: $(INSTALLED)  ## run the lint before each commit, and merge dvc.lock stage by stage
	@.venv/bin/python -m pre_commit install
	@git config merge.dvc-lock.name "stage by stage"
	@git config merge.dvc-lock.driver ".venv/bin/python -m pipelines.dvc.merge %O %A %B"

clean:  ## remove .venv and the tools' caches; data, models and DVC's cache stay
	rm -rf .venv .pytest_cache .ruff_cache .mypy_cache

# The stamp is touched last, so an interrupted installation is started again. Nothing is installed whose hash is not in the lock, also not
# setuptools, by which a package that comes as source alone is built.
$(INSTALLED): requirements.txt
	@"$(PYTHON)" -c '$(NEW_ENOUGH)' || { echo "error: $(PYTHON) is not Python 3.11 or newer:" \
		"install one, or name it, for example: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2> /dev/null || { echo "error: $(PYTHON) lacks its venv module:" \
		"install it (on Debian and Ubuntu: apt-get install python3-venv) and run make again." >&2; exit 1; }
	@echo "Installing the locked requirements into .venv: once, about 6 GB, a few minutes."
	@"$(PYTHON)" -m venv .venv
	@$(call pinned,uv) | $(PIP) --requirement /dev/stdin
	@$(UV) pip install --quiet --compile-bytecode --python .venv/bin/python --require-hashes --requirement requirements.txt \
		--build-constraints requirements.txt || { echo "uv could not install them; pip tries, which takes longer." >&2; \
		$(call pinned,setuptools) | $(PIP) --requirement /dev/stdin && \
		$(PIP) --no-deps --use-pep517 --no-build-isolation --requirement requirements.txt; }
	@touch $@
