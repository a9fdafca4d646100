# Every target sets up what it needs, once, in .venv. Needs Python 3.11 or newer and make (3.81 or newer).
#   make demo      the main job on real input, on an embedded server
#   make test      the tests          (make test ARGS="tests/engine -k retry")
#   make versions PYTHON=3.12 DJANGO=6   the tests of the frameworks with other versions (LEAN=1: only Django's)
#   make lint types docs bench clean

VENV   ?= .venv
PYTHON ?=
ARGS   ?=
BIN    := $(VENV)/bin

export VENV
export PYTHON
export DJANGO
export CELERY
export LEAN
# Where it is set, each of the tests' many processes would compile every module again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test versions lint types docs bench clean
.DEFAULT_GOAL := test

$(VENV)/.installed-%: pyproject.toml .ci/setup
	@sh .ci/setup $*

# Each extra is installed once and again when pyproject.toml changes.
.PRECIOUS: $(VENV)/.installed-%

demo: $(VENV)/.installed-dev
	@$(BIN)/python examples/index_stdlib.py $(ARGS)

test: $(VENV)/.installed-test
	@$(BIN)/python -m pytest -n 3 --dist worksteal $(ARGS)

versions:
	@sh tests/contrib/versions.sh $(ARGS)

lint: $(VENV)/.installed-test
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/lint-imports --no-cache

types: $(VENV)/.installed-test
	@$(BIN)/mypy

docs: $(VENV)/.installed-docs
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict $(ARGS)

bench: $(VENV)/.installed-dev
	@$(BIN)/python -m bench $(ARGS)

clean:
	rm -rf $(VENV) .venvs build dist site htmlcov .coverage .coverage.* \
	    .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
