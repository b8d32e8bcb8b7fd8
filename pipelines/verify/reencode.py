"""Making samples again from their sound, through the very code that made them, and comparing byte for byte."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from manifests.fingerprint import draw
from manifests.keys import key_of
from manifests.receipt import Receipt, shard_stem
from manifests.shards.reader import Shard
from manifests.shards.scan import scan
from manifests.storage import Store
from pipelines.engine.contract import Task
from pipelines.stages.s60_tokenize import TokenizeWorker
from pipelines.subject import Subject, Unreachable
from pipelines.verify.findings import ELSEWHERE, REMAKE, Findings, Progress
from tokenization.adapter import TokenizerError
from tokenization.scores.base import ScoreError

SEARCHED = 500  # samples of damaged shards that are made again to name the damaged ones


@dataclass(frozen=True, slots=True)
class Pick:
    """One written utterance: its unit, its position in the plan, its key."""

    unit: int
    position: int
    key: str


def written(receipt: Receipt) -> list[Pick]:
    return [Pick(receipt.unit, i, key_of(o.id)) for i, o in enumerate(receipt.outcomes) if o.status == "written"]


@dataclass
class Drawn:
    """The ``size`` written utterances with the lowest draws: the same ones every time, spread over all units."""

    size: int
    _best: list[tuple[int, Pick]]

    def add(self, picks: Iterable[Pick]) -> None:
        drawn = [(draw("verify", pick.key), pick) for pick in picks] + self._best
        self._best = sorted(drawn, key=lambda pair: (pair[0], pair[1].key))[: self.size]

    @property
    def picks(self) -> list[Pick]:
        return [pick for _, pick in self._best]


def check_again(subject: Subject, picks: Sequence[Pick], found: Findings, progress: Progress | None) -> None:
    """Make ``picks`` again and compare; a note instead, where the corpus cannot be reached."""
    if not picks:
        return
    try:
        worker = subject.worker()
    except Unreachable as why:
        found.notes.append(f"nothing was encoded again: {why}")
        return
    except ScoreError as why:
        found.notes.append(f"nothing was encoded again, a score cannot be computed: {why}")
        return
    except TokenizerError as why:
        found.notes.append(f"nothing was encoded again, the tokenizer does not open: {why}")
        return
    for i, pick in enumerate(picks):
        where = f"{subject.folder('tokens')}/{shard_stem(pick.unit)}.tar"
        with found.guard(where, REMAKE, pick.key):
            _compare(subject, worker, pick, where, found)
            found.reencoded += 1
        if progress:
            progress("encoded again", i + 1, len(picks))


def _compare(subject: Subject, worker: TokenizeWorker, pick: Pick, where: str, found: Findings) -> None:
    """One sample. Only its own position is touched: what once killed a worker is not woken again."""
    unit = subject.units[pick.unit]
    made = worker.process(Task(unit, only=(pick.position, pick.position + 1)), lambda _: None)
    if made.outcomes[0].status != "written":
        what = f"the corpus no longer gives this sample ({made.outcomes[0].reason}: {made.outcomes[0].error})"
        found.add(where, what, ELSEWHERE, pick.key)
        return
    stem = shard_stem(pick.unit)
    stored, again = _members(subject.store("tokens"), stem, pick.key), _first(made.files[f"{stem}.tar"])
    different = sorted(e for e in again.keys() | stored.keys() if again.get(e) != stored.get(e))
    what = f"made again from its sound it differs in {', '.join(different)}"
    found.require(
        not different, where, what, f"{REMAKE} (on another kind of processor codes may differ in near-ties)", pick.key
    )


def _members(store: Store, stem: str, key: str) -> dict[str, bytes]:
    shard = Shard(store, stem)
    i = shard.position(key)
    if i is None:
        return {}
    return {e: bytes(m) for e in shard.extensions if (m := shard.member(i, e)) is not None}


def _first(tar: bytes) -> dict[str, bytes]:
    """The members of the only sample of a probe's shard."""
    [(_, spans)] = scan(tar, "probe")
    return {extension: tar[offset : offset + size] for extension, (offset, size) in spans.items()}
