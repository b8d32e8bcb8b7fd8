"""From a finished output root to its report: fetch what is to be seen and heard, let the recogniser listen, write the page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import Any

import numpy as np
from rich.console import Console

from manifests.dataset import Dataset
from manifests.fingerprint import draw
from manifests.receipt import Receipt, receipts
from manifests.settings.run import ReportSettings
from manifests.shards.reader import Sample
from manifests.storage import Store
from pipelines.inspect import Inspection, find, originals
from pipelines.report.example import Example
from pipelines.report.page import write_report
from pipelines.report.survey import choose_examples
from pipelines.stages.judging import reasons
from pipelines.stages.order import OF_UNITS
from pipelines.subject import Subject


def make_report(root: str, console: Console) -> str:
    """Write ``report/index.html`` of the finished dataset under ``root``; returns its path.

    Raises ``DatasetError`` where there is no finished dataset.
    """
    out, dataset, subject = Store(root), Dataset.open(root), Subject.open(root)
    run = subject.run()
    settings = ReportSettings.model_validate(run["recipe"]["report"]) if run else ReportSettings()
    console.print("report: drawing")
    examples = [_example(subject, find(root, s.key)) for s in choose_examples(dataset, settings.examples)]
    extras: dict[str, Any] = {}
    spoken = dataset.description.get("spoken")
    if spoken:
        extras["voices"] = spoken["screened"]
        if settings.recognise:
            console.print(f"report: the recogniser hears {settings.recognise} utterances, original and resynthesised")
            extras["recognised"] = recognised(subject, _drawn(dataset, settings.recognise))
    return write_report(out, dataset, _receipts(subject), examples, reasons(subject.recipe.rules), extras)


def _receipts(subject: Subject) -> Iterator[Receipt]:
    of_units = [stage for stage in OF_UNITS if stage in subject.description["folders"]]
    return chain(receipts(subject.store("fit"), 1), *(receipts(subject.store(s), len(subject.units)) for s in of_units))


def _example(subject: Subject, found: Inspection) -> Example:
    spec, waves = subject.tokenizer.spec, originals(subject, found)
    codes_FQ = found.codes["speech"]
    again_T = subject.tokenizer.decode(codes_FQ) if subject.tokenizer.can_decode else None
    query = found.meta.get("query") or {}
    return Example(
        id=found.id, text=found.meta.get("text"), query_text=query.get("text"), original_T=waves.get("speech-original"),
        resynthesised_T=again_T, sample_rate=spec.sample_rate, codes_FQ=codes_FQ, frame_rate=spec.frame_rate,
        query_original_T=waves.get("query-original"), speaker=found.meta.get("speaker"), split=found.meta.get("split"),
    )  # fmt: skip


def _drawn(dataset: Dataset, count: int) -> Iterator[Sample]:
    """``count`` samples of the test split (of any, where it is smaller), in the order of a draw."""
    order = sorted(range(len(dataset)), key=lambda i: draw("recognise", i))
    held_out = (dataset[i] for i in order if dataset[i].meta["split"] == "test")
    return islice(chain(held_out, (dataset[i] for i in order if dataset[i].meta["split"] != "test")), count)


def recognised(subject: Subject, samples: Iterator[Sample]) -> dict[str, Any]:
    """What the recogniser, with the demo's grammar, understands of responses as spoken and as made again from their codes."""
    from manifests.demo.grammar import jsgf
    from tokenization.recognisers.base import heard_words
    from tokenization.recognisers.pocketsphinx import PocketsphinxRecogniser

    judge, rate = PocketsphinxRecogniser(jsgf("response")), subject.tokenizer.spec.sample_rate
    said: list[str] = []
    heard: dict[str, list[str]] = {"original": [], "resynthesised": []}
    for sample in samples:
        waves = originals(subject, find(subject.out.root, sample.key))
        if "speech-original" not in waves or not subject.tokenizer.can_decode:
            continue
        said.append(str(sample.meta["text"]))
        heard["original"].append(heard_words(judge, waves["speech-original"], rate))
        heard["resynthesised"].append(
            heard_words(judge, _loud(subject.tokenizer.decode(sample.arrays["speech"])), rate)
        )
    return {side: _verdict(said, texts) for side, texts in heard.items()} if said else {}


def _loud(wave_T: np.ndarray) -> np.ndarray:
    """The wave, scaled down where it would clip."""
    return wave_T / max(1.0, float(np.abs(wave_T).max(initial=0.0)))


def _verdict(said: Sequence[str], heard: Sequence[str]) -> dict[str, Any]:
    from tokenization.recognisers.score import wer

    found = wer(said, heard)
    return {"wer": found.rate, "words": found.words, "empty": found.empty}
