# make quickstart   install, then the whole pipeline on the embedded data set: 5 minutes on 2 CPU cores
# make test         install where needed, then all tests
# make publish      put the current weights into weights/, the DVC remote inside this repository

SHELL := bash
PYTHON ?= python3.11
VENV := .venv
READY := $(VENV)/.ready
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

.PHONY: quickstart test publish

quickstart: $(READY)
	dvc exp run --temp --force --name quickstart $$(sed 's/#.*//' quickstart.args)

test: $(READY)
	ruff check .
	ruff format --check .
	python -m pytest

publish: $(READY)
	rm -rf weights
	dvc push models/generator.safetensors

$(READY): requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --disable-pip-version-check --quiet --requirement requirements.txt
	touch $@
