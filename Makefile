# Two commands do everything on a fresh machine: `make demo` and `make test`. They need Python >= 3.11.
PYTHON ?= python3
BIN := .venv/bin
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help demo run test test-pythons test-peers test-backends test-deploy test-faults soak fuzz bench lint manifests docs wheel audit sbom clean

help: ## show this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

.venv/installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "spanledger needs Python 3.11 or newer")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade 'pip>=25.1'
	$(BIN)/pip install --quiet --editable . --group test --group lint
	touch $@

demo: .venv/installed ## run the sidecar and play sample agents at it (ARGS=--once ends by itself)
	$(BIN)/spanledger demo $(ARGS)

run: .venv/installed ## run the sidecar on otel-config.yaml
	$(BIN)/spanledger run $(ARGS)

test: .venv/installed ## run the tests that need Python only
	$(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS)

test-pythons: .venv/installed ## run them on another Python too, where there is one (PYTHONS='python3.12 python3.14')
	bash .ci/pythons $(ARGS)

test-peers: .venv/installed ## install real peers (Prometheus, Phoenix, Node.js SDK, Collector) and run the tests against them
	bash tests/peers/install.sh
	$(BIN)/python -m pytest -m peers tests/peers $(ARGS)

test-faults: .venv/installed ## kill it, fill its disk, cut its network; as root for all of it (ARGS='--rounds 5' for longer)
	$(BIN)/python -m pytest -m faults tests/faults -n 2 --dist loadgroup $(ARGS)

soak: .venv/installed ## twenty minutes of everything at once: memory, series, files, loop lag (ARGS='--minutes 60 --out soak.json')
	$(BIN)/python -m bench.soak $(ARGS)

test-backends: .venv/installed ## install MLflow, Jaeger, Tempo, Phoenix (some minutes) and send traces on to them
	bash tests/peers/install.sh phoenix mlflow jaeger tempo
	$(BIN)/python -m pytest -m peers tests/peers/test_sending_on.py $(ARGS)

test-deploy: .venv/installed ## check what is in deploy/ with Helm, hadolint, systemd and the schemas of Kubernetes and Compose
	sh tests/deploy/install.sh
	$(BIN)/python -m pytest -m peers tests/deploy $(ARGS)

.venv-fuzz/installed: pyproject.toml
	$(PYTHON) -m venv .venv-fuzz
	.venv-fuzz/bin/pip install --quiet --upgrade 'pip>=25.1'
	.venv-fuzz/bin/pip install --quiet --editable . --group test --group fuzz
	touch $@

fuzz: .venv-fuzz/installed ## fuzz every decoder, one after the other (ARGS='--seconds 600 pipeline')
	.venv-fuzz/bin/python -m tests.fuzz.run $(ARGS)

manifests: .venv/installed ## write deploy/kubernetes anew from the chart
	sh tests/deploy/install.sh
	$(BIN)/python -m tests.deploy.manifests

# A release that passes OTLP on and starts without a configuration file; it has no wheel for every machine.
.peers/rotel/installed:
	$(PYTHON) -m venv .peers/rotel
	.peers/rotel/bin/pip install --quiet rotel==0.0.1a15 || echo 'bench: rotel cannot be had here'
	touch $@

bench: .venv/installed .peers/rotel/installed ## measure the sidecar beside its peers (ARGS=--quick for three minutes)
	bash tests/peers/install.sh phoenix collector || echo 'bench: a peer cannot be had here'
	$(BIN)/python -m bench $(ARGS)

lint: .venv/installed ## ruff and mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: .venv/installed ## write the generated pages of docs/ and rules of deploy/ anew
	$(BIN)/python -m spanledger.service.documentation > docs/configuration.md
	$(BIN)/python -m spanledger.conventions.metrics > docs/metrics.md
	$(BIN)/python -m spanledger.service.assets.write
	$(BIN)/python -m tests.corpus.report
	$(BIN)/python -m tests.corpus.trajectory_report

wheel: .venv/installed ## build the wheel into dist/ and try it in an environment of its own
	bash .ci/wheel

.venv-audit/installed:
	$(PYTHON) -m venv .venv-audit
	.venv-audit/bin/pip install --quiet 'pip-audit>=2.9' 'cyclonedx-bom>=7'
	touch $@

audit: .venv/installed .venv-audit/installed ## look for published advisories about what is installed
	.venv-audit/bin/pip-audit --path $$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))') --skip-editable

sbom: .venv/installed .venv-audit/installed ## list what is installed in dist/sbom.cdx.json (CycloneDX)
	mkdir -p dist
	.venv-audit/bin/cyclonedx-py environment .venv --output-file dist/sbom.cdx.json

clean: ## remove what was installed and built here
	rm -rf .venv .venv-audit .venv-fuzz .fuzz .peers dist build .pytest_cache .mypy_cache .ruff_cache
