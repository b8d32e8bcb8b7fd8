"""What holds a run up, in cases made so that one thing does: it is named, and what to change with it."""

from __future__ import annotations

from typing import Any

import pytest

from manifests.settings.run import RunSettings, StageSettings
from pipelines.engine.contract import Unit
from pipelines.forecast.amount import Amount
from pipelines.forecast.bottleneck import Bottleneck, bottleneck
from pipelines.forecast.cluster_file import alike
from pipelines.forecast.measured import Linear, Measurement, Piece
from pipelines.forecast.nodes import ClusterShape, NodeType
from pipelines.forecast.parts import HEARING, WORDS, shares
from pipelines.forecast.predict import Shared, predict

CORPUS = Amount.of_units([Unit(i, 100, 600.0) for i in range(40)])
SHARED = {"tokens": Shared("clean", HEARING)}
PARTS = {"fetch": 0.05, "decode": 0.15, "clean": 0.1, "encode": 0.6, "rest": 0.1}
TOKENS = Measurement("tokens", "probe", (Piece(100.0, 600.0, 1, 95.0),) * 4, parts=PARTS)
MASKS = Measurement("masks", "probe", (Piece(1.0, 600.0, 1, 1.0),) * 4)
GPUS = {"tokens": StageSettings(gpus=1)}


def found(*measured: Measurement, cluster: ClusterShape | None = None, **run: Any) -> Bottleneck:
    seen = predict(measured, CORPUS, RunSettings(**run), cluster or alike(4, 2, 0), SHARED)
    held = bottleneck(seen, SHARED, {"tokens": WORDS})
    assert held is not None
    return held


def with_parts(**parts: float) -> Measurement:
    return Measurement("tokens", "probe", TOKENS.pieces, parts=parts)


@pytest.mark.parametrize(
    ("measured", "run", "cluster", "kind", "change"),
    [
        (TOKENS, {}, None, "encode", "more CPU"),
        (with_parts(fetch=0.1, decode=0.6, encode=0.3), {}, None, "decode", "more CPU"),
        (with_parts(fetch=0.6, decode=0.2, encode=0.2), {}, None, "storage", "bring the corpus nearer"),
        (TOKENS, {"workers": 0}, None, "workers", "set run.workers to 8"),
        (TOKENS, {"workers": 2}, None, "workers", "set run.stages.tokens.workers to 8"),
        (TOKENS, {}, alike(99, 2, 0), "units", "shorter units"),
        (TOKENS, {}, alike(39, 1, 0), "units", "shorter units"),
        (TOKENS, {"stages": GPUS}, alike(4, 8, 1), "GPU", "more GPU"),
        (with_parts(fetch=0.1, decode=0.7, encode=0.2), {"stages": GPUS}, alike(4, 8, 1), "decode", "run.stages.clean: {workers: 4}"),
        (TOKENS, {"memory_gb_per_worker": 4}, None, "memory", "more memory"),
        (Measurement("tokens", "probe", TOKENS.pieces, start=9e4), {}, None, "start", "keep nodes up"),
        (Measurement("tokens", "probe", TOKENS.pieces, along=Linear(9e4)), {}, None, "driver", "longer units"),
        (Measurement("plan", "probe", before=Linear(9e4)), {}, None, "driver", "longer units"),
        (Measurement("fit", "probe", alone=Linear(9e4)), {}, None, "single", "more workers gain nothing"),
    ],
)  # fmt: skip
def test_it_is_named_with_what_to_change(
    measured: Measurement, run: dict[str, Any], cluster: ClusterShape | None, kind: str, change: str
) -> None:
    if kind == "memory":
        cluster = ClusterShape("test", (NodeType("n", {"CPU": 64.0, "memory": 8 * 2**30}, 4, 4),))
    held = found(MASKS, measured, cluster=cluster, **run)
    assert held.stage == measured.stage
    assert (held.finding.kind, held.finding.change) == (kind, held.finding.change)
    assert change in held.finding.change
    assert held.sentence.startswith(f"{measured.stage} takes ")
    assert "\n" not in held.sentence


def test_on_a_cluster_that_grows_a_stage_without_a_number_is_told_so() -> None:
    growing = ClusterShape("test", (NodeType("cpu", {"CPU": 4.0}, 0, 8),))
    held = found(TOKENS, cluster=growing)
    assert held.finding.kind == "workers"
    assert "names no number" in held.sentence
    assert held.finding.change == "set run.stages.tokens.workers to 32"


def test_listeners_that_cannot_keep_up_are_named() -> None:
    slow = with_parts(fetch=0.1, decode=0.7, encode=0.2)
    held = found(slow, cluster=alike(4, 8, 1), stages={**GPUS, "clean": StageSettings(workers=2)})
    assert held.finding.change == "set run.stages.clean.workers to 4"


def test_the_share_is_of_the_whole_and_nothing_at_all_holds_nothing_up() -> None:
    held = found(TOKENS, MASKS)
    assert 0.9 < held.share < 1
    nothing = predict([], CORPUS, RunSettings(), alike(1, 1, 0), {})
    assert bottleneck(nothing, {}, {}) is None


def test_parts_are_shares_of_the_whole_and_what_the_steps_leave_is_the_rest() -> None:
    assert shares({"fetch": 1.0, "encode": 2.0}, 4.0) == {"fetch": 0.25, "encode": 0.5, "rest": 0.25}
    assert shares({"fetch": 3.0, "encode": 2.0}, 4.0) == {"fetch": 0.6, "encode": 0.4, "rest": 0.0}
    assert shares({}, 4.0) == {}
