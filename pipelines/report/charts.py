"""The geometry of the page's charts, in the units of their SVG view boxes; the template draws it.

Legend: counts_B counts by bin, uses_V uses by code.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipelines.report.survey import Bins

WIDTH, HEIGHT = 520.0, 190.0
LEFT, RIGHT, TOP, BOTTOM = 46.0, 8.0, 10.0, 34.0
BARS = 40  # at most, in a histogram
RANKS = 160  # at most, points of a curve


@dataclass(frozen=True)
class Tick:
    at: float
    label: str


@dataclass(frozen=True)
class Bar:
    x: float
    y: float
    width: float
    height: float
    title: str


@dataclass(frozen=True)
class Histogram:
    """Bars over a value axis. ``over`` values lie beyond its right end."""

    bars: tuple[Bar, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    median_at: float
    median: float
    mean: float
    least: float
    most: float
    total: int
    over: int
    beyond: float


@dataclass(frozen=True)
class Curve:
    """Uses by rank, log-scaled, as the points of a polyline."""

    points: str
    area: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    even_at: float


def nice_step(span: float, steps: int) -> float:
    """The smallest 1, 2 or 5 times a power of ten that divides ``span`` into at most ``steps``."""
    raw = span / steps if span > 0 else 1.0
    power = 10.0 ** math.floor(math.log10(raw))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= raw * (1 - 1e-9))


def compact(value: float) -> str:
    """A number in at most four characters or so: 950, 1.2k, 34M."""
    for limit, unit in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:.3g}{unit}"
    return f"{value:.3g}"


def size(count: float) -> str:
    """Bytes with a decimal unit."""
    if count < 1000:
        return f"{count:.3g} B"
    short = compact(count)
    return f"{short[:-1]} {short[-1]}B"


def _ticks(top: float, steps: int, start: float, end: float, low: float = 0.0) -> tuple[Tick, ...]:
    """Ticks at round values above ``low``, from 0 to ``top``, placed between ``start`` and ``end``."""
    step = nice_step(top, steps)
    return tuple(
        Tick(start + (end - start) * i * step / top, compact(low + i * step)) for i in range(int(top / step + 1e-9) + 1)
    )


def _grouped(bins: Bins, reach: float) -> tuple[npt.NDArray[np.int64], float]:
    """(counts_B, width): the bins up to ``reach`` merged into at most :data:`BARS` of a round width."""
    merge = max(round(nice_step(reach, BARS) / bins.width), 1)
    used = min(-(-max(math.ceil(reach / bins.width), 1) // merge), -(-bins.bins // merge))
    padded_B = np.zeros(used * merge, np.int64)
    kept_B = bins.counts_B[: used * merge]
    padded_B[: len(kept_B)] = kept_B
    return padded_B.reshape(used, merge).sum(axis=1), merge * bins.width


def _range(i: int, width: float, whole: bool, low: float) -> str:
    """What bar ``i`` covers, in words."""
    low, high = low + i * width, low + (i + 1) * width - (1 if whole else 0)
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def histogram(bins: Bins, unit: str) -> Histogram | None:
    """A histogram that reaches to the 99.5th percentile; None where nothing was counted."""
    if not bins.total:
        return None
    counts_B, width = _grouped(bins, min(bins.quantile(0.995) - bins.low + bins.width, bins.width * bins.bins))
    reach, peak = width * len(counts_B), max(int(counts_B.max()), 1)
    across, tall = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    bars = []
    for i, count in enumerate(counts_B.tolist()):
        height = tall * count / peak
        title = f"{_range(i, width, bins.whole, bins.low)} {unit}: {count:,}"
        bars.append(Bar(LEFT + across * i / len(counts_B), TOP + tall - height, across / len(counts_B), height, title))
    median = bins.quantile(0.5)
    return Histogram(
        tuple(b for b in bars if b.height), _ticks(reach, 8, LEFT, WIDTH - RIGHT, bins.low), _ticks(peak, 4, TOP + tall, TOP),
        LEFT + across * min((median - bins.low + (0.5 if bins.whole else 0)) / reach, 1),
        median, bins.mean, bins.least, bins.most, bins.total,
        bins.total - int(counts_B.sum()), bins.low + reach,
    )  # fmt: skip


@dataclass(frozen=True)
class CodebookUse:
    """How one codebook is used. ``perplexity`` is 2 to the entropy: so many codes, evenly used, would carry as much.

    favourite, share   the most used code, and its share of all tokens
    """

    codebook: int
    vocab: int
    used: int
    entropy: float
    favourite: int
    share: float
    curve: Curve

    @property
    def perplexity(self) -> float:
        return 2**self.entropy


def codebook_use(number: int, uses_V: npt.NDArray[np.int64]) -> CodebookUse | None:
    """Measures and curve of one codebook; None where none of its codes was counted."""
    total = int(uses_V.sum())
    if not total:
        return None
    shares = np.sort(uses_V[uses_V > 0])[::-1] / total
    entropy = float(-(shares * np.log2(shares)).sum())
    return CodebookUse(
        number,
        len(uses_V),
        len(shares),
        max(entropy, 0.0),
        int(uses_V.argmax()),
        float(shares[0]),
        _curve(shares, len(uses_V)),
    )


def _curve(shares: npt.NDArray[np.float64], vocab: int) -> Curve:
    """Share of all tokens by rank of the code, over decades; the dashed line is even use."""
    high = math.ceil(math.log10(shares[0]) + 1e-9)
    low = min(math.floor(math.log10(shares[-1])), math.floor(math.log10(1 / vocab)), high - 1)
    across, tall = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def y_of(share: float) -> float:
        return TOP + tall * (high - math.log10(share)) / (high - low)

    ranks = np.unique(np.linspace(0, len(shares) - 1, min(RANKS, len(shares))).astype(int))
    points = [(LEFT + across * (r + 0.5) / vocab, y_of(float(shares[r]))) for r in ranks.tolist()]
    points = [(LEFT, points[0][1]), *points, (LEFT + across * len(shares) / vocab, points[-1][1])]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    floor = TOP + tall
    step = max(1, -(-(high - low) // 4))
    y_ticks = tuple(Tick(y_of(10.0**p), f"{100 * 10.0**p:.2g}%") for p in range(high, low - 1, -step))
    area = f"{LEFT},{floor} {line} {points[-1][0]:.1f},{floor}"
    return Curve(line, area, _ticks(vocab, 8, LEFT, WIDTH - RIGHT), y_ticks, y_of(1 / vocab))
