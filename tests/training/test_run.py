"""A job on its way to other processes: where its weights lie is said in full, what it is compared by stays as it was written."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from tests.training.datasets import recipe
from training.run import Job
from training.teacher import TRAINED_WITH_IT

ISD = {"name": "isd", "masks": "hierarchical", "steps": 1, "loss": "distillation"}
places = st.from_regex(r"/?[a-z]{1,4}(/[a-z]{1,4}){0,2}", fullmatch=True)


@given(start=places | st.none(), teacher=places)
def test_relative_places_are_of_the_folder_that_the_job_comes_from(start: str | None, teacher: str) -> None:
    made = recipe({**ISD, "distillation": {"teacher": teacher}}, start=start)
    job = Job(made, "data", "run", "/home")
    train = job.placed.train
    assert train.start == (start and str(Path("/home", start)))
    assert train.stages[0].taught is not None
    assert train.stages[0].taught.teacher == str(Path("/home", teacher))
    assert job.recipe == made
    assert Job(made, "data", "run").placed == made, "where nobody says a folder it is the working directory, as ever"


def test_the_datasets_own_teacher_is_a_word_and_no_place() -> None:
    made = recipe(ISD, {"name": "plain", "masks": "hierarchical", "steps": 1}, start=TRAINED_WITH_IT)
    assert Job(made, "data", "run", "/home").placed == made
