"""The report's section on masks: what is drawn is what lies in the shards, and theory stands beside what was measured."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import chain

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.dataset import Dataset
from manifests.receipt import receipts
from manifests.settings.mask import BernoulliSettings, FullBlockSettings, MaskSet, MaskSettings
from pipelines.report.charts import BOTTOM, HEIGHT, TOP
from pipelines.report.collect import ReportInput, collect
from pipelines.report.mask_picture import BLOCKS, picture
from pipelines.report.masks import rate_chart, theory
from pipelines.report.page import build_report
from tests.pipelines.finished import SETS, make_dataset
from tests.pipelines.test_report import HOSTILE, Page
from training.noise.grid import Grid, Key
from training.noise.packing import unpack
from training.noise.views import chances, draw_views


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return Dataset.open(make_dataset(tmp_path_factory.mktemp("made")))


def collected(dataset: Dataset) -> ReportInput:
    of_units = (receipts(dataset.store.sub(f"{stage}-0"), 100) for stage in ("tokens", "masks"))
    return collect(dataset, chain(*of_units))


def figures(page: Page) -> list[list[float]]:
    """The percentages of the section's table, row by row."""
    rows = re.findall(r"(?:mixed|plain) \d+ ((?:[\d.]+% ?)+)", page.text[page.text.index("P(block fully masked)") :])
    return [[float(value) for value in re.findall(r"([\d.]+)%", row)] for row in rows]


def test_the_page_shows_every_set_with_what_was_measured_beside_theory(dataset: Dataset) -> None:
    page = Page(build_report(collected(dataset)))
    assert page.open == []
    mixed, plain = figures(page)
    for row, name in ((mixed, "mixed"), (plain, "plain")):
        masks = [unpack(m.arrays[name], Grid(m.meta["frames"], 1, 8)).masked_VLQ for m in dataset.masks]
        counts = np.concatenate([m.reshape(-1, 8).sum(axis=1) for m in masks])
        measured = [counts.mean() / 8, (counts == 8).mean(), (counts == 0).mean()]
        assert row[0:6:2] == pytest.approx([100 * m for m in measured], abs=0.006)
        assert row[1:6:2] == pytest.approx([100 * m for m in measured], abs=9), "theory is near what was measured"
    assert mixed[1] == 50.0, "pairs mask each code once"


def test_a_dataset_without_masks_has_no_such_section(dataset: Dataset) -> None:
    without = Dataset(dataset.store, {k: v for k, v in dataset.description.items() if k != "masks"})
    assert "Masks" not in Page(build_report(collected(without))).words
    assert "Masks" in Page(build_report(collected(dataset))).words


def test_the_utterance_that_is_shown_is_shown_as_it_is_called_whatever_that_is(dataset: Dataset) -> None:
    data = collected(dataset)
    assert data.masks is not None
    assert data.masks.shown is not None
    hostile = replace(data.masks, shown=replace(data.masks.shown, id=HOSTILE, text=HOSTILE))
    page = Page(build_report(replace(data, masks=hostile)))
    assert len(page.of("script")) == 1
    assert page.text.count("<script>alert(1)</script>") >= 2


def test_theory_weighs_utterances_by_their_blocks() -> None:
    mask_set = MaskSet(views=1, mix=(FullBlockSettings(),))
    share_K = theory(mask_set, 4, 1, {1: 3, 5: 2})
    assert share_K[-1] == pytest.approx((3 + 2) / (3 * 1 + 2 * 5)), "one block of each utterance"
    for name, value in SETS.items():
        one = MaskSettings.model_validate({"sets": {name: value}}).sets[name]
        assert theory(one, 8, 2, {3: 7}) == pytest.approx(chances(one, Grid(17, 2, 8)))


def runs(path: str) -> list[tuple[float, float, float]]:
    """(left, top, width) of the rectangles of an outline."""
    found = re.findall(r"M([\d.]+) ([\d.]+)h([\d.]+)v[\d.]+h-[\d.]+z", path)
    assert "".join(re.findall(r"M[^z]*z", path)) == path
    return [(float(left), float(top), float(width)) for left, top, width in found]


@given(frames=st.integers(0, 250), block=st.sampled_from([1, 4, 16]), views=st.integers(1, 6), replaced=st.booleans())
def test_the_outlines_of_a_picture_cover_each_cell_once_and_cross_no_border(
    frames: int, block: int, views: int, replaced: bool
) -> None:
    settings = BernoulliSettings(replace=(0.3, 0.6) if replaced else (0, 0))
    grid = Grid(frames, 1, block)
    noise, _ = draw_views(MaskSet(views=views, mix=(settings,)), grid, Key.of(0, "u"))
    drawn = picture(noise.masked_VLQ[..., 0], noise.replaced_VLQ[..., 0], grid)
    blocks = min(grid.blocks, BLOCKS)
    cell = (drawn.blocks[0].right - drawn.blocks[0].left) / block
    widths = {name: sum(w for *_, w in runs(getattr(drawn, name))) / cell for name in ("visible", "masked", "replaced")}
    shown = slice(0, blocks * block)
    assert widths["masked"] == pytest.approx(noise.masked_VLQ[:, shown].sum(), abs=0.5, rel=0.02)
    assert widths["replaced"] == pytest.approx(noise.replaced_VLQ[:, shown].sum(), abs=0.5, rel=0.02)
    assert sum(widths.values()) == pytest.approx(views * blocks * block, rel=0.02)
    for left, _, width in runs(drawn.masked):
        assert any(span.left - 0.11 <= left and left + width <= span.right + 0.11 for span in drawn.blocks)
    assert drawn.cut == (grid.blocks > BLOCKS) == (drawn.end is None)


def test_end_of_speech_is_drawn_where_it_begins() -> None:
    drawn = picture(np.zeros((1, 16), bool), np.zeros((1, 16), bool), Grid(10, 1, 8))
    assert drawn.end is not None
    assert drawn.end == pytest.approx(
        (drawn.blocks[1].left + (drawn.blocks[1].right - drawn.blocks[1].left) / 4, 1040.0)
    )


@pytest.mark.parametrize("cells", [1, 4, 16, 40, 41, 128, 1000])
def test_the_bars_of_a_rate_chart_add_up_and_that_of_full_blocks_stands_alone(cells: int) -> None:
    measured_K, theory_K = (np.random.default_rng(s).dirichlet(np.ones(cells + 1)) for s in (0, 1))
    chart = rate_chart(measured_K, theory_K)
    tall = HEIGHT - TOP - BOTTOM
    heights = np.array([bar.height for bar in chart.bars])
    scale = heights.sum() / tall
    assert len(chart.bars) <= 41
    assert heights[-1] / tall / scale == pytest.approx(measured_K[-1])
    assert sum(TOP + tall - y for _, y in chart.points) / tall / scale == pytest.approx(1)
    assert chart.bars[-1].title.startswith(f"{cells} of {cells} masked")
    assert chart.x_ticks[0].label == "0"
    assert chart.x_ticks[-1].label == str(cells)
