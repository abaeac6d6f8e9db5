# make demo      install, fetch the base, run recipes/laptop.toml; again after a stop: it goes on
# make test      lint, types and the fast tests        make test-all   slow ones too, but for Ray's
# make test-ray  the cluster's tests with Ray
# make peers     stock clients, lm-eval, inspect-ai and llama.cpp, which slow tests run Shoestring against
# make lint      ruff and the type checker             make clean      remove caches (not the venv, not runs/)
#
# PYTHON=python3.12      the interpreter that the virtual environment is made with, 3.11 or newer
# VENV=DIR               where it goes
# TORCH_INDEX=URL        where torch comes from. Unset: the usual index. On Linux x86 a plain `pip install
#                        torch` from PyPI brings the CUDA build and gigabytes of libraries with it, unless pip
#                        is configured to find a CPU wheel; for the CPU build from the project itself:
#                        make demo TORCH_INDEX=https://download.pytorch.org/whl/cpu

PYTHON ?= python3
VENV ?= .venv
TORCH_INDEX ?=
RUN ?= runs/laptop

BIN := $(VENV)/bin
TORCH := torch==2.13.0
BASE := smollm2-135m
# wheels only: nothing is compiled, and no dependency's setup script runs
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --only-binary :all:

# one process for each core with one thread each: half the time of one process with all threads, and two
# processes that each start a thread for every core would spin against each other
FAST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m "not slow" -n auto --dist worksteal

.PHONY: venv dev gym peers base demo test test-all test-ray lint format clean
.DELETE_ON_ERROR:

venv: $(VENV)/.installed
dev: $(VENV)/.dev

# torch comes first and pinned, so that what follows finds it there and asks no index for a newer one
$(VENV)/.torch:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or newer is needed and '$(PYTHON)' is not: make PYTHON=python3.11 $(MAKECMDGOALS)" >&2; exit 2; }
	@echo "installing torch into $(VENV) (about 200 MB for a processor, minutes on a slow line)"
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) $(TORCH) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX))
	@touch $@

$(VENV)/.installed: $(VENV)/.torch pyproject.toml
	$(INSTALL) --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.installed
	$(INSTALL) --editable '.[dev]'
	@touch $@

# three packages under reasoning-gym have no wheels, one needs a C compiler: its tests are left out without it
gym: $(VENV)/.installed
	@$(BIN)/python -c 'import reasoning_gym' 2>/dev/null \
	  || $(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[gym]' \
	  || echo "the extra 'gym' can't be installed here: its tests are skipped"

# what can't be had here is left out, with the tests that need it: they say so
PEERS := clients inspect xllamacpp
peers: $(PEERS:%=.venv-%/.installed)
.venv-%/.installed:
	@PYTHON=$(PYTHON) VENV=$(VENV) TORCH_INDEX=$(TORCH_INDEX) bash benchmarks/install_peers.sh $* \
	  || echo "the peers '$*' can't be installed here: their tests are skipped"

# it sees what is in the other one; these files skip themselves without it
.venv-ray/.installed: $(VENV)/.installed
RAY_TESTS := $(patsubst %,tests/cluster/test_%.py,generators judges trainer node ray_start ray_job verbs driver_killed two_hosts vllm_engine vllm_server)

base: $(VENV)/.installed
	@$(BIN)/shoestring get $(BASE)

demo: base
	$(BIN)/shoestring run recipes/laptop.toml --output-dir $(RUN) --resume
	@echo "shoestring lies in $(BIN): type '. $(BIN)/activate' first, or $(BIN)/shoestring chat $(RUN)"

lint: $(VENV)/.dev
	$(BIN)/ruff check src tests
	$(BIN)/ruff format --check src tests
	$(BIN)/basedpyright --pythonpath $(BIN)/python

format: $(VENV)/.dev
	$(BIN)/ruff check --fix src tests
	$(BIN)/ruff format src tests

test: lint base
	$(FAST)

# the slow ones one at a time: they time out, kill and measure memory, and use every core themselves
test-all: dev gym base peers
	$(FAST)
	env $$(bash benchmarks/install_peers.sh env) $(BIN)/python -m pytest -q -m slow

# apart: a quarter of an hour of processes that are started and killed, in an environment that has Ray
test-ray: dev .venv-ray/.installed
	.venv-ray/bin/python -m pytest -q -m "" $(RAY_TESTS)

clean:
	rm -rf build dist .pytest_cache .ruff_cache .hypothesis
	find src tests benchmarks studies -name __pycache__ -prune -exec rm -rf {} +
