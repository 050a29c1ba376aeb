# Every target sets up what it needs by itself (scripts/setup) on Debian and Ubuntu with Python >= 3.11.
# ARGS are passed on: make demo ARGS="--headless --seed 7", make test ARGS="tests/test_shm_ring.py -x"

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test test-long test-lerobot test-systemd check bench bench-compare closed-loop soak docs lock clean setup setup-lerobot \
    install install-server uninstall
unexport PYTHONPATH
unexport PYTHONHOME
unexport PYTHONDONTWRITEBYTECODE

PYTHON := .venv/bin/python

help: ## this list
	@sed -n 's/^\([a-z-]*\): [^#]*## /  make \1	/p' $(MAKEFILE_LIST) | expand -t 22
	@echo '  Pass options in ARGS, e.g. make demo ARGS="--help"'

demo: setup ## two simulated arms, driven by a policy server, put a lighter into a cup; result in runs/latest
	@$(PYTHON) -m controller.demo $(ARGS)

test: setup ## all tests but the long ones
ifdef ARGS
	@$(PYTHON) -m pytest --durations=10 $(ARGS)
else
	@$(PYTHON) -m pytest --durations=10 --numprocesses=auto --dist=worksteal --benchmark-disable -m "not stack and not long and not systemd"
	@$(PYTHON) -m pytest --durations=10 -m "not long" tests/stack
endif

test-long: setup ## the tests that are thorough rather than quick
	@$(PYTHON) -m pytest --durations=10 --benchmark-disable -m long $(ARGS)

test-lerobot: setup-lerobot ## the tests that call LeRobot itself, and the demo through its interface
	@.venv-lerobot/bin/python -m pytest --durations=5 $(or $(ARGS),tests/with_lerobot)
	@$(PYTHON) -m controller.demo --robot lerobot --headless

test-systemd: setup ## as root: installs into a container that boots a real systemd, and tests the services there
	@$(PYTHON) -m pytest --durations=10 tests/systemd $(ARGS)

check: setup ## lint, types, who may import whom, spelling
	@scripts/check

bench: setup ## how fast everything is here, and beside what else there is; a quarter of an hour; report in runs/bench
	@$(PYTHON) -m bench $(ARGS)

bench-compare: setup ## measure again: better, worse or the same as the results that are kept in bench/results?
	@$(PYTHON) -m bench --compare $(ARGS)

closed-loop: setup ## our seams and the stock openpi-client runtime on the same simulation, delays 0 to 400 ms
	@$(PYTHON) -m bench.closed_loop $(ARGS)

soak: setup ## a hundred real episodes mixed with faults, every motor tick judged; result in runs/soak
	@$(PYTHON) -m bench.soak $(ARGS)

docs: setup ## write the generated tables of docs/ anew
	@$(PYTHON) -m controller.tables docs

COMPILE := uv pip compile --quiet --python-version 3.11 --no-annotate --custom-compile-command "make lock" pyproject.toml

lock: setup ## write requirements*.lock anew from pyproject.toml; ARGS=--upgrade takes newer versions
	@export PATH="$$PATH:$$PWD/.uv/bin"; \
	$(COMPILE) --universal --fork-strategy fewest --extra sim --extra pi0 --extra trossen --extra realsense --extra v4l2 --extra completion \
	    --extra bench --extra dev -o requirements.lock $(ARGS) && \
	$(COMPILE) --python-platform x86_64-manylinux_2_28 --extra pi0 --extra cuda -c requirements.lock \
	    -o requirements-cuda.lock $(ARGS)

clean: ## remove what these targets made, except runs/
	@rm -rf .venv .venv-lerobot .uv .*_cache .hypothesis .benchmarks build dist
	@find . -name __pycache__ -prune -exec rm -rf {} +

setup-lerobot: setup ## .venv-lerobot: LeRobot and PyTorch over .venv, made or brought up to date
	@scripts/setup-lerobot

setup: ## .venv, made or brought up to date
	@scripts/setup

install: ## as root: the controller as a service of this machine, under /opt/pi0-controller; again: an upgrade
	@scripts/install controller

install-server: ## as root: the policy server as a service of the GPU machine, under /opt/pi0-controller
	@scripts/install server

uninstall: ## as root: remove what install put here; configuration and recordings stay
	@scripts/uninstall
