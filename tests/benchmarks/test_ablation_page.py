"""The page of an ablation: what is in its table can be heard."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from benchmarks.ablation_page import page, titled
from pipelines.evaluation import page as pages
from pipelines.evaluation import plot, speaking
from pipelines.evaluation.evaluate import Asked, Evaluation
from pipelines.evaluation.rows import Row
from pipelines.evaluation.systems import Ways


def judged(run: Path, steps: Sequence[int]) -> Path:
    """What evaluation leaves of a run: of some steps a block, or of a next-frame decoder where there are none."""
    rows: list[dict[str, Any]] = [{"name": "codec", "kind": "codec"}]
    rows += [{"name": f"{n} steps", "kind": "block", "decoder": {"steps": n, "policy": "even"}} for n in steps]
    rows += [] if steps else [{"name": "AR", "kind": "ar", "decoder": {"steps": None, "policy": "even"}}]
    (run / "eval").mkdir(parents=True)
    (run / "eval" / "eval.json").write_text(json.dumps({"about": {}, "rows": rows}))
    return run


def opened(asked: Asked, console: Console) -> Any:
    Ways(asked.steps).require_use(["ar" if asked.run.endswith("frames") else "block"])
    steps = asked.steps or (None,)
    rows = [SimpleNamespace(name=f"{n} steps" if n else "AR", kind="block" if n else "ar", voice=None) for n in steps]
    voice = SimpleNamespace(parts=SimpleNamespace(speech=None))
    return SimpleNamespace(
        systems=rows, words=lambda voice: ["a"], sentences=[], sound=lambda codes: codes, voice=voice, ceilings=list
    )


def test_every_row_of_the_table_can_be_heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the steps that a run was judged at, which need not be those of another."""
    kept: dict[str, Any] = {}

    def written(value: dict[str, Any], picture: bytes, tracks: list[Row], tokenizer: object) -> bytes:
        kept.update(value=value, tracks=tracks)
        return b""

    monkeypatch.setattr(Evaluation, "open", opened)
    monkeypatch.setattr(speaking, "spoken", lambda *asked: SimpleNamespace(codes=[0]))
    monkeypatch.setattr(pages, "write_page", written)
    monkeypatch.setattr(plot, "draw", lambda value: b"")
    asked = {"two": (1, 2, 8, 16), "one": (4,), "frames": ()}
    page("data", {judged(tmp_path / name, steps): name for name, steps in asked.items()}, Console(quiet=True))
    shown = [row["name"] for row in kept["value"]["rows"] if row["kind"] != "codec"]
    assert [row.name for row in kept["tracks"]] == shown
    assert shown == [*(titled(name, f"{n} steps", "block") for name, steps in asked.items() for n in steps), "AR"]
