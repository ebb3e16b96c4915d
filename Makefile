# What a person types. `make check` is the whole static gate and `make test` is what CI runs: keep both equal to .ci/run.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

VENVS := .venvs
DAEMON := $(VENVS)/daemon
TRAINER := $(VENVS)/trainer
VLLM := $(VENVS)/vllm

# Any Python from 3.11 on. Debian's own python3 serves; PYTHON=... names another one.
PYTHON ?= $(firstword $(foreach p,python3 python3.13 python3.12 python3.11,$(shell $(p) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && command -v $(p))))
# uv from PATH, else our own copy, which pip installs below .venvs/uv on first use.
UV := $(or $(shell command -v uv 2>/dev/null),$(VENVS)/uv/bin/uv)
UV_FLAGS := --quiet --no-python-downloads
# TORCH_BACKEND=cpu (or auto, cu130, ...) picks torch's build; unset takes the one of the package index.
TORCH_BACKEND ?=
BACKEND_FLAG := $(if $(TORCH_BACKEND),--torch-backend $(TORCH_BACKEND))
# The CPU build needs none of the CUDA libraries which the lock names.
CUDA_LINES := ^(nvidia-|cuda-|triton=)
LOCK_FOR_BACKEND = $(if $(filter cpu,$(TORCH_BACKEND)),grep -vE '$(CUDA_LINES)' $(1),cat $(1))

.PHONY: help
help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

# ---------------------------------------------------------------------------------------------------- environments

.PHONY: env-daemon env-trainer env-vllm vllm lock
env-daemon: $(DAEMON)/.stamp ## .venvs/daemon: all but torch (about 150 MB to fetch)
env-trainer: $(TRAINER)/.stamp ## .venvs/trainer: the daemon's packages, torch and peft (about 2.5 GB to fetch)
env-vllm: $(VLLM)/.stamp ## .venvs/vllm: the CPU build of vLLM (shares torch with the trainer through uv's cache)

vllm: env-vllm ## make the vLLM environment and see that it imports
	$(VLLM)/bin/python -c 'import vllm; print("vllm imports, torch", __import__("torch").__version__)'

$(VENVS)/uv/bin/uv:
	@echo "uv is not on PATH: installing it below $(VENVS)/uv (about 25 MB)"
	@test -n "$(PYTHON)" || { echo "no Python >= 3.11 found: install python3 or set PYTHON=..." >&2; exit 1; }
	@# Debian splits ensurepip off python3-venv, so a target folder and pip alone must do.
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --target $(VENVS)/uv uv

# make_env NAME LOCK: an environment with exactly the lock, then the project itself, editable and without its dependencies.
define make_env
	@test -n "$(PYTHON)" || { echo "no Python >= 3.11 found: install python3 or set PYTHON=..." >&2; exit 1; }
	@test -x $(VENVS)/$(1)/bin/python || $(UV) venv $(UV_FLAGS) --python "$(PYTHON)" $(VENVS)/$(1)
	@$(call LOCK_FOR_BACKEND,$(2)) > $(VENVS)/$(1)/lock.txt
	$(UV) pip sync $(UV_FLAGS) $(BACKEND_FLAG) --python $(VENVS)/$(1)/bin/python $(VENVS)/$(1)/lock.txt
	$(UV) pip install $(UV_FLAGS) --no-deps --python $(VENVS)/$(1)/bin/python --editable .
	@touch $@
endef

$(DAEMON)/.stamp: locks/daemon.txt pyproject.toml | $(UV)
	@echo "making $(DAEMON): about 150 MB to fetch the first time"
	$(call make_env,daemon,locks/daemon.txt)

$(TRAINER)/.stamp: locks/trainer.txt pyproject.toml | $(UV)
	@echo "making $(TRAINER): about 2.5 GB to fetch the first time (TORCH_BACKEND=cpu: about 0.4 GB)"
	$(call make_env,trainer,locks/trainer.txt)

$(VLLM)/.stamp: locks/vllm.txt pyproject.toml | $(UV)
	@echo "making $(VLLM): about 0.6 GB to fetch on top of the trainer's torch"
	$(call make_env,vllm,locks/vllm.txt)

# Locks carry versions and markers only: no index, no host, no path.
COMPILE = $(UV) pip compile $(UV_FLAGS) --universal --python-version 3.11 --no-header --no-annotate \
	--no-emit-index-url --no-emit-find-links
lock: | $(UV) ## resolve the three locks anew (UPGRADE=--upgrade takes newer versions)
	$(COMPILE) $(UPGRADE) --override deploy/vllm/overrides.txt locks/vllm.in -o locks/vllm.txt
	@# The same torch and transformers as vLLM's: one download, and log-probabilities that can be compared.
	$(COMPILE) $(UPGRADE) --extra dev -c locks/vllm.txt pyproject.toml -o locks/daemon.txt
	$(COMPILE) $(UPGRADE) --extra dev --extra trainer -c locks/vllm.txt pyproject.toml -o locks/trainer.txt
