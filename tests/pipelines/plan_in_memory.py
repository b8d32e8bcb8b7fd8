"""How the plan is defined: the whole manifest in memory at once. Short, and the measure of the planner that needs no such memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import orjson

from manifests.fingerprint import draw
from manifests.settings.plan import PlanSettings
from manifests.splits import MIN_SPEAKERS


def content(cut: dict[str, Any]) -> str | None:
    custom = cut["custom"]
    if "content" not in custom or "fault" in custom:
        return None
    part = [cut["start"], custom.get("asked_seconds"), custom.get("asked_channel"), cut["supervisions"][0].get("text")]
    return f"{custom['content']}{part}{orjson.dumps(custom.get('query'))}"


def marks(cuts: list[dict[str, Any]], dedup: bool) -> tuple[dict[int, str], dict[int, str]]:
    """New ids of repeated ones, and whose copy a line is, by place."""
    seen: dict[str, int] = {}
    renamed: dict[int, str] = {}
    taken = {cut["id"] for cut in cuts}
    for i, cut in enumerate(cuts):
        times = seen[cut["id"]] = seen.get(cut["id"], 0) + 1
        if times > 1:
            name = f"{cut['id']}#{times}"
            while name in taken:
                name += "#"
            renamed[i] = name
            taken.add(name)
    first: dict[str, int] = {}
    copy_of: dict[int, str] = {}
    for i, cut in enumerate(cuts):
        what = content(cut)
        if what is not None and i not in renamed and dedup and (j := first.setdefault(what, i)) != i:
            copy_of[i] = cuts[j]["id"]
    return renamed, copy_of


def assign(ids: list[str], seconds_N: np.ndarray, settings: PlanSettings) -> list[np.ndarray]:
    """The positions of each unit's utterances, in the order of the shuffle."""
    if not ids:
        return []
    rank_N = np.array([draw("plan", settings.seed, i) for i in ids], np.uint64)
    order_N = np.lexsort((np.arange(len(ids)), rank_N))
    end_N = np.cumsum(seconds_N[order_N])
    total = float(end_N[-1])
    units = max(1, round(total / settings.unit_seconds))
    middle_N = end_N - seconds_N[order_N] / 2
    unit_N = np.minimum((middle_N * units / max(total, 1e-9)).astype(np.int64), units - 1)
    return [part for part in np.split(order_N, np.searchsorted(unit_N, np.arange(1, units))) if len(part)]


def line_of(cut: dict[str, Any], few_speakers: bool, renamed: str | None, copy_of: str | None) -> bytes:
    if few_speakers:
        cut["custom"]["few_speakers"] = True
    if renamed is not None:
        why = f"the id {cut['id']!r} occurs more than once in the corpus; only the first is used"
        cut["custom"]["fault"] = ["duplicate_id", why]
        cut["id"] = cut["supervisions"][0]["id"] = renamed
    if copy_of is not None:
        cut["custom"]["copy_of"] = copy_of
    return orjson.dumps(cut) + b"\n"


def planned(lines: list[bytes], settings: PlanSettings) -> Iterator[tuple[int, float, bytes]]:
    """(utterances, seconds, contents of the file) of each unit."""
    cuts = [orjson.loads(line) for line in lines]
    few = len({cut["supervisions"][0].get("speaker") or "" for cut in cuts} - {""}) < MIN_SPEAKERS
    renamed, copy_of = marks(cuts, settings.dedup)
    seconds_N = np.array([cut["duration"] for cut in cuts], np.float64)
    for part in assign([renamed.get(i, cut["id"]) for i, cut in enumerate(cuts)], seconds_N, settings):
        data = b"".join(line_of(orjson.loads(lines[i]), few, renamed.get(i), copy_of.get(i)) for i in part.tolist())
        yield len(part), round(float(seconds_N[part].sum()), 3), data
