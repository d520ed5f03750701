# Two commands to know: `make up` and `make test`. The work is done by setup/all and .venv/bin/mesh.
SHELL := /bin/bash
# What is imported again and again is compiled once, also where the machine's settings forbid that.
unexport PYTHONDONTWRITEBYTECODE
MESH  := .venv/bin/mesh
ANYWHERE := not (root or image or engine or lab or network or browser or slow)

.DEFAULT_GOAL := help
.PHONY: help venv setup setup-tests up down test unit lint bench docs

help:           ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-11s %s\n", $$1, $$2}' Makefile

venv:           ## make .venv alone: enough for `mesh check`, `plan` and `render`, without root
	@setup/all venv

setup:          ## install what the mesh needs (root): packages, .venv, the engine, the node image
	@setup/all host venv engine image

setup-tests:    ## the same with what only tests need: their packages, other BIRDs
	@setup/all

up: setup       ## deploy the twin of the production network on this machine, and show who answers
	@$(MESH) lab up

down:           ## remove the lab, also after a killed run
	@setup/all venv
	@$(MESH) lab down

test: setup-tests ## check everything: types, style, units, the real engine, the lab (root)
	@MESH_IMAGE=$$(realpath .mesh/image) .venv/bin/python -m tests

# Some of these tests wait, and so there are more workers than processors. What each begins with
# takes seconds of a processor, and so it collects its share of the files alone; percentages would
# be of one share.
unit:           ## check what needs no root, no engine, no image and no network; anywhere, in parallel
	@setup/all dev
	@TMPDIR=$$(.venv/bin/python -m tests.kit.memory) \
	 .venv/bin/python -m pytest -q -n auto --dist each --shares \
	   -o console_output_style=classic -m "$(ANYWHERE)"

lint:           ## types and style
	@setup/all dev
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy

bench: setup-tests ## print every figure
	@MESH_IMAGE=$$(realpath .mesh/image) .venv/bin/python -m bench

# Not with --quiet, by which the builder counts no warnings, and lets dead links pass.
docs:           ## make the site of the documentation in .mesh/site; a dead link fails
	@setup/all docs
	@.mesh/docs/bin/properdocs build --strict --clean --config-file mkdocs.yml
	@echo "the documentation: $$(realpath .mesh/site)/index.html"
