"""What the driver does by itself, timed on a sample: listing the corpus, dealing the plan, looking for receipts, folding them."""

from __future__ import annotations

import gzip
import io
import time
from collections.abc import Callable, Sequence
from itertools import islice
from typing import TypeVar

import orjson

from manifests.corpora.base import Corpus
from manifests.receipt import read_receipt
from manifests.settings.plan import PlanSettings
from manifests.storage import Store
from manifests.utterance import Utterance, from_cut
from pipelines.engine import cores
from pipelines.engine.contract import Unit
from pipelines.forecast.measured import Linear, Measurement, Piece
from pipelines.stages.s20_ingest import CHUNK, MANIFEST, HeaderReader, listed, listing_digest
from pipelines.stages.s30_plan import planned, unit_name

SAMPLE = 4_000  # utterances that are listed and dealt again
CHUNKS = 5  # of headers that are read again
LOOKS = 20  # at receipts that are not there
START = 4.0  # seconds until a worker has imported what a stage needs, where nobody has timed it

T = TypeVar("T")


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """(what it returns, seconds it takes, without those in which other programs had the core)."""
    began, waited = time.perf_counter(), cores.waited()
    found = work()
    return found, max(time.perf_counter() - began - (cores.since(waited) or 0.0), 0.0)


def lines_of(plan: Store, units: Sequence[Unit], most: int = SAMPLE) -> list[bytes]:
    """Lines of the head of a plan: a random sample of the manifest."""
    lines = (line for unit in units for line in io.BytesIO(plan.read(unit_name(unit.index))))
    return [line.rstrip(b"\n") for line in islice(lines, most)]


def ingest(corpus: Corpus, root: str, cuts: Store, utterances: int, lines: Sequence[bytes]) -> Measurement:
    """Listing and stating every file, then headers in parallel; ``lines`` are of cuts drawn at random."""
    few = corpus.model_copy(update={"limit": min(corpus.limit or SAMPLE, SAMPLE)})
    count, listing = timed(lambda: sum(1 for _ in listed(few, root)))
    _, stating = timed(lambda: listing_digest(few, root))
    read = HeaderReader(corpus, root)
    drawn = [orjson.loads(line) for line in lines[: CHUNK * CHUNKS]]
    pieces = tuple(_chunk(read, drawn[i : i + CHUNK]) for i in range(0, len(drawn), CHUNK))
    _, packing = timed(lambda: gzip.compress(b"\n".join(lines), 6))
    along = Linear(utterance=listing / max(count, 1) + packing / max(len(lines), 1))
    kept = Linear(utterance=cuts.size(MANIFEST) / max(utterances, 1))
    before = Linear(utterance=stating / max(count, 1))
    return Measurement("ingest", "probe", pieces, CHUNK, before=before, along=along, start=START, kept=kept)


def _chunk(read: HeaderReader, drawn: Sequence[dict]) -> Piece:
    utterances: list[Utterance] = [from_cut(cut) for cut in drawn]
    _, seconds = timed(lambda: read(utterances))
    return Piece(seconds, sum(cut["duration"] for cut in drawn))


def plan(settings: PlanSettings, lines: list[bytes], scratch: Store) -> Measurement:
    """Shuffling, dealing and writing unit files."""
    dealt, dealing = timed(lambda: list(planned(lines, settings)))
    _, writing = timed(lambda: [scratch.publish(unit_name(unit.index), data) for unit, data in dealt])
    before = Linear(utterance=dealing / max(len(lines), 1), unit=writing / max(len(dealt), 1))
    kept = Linear(utterance=sum(len(data) for _, data in dealt) / max(len(lines), 1))
    return Measurement("plan", "probe", before=before, kept=kept)


def looking(store: Store) -> float:
    """Seconds for each receipt that is looked for and not there, as they are before a stage begins."""
    missing = store.sub("nowhere")
    _, seconds = timed(lambda: [read_receipt(missing, unit) for unit in range(LOOKS)])
    return seconds / LOOKS
