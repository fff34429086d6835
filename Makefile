# Segfoundry. `make` lists the targets; `make VENV=DIR TARGET` uses an environment of yours instead of .venv.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.SUFFIXES:
MAKEFLAGS += --no-print-directory

VENV ?= .venv
PY := $(VENV)/bin/python
REQUIREMENTS := assets/requirements/requirements.txt assets/requirements/requirements_dev.txt
CUSTOM := assets/requirements/requirements_custom.txt
CONSTRAINTS := assets/requirements/constraints.txt
STAMP := $(VENV)/.segfoundry-requirements
CUSTOM_STAMP := $(VENV)/.segfoundry-requirements-custom
JOBS ?= 2
PYTEST_ARGS ?=
DEMO := runs/demo
# What demo-picture shows: an image of the demo's held-back ones, and one object for each option
PICTURE ?= $(DEMO)/data/val/images/scene_0067.jpg
PICTURE_ARGS ?= --click 131 97 --click 98 60 --text 'the cone' --scribble 75,85 85,95 90,105
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help
help:
	@printf '%s\n' \
	  'make demo          install, make a small data set, train a tiny SEEM on it, evaluate, predict, write a report (runs/demo)' \
	  'make demo-sam      the same with cables: draw them on photographs, train a small Segment Anything network (runs/demo-sam)' \
  'make demo-picture  make the picture of the page in README.md anew, with the model of make demo (needs Chromium)' \
	  'make test          install, run all tests but the slow ones (PYTEST_ARGS="-k name" selects, among the slow ones too)' \
	  'make test-slow     run the tests that take more than a few seconds each' \
	  'make test-fuzz     spoil files and overrides by the thousand: each must give a result or one clear message (an hour)' \
	  'make test-toy      train small SAMs on drawn cables from random weights and check what they learn (minutes)' \
	  'make test-interop  install detectron2 and panopticapi from source too, run the tests that compare with them' \
	  'make lint          check style and formatting (ruff)' \
	  'make typecheck     check types (mypy)' \
	  'make docs          write docs/configuration.md from the configuration schema' \
	  'make clean         remove build and cache folders (runs/ and the environment stay)' \
	  '' \
	  'VENV=DIR uses or creates the environment DIR (default .venv); PYTHON=... picks the interpreter that creates it.'

# ---- environment -----------------------------------------------------------------------------------------------------

# Installs only when the requirement files changed: the stamp inside the environment holds their digest.
.PHONY: venv
venv:
	@if [ ! -x '$(PY)' ]; then \
	  found=''; \
	  for candidate in $(if $(PYTHON),'$(PYTHON)',python3.11 python3.12 python3.13 python3.14 python3 python); do \
	    if "$$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then found="$$candidate"; break; fi; \
	  done; \
	  if [ -z "$$found" ]; then \
	    echo 'error: no Python 3.11 or newer with the venv module was found$(if $(PYTHON), at $(PYTHON)).' >&2; \
	    echo '       Install one (Debian/Ubuntu: apt-get install python3 python3-venv) or name it: make PYTHON=/path/to/python3.12 ...' >&2; \
	    exit 2; \
	  fi; \
	  printf '==> creating the environment %s with %s\n' '$(VENV)' "$$("$$found" --version)"; \
	  "$$found" -m venv '$(VENV)'; \
	fi
	@digest="$$(cat $(REQUIREMENTS) $(CONSTRAINTS) | '$(PY)' -c 'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())')"; \
	if [ "$$(cat '$(STAMP)' 2>/dev/null || true)" != "$$digest" ]; then \
	  echo '==> installing the pinned dependencies into $(VENV) (a few minutes and about 6 GB the first time)'; \
	  '$(PY)' -m pip install --quiet --progress-bar off -c $(CONSTRAINTS) $(addprefix -r ,$(REQUIREMENTS)); \
	  printf '%s\n' "$$digest" > '$(STAMP)'; \
	fi

