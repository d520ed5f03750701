# Two commands to know: `make up` and `make test`. The work is done by setup/all and .venv/bin/mesh.
SHELL := /bin/bash
MESH  := .venv/bin/mesh

.DEFAULT_GOAL := help
.PHONY: help setup up down test lint bench

help:           ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' Makefile

setup:          ## install all that is needed (root): packages, .venv, the engine, the node image
	@setup/all

up: setup       ## deploy the twin of the production network on this machine, and show who answers
	@$(MESH) lab up

down:           ## remove the lab, also after a killed run
	@setup/all venv
	@$(MESH) lab down

test: setup     ## check everything: types, style, units, the real engine, the lab (root)
	@status=0; $(MAKE) --no-print-directory lint || status=1; \
	 MESH_IMAGE=$$(realpath .mesh/image) .venv/bin/python -m tests || status=1; \
	 exit $$status

lint:           ## types and style
	@setup/all venv
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy

bench: setup    ## print every figure
	@MESH_IMAGE=$$(realpath .mesh/image) .venv/bin/python -m bench
