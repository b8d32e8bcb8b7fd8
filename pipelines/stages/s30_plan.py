"""Plan: which utterances form unit *k*. A pure function of manifest and recipe; it knows nothing of workers.

Units are contiguous runs of a global shuffle (by a hash of seed and id), cut where the running sum of seconds crosses a
multiple of the unit's share: balanced to within one utterance. Copies of a file and repeated ids are marked here (``marking.py``), since
only here all are seen; they stay in the plan, so that they reach the ledger. The manifest may be of any length: what does not fit into memory
is sorted on disk (``buckets.py``), and the plan is the same.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from manifests.ahead import in_order
from manifests.fingerprint import pretty, sha256
from manifests.receipt import damaged
from manifests.settings.plan import PlanSettings
from manifests.storage import Store
from pipelines.engine.commit import crash_point
from pipelines.engine.contract import Unit
from pipelines.near import text as near_text
from pipelines.stages.buckets import Bounds
from pipelines.stages.marking import Dealt, line_reader, placed

VERSION = 2  # 2: an answer to another query is no copy, and nobody is no speaker
RECEIPT = "plan.json"
DEFAULT_BOUNDS = Bounds()


def dealt_out(dealt: Dealt) -> Iterator[tuple[Unit, bytes]]:
    """Each unit and the contents of its file, from lines that lie in the order of the shuffle."""
    ends = list(_ends(dealt))
    total = ends[-1] if ends else 0.0
    units, index = max(1, round(total / dealt.settings.unit_seconds)), 0
    share, lines, seconds = 0, list[bytes](), list[float]()
    near = near_text.marker(dealt.settings)
    for bucket, begun in zip(dealt.used, [0.0, *ends], strict=False):
        rows_N, _ = placed(dealt, bucket)
        seconds_N = rows_N["seconds"]
        middle_N = _running(begun, seconds_N) - seconds_N / 2
        share_N = np.minimum((middle_N * units / max(total, 1e-9)).astype(np.int64), units - 1)
        for mine, line, length in zip(share_N.tolist(), line_reader(dealt, bucket), seconds_N.tolist(), strict=True):
            if mine > share:
                if lines:
                    yield _unit(index, seconds), b"".join(lines)
                    index += 1
                share, lines, seconds = mine, [], []
            lines.append(near.marked(line.removesuffix(b"\n")) + b"\n" if near else line)
            seconds.append(length)
        dealt.drop(bucket)
    if lines:
        yield _unit(index, seconds), b"".join(lines)


def _ends(dealt: Dealt) -> Iterator[float]:
    """The sum of seconds at the end of each bucket, added up in the order of the shuffle, so that rounding does not depend on the manifest's."""
    end = 0.0
    for bucket in dealt.used:
        end = float(_running(end, placed(dealt, bucket)[0]["seconds"])[-1])
        yield end


def _running(begun: float, seconds_N: np.ndarray) -> np.ndarray:
    """The sum at the end of each line of a bucket before which it was ``begun``."""
    return np.cumsum(np.concatenate([[begun], seconds_N]))[1:]


def _unit(index: int, seconds: list[float]) -> Unit:
    return Unit(index, len(seconds), round(float(np.array(seconds).sum()), 3))


def unit_name(unit: int) -> str:
    return f"unit-{unit:06d}.jsonl"


def planned(
    lines: Iterable[bytes], settings: PlanSettings, bounds: Bounds = DEFAULT_BOUNDS
) -> Iterator[tuple[Unit, bytes]]:
    """Each unit and the contents of its file: the plan as a pure function of manifest and settings.

    ``lines`` are read once, as they come. In memory are what ``bounds`` lets wait, the keys of one part of the lines, and one unit; the rest waits in
    a temporary folder, which takes as much room as the manifest unpacked.
    """
    with tempfile.TemporaryDirectory(prefix="speechmill-plan-") as folder:
        yield from dealt_out(Dealt.of(lines, settings, Path(folder), bounds))


def plan_file(units: Iterable[tuple[Unit, str]]) -> bytes:
    """The contents of ``plan.json``: (unit, SHA-256 of its file) of every unit."""
    return pretty({"units": [[unit.count, unit.seconds, digest] for unit, digest in units]})


def write_plan(
    lines: Iterable[bytes], settings: PlanSettings, store: Store, bounds: Bounds = DEFAULT_BOUNDS
) -> tuple[Unit, ...]:
    """Write one file a unit, then ``plan.json``; returns the units. Done already: only reads ``plan.json``."""
    if (known := read_plan(store)) is not None:
        return known

    def publish(made: tuple[Unit, bytes]) -> tuple[Unit, str]:
        unit, data = made
        store.publish(unit_name(unit.index), data)
        return unit, sha256(data)

    rows = list(in_order(publish, planned(lines, settings, bounds)))
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
