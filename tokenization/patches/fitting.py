"""Fitting the codebook on a sample of the corpus: one pass, bounded memory, the same bytes each time.

The fit keeps `fit_seconds` of runs of patches, drawn by the seed and the run's number alone; then come principal axes,
k-means for each codebook, and a smoother that predicts what a code's mean patch misses from the codes beside it.

Shapes: P patches, D values of a patch, Z dimensions, K codes, Q codebooks, C = 3 * Z.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from manifests.fingerprint import draw
from manifests.settings.speech import PatchesSettings
from tokenization.adapter import Codes, TokenizerError, Wave, checked_wave
from tokenization.patches.codebook import BASIS_ONE, SMOOTHER_ONE, PatchesCodebook, with_neighbours
from tokenization.patches.kmeans import Ints, kmeans, means, nearest
from tokenization.patches.spectrum import STEPS_PER_DB, Spectrum

RUN = 50  # patches that are kept or dropped together, so that each has its neighbours: 2 s
RATE = 25  # patches per second
RIDGE = 1e-3  # of the smoother, as a part of the mean variance

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and of how much (0: not known); often, also between steps, as a
sign of life."""


def _quiet(what: str, done: int, of: int) -> None:
    """Progress that nobody watches."""


@dataclass(frozen=True)
class Sample:
    """Runs of consecutive patches."""

    levels_PD: Ints
    starts: npt.NDArray[np.int64]  # where runs start
    heard: int  # patches that the sample was drawn from

    def context(self, points_PZ: Ints) -> Ints:
        """:func:`with_neighbours`, not reaching over the ends of runs."""
        return np.concatenate([with_neighbours(run) for run in np.split(points_PZ, self.starts[1:])])


def _runs(waves: Iterable[Wave], spectrum: Spectrum) -> Iterator[Ints]:
    for wave_T in waves:
        levels_PD = spectrum.patches(checked_wave(wave_T))
        for start in range(0, len(levels_PD), RUN):
            yield levels_PD[start : start + RUN]


