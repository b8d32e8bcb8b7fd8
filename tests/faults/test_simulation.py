"""The real engine over simulated actors, nodes and time (``simulated.py``): whatever dies in whatever order, nothing is lost and nothing counts twice.

Thousands of deaths fit into seconds here; ``benchmarks/leases.py`` runs the same with a thousand workers.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterator

import fsspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manifests.ledger import fold
from manifests.receipt import FOLDER, Receipt, receipts
from manifests.storage import Store
from pipelines.engine.actors import RayPool
from pipelines.engine.contract import Unit
from pipelines.engine.lease import SINGLE_TRIES
from tests.faults.simulated import Ended, Rates, SimJob, simulate

NEVER = math.inf


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """What a test leaves in fsspec's memory is removed."""
    yield
    fsspec.filesystem("memory").store.clear()


def job_of(units: int, utterances: int = 5, poison: frozenset[tuple[int, int]] = frozenset()) -> SimJob:
    return SimJob(f"memory://{uuid.uuid4().hex}", tuple(Unit(k, utterances, 600.0) for k in range(units)), poison)


def told(job: SimJob) -> list[Receipt]:
    """The receipts, one for each unit and no others; every utterance stands in one, once."""
    found = list(receipts(Store(job.folder), len(job.units)))
    assert [receipt.unit for receipt in found] == [unit.index for unit in job.units]
    assert len(Store(job.folder).list(FOLDER)) == len(job.units)
    ids = [outcome.id for receipt in found for outcome in receipt.outcomes]
    assert ids == [f"{unit.index}-{i}" for unit in job.units for i in range(unit.count)]
    assert fold(len(ids), (outcome for receipt in found for outcome in receipt.outcomes)).settled
    return found


def aside(made: list[Receipt]) -> set[tuple[int, int]]:
    """(unit, position) of what was quarantined."""
    return {(r.unit, i) for r in made for i, outcome in enumerate(r.outcomes) if outcome.status == "quarantined"}


RATES = st.builds(
    Rates,
    unit=st.just(10.0), spread=st.sampled_from([0.0, 0.5]), slow=st.sampled_from([0.0, 0.3]),
    worker_life=st.sampled_from([NEVER, 400.0, 80.0]), node_life=st.sampled_from([NEVER, 900.0]), node_workers=st.sampled_from([1, 3]),
    repair=st.sampled_from([1.0, 200.0]), hang=st.sampled_from([0.0, 0.1]), error=st.sampled_from([0.0, 0.2]), torn=st.sampled_from([0.0, 1.0]),
    start=st.sampled_from([0.1, 8.0]), commit=st.sampled_from([0.0, 2.0]), driver_life=st.sampled_from([NEVER, 900.0]),
    doubt=st.sampled_from([0.0, 0.5]), helped=st.booleans(), message=st.sampled_from([0.0, 0.05]),
)  # fmt: skip


@settings(max_examples=150)
@given(
    rates=RATES, seed=st.integers(0, 10**6), workers=st.integers(1, 8), units=st.integers(1, 25), attempts=st.integers(1, 3),
    poison=st.frozensets(st.tuples(st.integers(0, 24), st.integers(0, 4)), max_size=4), slow_seconds=st.sampled_from([1.0, 60.0]),
)  # fmt: skip
def test_whatever_happens_every_unit_has_one_receipt_and_exactly_the_poison_is_set_aside(
    rates: Rates,
    seed: int,
    workers: int,
    units: int,
    attempts: int,
    poison: frozenset[tuple[int, int]],
    slow_seconds: float,
) -> None:
    job = job_of(units, poison=frozenset(p for p in poison if p[0] < units))
    ended = simulate(job, workers, rates, seed, attempts=attempts, slow_seconds=slow_seconds, stall_seconds=60)
    found, by_chance = aside(told(job)), {p for p, times in ended.totals.alone.items() if times >= SINGLE_TRIES}
    assert job.poison <= found, "an utterance that kills was written"
    assert found - job.poison <= by_chance, "an utterance was blamed that was never alone with its dying worker, twice"
    for receipt in told(job):
        (entry,) = receipt.files
        skipped = ",".join(str(i) for unit, i in sorted(found) if unit == receipt.unit)
        assert Store(job.folder).read(entry.name).decode() == skipped, "files and receipt are not of one attempt"


