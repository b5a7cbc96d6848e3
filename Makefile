# Every command there is. `make` alone lists them. Each does its own set-up, into .venv, and a second
# run installs and fetches nothing.

PYTHON  := .venv/bin/python
PYTEST  := $(PYTHON) -m pytest
# A process for each core and one more, up to four, with one thread each: tests/sharing.py.
WORKERS := -n auto

# What `make lint` holds to 88 columns, and what to the 80 that a page shows.
CODE      := bench book/theme conftest.py finetuning recipes tests tools
NOTEBOOKS := --line-length 80 chapters solutions exercises

export OMP_NUM_THREADS        := 1
export TQDM_DISABLE           := 1
export HF_HUB_OFFLINE         := 1
export TOKENIZERS_PARALLELISM := false

.DEFAULT_GOAL := help
.PHONY: help setup resources book serve lab run ask chapter derive status lint test test-fast test-notebooks test-matrix mutants bench clean

help:  ## list the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{ printf "  make %-14s %s\n", $$1, $$2 }'

# Asked at every command, and not by dates, which say nothing of contents: a tenth of a second where all is well.
.venv/ready: FORCE
	@sh tools/setup.sh

.PHONY: FORCE
FORCE:

setup: .venv/ready  ## install everything into .venv (the other commands do it by themselves)

resources: .venv/ready  ## fetch the models and corpora (about 200 MB, once)
	@$(PYTHON) -m finetuning.resources

book: .venv/ready  ## build the site into _build/html
	@$(PYTHON) tools/build_site.py build

serve: book  ## build the site and serve it on this machine
	@$(PYTHON) tools/build_site.py serve

lab: resources  ## open the book in JupyterLab
	@$(PYTHON) -m jupyter lab --notebook-dir=.

# make hands NB to the shell as a variable: spaces and quotes in it do no harm.
run: resources  ## execute notebooks and keep their outputs: make run NB=chapters/04-self-attention.ipynb
	@test -n "$$NB" || { echo "say which notebook: make run NB=chapters/04-self-attention.ipynb" >&2; exit 2; }
	@$(PYTHON) tools/derive.py
	@$(PYTHON) tools/execute.py "$$NB"; ran=$$?; $(PYTHON) tools/status.py; exit $$ran

# $(value Q) is the question letter by letter: make would expand a $ in it, and the shell a backtick.
unexport Q
export ASKED := $(value Q)
ask: .venv/ready  ## ask the book about itself: make ask Q="why divide by the square root of d?"
	@$(PYTHON) tools/ask.py "$$ASKED"

chapter: .venv/ready  ## begin a chapter: make chapter N=12 SLUG=parameter-efficient-fine-tuning
	@test -n "$$N" && test -n "$$SLUG" || { echo "say which chapter: make chapter N=12 SLUG=parameter-efficient-fine-tuning" >&2; exit 2; }
	@$(PYTHON) tools/chapter.py "$$N" "$$SLUG"
	@$(PYTHON) tools/derive.py

derive: .venv/ready  ## rebuild what is derived: finetuning/scratch, exercises, lists of chapters, set-up cells
	@$(PYTHON) tools/derive.py

status: .venv/ready  ## rebuild book/status.md from the last runs
	@$(PYTHON) tools/status.py

lint: .venv/ready  ## check style, notebooks and derived files; change nothing
	@failed=0; \
	$(PYTHON) -m ruff format --check $(CODE) || failed=1; \
	$(PYTHON) -m ruff format --check $(NOTEBOOKS) || failed=1; \
	$(PYTHON) -m ruff check $(CODE) || failed=1; \
	$(PYTHON) -m ruff check $(NOTEBOOKS) || failed=1; \
	$(PYTHON) tools/derive.py --check || failed=1; \
	$(PYTHON) tools/lint.py || failed=1; \
	$(PYTHON) tools/status.py --check || failed=1; \
	exit $$failed

# Style is checked while the site is built.
test-fast: resources  ## everything that must hold, without executing the notebooks
	@$(MAKE) --no-print-directory -j 2 lint book
	@$(PYTEST) $(WORKERS) --remember tests

test: resources  ## everything that must hold
	@$(MAKE) --no-print-directory -j 2 lint book
	@$(PYTEST) $(WORKERS) --remember --nbval tests chapters solutions

# Continuous integration gives each of its jobs a share: SHARD=2/3.
test-notebooks: resources  ## execute the notebooks and compare their outputs
	@$(PYTEST) $(WORKERS) --nbval $$($(PYTHON) tools/shards.py $(SHARD))

test-matrix: resources  ## run notebooks as other processors would, an hour or more: make test-matrix [NB=…]
	@$(PYTHON) tools/matrix.py $${NB:+"$$NB"}

mutants: resources  ## put small faults into the solutions: the checks must catch them (make mutants CHAPTER=04)
	@$(PYTHON) tools/mutants.py $${CHAPTER:+--chapter "$$CHAPTER"}

bench: resources  ## print timings; judge nothing
	@for script in bench/*.py; do echo "== $$script"; $(PYTHON) $$script || exit 1; done

clean:  ## remove what was built and installed here (not the models and corpora)
	rm -rf .venv .venv.lock .verified _build .pytest_cache .ruff_cache .hypothesis finetuning.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
