# The README's verbs. Everything runs in virtual environments of its own under .venv*.

# The Pythons that this is for, the newest first, and what one of them must do: start, which a shim
# of pyenv may not, and make environments, which Debian's does with python3-venv only.
PYTHONS = 3.13 3.12 3.11
SUPPORTED = import ensurepip, sys, venv; \
	sys.exit("%d.%d" % sys.version_info[:2] not in "$(PYTHONS)".split())
supported = $(shell for python in $(1); do \
	"$$python" -c '$(SUPPORTED)' 2>/dev/null && echo "$$python" && break; done)
PYTHON ?= $(call supported,$(PYTHONS:%=python%) python3)
WRONG_PYTHON = $(if $(PYTHON),PYTHON=$(PYTHON) is not,PATH has not) one of Python $(PYTHONS) that \
	starts and makes environments (on Debian: python3-venv); name one: make PYTHON=/path/to/python3.12
python = $(or $(call supported,$(PYTHON)),$(error $(strip $(WRONG_PYTHON))))

VENV ?= .venv
RUN ?= runs/digits
PIP_FLAGS ?= --quiet --disable-pip-version-check
TIMM = timm==1.0.31
# Without what they ask for: its absl-py is too new for quantisation-aware training.
MEDIAPIPE = mediapipe==1.2.2 opencv-python-headless==5.0.0.93

COVERAGE = coverage==7.17.3

.PHONY: help demo test test-slow test-slow-all test-pythons test-resolver test-backends test-arm64 test-batch bazel-test \
	wheel-test coverage docs docs-test bench fuzz lint format clean

help:
	@echo "make demo           install, train on digits, export, compare; photographs too: runs/"
	@echo "make test           install what tests need, lint, run the fast tests"
	@echo "make test-slow      the slow tests; test-slow-all those of many minutes, too"
	@echo "make test-pythons   the demo and the fast tests on each Python of $(PYTHONS) found here"
	@echo "make test-resolver  pip without constraints: versions for each extra in 2 minutes of CPU"
	@echo "make coverage       the lines that the fast tests leave out"
	@echo "make test-backends  the core on Keras' JAX and PyTorch backends, without TensorFlow"
	@echo "make test-arm64     the TFLite files on an emulated ARM64 CPU against this one"
	@echo "make test-batch     the pipeline of serving.batch, in an environment of its own"
	@echo "make bazel-test     build every target and run the fast tests with Bazel"
	@echo "make wheel-test     the wheel in a clean environment, outside the repository"
	@echo "make docs           the documentation as a site, with a reference: runs/site"
	@echo "make docs-test      every command and code block of the documentation; the notebook"
	@echo "make fuzz           each fuzzer for FUZZ_SECONDS (600)"
	@echo "make bench          the benchmarks of inference, in an environment of their own"
	@echo "make lint, format   ruff; lint checks which package imports which, too"
	@echo "make clean          remove environments, runs and caches"

$(VENV)/bin/python:
	$(python) -m venv $(VENV)

# One stamp for each set of extras that is installed.
$(VENV)/.demo: $(VENV)/bin/python setup.py constraints.txt
	$(VENV)/bin/python -m pip install $(PIP_FLAGS) -c constraints.txt -e ".[train]"
	@touch $@

$(VENV)/.test: $(VENV)/bin/python setup.py constraints.txt
	$(VENV)/bin/python -m pip install $(PIP_FLAGS) -c constraints.txt -e ".[test]"
	$(VENV)/bin/python -m pip install $(PIP_FLAGS) --no-deps $(TIMM) $(MEDIAPIPE)
	@touch $@

demo: $(VENV)/.demo
	$(VENV)/bin/python -m training.main --output=$(RUN) --overwrite
	$(VENV)/bin/python -m examples.photographs --output=runs/photographs

# What fails is run once more before it counts, and it says so.
PYTEST = $(VENV)/bin/python -m pytest -n 2 --dist=loadfile
once_more = $(1) || { test $$? = 1 && echo "make $@: what failed is run once more" && \
	$(1) --last-failed --last-failed-no-failures=none; }

test: lint
	$(call once_more,$(PYTEST))

SLOW_TESTS = slow and not long
SLOW_FILES ?=

test-slow: $(VENV)/.test
	$(call once_more,$(PYTEST) -m "$(SLOW_TESTS)" $(SLOW_FILES))

test-slow-all:
	$(MAKE) test-slow SLOW_TESTS=slow

# Environments and logs stay in .venv-pythons.
test-pythons:
	$(python) tools/check_pythons.py $(PYTHONS)

# With the pip that comes with the oldest Python here: a newer one resolves no worse.
OLDEST_PYTHON ?= $(lastword $(python) \
	$(foreach version,$(PYTHONS),$(call supported,python$(version))))
EXTRAS ?=

test-resolver:
	$(OLDEST_PYTHON) tools/check_resolver.py $(EXTRAS)

coverage: $(VENV)/.test
	$(VENV)/bin/python -m pip install $(PIP_FLAGS) $(COVERAGE)
	mkdir -p runs/coverage
	$(VENV)/bin/python -m coverage run -m pytest -n 2
	$(VENV)/bin/python -m coverage combine
	$(VENV)/bin/python -m coverage report | tee runs/coverage/report.txt

FUZZERS = rest pictures tensors files checkpoints
FUZZ_SECONDS ?= 600

