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
env-daemon: $(DAEMON)/.stamp ## .venvs/daemon: all but torch (about 0.2 GB to fetch)
env-trainer: $(TRAINER)/.stamp ## .venvs/trainer: the daemon's packages, torch and peft (about 2.8 GB to fetch)
env-vllm: $(VLLM)/.stamp ## .venvs/vllm: the CPU build of vLLM (0.4 GB on top of the same torch)

vllm: env-vllm ## make the vLLM environment and see that it imports
	$(VLLM)/bin/python -c 'import vllm; print("vllm imports, torch", __import__("torch").__version__)'

$(VENVS)/uv/bin/uv:
	@echo "uv is not on PATH: installing it below $(VENVS)/uv (about 25 MB)"
	@test -n "$(PYTHON)" || { echo "no Python >= 3.11 found: install python3 or set PYTHON=..." >&2; exit 1; }
	@# Debian splits ensurepip off python3-venv, so a target folder and pip alone must do.
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --target $(VENVS)/uv uv

# make_env NAME LOCK: an environment with exactly the lock, and the project itself, editable.
define make_env
	@test -n "$(PYTHON)" || { echo "no Python >= 3.11 found: install python3 or set PYTHON=..." >&2; exit 1; }
	@test -x $(VENVS)/$(1)/bin/python || $(UV) venv $(UV_FLAGS) --python "$(PYTHON)" $(VENVS)/$(1)
	@{ $(call LOCK_FOR_BACKEND,$(2)); echo "--editable ."; } > $(VENVS)/$(1)/lock.txt
	@$(UV) pip sync $(UV_FLAGS) $(BACKEND_FLAG) --python $(VENVS)/$(1)/bin/python $(VENVS)/$(1)/lock.txt
	@touch $@
endef

$(DAEMON)/.stamp: locks/daemon.txt pyproject.toml | $(UV)
	@echo "making $(DAEMON): about 0.2 GB to fetch the first time"
	$(call make_env,daemon,locks/daemon.txt)

$(TRAINER)/.stamp: locks/trainer.txt pyproject.toml | $(UV)
	@echo "making $(TRAINER): about 2.8 GB to fetch the first time (TORCH_BACKEND=cpu: about 0.4 GB)"
	$(call make_env,trainer,locks/trainer.txt)

$(VLLM)/.stamp: locks/vllm.txt pyproject.toml | $(UV)
	@echo "making $(VLLM): about 0.4 GB to fetch on top of the trainer's torch"
	$(call make_env,vllm,locks/vllm.txt)

# Locks carry versions and markers only: no index, no host, no path.
COMPILE = $(UV) pip compile $(UV_FLAGS) --universal --python-version 3.11 --no-header --no-annotate \
	--no-emit-index-url --no-emit-find-links
lock: | $(UV) ## resolve the three locks anew (UPGRADE=--upgrade takes newer versions)
	$(COMPILE) $(UPGRADE) --override deploy/vllm/overrides.txt locks/vllm.in -o locks/vllm.txt
	@# The same torch and transformers as vLLM's: one download, and log-probabilities that can be compared.
	$(COMPILE) $(UPGRADE) --extra dev -c locks/vllm.txt pyproject.toml -o locks/daemon.txt
	$(COMPILE) $(UPGRADE) --extra dev --extra trainer -c locks/vllm.txt pyproject.toml -o locks/trainer.txt

# ----------------------------------------------------------------------------------------------------- to see it work

.PHONY: demo drill
demo: env-daemon env-trainer ## drift, adaptation, canary, promotion and a rollback on this machine (ARGS=... are passed on)
	$(DAEMON)/bin/homeostat demo $(ARGS)

drill: env-daemon env-trainer ## poisoned and harmful adapters against the gate and the canary (ARGS=... are passed on)
	$(DAEMON)/bin/homeostat drill $(ARGS)

# -------------------------------------------------------------------------------------------------------------- checks

