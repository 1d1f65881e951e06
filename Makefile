# Two commands do everything: `make demo` and `make test`. They need Python >= 3.11 and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help setup demo up down status test lint types contracts unit test-long gen lock clean

help: ## Say what can be made
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

setup: $(VENV)/.done ## Make the environment: packages, the dev chain, this project

$(VENV)/.done: requirements/dev.txt pyproject.toml mesh/local/node/package-lock.json tools/install_anvil.py
	@$(PYTHON) -c 'import sys; sys.exit("VokeTag needs Python 3.11 or newer, and this is " + sys.version) if sys.version_info < (3, 11) else None'
	@echo "Setting up $(VENV): some minutes the first time, nothing afterwards."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@$(BIN)/python tools/install_anvil.py
	@command -v chromium chromium-browser google-chrome >/dev/null || \
	  echo "The tests of the page need Chromium, which is not here (on Debian: apt-get install chromium)."
	@touch $@

demo: setup ## The whole main job on real input, then leave the mesh up until Ctrl-C
	@$(BIN)/voketag demo

up: setup ## Run the whole mesh on this machine until Ctrl-C
	@$(BIN)/voketag up

down: setup ## Stop a mesh that runs
	@$(BIN)/voketag down

status: setup ## Say what runs and where
	@$(BIN)/voketag status

test: setup lint types contracts unit ## Lint, types, contract checks and all tests

lint: setup
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/lint-imports --no-cache

types: setup
	@$(BIN)/mypy

contracts: setup third_party/buf/validate/validate.proto
	@$(BIN)/buf lint && $(BIN)/buf format --diff --exit-code proto
	@$(BIN)/python tools/breaking.py
	@$(BIN)/python tools/generate.py --check
	@$(BIN)/python tools/compile_contract.py --check
	@$(BIN)/python tools/openapi.py --check
	@$(BIN)/python tools/access.py --check
	@$(BIN)/python tools/edge.py --check

unit: setup
	@$(BIN)/pytest -n 3 --dist loadgroup -m "not long"

test-long: setup ## The long suites too
	@$(BIN)/pytest -n 2 --dist loadgroup

gen: setup third_party/buf/validate/validate.proto ## Generate what follows from proto/ and contracts/
	@$(BIN)/buf format -w proto
	@$(BIN)/python tools/generate.py
	@$(BIN)/python tools/compile_contract.py
	@$(BIN)/python tools/openapi.py
	@$(BIN)/python tools/access.py
	@$(BIN)/python tools/edge.py

third_party/buf/validate/validate.proto: requirements/proto.txt tools/third_party.py | setup
	@$(BIN)/python tools/third_party.py && touch $@

lock: ## Pin the newest packages that pyproject.toml allows (needs uv)
	@uv pip compile -q pyproject.toml --all-extras --universal --python-version 3.11 --generate-hashes \
	  --no-header --no-annotate --no-emit-index-url -o requirements/dev.txt
	@uv pip compile -q pyproject.toml --extra service --universal --python-version 3.11 --generate-hashes \
	  --no-header --no-annotate --no-emit-index-url -o requirements/service.txt

clean: ## Remove the environment and the local mesh with all its data
	@rm -rf $(VENV) .voketag third_party
