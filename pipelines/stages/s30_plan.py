"""Plan: which utterances form unit *k*. A pure function of manifest and recipe; it knows nothing of workers.

Units are contiguous runs of a global shuffle (by a hash of seed and id), cut where the running sum of seconds crosses a
multiple of the unit's share: balanced to within one utterance. Copies of a file and repeated ids are marked here, since
only here all are seen; they stay in the plan, so that they reach the ledger.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from manifests.fingerprint import draw, pretty, sha256
from manifests.receipt import damaged
from manifests.settings.plan import PlanSettings
from manifests.splits import MIN_SPEAKERS
from manifests.storage import Store
from pipelines.engine.commit import crash_point
from pipelines.engine.contract import Unit
from pipelines.near import text as near_text

VERSION = 1
RECEIPT = "plan.json"


@dataclass(frozen=True)
class Lines:
    """Columns of the manifest that planning needs, in manifest order; N utterances."""

    ids: list[str]
    seconds_N: np.ndarray
    content: list[str | None]
    few_speakers: bool

    @classmethod
    def of(cls, lines: Iterable[bytes]) -> Lines:
        ids, seconds, content, speakers = [], [], [], set[str]()
        for line in lines:
            cut = orjson.loads(line)
            ids.append(cut["id"])
            seconds.append(cut["duration"])
            content.append(_content(cut))
            if len(speakers) < MIN_SPEAKERS:
                speakers.add(cut["supervisions"][0].get("speaker") or "")
        return cls(ids, np.array(seconds, np.float64), content, len(speakers - {""}) < MIN_SPEAKERS)


def _content(cut: dict[str, Any]) -> str | None:
    """What makes two utterances copies: the same bytes, the same part of them, the same words."""
    custom = cut["custom"]
    if "content" not in custom or "fault" in custom:
        return None
    part = [cut["start"], custom.get("asked_seconds"), custom.get("asked_channel"), cut["supervisions"][0].get("text")]
    return f"{custom['content']}{part}"


@dataclass(frozen=True)
class Marks:
    """What planning found out about single lines: new ids of repeated ones, and whose copy a line is,
    and whether the corpus has too few speakers to be split by them."""

    renamed: dict[int, str]
    copy_of: dict[int, str]
    few_speakers: bool


def mark(lines: Lines, dedup: bool) -> Marks:
    """Find repeated ids and, with ``dedup``, copies; the first in manifest order stays what it is."""
    seen: dict[str, int] = {}
    renamed: dict[int, str] = {}
    taken = set(lines.ids)
    for i, utterance_id in enumerate(lines.ids):
        times = seen[utterance_id] = seen.get(utterance_id, 0) + 1
        if times > 1:
            renamed[i] = _free(f"{utterance_id}#{times}", taken)
            taken.add(renamed[i])
    first: dict[str, int] = {}
    copy_of = {}
    for i, content in enumerate(lines.content):
        if content is not None and i not in renamed and dedup and (j := first.setdefault(content, i)) != i:
            copy_of[i] = lines.ids[j]
    return Marks(renamed, copy_of, lines.few_speakers)


def _free(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "#"
    return name


def assign(ids: list[str], seconds_N: np.ndarray, settings: PlanSettings) -> list[np.ndarray]:
    """The positions of each unit's utterances, in the order of the shuffle. Every position occurs exactly once.

    For distinct ids, which utterances form which unit does not depend on the order they are given in.
    """
    if not ids:
        return []
    rank_N = np.array([draw("plan", settings.seed, i) for i in ids], np.uint64)
    order_N = np.lexsort((np.arange(len(ids)), rank_N))
    end_N = np.cumsum(seconds_N[order_N])  # in shuffled order, so that rounding does not depend on the manifest's
    total = float(end_N[-1])
    units = max(1, round(total / settings.unit_seconds))
    middle_N = end_N - seconds_N[order_N] / 2
    unit_N = np.minimum((middle_N * units / max(total, 1e-9)).astype(np.int64), units - 1)
    return [part for part in np.split(order_N, np.searchsorted(unit_N, np.arange(1, units))) if len(part)]


def _line(line: bytes, i: int, marks: Marks) -> bytes:
    """The manifest's line as it stands in its unit: marked where planning found something."""
    if i not in marks.renamed and i not in marks.copy_of and not marks.few_speakers:
        return line
    cut = orjson.loads(line)
    if marks.few_speakers:
        cut["custom"]["few_speakers"] = True
    if i in marks.renamed:
        cut["custom"]["fault"] = [
            "duplicate_id",
            f"the id {cut['id']!r} occurs more than once in the corpus; only the first is used",
        ]
        cut["id"] = cut["supervisions"][0]["id"] = marks.renamed[i]
    if i in marks.copy_of:
        cut["custom"]["copy_of"] = marks.copy_of[i]
    return orjson.dumps(cut)