def test_no_utterance_is_blamed_for_workers_that_died_while_they_had_nothing_to_do() -> None:
    """Nobody watches an idle worker. In this run one that had died was given a part to try, and its death was held against that."""
    rates = Rates(
        unit=10.0,
        spread=0.0,
        slow=0.0,
        worker_life=80.0,
        node_workers=1,
        repair=1.0,
        hang=0.1,
        torn=0.0,
        start=0.1,
        commit=0.0,
    )
    job = job_of(8)
    ended = simulate(job, 8, rates, 175_294, attempts=1, slow_seconds=1.0, stall_seconds=60)
    assert ended.totals.events["worker died"] > 8
    assert ended.totals.probed > 0
    assert aside(told(job)) == set()


def quiet(workers: int, units: int, rates: Rates, seed: int = 0, **more: object) -> Ended:
    job = job_of(units, utterances=20)
    ended = simulate(job, workers, rates, seed, **more)
    assert aside(told(job)) == set()
    return ended


def test_where_nothing_dies_nothing_is_done_twice_though_some_worker_always_has_ended_something() -> None:
    ended = quiet(300, 1200, Rates(unit=24.0, slow=0.0), stall_seconds=10)
    assert (ended.runs, ended.totals.events) == (1, {})
    assert ended.wasted < 1e-9, "workers were taken for stalled that nobody had asked"


def test_a_driver_that_did_not_look_for_a_while_holds_that_against_no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(pool: RayPool, seconds: float) -> list:
        events = looked(pool, seconds)
        if pool._clock() > 100 and not away:
            away.append(pool._ray.spend(500))
        return events

    looked, away = RayPool.poll, list[None]()
    monkeypatch.setattr(RayPool, "poll", absent)
    ended = quiet(4, 8, Rates(unit=300.0, slow=0.0, spread=0.0), stall_seconds=120)
    assert away
    assert ended.wasted < 1e-9


def test_a_worker_that_stands_still_is_stopped_while_others_keep_ending_things() -> None:
    ended = quiet(100, 1000, Rates(unit=20.0, slow=0.0, hang=0.01), stall_seconds=60)
    assert ended.totals.events["hung"] > 3
    assert ended.seconds < 20.0 * 10 * 2, "the run waited for its end to look at those that stand still"


def test_units_of_slow_workers_and_what_waits_behind_them_are_done_by_others() -> None:
    rates = Rates(unit=30.0, slow=0.1, factor=20.0)
    waits, goes = (quiet(20, 200, rates, seed=3, slow_seconds=s) for s in (1e9, 60))
    assert goes.seconds < 0.8 * waits.seconds


@pytest.mark.parametrize("doubt", [0.0, 1.0])
@pytest.mark.parametrize("helped", [False, True])
def test_a_unit_pays_for_no_node_be_it_its_workers_or_that_of_a_helper(helped: bool, doubt: float) -> None:
    """One death would have a unit searched: whatever is tried in halves here was blamed for a node."""
    rates = Rates(unit=30.0, node_life=200.0, node_workers=2, repair=20.0, helped=helped, doubt=doubt, slow=0.0)
    job = job_of(150, utterances=20)
    ended = simulate(job, 10, rates, 5, attempts=1, error_retries=0)
    assert aside(told(job)) == set()
    assert (ended.runs, ended.totals.alone) == (1, {})
    assert ended.totals.events["node died"] > 5
    assert ("helper lost" in ended.totals.events) == helped
    assert ended.totals.probed == 0


def test_the_same_seed_is_the_same_run() -> None:
    rates = Rates(worker_life=300.0, error=0.1)
    one, other = (quiet(5, 30, rates, seed=7) for _ in range(2))
    assert (one.seconds, one.totals) == (other.seconds, other.totals)
