# Two commands matter: `make demo` and `make test`. Both install what they need in .venv.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test team-tools test-team soak check format bench bench-serving bench-compare bench-registry bench-gpu accuracy image image-test lock sbom

# The extras a user of everything needs; `gpu` brings an ONNX Runtime that runs on CPUs too.
.venv/installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version.split()[0])'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable '.[training,serving,compare,gpu]'
	touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/pip install --quiet --editable '.[training,serving,compare,gpu,dev]'
	touch $@

# 16 epochs on scikit-learn's digits, versions 8 and 16 served and compared.
demo: .venv/installed
	PATH="$(CURDIR)/$(BIN):$$PATH" ./demo.sh

# Two at a time, each file of tests in one process.
test: check
	$(BIN)/pytest -n 2 --dist loadfile

# PostgreSQL 15, nginx and Prometheus of Debian, an S3 server of PyPI.
team-tools: .venv/installed-team
	tests/team/install.sh

.venv/installed-team: .venv/installed-dev
	$(BIN)/pip install --quiet --editable '.[training,serving,compare,gpu,dev,team]'
	touch $@

# The parts of a team's deployment as real processes on this machine.
test-team: team-tools
	$(BIN)/pytest -m team tests/team

# The long versions of tests: 20 kills of a run where `make test` has 3.
soak: .venv/installed-dev
	$(BIN)/pytest -m soak

# Format, lint, types, and who may import whom.
check: .venv/installed-dev
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Tiny ImageNet, for what is measured on real images.
DATA ?= tiny-imagenet-200

# This project and its peers on the same work; writes docs/benchmarks.md. Half an hour.
bench: .venv/installed-dev
	$(BIN)/python -m benchmarks.publishing
	$(BIN)/python -m benchmarks.importing
	$(BIN)/python -m benchmarks.training --data $(DATA)
	$(BIN)/python -m benchmarks.training --data $(DATA) --arch mobilenet_v3_large
	$(BIN)/python -m benchmarks.scaling --data $(DATA)
	$(MAKE) bench-serving
	$(MAKE) bench-compare

# Two versions of which only the speed matters, and the first one's int8 form.
STORE := sqlite:///$(CURDIR)/build/bench/mlflow.db
build/bench/stored: | .venv/installed-dev
	rm -rf $(@D) && mkdir -p $(@D)
	export MLFLOW_TRACKING_URI=$(STORE) && \
		$(BIN)/python -m training --data $(DATA) --per-class 20 --epochs 2 && \
		$(BIN)/python -m training --data $(DATA) --quantize v1
	touch $@

bench-serving: .venv/installed-dev build/bench/stored
	$(BIN)/python -m benchmarks.serving --store $(STORE) --images $(DATA)/val/images

bench-compare: .venv/installed-dev build/bench/stored
	$(BIN)/python -m benchmarks.compare --store $(STORE) --data $(DATA)

# 100 replicas that follow a registry of 1,000 versions; needs PostgreSQL.
bench-registry: team-tools
	$(BIN)/python -m benchmarks.registry

bench-gpu: .venv/installed-dev
	$(BIN)/python -m benchmarks.training --device cuda --data $(DATA)
	$(BIN)/python -m benchmarks.scaling --device cuda --data $(DATA)

# What the recipes reach: cpu (half an hour), gpu16, gpu50, gpu200; what was done is kept.
SET ?= cpu
accuracy: .venv/installed-dev
	$(BIN)/python -m benchmarks.accuracy --set $(SET) --data $(DATA) --work build/accuracy

# The service in a container; docker, podman, or buildah as root without a daemon.
image:
	tests/image/build.sh

# Starts it with a root that cannot be written, posts a JPEG, drains it.
image-test: .venv/installed
	tests/image/try.sh

# What the images install, by version and hash. It resolves for Linux and Python 3.11 on.
LOCKS := serving-cpu serving-gpu training-gpu compare-cpu mlflow
lock: build/tools/installed
	$(foreach name,$(LOCKS),deploy/requirements/lock.sh $(name) &&) true

# A CycloneDX document for each image, of its locked libraries.
sbom: build/tools/installed
	mkdir -p build/sbom
	$(foreach name,$(LOCKS),build/tools/bin/cyclonedx-py requirements --output-format JSON \
		--output-file build/sbom/$(name).cdx.json deploy/requirements/$(name).txt &&) true

build/tools/installed:
	$(PYTHON) -m venv build/tools
	build/tools/bin/pip install --quiet 'uv>=0.9' 'cyclonedx-bom>=7'
	touch $@
