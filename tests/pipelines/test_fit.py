"""Fit: it shows that it goes on for as long as it does, so that no deadline meets it while it works."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from manifests.recipe import parse
from pipelines.data import opened
from pipelines.engine.contract import Task
from pipelines.stages.s50_fit import FitJob
from pipelines.summary import print_summary
from tests.small_corpus import write_corpus

ROUNDS = 37


def test_every_round_of_the_fitting_is_a_sign_of_life(tmp_path: Path) -> None:
    root = write_corpus(tmp_path / "corpus", 12)
    recipe = parse({
        "corpus": {"layout": "table", "root": str(root)}, "run": {"workers": 0}, "text": {"vocab_size": 300},
        "speech": {"codebook_size": 16, "codebooks": 2, "iterations": ROUNDS, "fit_seconds": 10},
    })  # fmt: skip
    beats: list[int] = []
    with opened(recipe, str(tmp_path / "out"), Console(quiet=True)) as run:
        _, plan, units = run.planned(str(root), {})
        store = run.space.store
        job = FitJob(store.sub("fit").root, store.sub(plan).root, str(root), recipe, units)
        job.open().process(Task(job.units[0]), beats.append)
    assert sum(beats) == 12
    after_the_last_utterance = len(beats) - 1 - beats[::-1].index(1)
    assert beats[after_the_last_utterance:].count(0) >= 2 * ROUNDS


def test_a_corpus_without_a_training_split_is_fitted_on_all_of_it_and_says_so(tmp_path: Path) -> None:
    root = write_corpus(tmp_path / "corpus", 12)
    lines = (root / "list.tsv").read_text().splitlines()
    (root / "list.tsv").write_text("\n".join([f"{lines[0]}\tsplit", *(f"{line}\theld" for line in lines[1:])]))
    recipe = parse({
        "corpus": {"layout": "table", "root": str(root)}, "run": {"workers": 0}, "text": {"vocab_size": 300},
        "speech": {"codebook_size": 16, "iterations": 2, "fit_seconds": 10}, "mask": None,
    })  # fmt: skip
    with opened(recipe, str(tmp_path / "out"), Console(quiet=True)) as run:
        result = run()
    assert set(result.description["splits"]) == {"held"}
    assert result.description["text"]["vocab_size"] > 260  # more than bytes and marks
    said = Console(file=io.StringIO(), width=400)
    print_summary(result, str(tmp_path / "out"), said)
    assert "no utterance is of the split train (there are: held)" in said.file.getvalue()  # type: ignore[attr-defined]
