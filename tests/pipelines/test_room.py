"""What workers ask of nodes: counted node by node, told to Ray in its own words, and said aloud where there is no room."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from manifests.recipe import RecipeError, parse
from manifests.settings.run import RunSettings, StageSettings
from pipelines.engine import room
from pipelines.engine.room import Demand, Wait, room_for

AMOUNTS = st.dictionaries(st.sampled_from(["CPU", "GPU", "ear"]), st.sampled_from([0.25, 0.5, 1.0, 2.0, 8.0]))


def test_a_stage_takes_what_it_does_not_name_from_the_run() -> None:
    run = RunSettings.model_validate(
        {"workers": 8, "gpus_per_worker": 0.5, "stages": {"tokens": {"gpus": 1}, "masks": {"workers": 2}}}
    )
    assert (run.of("tokens").workers, run.of("tokens").gpus, run.of("tokens").cpus) == (8, 1, 1)
    assert (run.of("masks").workers, run.of("masks").gpus) == (2, 0.5)
    assert run.of("fit").workers == 8


def test_a_stage_that_is_none_is_refused_with_the_nearest_that_is() -> None:
    recipe = {"corpus": {"layout": "folder", "root": "x"}, "run": {"stages": {"tokenize": {"gpus": 1}}}}
    with pytest.raises(RecipeError, match=r"run\.stages\.tokenize: there is no 'tokenize'; did you mean tokens\?"):
        parse(recipe)


@given(AMOUNTS, st.lists(AMOUNTS, max_size=4))
def test_so_many_workers_as_there_is_room_for_fit_and_one_more_does_not(
    asked: dict[str, float], offers: list[dict[str, float]]
) -> None:
    demand = Demand(asked)
    for offer in offers:
        times = demand.times_in(offer)
        fits = [all(offer.get(n, 0) >= a * k for n, a in asked.items()) for k in (times, times + 1)]
        assert fits == [True, not asked]
    assert room_for(demand, offers) == sum(map(demand.times_in, offers))


def test_two_halves_on_two_nodes_are_no_room_for_a_whole() -> None:
    assert room_for(Demand({"CPU": 2, "GPU": 1}), [{"CPU": 4}, {"GPU": 1, "CPU": 1}]) == 0


def test_a_demand_is_told_to_ray_in_its_own_words() -> None:
    demand = Demand.of(StageSettings(cpus=0, gpus=0.25, memory_gb=2, resources={"ear": 1}))
    assert demand.options() == {"num_cpus": 0, "num_gpus": 0.25, "memory": 2 * 2**30, "resources": {"ear": 1}}
    assert str(demand) == "GPU 0.25, memory 2 GiB, ear 1"


def test_a_wait_is_said_at_once_where_no_node_fits_and_later_where_room_may_come() -> None:
    now, said = [0.0], io.StringIO()

    def wait(amounts: dict[str, float]) -> Wait:
        return Wait("tokens", 3, Demand(amounts), Console(file=said, width=400), lambda: [{"CPU": 1.0}], lambda: now[0])

    full, none = wait({"CPU": 1}), wait({"GPU": 1})
    for one in (full, none, none):
        one.on()
    assert said.getvalue().count("\n") == 1
    assert "a node that has GPU 1 for a worker: none that is up has" in said.getvalue()
    now[0] = room.PATIENCE
    full.on()
    assert "are there free CPUs?" in said.getvalue()
    full.over()
    full.on()
    assert said.getvalue().count("\n") == 2
    now[0] += room.AGAIN
    none.on()
    assert said.getvalue().count("\n") == 3
