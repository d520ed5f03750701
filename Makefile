# Two commands to know: `make up` and `make test`. The work is done by setup/all and .venv/bin/mesh.
SHELL := /bin/bash
# What is imported again and again is compiled once, also where the machine's settings forbid that.
unexport PYTHONDONTWRITEBYTECODE
MESH  := .venv/bin/mesh

.DEFAULT_GOAL := help
.PHONY: help venv setup setup-tests up down test unit lint bench

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
	@status=0; make --no-print-directory lint || status=1; \
	 MESH_IMAGE=$$(realpath .mesh/image) .venv/bin/python -m tests || status=1; \
	 exit $$status

unit:           ## check what needs no root, no engine and no image; anywhere, in parallel
	@setup/all dev
	@.venv/bin/python -m pytest -q -n auto -m "not (root or image or engine or lab or slow)"

lint:           ## types and style
	@setup/all dev
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy

bench: setup-tests ## print every figure
	@MESH_IMAGE=$$(realpath .mesh/image) .venv/bin/python -m bench
