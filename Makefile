# Ten words a developer types; `make` alone prints them.
SHELL := /bin/bash
.DEFAULT_GOAL := help

# Debian's own Python where there is one: the bundle is compiled for the hosts' Python, which is the same.
PYTHON ?= $(shell test -x /usr/bin/python3 && echo /usr/bin/python3 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.set-up
# What setup needs of Debian: a venv, what boots local machines, what streams bundles, what tests drive.
APT_PACKAGES := python3-venv iproute2 nftables libnftables1 openssh-client openssh-server systemd-container mmdebstrap \
	debian-archive-keyring zstd ca-certificates curl procps
# What the integration tests run for real, beside the release's own etcd.
TEST_PACKAGES := containerd runc containernetworking-plugins busybox-static catatonit bind9 knot chromium
PYTEST := $(BIN)/python -m pytest
# Tests over real sockets, processes and clocks get a second try on a busy machine; a rerun is shown by name.
RETRY := --reruns 1 -rR
# Integration tests wait more than they work; a file stays in one process.
SIDE_BY_SIDE := -n 3 --dist loadfile
NAME ?= dev
ROUNDS ?= 5
NODES ?= 5

.PHONY: help setup apt fmt lint type unit integration machines test all cluster federation bundle bench soak lock clean

help:  ## this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: apt $(STAMP)  ## an environment in .venv with everything below

apt:
	@$(call install,$(APT_PACKAGES))

# Installs the Debian packages of $(1) that are missing.
define install
missing="$$(for p in $(1); do dpkg-query -W -f='$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || echo $$p; done)"; \
if [ -n "$$missing" ]; then \
	[ "$$(id -u)" = 0 ] || { echo "make: these Debian packages are missing and only root can install them: $$missing" >&2; exit 1; }; \
	apt-get update -qq; \
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
fi
endef

GENERATORS := $(wildcard cluster/*/build_*.py cluster/*/*/build_*.py)

$(STAMP): pyproject.toml $(GENERATORS) $(wildcard cluster/*/*.proto)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet uv==0.13.9
	$(BIN)/uv pip install --quiet --python $(BIN)/python --editable '.[operator,route53,dev]'
	set -e; for module in $(subst /,.,$(basename $(GENERATORS))); do $(BIN)/python -m $$module; done
	touch $@

fmt: setup  ## format, and mend what can be mended
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lint: setup  ## style, import contracts, playbooks
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	PYTHONPATH=. $(BIN)/lint-imports
	PATH="$(abspath $(BIN)):$$PATH" ANSIBLE_CONFIG=playbooks/ansible.cfg ANSIBLE_LIBRARY=playbooks/library \
		$(BIN)/ansible-lint -q -c .ansible-lint.yml playbooks

type: setup  ## mypy --strict over code and tests
	$(BIN)/mypy .

unit: setup  ## no network, no root, under a minute
	$(PYTEST) tests/unit tests/docs -q --timeout=20

integration: setup  ## real etcd, containerd, nftables, DNS and kubectl on this machine
	@$(call install,$(TEST_PACKAGES))
	rm -rf $(VENV)/release && $(BIN)/python -m provisioner.bundle --unpack $(VENV)/release
	HANSE_ETCD_BIN="$(abspath $(VENV)/release/bin)" $(PYTEST) tests/integration -q --timeout=180 $(SIDE_BY_SIDE) $(RETRY)

machines: setup  ## real hosts: build a cluster, use it, break it, take it away
	$(PYTEST) tests/machines -q --timeout=1200 $(RETRY)

test: lint type unit integration machines  ## all of it, in the order of CI

all: test

cluster: setup  ## five local machines become a cluster
	$(BIN)/provision cluster $(NAME) --nodes $(NODES)
	@kubeconfig="$${HANSE_HOME:-$$HOME/.hanse}/clusters/$(NAME)/kubeconfig"; \
		$(BIN)/kubectl --kubeconfig="$$kubeconfig" get nodes; \
		echo; echo "export KUBECONFIG=$$kubeconfig"

federation: setup  ## two local clusters in two regions, a federation over them, one application in both
	$(BIN)/python -m federation.trial $(if $(filter dev,$(NAME)),demo,$(NAME))

bundle: setup  ## build what hosts receive
	$(BIN)/python -m provisioner.bundle

bench: setup  ## figures: name, value, unit a line, and bench.json
	@$(call install,wrk)
	test -x $(VENV)/release/bin/etcd || $(BIN)/python -m provisioner.bundle --unpack $(VENV)/release
	HANSE_ETCD_BIN="$(abspath $(VENV)/release/bin)" $(BIN)/python -m tests.bench

soak: setup  ## long runs: a history of 200,000 operations, planted faults, every broken manifest, the story of a cluster over and over (ROUNDS=5)
	HANSE_HYPOTHESIS=searching $(PYTEST) tests/unit -q
	HANSE_ETCD_BIN="$(abspath $(VENV)/release/bin)" $(PYTEST) tests/soak -q
	HANSE_CORPUS_SIZE=1000 HANSE_ETCD_BIN="$(abspath $(VENV)/release/bin)" $(PYTEST) tests/integration/badinput -q --timeout=7200
	for round in $$(seq $(ROUNDS)); do echo "round $$round of $(ROUNDS)"; HANSE_LONG=1 $(PYTEST) tests/machines -q --timeout=1200 || exit 1; done

lock:  ## renew the pinned versions of what hosts receive
	$(BIN)/uv pip compile -q pyproject.toml --generate-hashes --no-header --no-annotate --no-emit-index-url \
		--no-emit-find-links --python-version 3.11 --python-platform x86_64-manylinux_2_34 \
		-o provisioner/bundle/requirements.lock

clean:  ## forget the environment and every cache in the tree
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
	find . -name __pycache__ -prune -exec rm -rf {} +
