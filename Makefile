# Two commands: `make run` serves the app on http://localhost:8501, `make test` runs the whole suite.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV ?= .venv
BIN := $(VENV)/bin
PORT ?= 8501

.PHONY: run test test-fast coverage check format lock chromium postgresql clean

run: $(VENV)/.run
	$(BIN)/streamlit run app/main.py --server.port=$(PORT)

# The fast tests run once: with their coverage. A browser's journeys have the machine to themselves.
test: $(VENV)/.test chromium postgresql check coverage
	$(BIN)/python -m pytest -m slow -n 2 --dist loadfile --ignore=tests/browser
	$(BIN)/python -m pytest tests/browser

# All but the tests marked as slow: about four minutes on two processors.
test-fast: $(VENV)/.test
	$(BIN)/python -m pytest -m "not slow" -n 2 --ignore=tests/browser

# Which lines the fast tests run, with a floor (pyproject.toml). The whole suite is not traced: that takes 40 to 70% longer.
coverage: $(VENV)/.test
	$(BIN)/python -m pytest -m "not slow" -n 2 --ignore=tests/browser --cov --cov-report=term

check: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Makes requirements*.txt and requirements.lock from pyproject.toml and what is installed.
lock: $(VENV)/.test
	$(BIN)/python tools/lock.py

# Installs the system's Chromium where there is none and it may; the browser tests say so where they find none.
chromium:
	@command -v chromium chromium-browser google-chrome >/dev/null 2>&1 \
		|| { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium; } \
		|| { command -v sudo >/dev/null && sudo -n env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium; } \
		|| echo "No Chromium found and none could be installed: the browser tests will fail. Install chromium."

# The same for PostgreSQL, as the store's other database; its tests are skipped where there is none.
postgresql:
	@command -v initdb >/dev/null 2>&1 || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 \
		|| { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql; } \
		|| { command -v sudo >/dev/null && sudo -n env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql; } \
		|| echo "No PostgreSQL found and none could be installed: its tests are skipped. Install postgresql."

$(VENV)/bin/python:
	@echo "Making the environment $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.run: requirements.txt requirements.lock | $(VENV)/bin/python
	@echo "Installing the pinned packages into $(VENV). The first time, this takes about two minutes ..."
	@$(BIN)/python -m pip install --quiet --requirement requirements.txt
	@touch $@
	@echo "Installed. The app opens on http://localhost:$(PORT) in a few seconds."

$(VENV)/.test: requirements-dev.txt requirements-cluster.txt requirements-peers.txt requirements.txt requirements.lock | $(VENV)/bin/python
	@echo "Installing the pinned packages and the tools of the tests into $(VENV). This takes some minutes ..."
	$(BIN)/python -m pip install --quiet --requirement requirements-dev.txt
	$(BIN)/python -m pip install --quiet --requirement requirements-cluster.txt || echo "Ray could not be installed: its tests are skipped."
	$(BIN)/python -m pip install --quiet --no-deps --requirement requirements-peers.txt
	touch $@ $(VENV)/.run

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis
