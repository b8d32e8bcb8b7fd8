"""Leases: whatever dies, whatever fails, in whatever order tasks end, a run ends, and exactly the poison is set aside."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from pipelines.engine.contract import Task, Unit
from pipelines.engine.lease import LOSSES, MAX_SEARCHES, SINGLE_TRIES, Leases
from pipelines.engine.pace import Pace

DIED = ("worker_died", "the process died")
RETRIES = 2


def kills(task: Task, poison: set[int]) -> bool:
    """Whether a task touches poison that it was not told to skip."""
    first, end = task.only or (0, task.unit.count)
    return any(first <= p < end and p not in task.skip for p in poison)


class Run(RuleBasedStateMachine):
    """A run whose workers die of poison, meet errors, and end in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.running: list[Task] = []
        self.finished: dict[int, Task] = {}
        self.leased: Counter[int] = Counter()
        self.errors: Counter[int] = Counter()

    @initialize(
        poison=st.lists(st.tuples(st.integers(1, 12), st.sets(st.integers(0, 11), max_size=4)), min_size=1, max_size=4),
        attempts=st.integers(1, 3),
    )
    def begin(self, poison: list[tuple[int, set[int]]], attempts: int) -> None:
        self.attempts = attempts
        self.poison = {k: {p for p in where if p < count} for k, (count, where) in enumerate(poison)}
        units = [Unit(k, count, 1.0) for k, (count, _) in enumerate(poison)]
        self.leases = Leases.over(units, attempts, RETRIES)

    @rule()
    def lease(self) -> None:
        if (task := self.leases.next()) is not None:
            self.running.append(task)
            self.leased[task.unit.index] += 1

    @rule(keep=st.integers(0, 3))
    def lease_ahead(self, keep: int) -> None:
        if (task := self.leases.ahead(keep)) is not None:
            assert task.fresh, "a probe, or a unit in doubt, was made to wait"
            self.running.append(task)
            self.leased[task.unit.index] += 1

    @precondition(lambda self: self.running)
    @rule(which=st.integers(0, 99))
    def lease_again(self, which: int) -> None:
        if (twin := self.leases.again(self.running[which % len(self.running)])) is not None:
            assert twin.only is None, "a probe was leased twice"
            self.running.append(twin)
            self.leased[twin.unit.index] += 1

    @precondition(lambda self: any(t.fresh for t in self.running))
    @rule(which=st.integers(0, 99))
    def give_back(self, which: int) -> None:
        able = [t for t in self.running if t.fresh]
        task = able[which % len(able)]
        self.running.remove(task)
        self.leased[task.unit.index] -= 1
        self.leases.returned(task)
        if any(t.unit == task.unit for t in self.running) or task.unit.index in self.finished:
            return  # another lease of it counts
        again = self.leases.next()
        assert again is task, "what came back is not next"
        self.leases.returned(again)

    @precondition(lambda self: self.running)
    @rule(which=st.integers(0, 99))
    def end(self, which: int) -> None:
        task = self.running.pop(which % len(self.running))
        if kills(task, self.poison[task.unit.index]):
            self.leases.died(task, DIED)
            return
        if self.leases.completed(task):
            assert task.only is None
            assert task.unit.index not in self.finished, "a unit was done twice"
            self.finished[task.unit.index] = task

    @precondition(lambda self: any(self.errors[t.unit.index] < RETRIES for t in self.running))
    @rule(which=st.integers(0, 99))
    def fail(self, which: int) -> None:
        able = [t for t in self.running if self.errors[t.unit.index] < RETRIES]
        task = able[which % len(able)]
        self.running.remove(task)
        self.errors[task.unit.index] += 1
        self.leases.errored(task, "storage is full")

    def teardown(self) -> None:
        if not hasattr(self, "leases"):
            return
        while self.leases.unfinished:
            self.lease()
            self.end(0)
        while self.running:  # of two leases the one that came too late
            self.end(0)
        assert not self.leases.failed
        assert {unit: set(task.skip) for unit, task in self.finished.items()} == self.poison
        assert self.leases.done == len(self.poison)
        for unit, task in self.finished.items():
            probes = 2 * task.unit.count + SINGLE_TRIES * task.unit.count
            assert self.leased[unit] <= self.attempts + MAX_SEARCHES * (probes + 1) + RETRIES


