# Speechmill. `make data` and `make test` work on a fresh clone; `make help` lists the rest.
PYTHON ?= python3
BIN := .venv/bin
OUT ?= out
RECIPE ?= demo
BOOTSTRAP ?= teacher
RUN ?= runs/$(RECIPE)
TEXT ?= okay i set a timer for ten minutes
OPEN ?= 300
SECONDS ?= 600
SEED ?=

.DEFAULT_GOAL := help
.PHONY: help install voices data train say baselines eval ablation test check format bench verify repair report chaos fuzz clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-9s %s\n", $$1, $$2}'

install: .venv/.installed ## Make .venv with pinned dependencies (CPU torch is enough)

# torch goes first and alone: what follows finds it satisfied and drags in no other build of it. openai-whisper goes last, without the
# triton it asks for: a gigabyte that nothing here uses on a CPU. So does s3tokenizer, which tests compare with, without a torchaudio that does not load.
.venv/.installed: pyproject.toml deploy/constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Speechmill needs Python 3.11 or newer; set PYTHON=...")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check torch==2.13.0
	$(BIN)/pip install --quiet --disable-pip-version-check -c deploy/constraints.txt -e '.[dev,s3]'
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -c deploy/constraints.txt openai-whisper s3tokenizer einops
	@touch $@

voices: ## With root on Debian, install the flite voices; else the packaged espeak-ng is used
	@if command -v flite >/dev/null; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  echo "installing the system package flite (speech voices for the demo corpus)"; \
	  { apt-get install -y -qq flite || { apt-get update -qq && apt-get install -y -qq flite; }; } >/dev/null 2>&1 \
	  || echo "flite could not be installed; the demo is spoken by espeak-ng"; \
	else echo "no flite here; the demo is spoken by espeak-ng (install flite for clearer voices)"; fi

# A teacher is trained along the way, which takes some five minutes; make data BOOTSTRAP=tiny has one in half a minute.
data: install voices ## Make the demo dataset in out/: speech in, verified token shards out
	$(BIN)/speechmill data demo -o $(OUT) --set teach.bootstrap=$(BOOTSTRAP)

train: install ## Train the demo talker on out/ into runs/demo (RECIPE, RUN and OUT change that)
	$(BIN)/speechmill train $(RECIPE) $(OUT) -o $(RUN)

say: install ## Let the talker of RUN say TEXT into out.wav
	$(BIN)/speechmill say "$(TEXT)" --run $(RUN) -o out.wav

baselines: install ## Train the next-frame and multi-token talkers on out/ that make eval compares with
	$(BIN)/speechmill train demo-ar $(OUT) -o runs/demo-ar
	$(BIN)/speechmill train demo-mtp $(OUT) -o runs/demo-mtp

# Baselines take part where they were trained. Open listening takes most of the time: OPEN=100 hears a third.
eval: install ## Judge the talker of RUN on held-out sentences, into RUN/eval/index.html
	$(BIN)/speechmill eval $(RUN) --open $(OPEN) $(foreach kind,ar mtp,$(if $(wildcard runs/demo-$(kind)),--$(kind) runs/demo-$(kind)))

ablation: install voices ## The paper's table in miniature, into runs/ablation: hours; goes on where it was stopped
	$(BIN)/speechmill data demo -o runs/ablation/data --set corpus.variation=1
	$(BIN)/python benchmarks/ablation.py runs/ablation/data -o runs/ablation --base demo

test: install voices ## Run all tests
	$(BIN)/python -m pytest -q -n 2 --dist loadfile

check: install ## Lint, types, and the floors of the house
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/basedpyright
	@told=$$($(BIN)/python -m pytest --collect-only -qqq 2>&1) || { echo "$$told"; exit 1; }

format: install ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

verify: install ## Check every byte of out/
	$(BIN)/speechmill verify $(OUT)

repair: install ## Make anew what is damaged in out/, and verify it
	$(BIN)/speechmill repair $(OUT)

chaos: install ## Faults at random for SECONDS, then a count of those survived (SEED replays)
	$(BIN)/python -m tests.faults.chaos --seconds $(SECONDS) $(if $(SEED),--seed $(SEED))

fuzz: install ## Bytes made to mislead before every reader, for SECONDS
	$(BIN)/python -m tests.fuzz --seconds $(SECONDS) $(if $(SEED),--seed $(SEED))

report: install ## Write the report of out/ again
	$(BIN)/speechmill report $(OUT)

bench: install voices ## Run the benchmarks: pipeline and shard reader against rivals, ways of decoding against each other
	$(BIN)/python benchmarks/tokenize.py
	$(BIN)/python benchmarks/shards.py
	$(BIN)/python benchmarks/decode.py --quick

clean: ## Remove out/ and caches (keeps .venv)
	rm -rf $(OUT) .pytest_cache .ruff_cache .hypothesis