def sample(waves: Iterable[Wave], settings: PatchesSettings, progress: Progress = _quiet) -> Sample:
    """A uniform sample of about ``fit_seconds`` (all, where there is less), in the order heard.

    Run number i is kept if its draw from (seed, i) is among the smallest. Raises :class:`TokenizerError` without any
    speech.
    """
    room, kept, heard = max(settings.fit_seconds * RATE // RUN, 1), [], 0
    for number, run_PD in enumerate(_runs(waves, Spectrum.of(settings))):
        heard += len(run_PD)
        entry = (-draw("patches", settings.seed, number), number, run_PD)
        if len(kept) < room:
            heapq.heappush(kept, entry)
        else:
            heapq.heappushpop(kept, entry)
        progress("listening", heard // RATE, 0)
    if not kept:
        raise TokenizerError(
            "the codebook cannot be fitted: no speech reached the fit stage; see what was filtered and why"
        )
    runs = [run_PD for _, _, run_PD in sorted(kept, key=lambda entry: entry[1])]
    starts = np.cumsum([0, *(len(run) for run in runs[:-1])])
    return Sample(np.concatenate(runs), starts, heard)


def principal_axes(centred_PD: Ints, count: int) -> Ints:
    """``basis_DZ`` in fixed point: the ``count`` axes of largest variance, each with its largest entry positive."""
    values_PD = centred_PD.astype(np.float64)
    _, axes_DD = np.linalg.eigh(values_PD.T @ values_PD)
    basis_DZ = axes_DD[:, ::-1][:, :count]
    largest = np.abs(basis_DZ).argmax(axis=0)
    signs = np.where(basis_DZ[largest, np.arange(basis_DZ.shape[1])] < 0, -1, 1)
    return np.rint(basis_DZ * signs * BASIS_ONE).astype(np.int16)


def _filled(rows: Ints, size: int) -> Ints:
    """``rows``, repeated from the first one on until there are ``size``."""
    return rows[np.arange(size) % len(rows)]


def _books(points_PZ: Ints, settings: PatchesSettings, progress: Progress) -> tuple[list[Ints], Codes]:
    """The live centroids of each codebook, each fitted on what the earlier ones left; and ``codes_PQ``."""
    books, rest_PZ = [], points_PZ
    codes_PQ = np.empty((len(points_PZ), settings.codebooks), dtype=np.uint16)
    for book in range(settings.codebooks):
        tick = partial(progress, f"codebook {book + 1} of {settings.codebooks}")
        live_KZ = kmeans(rest_PZ, settings.codebook_size, settings.iterations, settings.seed + book, tick)
        labels_P = nearest(rest_PZ, live_KZ, partial(tick, settings.iterations, settings.iterations))
        rest_PZ, codes_PQ[:, book] = rest_PZ - live_KZ[labels_P], labels_P
        books.append(live_KZ)
    return books, codes_PQ


def _tables(levels_PD: Ints, codes_PQ: Codes, size: int) -> Ints:
    """``levels_QKD``: the mean patch of each code, then what further codes add to it."""
    tables, rest_PD = [], levels_PD
    for book in range(codes_PQ.shape[1]):
        labels_P = codes_PQ[:, book].astype(np.int64)
        live = int(labels_P.max()) + 1
        table_KD = means(rest_PD, labels_P, live, np.zeros((live, rest_PD.shape[1]), dtype=np.int16))
        rest_PD = rest_PD - table_KD[labels_P]
        tables.append(_filled(table_KD, size))
    return np.stack(tables)


def _smoother(context_PC: Ints, missing_PD: Ints) -> Ints:
    """``smoother_CD`` in fixed point: ridge regression of what mean patches miss on the neighbours' centroids."""
    known_PC, wanted_PD = context_PC.astype(np.float64), missing_PD.astype(np.float64)
    square_CC = known_PC.T @ known_PC
    ridge = RIDGE * float(np.trace(square_CC)) / len(square_CC) + 1.0
    weights_CD = np.linalg.solve(square_CC + ridge * np.eye(len(square_CC)), known_PC.T @ wanted_PD)
    return np.rint(np.clip(weights_CD * SMOOTHER_ONE, -32_767, 32_767)).astype(np.int16)


def _facts(heard: Sample, codes_PQ: Codes, live: list[Ints], missing_PD: npt.NDArray[np.float64]) -> dict[str, Any]:
    counts = [np.bincount(codes_PQ[:, q], minlength=len(live[q])) for q in range(len(live))]
    shares = [c[c > 0] / c.sum() for c in counts]
    return {
        "heard_seconds": round(heard.heard / RATE, 2),
        "fitted_seconds": round(len(codes_PQ) / RATE, 2),
        "live": [len(book) for book in live],
        "perplexity": [round(float(np.exp(-(s * np.log(s)).sum())), 1) for s in shares],
        "distortion_db": round(float(np.sqrt((missing_PD**2).mean())) / STEPS_PER_DB, 2),
    }


def fit(waves: Iterable[Wave], settings: PatchesSettings, progress: Progress | None = None) -> PatchesCodebook:
    """A codebook for ``waves``: float32 vectors at ``settings.sample_rate``, read once, in a fixed order.

    The vocabulary is always ``codebook_size``. Where the sample has fewer distinct patches than that, the rest of the
    ids is never made, and ``facts["live"]`` says how many are. Raises :class:`TokenizerError` without any speech, or
    for samples that are no numbers.
    """
    told = progress or _quiet
    heard = sample(waves, settings, told)
    mean_D = np.rint(heard.levels_PD.mean(axis=0)).astype(np.int16)
    told("axes", 0, 1)
    basis_DZ = principal_axes(heard.levels_PD - mean_D, settings.pca)
    none = np.zeros((0, 0), dtype=np.int16)
    axes = PatchesCodebook(mean_D, basis_DZ, none, none, none, settings.encoding())
    points_PZ = axes.project(heard.levels_PD)
    live, codes_PQ = _books(points_PZ, settings, told)
    coder = replace(axes, centroids_QKZ=np.stack([_filled(book, settings.codebook_size) for book in live]))
    return _completed(coder, heard, codes_PQ, live)


def _completed(coder: PatchesCodebook, heard: Sample, codes_PQ: Codes, live: list[Ints]) -> PatchesCodebook:
    """The codebook with what decoding needs, and with what the fit found."""
    context_PC = heard.context(coder.points(codes_PQ))
    plain = replace(coder, levels_QKD=_tables(heard.levels_PD, codes_PQ, coder.centroids_QKZ.shape[1]))
    missing_PD = heard.levels_PD - plain.plain_levels(codes_PQ)
    smoother_CD = _smoother(context_PC, missing_PD)
    left_PD = missing_PD - context_PC.astype(np.float64) @ (smoother_CD / SMOOTHER_ONE)
    return replace(plain, smoother_CD=smoother_CD, facts=_facts(heard, codes_PQ, live, left_PD))