TestRun = Run.TestCase
TestRun.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


def run(leases: Leases, poison: set[int], limit: int = 10_000) -> list[Task]:
    """Do everything, one task at a time; the tasks in order."""
    tasks: list[Task] = []
    while leases.unfinished:
        task = leases.next()
        assert task is not None
        tasks.append(task)
        assert len(tasks) < limit
        leases.died(task, DIED) if kills(task, poison) else leases.completed(task)
    return tasks


def test_a_healthy_unit_is_leased_once_and_skips_nothing() -> None:
    tasks = run(Leases.over([Unit(0, 5, 1.0), Unit(1, 5, 1.0)], 2, 1), set())
    assert [(t.unit.index, dict(t.skip), t.only, t.attempt) for t in tasks] == [(0, {}, None, 1), (1, {}, None, 1)]


@given(count=st.integers(1, 200), data=st.data())
def test_one_poison_utterance_is_found_in_a_number_of_probes_that_grows_as_a_logarithm(
    count: int, data: st.DataObject
) -> None:
    poison = data.draw(st.integers(0, count - 1))
    tasks = run(Leases.over([Unit(0, count, 1.0)], 1, 0), {poison})
    assert tasks[-1].skip == {poison: DIED}
    assert len(tasks) <= 2 * count.bit_length() + 2 + SINGLE_TRIES


@pytest.mark.parametrize("attempts", [1, 2, 5])
def test_a_unit_that_dies_once_by_chance_is_just_tried_again(attempts: int) -> None:
    leases = Leases.over([Unit(0, 4, 1.0)], attempts, 0)
    first = leases.next()
    assert first is not None
    leases.died(first, DIED)
    tasks = run(leases, set())
    assert tasks[-1].skip == {}
    assert leases.done == 1


def test_a_unit_that_killed_its_worker_is_next_so_that_its_search_does_not_end_the_run() -> None:
    leases = Leases.over([Unit(k, 4, 1.0) for k in range(5)], 2, 0)
    first = leases.next()
    assert first is not None
    leases.died(first, DIED)
    again = leases.next()
    assert again is not None
    assert (again.unit, again.attempt) == (first.unit, 2)


def test_a_unit_that_always_dies_without_a_culprit_is_given_up_and_the_others_are_done() -> None:
    leases, deaths = Leases.over([Unit(0, 4, 1.0), Unit(1, 4, 1.0)], 2, 0), 0
    while leases.unfinished:
        task = leases.next()
        assert task is not None
        if task.unit.index == 0 and task.only is None:
            deaths += 1
            leases.died(task, DIED)
        else:
            leases.completed(task)
    assert deaths == 2 + MAX_SEARCHES
    assert list(leases.failed) == [0]
    assert "no single utterance" in leases.failed[0]
    assert leases.done == 1


def test_only_fresh_units_wait_and_the_last_ones_are_kept_for_whoever_is_idle() -> None:
    leases = Leases.over([Unit(k, 4, 1.0) for k in range(4)], 1, 0)
    first, waiting = leases.next(), leases.ahead(keep=2)
    assert first is not None
    assert waiting is not None
    assert waiting.unit.index == 1
    assert leases.ahead(keep=2) is None
    leases.died(first, DIED)  # its halves are next: as probes, they never wait
    assert leases.ahead(keep=0) is None
    leases.returned(waiting)
    again = leases.next()
    assert again is waiting
    assert len(leases.running) == 1


def test_errors_are_retried_so_often_and_then_fail_the_unit_without_blaming_an_utterance() -> None:
    leases, tries = Leases.over([Unit(0, 4, 1.0)], 2, 3), 0
    while (task := leases.next()) is not None:
        tries += 1
        leases.errored(task, "storage is full")
    assert tries == 4
    assert leases.failed == {0: "storage is full"}


def test_an_error_during_the_search_is_no_evidence_against_an_utterance() -> None:
    leases = Leases.over([Unit(0, 1, 1.0)], 1, 3)
    unit = leases.next()
    assert unit is not None
    leases.died(unit, DIED)
    probe = leases.next()
    assert probe is not None
    leases.errored(probe, "storage is full")
    again = leases.next()
    assert again is not None
    leases.died(again, DIED)  # the first death of this utterance alone: not enough
    assert run(leases, set())[-1].skip == {}


