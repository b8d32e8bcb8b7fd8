"""What a run will take, as arithmetic: more workers never slower, more hours never cheaper, and every limit of a cluster held to."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.receipt import Receipt
from manifests.receipt_index import Brief
from manifests.settings.run import RunSettings, StageSettings
from pipelines.engine.contract import Unit
from pipelines.engine.room import Demand
from pipelines.forecast.amount import Amount, cut
from pipelines.forecast.certainty import factors, interval
from pipelines.forecast.cluster_file import alike
from pipelines.forecast.errors import ForecastError
from pipelines.forecast.measured import Linear, Measurement, Piece
from pipelines.forecast.nodes import ClusterShape, NodeType, placed, room
from pipelines.forecast.predict import RAY_START, Forecast, Shared, predict
from pipelines.forecast.schedule import drawn, makespan

TIMES = st.lists(st.floats(0.1, 50.0), min_size=1, max_size=30)
READY = st.lists(st.floats(0.0, 20.0), min_size=1, max_size=12)
PIECES = st.lists(
    st.builds(Piece, st.floats(0.1, 50.0), st.floats(1.0, 900.0), st.integers(0, 1000)), min_size=1, max_size=8
)
HOURS = st.floats(0.01, 50.0)
CORPUS = Amount.of_units([Unit(i, 100, 600.0) for i in range(5)])
SHARED = {"tokens": Shared("clean", ("fetch", "decode"))}
GROWING = ClusterShape(
    "test",
    (
        NodeType("head", {"CPU": 0.0}, 1, 1, head=True), NodeType("cpu", {"CPU": 8.0}, 0, 4),
        NodeType("gpu", {"CPU": 4.0, "GPU": 1.0}, 0, 2),
    ),
    total=5,
    start=100.0,
)  # fmt: skip


def foretold(
    *measured: Measurement, hours: float | None = None, cluster: ClusterShape | None = None, **run: Any
) -> Forecast:
    amount = CORPUS if hours is None else CORPUS.at(hours, 600.0)
    return predict(measured, amount, RunSettings(**run), cluster or alike(4, 8, 0), SHARED)


def tokens(*seconds: float, **more: Any) -> Measurement:
    """Units of 600 s of audio that took so long."""
    return Measurement("tokens", "probe", tuple(Piece(s, 600.0, 1000) for s in seconds), **more)


# schedule


@given(TIMES, READY, st.floats(0.0, 20.0))
def test_a_further_worker_never_makes_it_later(times: list[float], ready: list[float], more: float) -> None:
    assert makespan(times, [*ready, more]) <= makespan(times, ready) + 1e-9


@given(TIMES, READY, st.floats(0.1, 50.0))
def test_a_further_unit_never_makes_it_earlier(times: list[float], ready: list[float], more: float) -> None:
    assert makespan([*times, more], ready) >= makespan(times, ready)


@given(TIMES, READY)
def test_it_takes_no_less_than_the_longest_unit_and_an_even_share_and_no_more_than_one_worker_takes(
    times: list[float], ready: list[float]
) -> None:
    took = makespan(times, ready)
    assert took >= min(ready) + max(times) - 1e-9
    assert took >= min(ready) + sum(times) / len(ready) - 1e-9
    assert took <= min(ready) + sum(times) + 1e-9


def test_one_unit_more_than_workers_takes_twice_as_long() -> None:
    assert makespan([5.0] * 4, [0.0] * 4) == 5.0
    assert makespan([5.0] * 5, [0.0] * 4) == 10.0
    assert makespan([], [0.0]) == 0.0


@given(st.lists(st.floats(0.01, 9.0), min_size=1, max_size=6), st.integers(1, 50))
def test_slow_units_are_among_those_drawn_and_the_mean_is_kept(rates: list[float], times: int) -> None:
    mean = sum(rates) / len(rates)
    took = drawn([2.0] * (times * len(rates)), rates, mean)
    assert sum(took) / len(took) == pytest.approx(2.0 * mean)
    assert max(took) == pytest.approx(2.0 * max(rates))


# amounts


@given(st.floats(0.0, 1e5), st.floats(0.5, 500.0), st.floats(0.0, 1e4))
def test_units_add_up_and_more_seconds_only_add_to_their_end(seconds: float, each: float, more: float) -> None:
    few, many = cut(seconds, each), cut(seconds + more, each)
    assert sum(few) == pytest.approx(seconds, abs=1e-6 * each + 1e-9 * seconds)
    assert len(many) >= len(few)
    assert all(b >= a - 1e-9 * each * len(few) for a, b in zip(few, many, strict=False))


def test_more_hours_are_more_of_the_same() -> None:
    twice = CORPUS.at(CORPUS.hours * 2, 600.0)
    assert (twice.utterances, twice.units) == (1000, 10)
    assert sum(twice.chunks(200)) == pytest.approx(twice.seconds)
    assert Amount(0.0, 0, ()).chunks(200) == ()


RECORDED = Amount.of_units(
    [Unit(i, 40, 550.0) for i in range(7)], Amount.of_units([Unit(0, 3, 4000.0), Unit(1, 2, 1500.0)])
)


@given(st.floats(0.1, 1e5), st.floats(1.0, 3.0))
def test_recordings_become_utterances_as_those_that_are_known_do(hours: float, times: float) -> None:
    some, more = (RECORDED.at(h, 600.0, 7200.0) for h in (hours, hours * times))
    assert some.recordings is not None
    assert some.listed is some.recordings
    assert some.listed.hours == pytest.approx(hours)
    assert some.hours == pytest.approx(hours * RECORDED.hours / RECORDED.listed.hours)
    assert some.utterances / some.seconds == pytest.approx(RECORDED.utterances / RECORDED.seconds)
    assert some.listed.utterances / some.listed.seconds == pytest.approx(5 / 5500.0)
    assert sum(some.lengths) == pytest.approx(some.seconds)
    assert (more.units, more.listed.units) >= (some.units, some.listed.units)


def test_what_is_given_recordings_is_reckoned_by_these_and_what_comes_after_by_utterances() -> None:
    cut = Measurement("segments", "probe", (Piece(10.0, 1000.0, 50),), listed=True)
    seen = predict([cut, tokens(60.0)], RECORDED, RunSettings(workers=0), alike(1, 1, 0), SHARED)
    segments, after = seen.stages
    assert (segments.hours, after.hours) == pytest.approx((5500 / 3600, 3850 / 3600))
    assert segments.worker_hours * 3600 == pytest.approx(55.0)
    assert (segments.bytes, after.bytes) == pytest.approx((275.0, 3850 / 600 * 1000))
    assert after.worker_hours * 3600 == pytest.approx(385.0)


# busy machines


def brief(took: float, core: float | None, waited: float | None) -> Brief:
    how = {"seconds": took, "core_seconds": core, "waited_seconds": waited}
    made = {name: value for name, value in how.items() if value is not None}
    return Brief.of(0, Receipt("tokens", 0, (), (), {}, made))


@given(st.floats(0.1, 1e3), st.floats(0, 1), st.floats(0, 1), st.floats(0.1, 2.0), st.floats(0, 1e4))
def test_waiting_for_a_core_that_others_had_is_left_out_however_long_it_was(
    took: float, busy: float, core: float, cpus: float, more: float
) -> None:
    waited = took * busy
    had = (took - waited) * core
    piece = Piece.of(brief(took, had, waited), 60.0, cpus)
    assert piece.waited is not None
    assert piece.seconds + piece.waited == pytest.approx(took)
    assert had - 1e-9 <= piece.seconds <= took + 1e-9
    if cpus >= 1:
        assert piece.seconds == pytest.approx(took - waited, abs=1e-9)
        assert Piece.of(brief(took + more, had, waited + more), 60.0, cpus).seconds == pytest.approx(
            piece.seconds, abs=1e-6
        )


def test_workers_that_share_a_core_wait_for_each_other_in_a_run_too() -> None:
    assert Piece.of(brief(20.0, 9.0, 11.0), 60.0, 1.0).seconds == pytest.approx(9.0)
    assert Piece.of(brief(20.0, 9.0, 11.0), 60.0, 0.5).seconds == pytest.approx(18.0)
    assert Piece.of(brief(20.0, 9.0, 11.0), 60.0, 0.25).seconds == pytest.approx(20.0), "no more than it took"


def test_where_nobody_looked_all_of_the_time_counts() -> None:
    for core in (5.0, None):
        piece = Piece.of(brief(20.0, core, None), 60.0, 1.0)
        assert (piece.seconds, piece.waited) == (20.0, None)
    one = Measurement("tokens", "probe", (Piece.of(brief(20.0, 5.0, None), 60.0, 1.0),))
    assert one.waited is None
    assert one.disturbed == one


def test_on_a_machine_that_stays_busy_it_takes_as_long_as_it_took() -> None:
    one = Measurement("tokens", "probe", (Piece.of(brief(20.0, 5.0, 12.0), 60.0, 1.0),) * 2)
    assert one.rate == pytest.approx(8 / 60)
    assert one.waited == pytest.approx(0.6)
    assert one.core == pytest.approx(5 / 8)
    assert one.disturbed.rate == pytest.approx(20 / 60)


# certainty


@given(PIECES)
def test_the_interval_holds_the_point_and_units_that_are_alike_leave_no_doubt(pieces: list[Piece]) -> None:
    draws_B = factors(pieces)
    low, high = interval(draws_B, 1.0)
    assert low <= 1.0 <= high
    assert factors([pieces[0]] * len(pieces)) == pytest.approx(1.0)


def test_units_that_differ_more_leave_more_doubt() -> None:
    narrow = interval(factors([Piece(s, 600.0) for s in (9, 10, 11)]), 1.0)
    wide = interval(factors([Piece(s, 600.0) for s in (5, 10, 15)]), 1.0)
    assert wide[0] < narrow[0] < 1 < narrow[1] < wide[1]


# a forecast


@given(PIECES, HOURS, st.integers(1, 40), st.integers(1, 40))
def test_more_workers_are_never_slower(pieces: list[Piece], hours: float, few: int, more: int) -> None:
    one = Measurement("tokens", "probe", tuple(pieces), start=2.0)
    times = [
        foretold(one, hours=hours, cluster=cluster, workers=workers).seconds
        for cluster in (alike(20, 4, 0), GROWING)
        for workers in (few, few + more)
    ]
    assert times[1] <= times[0] + 1e-9
    assert times[3] <= times[2] + 1e-9


@given(PIECES, HOURS, st.floats(0.0, 50.0), st.sampled_from([alike(3, 4, 0), GROWING]))
def test_more_hours_are_never_faster_nor_cheaper(
    pieces: list[Piece], hours: float, more: float, cluster: ClusterShape
) -> None:
    one = Measurement(
        "tokens", "probe", tuple(pieces), before=Linear(1.0, 0.001, 0.01), start=2.0, kept=Linear(utterance=3.0)
    )
    prices = {"cpu_hour": 0.05, "gb_month": 0.02, "nodes": {cluster.types[-1].name: 2.0}}
    small, large = (foretold(one, hours=h, cluster=cluster, workers=9, prices=prices) for h in (hours, hours + more))
    for name in ("seconds", "money", "month", "bytes"):
        assert getattr(large, name) >= getattr(small, name) * (1 - 1e-9), name
    assert large.total("cpu_hours") >= small.total("cpu_hours") * (1 - 1e-9)


@given(st.lists(PIECES, min_size=1, max_size=3), HOURS)
def test_every_interval_holds_what_is_foretold(stages: list[list[Piece]], hours: float) -> None:
    names = ("tokens", "masks", "teach")
    seen = foretold(*(Measurement(n, "probe", tuple(p)) for n, p in zip(names, stages, strict=False)), hours=hours)
    assert seen.low <= seen.seconds <= seen.high
    assert all(s.low <= s.seconds <= s.high for s in seen.stages)


def test_the_whole_is_the_stages_and_the_start_of_ray() -> None:
    seen = foretold(tokens(60.0), Measurement("dataset", "probe", before=Linear(3.0)), workers=5)
    assert [s.workers for s in seen.stages] == [5, 1]
    assert seen.seconds == pytest.approx(RAY_START + 60.0 + 3.0)
    assert foretold(tokens(60.0), workers=0).seconds == pytest.approx(5 * 60.0 + 0.0)


def test_cpu_and_gpu_hours_are_what_workers_hold_and_money_is_that_or_whole_nodes() -> None:
    run: dict[str, Any] = {"workers": 2, "stages": {"tokens": StageSettings(gpus=0.5, cpus=2)}}
    one, there = tokens(1800.0), alike(2, 8, 1)
    held = foretold(one, cluster=there, prices={"cpu_hour": 0.1, "gpu_hour": 1.0}, **run)
    hours = held.stages[0].seconds / 3600
    assert held.total("cpu_hours") == pytest.approx(2 * 2 * hours)
    assert held.total("gpu_hours") == pytest.approx(2 * 0.5 * hours)
    assert held.money == pytest.approx(4 * hours * 0.1 + 1 * hours * 1.0)
    whole = foretold(one, cluster=there, prices={"cpu_hour": 0.1, "nodes": {"node": 3.0}}, **run)
    assert whole.money == pytest.approx(2 * 3.0 * hours)
    assert foretold(one, cluster=there, **run).money is None


def test_a_price_for_a_node_that_is_not_there_is_refused() -> None:
    with pytest.raises(ForecastError, match=r"run\.prices\.nodes names 'gppu'; the nodes of .* are node"):
        foretold(tokens(1.0), prices={"nodes": {"gppu": 1.0}})


def test_what_the_driver_does_along_with_workers_counts_only_where_it_takes_longer() -> None:
    assert foretold(tokens(60.0, along=Linear(50.0)), workers=5).seconds == pytest.approx(RAY_START + 60.0)
    slow = foretold(tokens(60.0, along=Linear(70.0)), workers=5)
    assert slow.seconds == pytest.approx(RAY_START + 70.0, abs=0.1)


def test_what_is_fitted_on_a_sample_stops_growing_with_it() -> None:
    fit = Measurement("fit", "probe", alone=Linear(second=0.01, many=7200.0))
    times = [foretold(fit, hours=h).seconds - RAY_START for h in (1.0, 2.0, 3.0, 300.0)]
    assert times == pytest.approx([36.0, 72.0, 72.0, 72.0])


# workers and room


def test_a_stage_that_needs_gpus_is_refused_where_there_are_none() -> None:
    with pytest.raises(ForecastError, match=r"tokens: a worker asks for CPU 1, GPU 1, and no node .*lacking: GPU"):
        foretold(tokens(1.0), cluster=alike(9, 64, 0), stages={"tokens": StageSettings(gpus=1)})


def test_a_worker_must_find_all_it_asks_for_on_one_node() -> None:
    with pytest.raises(ForecastError, match="lacking: CPU"):
        foretold(tokens(1.0), cluster=alike(9, 4, 1), cpus_per_worker=5)


def test_workers_are_as_many_as_asked_for_and_find_room_and_have_units() -> None:
    many = {"hours": 100.0, "cluster": alike(2, 8, 0)}
    assert foretold(tokens(9.0), workers=5, **many).stages[0].workers == 5
    assert foretold(tokens(9.0), workers=50, **many).stages[0].workers == 16
    assert foretold(tokens(9.0), **many).stages[0].workers == 16
    assert foretold(tokens(9.0), workers=50, cluster=alike(2, 8, 0)).stages[0].workers == CORPUS.units


def test_a_growing_cluster_gives_what_is_up_where_the_recipe_names_no_number() -> None:
    assert foretold(tokens(9.0), hours=100.0, cluster=GROWING).stages[0].workers == 1
    assert foretold(tokens(9.0), hours=100.0, cluster=GROWING, workers=30).stages[0].workers == 30


def test_nodes_that_have_to_come_are_waited_for_once() -> None:
    masks = Measurement("masks", "probe", (Piece(600.0, 600.0),))
    seen = foretold(tokens(600.0), masks, cluster=GROWING, workers=5)
    first, second = seen.stages
    assert first.seconds == pytest.approx(second.seconds + GROWING.start)


def test_no_more_nodes_come_than_may_be_up_at_once_and_gpus_last_where_none_is_asked_for() -> None:
    assert room(GROWING, Demand({"CPU": 1.0})) == 4 * 8 + 1 * 4
    assert room(GROWING, Demand({"CPU": 1.0, "GPU": 0.5})) == 4
    found = placed(GROWING.nodes(Demand({"CPU": 1.0})), Demand({"CPU": 1.0}), 32, Demand(), 0)
    assert found is not None
    assert dict(found.used) == {"cpu": 4}


def test_listeners_take_over_their_part_and_want_room_beside_the_workers() -> None:
    parts = {"fetch": 0.2, "decode": 0.5, "encode": 0.3}
    stages = {"tokens": StageSettings(workers=2, gpus=1), "clean": StageSettings(workers=7)}
    alone = foretold(tokens(100.0, parts=parts), cluster=GROWING, stages={"tokens": stages["tokens"]})
    helped = foretold(tokens(100.0, parts=parts), cluster=GROWING, stages=stages)
    assert helped.stages[0].worker_hours == pytest.approx(0.3 * alone.stages[0].worker_hours)
    assert set(helped.stages[0].node_hours) == {"head", "cpu", "gpu"}
    crowded = {**stages, "clean": StageSettings(workers=30)}
    assert foretold(tokens(100.0, parts=parts), cluster=GROWING, stages=crowded).stages[0].workers == 1
    with pytest.raises(ForecastError, match="no room for one worker with 90 listeners"):
        foretold(tokens(1.0, parts=parts), cluster=GROWING, stages={**stages, "clean": StageSettings(workers=90)})


def test_a_rate_is_all_seconds_over_all_audio() -> None:
    one = Measurement("tokens", "probe", (Piece(1.0, 10.0, 5, 0.5), Piece(9.0, 30.0, 15, 1.5)))
    assert (one.rate, one.byte_rate, one.core) == (0.25, 0.5, 0.2)
    empty = Measurement("tokens", "probe")
    assert (empty.rate, empty.byte_rate, empty.core) == (None, 0.0, None)
    assert math.isinf(Linear().many)
