"""The plot of an evaluation: how well it is understood, and how varied its codes are, against speed."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipelines.evaluation.table import EARS, chosen_ears

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Rows = Sequence[Mapping[str, Any]]

SHOWN_AS = {"grammar": "with the demo's grammar", "open": "open vocabulary"}
INK, SOFT, GRID = "#1d2126", "#626a73", "#e2e0d8"
COLOURS = ("#3a5fa8", "#2b7a6b", "#b8433a", "#8a5fb0", "#c9952b", "#5a6472")
STYLE: dict[Any, Any] = {
    "font.family": ["DejaVu Sans"], "font.size": 10, "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": SOFT,
    "xtick.color": SOFT, "ytick.color": SOFT, "axes.spines.top": False, "axes.spines.right": False, "svg.hashsalt": "speechmill",
}  # fmt: skip


def ear_of(value: Mapping[str, Any]) -> str | None:
    """The ear whose word error rate is shown: one that was chosen, else that of the grammar, where there is one."""
    ears = value["rows"][0]["wer"] if value["rows"] else {}
    return next((ear for ear in (*chosen_ears(value["rows"]), *EARS) if ear in ears), None)


def families(rows: Rows) -> dict[str, list[Mapping[str, Any]]]:
    """Rows that make one curve, by its name: block decoding by policy, each baseline alone."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        if "speed" in row and row["speed"].get("tokens_per_second"):
            name = f"block, {row['decoder']['policy']}" if row["kind"] == "block" else row["name"]
            found.setdefault(name, []).append(row)
    return found


def draw(value: Mapping[str, Any]) -> bytes:
    """The PNG."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(11.5, 4.8), dpi=160, layout="constrained")
        left, right = figure.subplots(1, 2)
        ear = ear_of(value)
        if ear is not None:
            _errors(left, value["rows"], ear)
        _entropy(right, value["rows"])
        for axes in (left, right):
            axes.set_xscale("log")
            axes.set_xlabel("speech tokens per second, one sentence at a time")
            axes.grid(color=GRID, linewidth=0.8)
            axes.set_axisbelow(True)
            _round_ticks(axes)
        handles, names = right.get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=4, frameon=False)
        out = io.BytesIO()
        figure.savefig(out, format="png", metadata={"Software": None})
    return out.getvalue()


def _round_ticks(axes: Axes) -> None:
    """Speeds as people write them."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _curves(axes: Axes, rows: Rows, height: Callable[[Mapping[str, Any]], float]) -> None:
    """A curve for each family; points of block decoding bear their number of steps, baselines a mark of their own."""
    marks = itertools.cycle("Ds^v")
    for number, (name, members) in enumerate(families(rows).items()):
        colour, steps = _colour(number), [row["decoder"]["steps"] for row in members]
        points = [(row["speed"]["tokens_per_second"], height(row)) for row in members]
        mark = "o" if steps[0] else next(marks)
        axes.plot(
            *zip(*points, strict=True), marker=mark, markersize=7, color=colour, linewidth=1.6, label=name, zorder=3
        )
        for point, count in zip(points, steps, strict=True):
            if count:
                axes.annotate(str(count), point, (7, 5), textcoords="offset points", fontsize=9, color=colour)


def _colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]


def _errors(axes: Axes, rows: Rows, ear: str) -> None:
    _titles(axes, "Intelligibility and speed", "bars: 95 % bootstrap interval")
    axes.set_ylabel("word error rate, %, " + SHOWN_AS.get(ear, f"as {ear} hears it"))
    _curves(axes, rows, lambda row: 100 * row["wer"][ear]["rate"])
    for number, members in enumerate(families(rows).values()):
        for row in members:
            x, ends = row["speed"]["tokens_per_second"], [100 * row["wer"][ear][end] for end in ("low", "high")]
            axes.plot([x, x], ends, color=_colour(number), linewidth=1.2, alpha=0.5)
    axes.set_ylim(0, 1.08 * axes.get_ylim()[1])
    _ceiling(axes, rows, lambda row: 100 * row["wer"][ear]["rate"])


def _entropy(axes: Axes, rows: Rows) -> None:
    _titles(axes, "Variety and speed", "numbers: denoising steps a block")
    axes.set_ylabel("entropy of the codes, bits a token")
    _curves(axes, rows, lambda row: row["entropy_bits"])
    _ceiling(axes, rows, lambda row: row["entropy_bits"])


def _titles(axes: Axes, title: str, note: str) -> None:
    axes.set_title(title, loc="left", fontsize=12)
    axes.set_title(note, loc="right", fontsize=8.5, color=SOFT)


def _ceiling(axes: Axes, rows: Rows, height: Callable[[Mapping[str, Any]], float]) -> None:
    """A dashed line where the recordings lie, through the codec."""
    codec = next((row for row in rows if row["kind"] == "codec"), None)
    if codec is not None:
        axes.axhline(
            height(codec),
            color=SOFT,
            linestyle=(0, (5, 4)),
            linewidth=1.2,
            label="recordings, through the codec",
            zorder=2,
        )