def test_a_unit_that_failed_takes_no_more_leases_even_when_its_last_probes_die() -> None:
    leases = Leases.over([Unit(0, 8, 1.0)], 1, 0)
    unit = leases.next()
    assert unit is not None
    leases.died(unit, DIED)
    one, other = leases.next(), leases.next()
    assert one is not None
    assert other is not None
    leases.errored(one, "storage is full")
    leases.died(other, DIED)
    assert not leases.unfinished
    assert leases.failed == {0: "storage is full"}


def test_a_unit_is_leased_again_only_when_nothing_else_is_left_and_only_once() -> None:
    leases = Leases.over([Unit(0, 4, 1.0), Unit(1, 4, 1.0)], 2, 3)
    first = leases.next()
    assert first is not None
    assert leases.again(first) is None
    second = leases.next()
    twin = leases.again(first)
    assert second is not None
    assert twin is not None
    assert (leases.again(first), leases.again(twin)) == (None, None)
    assert leases.completed(second)
    assert leases.completed(twin)
    assert not leases.unfinished, "the run waits for the slow one"
    assert not leases.completed(first), "a unit was done twice"
    assert leases.done == 2


@pytest.mark.parametrize("end", ["died", "errored", "returned"])
def test_the_end_of_one_of_two_leases_is_held_against_nobody_while_the_other_runs(end: str) -> None:
    leases = Leases.over([Unit(0, 4, 1.0)], 1, 0)
    first = leases.next()
    assert first is not None
    twin = leases.again(first)
    assert twin is not None
    how = {
        "died": lambda: leases.died(first, DIED),
        "errored": lambda: leases.errored(first, "no"),
        "returned": lambda: leases.returned(first),
    }
    how[end]()
    assert leases.next() is None
    assert leases.completed(twin)
    assert (leases.failed, leases.done) == ({}, 1)


def test_what_is_far_behind_is_late_and_nothing_is_before_its_time() -> None:
    now = [0.0]
    pace, tasks = Pace(10.0, lambda: now[0]), [Task(Unit(k, 4, 1.0)) for k in range(3)]
    for slot, task in enumerate(tasks):
        pace.leased(task, slot)
    now[0] = 100.0
    assert pace.late(tasks) == [], "there is nothing to compare with"
    now[0] = 4.0
    pace.done(tasks[0])
    now[0] = 10.0
    assert pace.late(tasks[1:]) == []
    now[0] = 13.0
    assert pace.late(tasks[1:]) == tasks[1:]


def test_what_waits_behind_another_has_not_begun() -> None:
    now = [0.0]
    pace, first, second = Pace(1.0, lambda: now[0]), Task(Unit(0, 4, 1.0)), Task(Unit(1, 4, 1.0))
    pace.leased(first, 0)
    pace.leased(second, 0, waits=True)
    now[0] = 10.0
    pace.ended(0)
    pace.done(first)
    now[0] = 20.0
    third = Task(Unit(2, 4, 1.0))
    pace.leased(third, 1)
    pace.leased(Task(Unit(3, 4, 1.0)), 1, waits=True)
    pace.ended(0)
    pace.done(second)
    assert pace.usual == 10.0, "the ten seconds that the second one waited count as its own"
    now[0] = 36.0
    assert [t.unit.index for t in pace.late([third, Task(Unit(3, 4, 1.0))])] == [3], (
        "what waits is free to go elsewhere first"
    )


def test_nodes_that_go_are_held_against_no_unit_until_it_happens_again_and_again() -> None:
    leases = Leases.over([Unit(0, 8, 1.0)], 1, 0)
    for attempt in range(1, LOSSES + 1):
        task = leases.next()
        assert task is not None
        assert (task.only, task.attempt) == (None, attempt)
        leases.lost(task, DIED)
    task = leases.next()
    assert task is not None
    leases.lost(task, DIED)
    probe = leases.next()
    assert probe is not None
    assert probe.only is not None, "it takes its nodes with it: it is searched, as one that kills its workers"
