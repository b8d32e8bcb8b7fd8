"""Receipts of a stage, summed one after the other; events of a run, of which only those asked for are kept."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.ledger import Outcome
from manifests.receipt import FileEntry, Receipt
from manifests.receipt_index import Brief
from pipelines.engine.contract import Unit
from pipelines.engine.progress import Events, noted
from pipelines.made import Made
from tests.memory import peak_of

MANY = 3_000


def brief(unit: int, **made: float) -> Brief:
    files = (FileEntry(f"{unit}.tar", 100 + unit, "f" * 64),)
    ends = (Outcome("a", "written"), Outcome("b", "filtered", "silent", "so it is"))
    facts = {"splits": {"train": {"seconds": 2.0 + unit}}}
    return Brief.of(unit, Receipt("tokens", unit, files, ends, facts, made))


@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 1e3), st.floats(0, 1e3), st.floats(0, 1e3)), max_size=6))
def test_they_add_up(rows: list[tuple[float, float, float, float]]) -> None:
    units = [Unit(k, 2, 10.0 * k) for k in range(len(rows))]
    briefs = [
        brief(k, started=begun, seconds=took, core_seconds=core, waited_seconds=waited)
        for k, (begun, took, core, waited) in enumerate(rows)
    ]
    whole = Made.of(briefs, units)
    assert whole.units == len(rows)
    assert whole.seconds == pytest.approx(sum(unit.seconds for unit in units))
    assert whole.bytes == sum(b.bytes for b in briefs)
    for got, column in ((whole.took, 1), (whole.cores, 2), (whole.waited, 3)):
        assert got == pytest.approx(sum(row[column] for row in rows))
    assert whole.begun == min((row[0] for row in rows), default=0.0)
    assert whole.ended == pytest.approx(max((row[0] + row[1] for row in rows), default=0.0))
    assert sum(sum(reasons.values()) for reasons in whole.ends.values()) == 2 * len(rows)
    assert whole.splits["train"] == pytest.approx(sum(2.0 + k for k in range(len(rows))))


def test_one_that_does_not_say_leaves_the_sum_unknown() -> None:
    whole = Made.of([brief(0, seconds=1.0, core_seconds=0.5), brief(1, seconds=1.0)], ())
    assert (whole.cores, whole.waited, whole.took) == (None, None, 2.0)


def test_nothing_of_a_single_receipt_is_kept() -> None:
    units, one = [Unit(k, 2, 10.0) for k in range(MANY)], brief(0, seconds=1.0)

    def peak(count: int) -> int:
        return peak_of(lambda: Made.of((replace(one, unit=k, ends={**one.ends}) for k in range(count)), units))[1]

    assert peak(MANY) < 2 * peak(20)


def test_only_events_that_are_asked_for_are_read_and_no_line_that_was_cut_off(tmp_path: Path) -> None:
    note = Events(tmp_path / "events.jsonl")
    note("stage_started", stage="tokens")
    note("unit_done", unit=1)
    with (tmp_path / "events.jsonl").open("a") as file:
        file.write('[]\n{"event": 7}\n{"event": "stage_en')
    found = noted(tmp_path / "events.jsonl", {"stage_started", "stage_ended"})
    assert isinstance(found, Iterator)
    assert [event["stage"] for event in found] == ["tokens"]
    assert not list(noted(tmp_path / "nowhere", {"unit_done"}))
    assert not list(noted(None, {"unit_done"}))
