"""The report's film of a trajectory: what it uncovers is what the shards hold, code by code."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.report.film import END, SURE, Cell, Film, Trajectory, blocks_shown, film
from pipelines.report.mask_picture import Scale
from training.noise.grid import Grid

META = {"id": "one", "text": "<b>a text</b>"}
EOS = 1000


def drawn(views: int, length: int, iterations: int, seed: int = 0) -> Trajectory:
    draws = np.random.default_rng(seed)
    shape = (views, length)
    step_VL, sure_VL = draws.integers(0, iterations + 1, shape), draws.uniform(0, 1, shape)
    token_VL, true_L = draws.integers(0, 3, shape), draws.integers(0, 3, length)
    true_L[-1] = EOS
    return Trajectory(step_VL.astype(np.uint8), token_VL.astype(np.uint16), sure_VL, true_L, EOS)


def told_by(made: Film) -> list[Cell]:
    return [*made.given, *(cell for frame in made.frames for shade in frame.shades for cell in shade.cells)]


@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 5), st.randoms(use_true_random=False))
def test_every_cell_is_uncovered_once_and_in_its_iteration_with_its_code(
    views: int, blocks: int, iterations: int, random: Random
) -> None:
    """Shades part the cells of an iteration by certainty; the covered ones are those that were masked."""
    told = drawn(views, blocks * 4, iterations, random.randrange(2**32))
    made = film(told, 4, iterations, META)
    scale = Scale.of(Grid(blocks * 4 - 1, 1, 4), 0.0)
    assert made.masked == scale.outline(told.step_VL > 0)
    assert [f.iteration for f in made.frames] == list(range(1, iterations + 1))
    assert all(a.begins < b.begins < 1 for a, b in zip(made.frames, made.frames[1:], strict=False))
    seen = {(cell.x, cell.y): cell for cell in told_by(made)}
    assert len(seen) == len(told_by(made)) == told.step_VL.size
    places = [(scale.lefts[i // 4] + i % 4 * scale.cell, v) for v, i in np.ndindex(*told.step_VL.shape)]
    rows = sorted({y for _, y in seen})
    for (x, v), (row, i) in zip(places, np.ndindex(*told.step_VL.shape), strict=True):
        cell, code, step = seen[x, rows[v]], told.token_VL[row, i], told.step_VL[row, i]
        assert cell.right == (code == told.true_L[i])
        assert cell.told.startswith(f"{code}: iteration {step}, " if step else f"{code}: given")
        assert ("; true is " in cell.told) != cell.right
    for frame in made.frames:
        for shade in frame.shades:
            lower = max((s for s in (0.0, *SURE) if s < shade.opacity), default=0.0)
            for cell in shade.cells:
                assert f"iteration {frame.iteration}, " in cell.told
                sure = float(cell.told.split(", ")[1].split("%")[0]) / 100
                assert lower - 0.005 <= sure <= shade.opacity + 0.005


def test_a_cell_says_its_code_how_probable_it_was_and_what_is_true() -> None:
    told = Trajectory(
        np.array([[1, 0, 2, 2]]), np.array([[12, 7, EOS, 40]]), np.array([[0.9, 1.0, 0.3, 0.555]]),
        np.array([12, 7, 40, EOS]), EOS,
    )  # fmt: skip
    cells = sorted(told_by(film(told, 4, 2, META)), key=lambda cell: cell.x)
    assert [cell.told for cell in cells] == [
        "12: iteration 1, 90%", "7: given", f"{END}: iteration 2, 30%; true is 40", f"40: iteration 2, 56%; true is {END}",
    ]  # fmt: skip
    assert [cell.written for cell in cells] == ["12", "7", END, "40"]
    assert [cell.right for cell in cells] == [True, True, False, False]


@pytest.mark.parametrize(("block", "shown", "written"), [(4, 10, True), (16, 4, True), (32, 2, True), (128, 1, False)])
def test_as_many_blocks_are_shown_as_leave_room_for_codes(block: int, shown: int, written: bool) -> None:
    """The others are counted; a block too long for it has its codes where it is pointed at."""
    assert blocks_shown(block) == shown
    length = (shown + 3) * block
    told = drawn(1, length, 2)
    told.token_VL[:] = 9999
    made = film(told, block, 2, META)
    assert (len(made.blocks), made.cut) == (shown, 3)
    assert len(told_by(made)) == shown * block
    assert {cell.written for cell in told_by(made)} == ({"9999"} if written else {""})
    assert all(cell.told.startswith("9999: ") for cell in told_by(made))
    assert max(cell.x + made.width for cell in told_by(made)) <= 1040
