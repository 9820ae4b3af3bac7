# Two commands for newcomers: `make demo` and `make test`. Both work in a fresh clone; both can be run again and again.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-all lint types layers unit test-ui test-api test-crash test-attack test-network test-ray test-gpu browser tracer docs package lock train-toy reproduce-toy clean help

help:  ## what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

demo: $(VENV)/.demo  ## install, then index and search a toy archive (3 minutes after installation)
	$(BIN)/vlrlt demo --out build/demo

test: $(VENV)/.dev browser tracer lint types layers unit  ## install what tests need, then every gate and test

test-all: test test-crash test-attack test-network test-api test-ray test-ui  ## `make test`, then every longer part below (1 hour)

lint: $(VENV)/.dev  ## ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev  ## mypy --strict
	$(BIN)/mypy

layers: $(VENV)/.dev  ## import-linter
	$(BIN)/lint-imports

unit: $(VENV)/.dev  ## pytest with coverage; two workers, each of one thread
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile --cov --cov-report=term

test-ui: $(VENV)/.dev browser  ## walk through every page in Chromium, log in by OIDC; pictures in build/screenshots (6 minutes)
	$(BIN)/python -m pip install --quiet oidc-provider-mock axe-playwright-python
	$(BIN)/pytest -m ui -q tests/test_ui_walk.py tests/test_ui_login.py

test-api: $(VENV)/.dev  ## the HTTP API: generated requests, a generated client, 50 clients beside an index job (5 minutes)
	$(PYTHON) -m venv build/openapi
	build/openapi/bin/pip install --quiet 'openapi-python-client>=0.26'
	OPENAPI_PYTHON_CLIENT=build/openapi/bin/openapi-python-client \
		$(BIN)/pytest -m '' -q tests/test_api_fuzz.py tests/test_api_client.py
	$(BIN)/python benchmarks/api_load.py

test-crash: $(VENV)/.dev  ## kill, tear and fill up: the suite of the library's promises (4 minutes of CPU time)
	$(BIN)/pytest -m '' -s -q tests/test_crash.py

test-attack: $(VENV)/.dev  ## hostile files, clients and replies, each bounded in time and memory (10 minutes)
	$(BIN)/pytest -m attack -q --hypothesis-profile search

test-network: $(VENV)/.dev tracer  ## commands and servers under strace: no packet leaves the machine (4 minutes)
	$(BIN)/pytest -m network -q tests/test_network.py

test-ray: $(VENV)/.dev  ## indexing on a local Ray cluster while its workers are killed; installs Ray (240 MB)
	$(BIN)/python -m pip install --quiet --editable '.[cpu,ray]'
	$(BIN)/pytest -m ray -q tests/test_ray.py

test-gpu: $(VENV)/.dev  ## on an NVIDIA GPU: kernels, vectors and FAISS against the CPU, then speed (10 minutes; a CPU runs what it can)
	$(BIN)/pytest -q tests/test_gpu.py
	$(BIN)/python benchmarks/gpu.py

browser:  ## Chromium for the browser test; skipped with a reason where it cannot be installed
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || { \
		[ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null; } || \
		echo "no Chromium here: the browser test will be skipped"

tracer:  ## strace for the test of packets; skipped with a reason where it cannot be installed
	@command -v strace >/dev/null || { \
		[ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq strace >/dev/null; } || \
		echo "no strace here: the tests of packets will be skipped"

docs: $(VENV)/.dev  ## the documentation as web pages, in build/site
	$(BIN)/mkdocs build --strict

package: $(VENV)/.dev  ## wheel and source archive, tried in a clean environment, with SBOM and licences, in dist
	rm -rf dist build/package
	$(BIN)/python -m build --outdir dist
	$(PYTHON) -m venv build/package/venv
	build/package/venv/bin/pip install --quiet "$$(ls dist/*.whl)[cpu]" --constraint requirements.lock
	cd build/package && venv/bin/vlrlt doctor && venv/bin/vlrlt demo --out demo
	$(PYTHON) -m venv build/package/tools
	build/package/tools/bin/pip install --quiet cyclonedx-bom pip-licenses
	build/package/tools/bin/cyclonedx-py environment build/package/venv/bin/python --output-file dist/sbom.json
	build/package/tools/bin/pip-licenses --python build/package/venv/bin/python --format markdown --with-urls \
		--output-file dist/LICENCES.md
	cd dist && sha256sum *.whl *.tar.gz sbom.json LICENCES.md > SHA256SUMS

lock: $(VENV)/.dev  ## requirements.lock: the newest versions that belong together
	$(PYTHON) -m venv build/lock
	build/lock/bin/pip install --quiet uv
	{ echo '# Versions that belong together, for `pip install -c requirements.lock vlrlt[cpu,ui]`. Written by `make lock`.'; \
		build/lock/bin/uv pip compile pyproject.toml --extra cpu --extra ui --extra hf --extra ask --extra serve \
		--extra edit --extra mcp --extra onnx --python-version 3.11 --quiet \
		--no-header --no-annotate; } > requirements.lock

train-toy: $(VENV)/.demo build/toy-proof/.made  ## rebuild the embedded default model (3 hours, most of it on one core)
	$(BIN)/vlrlt toy make --out build/toy --videos 320 --seed 1 --force
	$(BIN)/vlrlt train fit -c configs/train/toy.yaml
	$(BIN)/vlrlt train fit -c configs/train/toy_relevancy.yaml
	rm -rf vlrlt/default_model
	cp -r runs/toy-relevancy/best vlrlt/default_model

reproduce-toy: $(VENV)/.dev build/toy-proof/.made  ## the claims for training, on 600 training videos: dense, RLT, controls, ablations, three seeds (6 hours)
	$(BIN)/python benchmarks/train_cost.py --data build/toy-proof --cache build/toy-proof-cache --steps 360 --seeds 3 --ablate \
		--out build/proof
	$(BIN)/vlrlt eval epic-mir --data build/toy-proof
	@echo "Look at build/proof/train_cost.png"

build/toy-proof/.made: | $(VENV)/.demo
	$(BIN)/vlrlt toy make --out build/toy-proof --videos 800 --seed 1 --force
	@touch $@

clean:  ## remove what was built, but not the virtual environment
	rm -rf build dist runs .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage

# The stamps are newer than pyproject.toml exactly when the environment fits it.
$(VENV)/.demo: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "vlrlt needs Python 3.11 or newer, this is %d.%d; set PYTHON=" % sys.version_info[:2])'
	@echo 'Installing into $(VENV): about 6 GB the first time (docs/decisions/0011-lighter-start.md)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --editable '.[cpu,ui]'
	@touch $@

$(VENV)/.dev: pyproject.toml $(VENV)/.demo
	$(BIN)/python -m pip install --editable '.[cpu,ui,ask,serve,edit,mcp,dev,docs]'
	@touch $@