.PHONY: check test test-unit test-trainer test-kafka test-e2e services bench bench-decisions bench-drift soak
check: env-daemon env-trainer ## ruff, pyright (strict) and the import contracts
	$(DAEMON)/bin/ruff check .
	$(DAEMON)/bin/ruff format --check .
	$(DAEMON)/bin/pyright
	$(DAEMON)/bin/lint-imports --no-logo

services: ## what the tests need from Debian: installed as root, else named
	@PYTHON="$(PYTHON)" sh deploy/services.sh

# Each test runs in one stage: the stages are disjoint and together they are everything but the soak.
UNIT := not trainer and not kafka and not vllm and not soak and not e2e
TORCH := trainer and not kafka and not vllm and not soak and not e2e
BROKER := kafka and not vllm and not soak and not e2e
WHOLE := (e2e or vllm) and not soak
# One thread: the machine's cores belong to several processes at once, and sums stay in one order.
RUN := env OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false

test-unit: env-daemon
	$(RUN) $(DAEMON)/bin/python -m pytest -m "$(UNIT)"
test-trainer: env-daemon env-trainer
	$(RUN) $(TRAINER)/bin/python -m pytest -m "$(TORCH)"
test-kafka: services env-trainer
	$(RUN) $(TRAINER)/bin/python -m pytest -m "$(BROKER)"
test-e2e: services env-daemon env-trainer env-vllm
	$(RUN) $(TRAINER)/bin/python -m pytest -m "$(WHOLE)"

test: ## everything that CI runs: the tools, the environments, check, and the four stages of tests
	$(MAKE) --no-print-directory services
	$(MAKE) --no-print-directory env-daemon env-trainer env-vllm
	$(MAKE) --no-print-directory check
	$(MAKE) --no-print-directory test-unit
	$(MAKE) --no-print-directory test-trainer
	$(MAKE) --no-print-directory test-kafka
	$(MAKE) --no-print-directory test-e2e

# Programs, not tests: each prints its figures. BENCH="gateway streams" picks some.
# The programs of tests/bench but for drift, which is part of decisions.
BENCH ?= $(sort $(filter-out __init__ drift,$(patsubst tests/bench/%.py,%,$(wildcard tests/bench/*.py))))
bench: env-daemon env-trainer ## measure what the README states (the programs of tests/bench)
	@for name in $(BENCH); do echo "== $$name"; $(RUN) $(TRAINER)/bin/python -m tests.bench.$$name $(ARGS); done

# Public text streams (clinc150 and banking77 as published); rows that need them are skipped where the folder is absent.
TEXTS ?= ../shared/data
bench-decisions: env-daemon ## error rates and delays of canary and drift, bar by bar (ARGS="--runs 1000" for narrower intervals)
	@$(RUN) $(DAEMON)/bin/python -m tests.bench.decisions --texts $(TEXTS) $(ARGS)

bench-drift: env-daemon ## the drift rows of it alone (TEXTS=FOLDER: where the text streams lie)
	@$(RUN) $(DAEMON)/bin/python -m tests.bench.drift --texts $(TEXTS) $(ARGS)

soak: services env-daemon env-trainer ## the fault harnesses with long counts (hours)
	$(RUN) HOMEOSTAT_SOAK=1 $(TRAINER)/bin/python -m pytest -m soak -o faulthandler_timeout=0 $(ARGS)

# ------------------------------------------------------------------------------------------------- a broker to try out

.PHONY: kafka kafka-stop
KAFKA_DIR ?= .cache/kafka-broker
KAFKA_PORT ?= 9092
kafka: services ## start a real single-node Kafka on 127.0.0.1:9092 (KAFKA_PORT, KAFKA_DIR)
	deploy/kafka/kafka.sh start $(KAFKA_DIR) $(KAFKA_PORT) $$(( $(KAFKA_PORT) + 1 ))
kafka-stop: ## stop it; its data stay
	deploy/kafka/kafka.sh stop $(KAFKA_DIR)
