"""The report's section on a teacher: what the film uncovers is what the shards hold."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipelines.report.mask_picture import Scale
from pipelines.report.teach import SURE, film
from training.noise.grid import Grid

META = {"id": "one", "text": "<b>a text</b>"}


@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 5), st.randoms(use_true_random=False))
def test_every_masked_cell_is_uncovered_once_and_in_its_iteration(
    views: int, blocks: int, iterations: int, random: object
) -> None:
    """Outlines are those of the cells, and shades part them by certainty."""
    draws = np.random.default_rng(random.randrange(2**32))  # type: ignore[attr-defined]
    step_VL, sure_VL = draws.integers(0, iterations + 1, (views, blocks * 4)), draws.uniform(0, 1, (views, blocks * 4))
    made = film(step_VL.astype(np.uint8), sure_VL, 4, iterations, META)
    scale = Scale.of(Grid(blocks * 4 - 1, 1, 4), 0.0)
    assert made.given == scale.outline(step_VL == 0)
    assert [f.iteration for f in made.frames] == list(range(1, iterations + 1))
    assert all(a.begins < b.begins < 1 for a, b in zip(made.frames, made.frames[1:], strict=False))
    for frame in made.frames:
        for shade in frame.shades:
            lower = max((s for s in (0.0, *SURE) if s < shade.opacity), default=0.0)
            cells_VL = (step_VL == frame.iteration) & (sure_VL <= shade.opacity) & ((sure_VL > lower) | (lower == 0))
            assert shade.outline == scale.outline(cells_VL)
        cells = sum(shade.outline.count("M") for shade in frame.shades)
        assert (cells > 0) == bool((step_VL == frame.iteration).any())