.PHONY: venv-interop
venv-interop: venv
	@digest="$$(cat $(CUSTOM) | '$(PY)' -c 'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())')"; \
	if [ "$$(cat '$(CUSTOM_STAMP)' 2>/dev/null || true)" != "$$digest" ]; then \
	  echo '==> building detectron2 and panopticapi from pinned source (several minutes; needs git and a C++ compiler)'; \
	  '$(PY)' -m pip install --quiet -c $(CONSTRAINTS) setuptools wheel ninja; \
	  '$(PY)' -m pip install --quiet --no-build-isolation -c $(CONSTRAINTS) -r $(CUSTOM); \
	  printf '%s\n' "$$digest" > '$(CUSTOM_STAMP)'; \
	fi

# ---- demo ------------------------------------------------------------------------------------------------------------

DEMO_RECORD := $(DEMO)/data/scenes.yaml

.PHONY: demo
demo: venv
	@printf '\n==> %s\n' '1/5 data: small pictures drawn by a program, with exact masks ($(DEMO)/data)'
	@if [ -f $(DEMO_RECORD) ]; then echo 'already there'; else '$(PY)' entry.py prepare --embedded scenes --output $(DEMO)/data; fi
	@printf '\n==> %s\n' '2/5 training a tiny SEEM ($(DEMO)); running the same command again continues or says that it is finished'
	@'$(PY)' entry.py train --conf_files configs/seem/tiny.yaml --overrides SAVE_DIR runs EXP_NAME demo \
	  DATASETS.TRAIN '[$(DEMO_RECORD)]' DATASETS.TEST '[$(DEMO_RECORD)]'
	@printf '\n==> %s\n' '3/5 evaluating the best weights on held-back images'
	@'$(PY)' entry.py evaluate --weights $(DEMO) \
	  --overrides TEST.EVALUATORS '[panoptic, semantic, instance, interactive, referring]'
	@printf '\n==> %s\n' '4/5 predicting on held-back images ($(DEMO)/predictions)'
	@'$(PY)' entry.py predict --weights $(DEMO) --input $(DEMO)/data/val/images --output $(DEMO)/predictions --force
	@printf '\n==> %s\n' '5/5 report'
	@'$(PY)' entry.py report --run $(DEMO)
	@'$(PY)' -c 'import json; m = json.load(open("$(DEMO)/eval/scenes/metrics.json")); print("\nDone. On held-back images: panoptic quality %.1f %%, %.1f clicks to 85 %% overlap, masks of sentences %.1f %% mIoU" % (m["panoptic"]["PQ"], m["interactive"]["noc@0.85"], m["referring"]["mIoU"]))'
	@printf '%s\n' '  $(DEMO)/report/index.html   curves, tables, the worst images' \
	  '  $(DEMO)/predictions/overlay  predictions painted over images the model has not seen' \
	  '  $(DEMO)/predictions          the same as label files' \
	  'Click on images yourself:  $(PY) entry.py demo --weights $(DEMO)' \
	  'Next: your own data in five steps (README.md).'

DEMO_SAM := runs/demo-sam

.PHONY: demo-sam
demo-sam: venv
	@printf '\n==> %s\n' '1/5 data: cables drawn on photographs ($(DEMO_SAM)/data)'
	@if [ -f $(DEMO_SAM)/data/data.yaml ]; then echo 'already there'; else '$(PY)' entry.py prepare --embedded cables --output $(DEMO_SAM)/data; fi
	@printf '\n==> %s\n' '2/5 training a small SAM ($(DEMO_SAM)); running the same command again continues or says that it is finished'
	@'$(PY)' entry.py train --conf_files configs/sam/tiny.yaml $(DEMO_SAM)/data/data.yaml --overrides SAVE_DIR runs EXP_NAME demo-sam
	@printf '\n==> %s\n' '3/5 evaluating the best weights on held-back images of other photographs'
	@'$(PY)' entry.py evaluate --weights $(DEMO_SAM)
	@printf '\n==> %s\n' '4/5 predicting masks of these images ($(DEMO_SAM)/predictions)'
	@'$(PY)' entry.py predict --weights $(DEMO_SAM) --input $(DEMO_SAM)/data/test/imgs --output $(DEMO_SAM)/predictions --tasks foreground --probability --force
	@printf '\n==> %s\n' '5/5 report'
	@'$(PY)' entry.py report --run $(DEMO_SAM)
	@'$(PY)' -c 'import json; m = json.load(open("$(DEMO_SAM)/eval/test/metrics.json"))["foreground"]; print("\nDone. On held-back images: Dice %.1f %%, IoU %.1f %%, centre lines (clDice) %.1f %%" % (m["dice"], m["iou"], m["cldice"]))'
	@printf '%s\n' '  $(DEMO_SAM)/report/index.html       curves, figures, the worst images' \
	  '  $(DEMO_SAM)/predictions/foreground  masks, 255 = cable' \
	  'Next: your own folders imgs/ and masks/, with weights of Segment Anything (configs/sam/dlo_vit_b.yaml).'