# All of them, even where one has found something; then it fails.
fuzz: $(VENV)/.test
	failed=; for name in $(FUZZERS); do echo "fuzz_$$name"; \
		$(VENV)/bin/python -m tests.fuzz_$$name --seconds=$(FUZZ_SECONDS) || failed="$$failed $$name"; \
	done; test -z "$$failed" || { echo "found something:$$failed"; exit 1; }

lint: $(VENV)/.test
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/lint-imports --no-logo --no-cache

format: $(VENV)/.test
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

# The core must run where TensorFlow is not installed, so these have environments of their own.
BACKEND_TESTS = $(patsubst %,tests/levit_tf/test_%.py, \
	attention_bias attention_sizes attention_windows model layers fusion heads transfer \
	preprocessing)
GOLDEN = .venv-backends/golden

test-backends: $(VENV)/.test .venv-backends/jax/.done .venv-backends/torch/.done
	$(VENV)/bin/python -m tests.backend_parity --write=$(GOLDEN)
	for backend in jax torch; do \
		export KERAS_BACKEND=$$backend; \
		.venv-backends/$$backend/bin/python -m tests.backend_parity --check=$(GOLDEN) && \
		.venv-backends/$$backend/bin/python -m pytest $(BACKEND_TESTS) || exit 1; \
	done

.venv-backends/%/.done: setup.py constraints.txt
	$(python) -m venv .venv-backends/$*
	.venv-backends/$*/bin/python -m pip install $(PIP_FLAGS) -c constraints.txt \
		keras numpy pillow safetensors absl-py pytest $*
	.venv-backends/$*/bin/python -m pip install $(PIP_FLAGS) --no-deps -e .
	@touch $@

# An emulated ARM64 CPU: QEMU and Python from the Debian mirrors of this machine, LiteRT from where
# pip looks. All of it stays in the folder. Packages that these depend on come with them.
ARM64 ?= .venv-arm64
ARM64_SOURCES ?= /etc/apt/sources.list.d/debian.sources
ARM64_EMULATOR ?= qemu-user
ARM64_PYTHON ?= 3.11
ARM64_PACKAGES ?= python$(ARM64_PYTHON) libstdc++6

test-arm64: $(ARM64)/machine/.done $(ARM64)/files/.done
	$(VENV)/bin/python -m tests.arm64.compare --machine=$(ARM64)/machine --files=$(ARM64)/files
	$(VENV)/bin/python -m tests.arm64.edge --machine=$(ARM64)/machine --files=$(ARM64)/files

$(ARM64)/machine/.done: tests/arm64/prepare.py tests/arm64/machine.py constraints.txt | $(VENV)/.test
	$(VENV)/bin/python -m tests.arm64.prepare --folder=$(@D) --sources=$(ARM64_SOURCES) \
		--emulator=$(ARM64_EMULATOR) --packages $(ARM64_PACKAGES) --python=$(ARM64_PYTHON)

$(ARM64)/files/.done: tests/arm64/files.py tests/support/randomize.py \
		$(shell find levit_tf converters -name "*.py") | $(VENV)/.test
	$(VENV)/bin/python -m tests.arm64.files --folder=$(@D)

# Apache Beam, whose protobuf is older than the tested set's.
test-batch: $(VENV)/.test .venv-beam/.done
	$(VENV)/bin/python -m pytest -m slow tests/serving/batch

.venv-beam/.done: setup.py
	$(python) -m venv .venv-beam
	.venv-beam/bin/python -m pip install $(PIP_FLAGS) "apache-beam>=2.77,<3" google-crc32c pyarrow numpy pillow \
		ai-edge-litert
	@touch $@

BAZEL_TARGETS ?= //...

bazel-test: $(VENV)/.test
	$(VENV)/bin/python tools/bazel_offline/bazel_test.py --folder=.venv-bazel $(BAZEL_TARGETS)

wheel-test:
	$(python) tests/check_wheel.py

DOCS = .venv-docs/bin/python

# A broken link or a missing docstring fails.
docs: .venv-docs/.done
	NO_MKDOCS_2_WARNING=true $(DOCS) -m mkdocs build --strict --config-file=tools/site/mkdocs.yml
	@echo "to read it: $(DOCS) -m http.server --directory runs/site"

# The page about Keras runs on its other backends, too.
docs-test: $(VENV)/.test .venv-docs/.done
	$(VENV)/bin/python -m tests.run_docs README.md docs/*.md CONTRIBUTING.md
	for backend in jax torch; do \
		$(DOCS) -m tests.run_docs --backend=$$backend docs/keras.md || exit 1; \
	done
	$(DOCS) -m pytest -m slow tests/test_notebook.py

.venv-docs/.done: setup.py constraints.txt
	$(python) -m venv .venv-docs
	.venv-docs/bin/python -m pip install $(PIP_FLAGS) -c constraints.txt -e ".[docs]"
	@touch $@

BENCHMARKS ?= cpu_inference efficientnet scaling

bench: .venv-bench/.done
	for name in $(BENCHMARKS); do .venv-bench/bin/python -m benchmarks.$$name || exit 1; done

.venv-bench/.done: setup.py constraints.txt
	$(python) -m venv .venv-bench
	.venv-bench/bin/python -m pip install $(PIP_FLAGS) -c constraints.txt -e ".[bench]"
	.venv-bench/bin/python -m pip install $(PIP_FLAGS) --no-deps $(TIMM)
	@touch $@

clean:
	@chmod -R u+w .venv-bazel 2>/dev/null || true  # Bazel protects what it made
	rm -rf .venv .venv-pythons .venv-backends .venv-bench .venv-arm64 .venv-bazel .venv-beam .venv-docs
	rm -rf runs build dist *.egg-info .pytest_cache .ruff_cache
