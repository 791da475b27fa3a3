# make serve: run Raut on http://127.0.0.1:8000, or PORT.   make test: run the whole suite.
PYTHON ?= python3
BIN := .venv/bin
CATALOG := translations/id/LC_MESSAGES/messages.mo

.PHONY: serve test check docs programs audit sbom lock

serve: .venv/serve.stamp $(CATALOG)
	exec $(BIN)/python -m gunicorn --no-control-socket asgi:app

test: .venv/test.stamp $(CATALOG) programs
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

check: .venv/test.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/bandit -q -r -ll app training setup.py asgi.py wsgi.py gunicorn.conf.py

# Write the pages of docs/ that are generated from the code.
docs: .venv/test.stamp $(CATALOG)
	$(BIN)/python -m docs.generate

# Check the locked packages against PyPI's advisories.
audit: .venv/test.stamp
	$(BIN)/pip-audit --disable-pip -r requirements/serve.lock -r requirements/remote.lock

# Write the software bill of materials of a server.
sbom: sbom.json

sbom.json: requirements/serve.lock .venv/test.stamp
	$(BIN)/cyclonedx-py requirements --output-reproducible --pyproject pyproject.toml \
		--output-file $@ $<

# Lock the packages of a server for Linux, macOS and Windows on any processor.
lock: .venv/test.stamp
	for part in serve remote; do \
		$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes \
			--no-annotate --custom-compile-command "make lock" \
			requirements/$$part.txt -o requirements/$$part.lock || exit; \
	done

# Programs that the tests drive: a browser, and optionally nginx, Redis and strace; tests of a
# missing one are skipped.
programs:
	@if command -v chromium-headless-shell >/dev/null; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		{ apt-get update -qq && apt-get install -y -qq chromium-headless-shell; } || \
			command -v chromium >/dev/null || apt-get install -y -qq chromium; \
	elif command -v chromium >/dev/null; then :; \
	else $(BIN)/playwright install chromium || \
		{ echo "The browser tests need Chromium: install the package chromium." >&2; exit 1; }; \
	fi
	@if command -v nginx >/dev/null && command -v strace >/dev/null && \
		command -v redis-server >/dev/null; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get install -y -qq nginx-light openssl redis-server strace || \
			echo "nginx, redis-server and strace can't be installed; their tests are skipped." >&2; \
	fi

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/serve.stamp: requirements/serve.lock | .venv/bin/python
	$(BIN)/python -m pip install -q --require-hashes -r requirements/serve.lock
	@touch $@

.venv/test.stamp: requirements.txt $(wildcard requirements/*.txt) | .venv/bin/python
	$(BIN)/python -m pip install -q -r requirements.txt
	@touch $@

$(CATALOG): translations/id/LC_MESSAGES/messages.po | .venv/serve.stamp
	$(BIN)/pybabel -q compile -d translations
