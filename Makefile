# make quickstart   install, then the whole pipeline on the embedded data set: 8 to 13 minutes on 2 CPU cores
# make test         install where needed, then style, types and all tests
# make test-faults  break things on purpose and print what was lost: an hour and a half; ARGS='--share 0.05': a part
# make bench        how fast each part is, beside a reference in the same run; needs `dvc repro download`: 11 to 25 minutes
# make bench-peer   MediaPipe Pose on the LSPet test photographs, beside ours; needs npm. ARGS='--limit 20': fewer
# make sbom         a bill of all packages that are installed, with licences: sbom.json, of CycloneDX
# make audit        known vulnerabilities of the packages in requirements.txt; asks PyPI
# make publish      put the current weights into weights/, the DVC remote inside this repository, and into pretrained/

SHELL := bash
PYTHON ?= python3.11
VENV := .venv
READY := $(VENV)/.ready
PEER := .venv-peer
PEER_READY := $(PEER)/.ready
AUDIT := .venv-audit
AUDIT_READY := $(AUDIT)/.ready
PEER_HEAVY := @mediapipe/pose@0.5.1675469404
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

# An environment knows its own address: one that was moved with its folder is made anew.
MOVED := $(shell test ! -s $(READY) || test "$$(cat $(READY))" = "$$(pwd -P)" || echo moved)

.PHONY: quickstart kept test test-faults bench bench-peer sbom audit publish moved

quickstart: kept $(READY)
	python -m pipeline run quickstart --temp --force --name quickstart

# Before anything is installed: whether DVC keeps an experiment here.
kept:
	@$(PYTHON) -m pipeline.repository

# A thread each: networks so small are slower on more, and several at once very much so.
test: $(READY)
	ruff check .
	ruff format --check .
	mypy
	OMP_NUM_THREADS=1 python -m pytest --numprocesses 4 --dist loadfile --no-loadscope-reorder

test-faults: $(READY)
	PYTHONPATH=tests python -m faults $(ARGS)

bench: $(READY)
	TQDM_DISABLE=1 python -m benchmarks $(if $(ONLY),--only $(ONLY))

bench-peer: $(READY) $(PEER_READY)
	python -m pipeline export --onnx $(PEER)/generator.onnx
	$(PEER)/bin/python -m benchmarks.mediapipe_pose $(PEER)/generator.onnx $(ARGS)

sbom: $(READY) $(AUDIT_READY)
	$(AUDIT)/bin/python -m cyclonedx_py environment --pyproject pyproject.toml --output-reproducible --output-file sbom.json $(VENV)

# Strict: a package that the service does not know is an error, not one without vulnerabilities.
audit: $(AUDIT_READY)
	$(AUDIT)/bin/python -m pip_audit --strict --disable-pip --require-hashes --requirement requirements.txt

publish: $(READY)
	rm -rf weights
	dvc push train finder calibrate
	cp --no-preserve=mode models/generator.safetensors models/finder.safetensors models/judgement.json pretrained/
	cd pretrained && sha256sum *.json *.safetensors > SHA256SUMS && sha256sum SHA256SUMS

# The project itself is built by the setuptools that the lock names.
$(READY): requirements.txt pyproject.toml $(MOVED)
	$(PYTHON) -m venv $(if $(MOVED),--clear) $(VENV)
	$(VENV)/bin/pip install --disable-pip-version-check --quiet --require-hashes --requirement requirements.txt
	$(VENV)/bin/pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation --editable .
	-$(VENV)/bin/python -m pipeline plots  # what fails here fails no installation
	pwd -P > $@

$(AUDIT_READY): requirements-audit.txt
	$(PYTHON) -m venv --clear $(AUDIT)
	$(AUDIT)/bin/pip install --disable-pip-version-check --quiet --require-hashes --requirement $<
	touch $@

# MediaPipe's wheel lacks its heavy model, which it would download at run time: npm's package has it.
$(PEER_READY): benchmarks/requirements-peer.txt
	$(PYTHON) -m venv $(PEER)
	$(PEER)/bin/pip install --disable-pip-version-check --quiet --requirement $<
	npm pack --silent --pack-destination $(PEER) $(PEER_HEAVY)
	tar --extract --gzip --file $(PEER)/mediapipe-pose-*.tgz --strip-components 1 \
	  --directory $(PEER)/lib/python*/site-packages/mediapipe/modules/pose_landmark package/pose_landmark_heavy.tflite
	rm $(PEER)/mediapipe-pose-*.tgz
	touch $@