def unit_name(unit: int) -> str:
    return f"unit-{unit:06d}.jsonl"


def planned(lines: list[bytes], settings: PlanSettings) -> Iterator[tuple[Unit, bytes]]:
    """Each unit and the contents of its file: the plan as a pure function of manifest and settings."""
    columns = Lines.of(lines)
    marks = mark(columns, settings.dedup)
    ids = [marks.renamed.get(i, utterance_id) for i, utterance_id in enumerate(columns.ids)]
    near = near_text.marker(settings)
    for k, part in enumerate(assign(ids, columns.seconds_N, settings)):
        unit = Unit(k, len(part), round(float(columns.seconds_N[part].sum()), 3))
        made = (_line(lines[i], int(i), marks) for i in part)
        yield unit, b"".join((near.marked(line) if near else line) + b"\n" for line in made)


def plan_file(units: Iterable[tuple[Unit, str]]) -> bytes:
    """The contents of ``plan.json``: (unit, SHA-256 of its file) of every unit."""
    return pretty({"units": [[unit.count, unit.seconds, digest] for unit, digest in units]})


def write_plan(lines: list[bytes], settings: PlanSettings, store: Store) -> tuple[Unit, ...]:
    """Write one file a unit, then ``plan.json``; returns the units. Done already: only reads ``plan.json``."""
    if (known := read_plan(store)) is not None:
        return known
    rows = []
    for unit, data in planned(lines, settings):
        store.publish(unit_name(unit.index), data)
        rows.append((unit, sha256(data)))
    crash_point("before-plan")
    store.publish(RECEIPT, plan_file(rows))
    return tuple(unit for unit, _ in rows)


def read_plan(store: Store) -> tuple[Unit, ...] | None:
    """The units of a finished plan, or None. Raises ``ReceiptError`` for a damaged one."""
    try:
        rows = orjson.loads(store.read(RECEIPT))["units"]
        return tuple(Unit(k, int(count), float(seconds)) for k, (count, seconds, _) in enumerate(rows))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError) as error:
        raise damaged(f"{store.root}/{RECEIPT}", error) from None


def unit_cuts(store: Store, unit: int) -> Iterator[dict[str, Any]]:
    """The cuts of a unit, in plan order."""
    for line in io.BytesIO(store.read(unit_name(unit))):
        yield orjson.loads(line)


def batches(seconds: list[float], batch_seconds: float) -> list[list[int]]:
    """Positions of a unit grouped into batches of similar length, each of at most ``batch_seconds`` when padded.

    Fixed by the plan's seconds alone: what cleaning drops leaves gaps, it moves nobody.
    """
    groups: list[list[int]] = []
    for i in sorted(range(len(seconds)), key=lambda i: (seconds[i], i)):
        if groups and seconds[i] * (len(groups[-1]) + 1) <= batch_seconds:
            groups[-1].append(i)
        else:
            groups.append([i])
    return groups