# The picture of the page in README.md, made with the demo's model; needs Chromium.
.PHONY: demo-picture
demo-picture: venv
	@'$(PY)' tests/support/demo_page.py --weights $(DEMO) --image $(PICTURE) --output assets/demo_page.png $(PICTURE_ARGS)

# ---- tests and checks ------------------------------------------------------------------------------------------------

PYTEST := OMP_NUM_THREADS=1 '$(PY)' -m pytest -q -n $(JOBS) --dist loadfile

# A selection in PYTEST_ARGS is taken as it is: whoever names a slow test means it.
.PHONY: test
test: venv
	@printf '\n==> %s\n' 'running the tests in $(JOBS) processes'
	@$(PYTEST) $(if $(filter -k% -m% tests/%,$(PYTEST_ARGS)),,-m 'not slow') $(PYTEST_ARGS)
	@printf '\nAll tests passed. Next: make test-slow, make lint, make typecheck; one test alone: make test PYTEST_ARGS="-k NAME".\n'

.PHONY: test-slow
test-slow: venv
	@printf '\n==> %s\n' 'running the slow tests in $(JOBS) processes'
	@$(PYTEST) -m slow $(PYTEST_ARGS)
	@printf '\nAll slow tests passed; make test runs the others.\n'

.PHONY: test-fuzz
test-fuzz: venv
	@printf '\n==> %s\n' 'spoiled files and overrides; SEGFOUNDRY_FUZZ=PERCENT of 5,000 files and 10,000 overrides'
	@OMP_NUM_THREADS=1 SEGFOUNDRY_FUZZ=$${SEGFOUNDRY_FUZZ:-100} '$(PY)' -m pytest -q -s -n $(JOBS) tests/fuzz -m slow $(PYTEST_ARGS)

.PHONY: test-toy
test-toy: venv
	@printf '\n==> %s\n' 'training small SAMs on drawn cables: about two minutes of CPU time'
	@OMP_NUM_THREADS=1 SEGFOUNDRY_TOY=1 '$(PY)' -m pytest -q -s tests/acceptance $(PYTEST_ARGS)

.PHONY: test-interop
test-interop: venv-interop
	@printf '\n==> %s\n' 'running the tests that compare with detectron2 and panopticapi'
	@OMP_NUM_THREADS=1 SEGFOUNDRY_INTEROP=1 '$(PY)' -m pytest -q -m interop $(PYTEST_ARGS)
	@printf '\nAll interoperability tests passed. docs/datasets.md says how the two are used.\n'

.PHONY: lint
lint: venv
	@printf '\n==> %s\n' 'ruff: rules, import order, docstrings, formatting'
	@'$(PY)' -m ruff check .
	@'$(PY)' -m ruff format --check .

.PHONY: typecheck
typecheck: venv
	@printf '\n==> %s\n' 'mypy: types of the whole package'
	@'$(PY)' -m mypy -p segfoundry

.PHONY: docs
docs: venv
	@'$(PY)' entry.py config --document > docs/configuration.md
	@echo 'wrote docs/configuration.md'

.PHONY: clean
clean:
	rm -rf build dist .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.git/*' -not -path './.venv/*' -prune -exec rm -rf {} +
	@echo 'removed build and cache folders; left alone: runs/, $(VENV)'
