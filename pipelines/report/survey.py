"""What the samples of a dataset add up to: one pass over the shards, in memory that does not grow with their number.

Legend: codes_FQ uint16 (frames x codebooks); counts_QV, counts_B int64 (codebooks x vocabulary, bins).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from manifests.dataset import Dataset
from manifests.filters.columns import COLUMNS
from manifests.fingerprint import draw
from manifests.shards.reader import Sample, Shard

Counts = npt.NDArray[np.int64]

MAX_NAMES = 200_000  # corpora or speakers told apart; later ones are summed together
PENDING_CODES = 1 << 20  # codes gathered before they are counted


@dataclass
class Bins:
    """A histogram of fixed bins ``low + [i * width, (i + 1) * width)``; what lies above them all is counted in ``over``, what lies below in the first."""

    width: float
    bins: int
    whole: bool = False  # values are whole numbers, a bin is one of them
    low: float = 0.0
    counts_B: Counts = field(init=False)
    over: int = 0
    sum: float = 0.0
    least: float = float("inf")
    most: float = float("-inf")

    def __post_init__(self) -> None:
        self.counts_B = np.zeros(self.bins, np.int64)

    def add(self, value: float) -> None:
        position = max(int((value - self.low) / self.width), 0)
        if position < self.bins:
            self.counts_B[position] += 1
        else:
            self.over += 1
        self.sum += value
        self.least, self.most = min(self.least, value), max(self.most, value)

    @property
    def total(self) -> int:
        return int(self.counts_B.sum()) + self.over

    @property
    def mean(self) -> float:
        return self.sum / self.total if self.total else 0.0

    def quantile(self, share: float) -> float:
        """The value that ``share`` of the values do not exceed: to half a bin, exact for whole numbers.

        Where it lies above all bins, the largest value.
        """
        if not self.total:
            return 0.0
        position = int(np.searchsorted(np.cumsum(self.counts_B), share * self.total))
        if position >= self.bins:
            return self.most
        return min(max(self.low + (position + (0 if self.whole else 0.5)) * self.width, self.least), self.most)


@dataclass
class Share:
    """What one corpus, speaker or split holds."""

    utterances: int = 0
    seconds: float = 0.0
    frames: int = 0
    text_tokens: int = 0
    query_seconds: float = 0.0
    splits: set[str] = field(default_factory=set)

    def add(self, amounts: Amounts) -> None:
        self.utterances += 1
        self.seconds += amounts.seconds
        self.frames += amounts.frames
        self.text_tokens += amounts.text_tokens
        self.query_seconds += amounts.query_seconds
        self.splits.add(amounts.split)

    def plus(self, other: Share, sign: int = 1) -> Share:
        """Both together (amounts only; of splits, the union)."""
        return Share(
            self.utterances + sign * other.utterances, self.seconds + sign * other.seconds,
            self.frames + sign * other.frames,
            self.text_tokens + sign * other.text_tokens, self.query_seconds + sign * other.query_seconds,
            self.splits | other.splits,
        )  # fmt: skip

    def minus(self, part: Share) -> Share:
        """What is left without ``part``."""
        return self.plus(part, -1)

    @property
    def hours(self) -> float:
        return self.seconds / 3600


@dataclass(frozen=True)
class Amounts:
    """One sample, measured."""

    seconds: float
    frames: int
    text_tokens: int
    query_seconds: float
    split: str

    @classmethod
    def of(cls, sample: Sample) -> Amounts:
        speech, text = sample.arrays.get("speech"), sample.arrays.get("text")
        query = sample.meta.get("query") or {}
        return cls(
            float(sample.meta.get("duration") or 0.0),
            0 if speech is None else len(speech), 0 if text is None else len(text),
            float(query.get("duration") or 0.0), str(sample.meta.get("split") or "unstated"),
        )  # fmt: skip


@dataclass
class Groups:
    """Shares by name, at most :data:`MAX_NAMES` of them; the samples of later names go to ``rest``."""

    limit: int = MAX_NAMES
    shares: dict[str, Share] = field(default_factory=dict)
    rest: Share = field(default_factory=Share)

    def add(self, name: str, amounts: Amounts) -> None:
        if name not in self.shares and len(self.shares) < self.limit:
            self.shares[name] = Share()
        self.shares.get(name, self.rest).add(amounts)

    def total(self) -> Share:
        """All names together, and what was counted after the limit."""
        whole = Share().plus(self.rest)
        for share in self.shares.values():
            whole = whole.plus(share)
        return whole

    def largest(self, count: int) -> list[tuple[str, Share]]:
        """The ``count`` names with most seconds, ties by name."""
        return sorted(self.shares.items(), key=lambda item: (-item[1].seconds, item[0]))[:count]


@dataclass
class CodeUse:
    """How often each code stands in each codebook."""

    vocab: int | None
    counts_QV: Counts = field(default_factory=lambda: np.zeros((0, 0), np.int64))
    _waiting: list[npt.NDArray[Any]] = field(default_factory=list)
    _size: int = 0

    def add(self, codes_FQ: npt.NDArray[Any]) -> None:
        """Count the codes of one utterance (later: many are counted at once)."""
        self._waiting.append(codes_FQ)
        self._size += codes_FQ.size
        if self._size >= PENDING_CODES:
            self.flush()

    def flush(self) -> None:
        """Count what waits. Utterances of another number of codebooks are counted by themselves."""
        widths = sorted({codes.shape[1] for codes in self._waiting if codes.ndim == 2 and codes.size})
        for width in widths:
            codes_FQ = np.concatenate([c for c in self._waiting if c.ndim == 2 and c.shape[1] == width])
            self._grow(width, int(codes_FQ.max()) + 1)
            for q in range(width):
                self.counts_QV[q] += np.bincount(codes_FQ[:, q], minlength=self.counts_QV.shape[1])
        self._waiting, self._size = [], 0

    def _grow(self, codebooks: int, vocab: int) -> None:
        have_q, have_v = self.counts_QV.shape
        want = (max(have_q, codebooks), max(have_v, vocab, self.vocab or 0))
        if want != (have_q, have_v):
            grown_QV = np.zeros(want, np.int64)
            grown_QV[:have_q, :have_v] = self.counts_QV
            self.counts_QV = grown_QV


@dataclass
class Survey:
    """Everything the report says about the samples that were written."""

    codes: CodeUse
    total: Share = field(default_factory=Share)
    splits: Groups = field(default_factory=Groups)
    corpora: Groups = field(default_factory=Groups)
    speakers: Groups = field(default_factory=Groups)
    askers: Groups = field(default_factory=Groups)
    languages: Groups = field(default_factory=Groups)
    unnamed: Share = field(default_factory=Share)
    with_text: int = 0
    seconds: Bins = field(default_factory=lambda: Bins(0.1, 1200))
    frames: Bins = field(default_factory=lambda: Bins(1, 4096, whole=True))
    text_tokens: Bins = field(default_factory=lambda: Bins(1, 2048, whole=True))
    text_rate: Bins = field(default_factory=lambda: Bins(0.1, 400))
    scores: dict[str, Bins] = field(default_factory=dict)

    def add(self, sample: Sample) -> None:
        """Count one sample."""
        meta, amounts = sample.meta, Amounts.of(sample)
        self.total.add(amounts)
        self.splits.add(amounts.split, amounts)
        self.corpora.add(str(meta.get("corpus") or "unnamed"), amounts)
        self.languages.add(str(meta.get("language") or "unstated"), amounts)
        if meta.get("speaker") is None:
            self.unnamed.add(amounts)
        else:
            self.speakers.add(str(meta["speaker"]), amounts)
        asker = (meta.get("query") or {}).get("speaker")
        if asker is not None:
            self.askers.add(str(asker), replace(amounts, seconds=amounts.query_seconds))
        self._bin(amounts, bool(meta.get("text")))
        for name, value in (meta.get("scores") or {}).items():
            self._score(name, value)
        if "speech" in sample.arrays:
            self.codes.add(sample.arrays["speech"])

    def _bin(self, amounts: Amounts, has_text: bool) -> None:
        self.seconds.add(amounts.seconds)
        self.frames.add(amounts.frames)
        if has_text:
            self.with_text += 1
            self.text_tokens.add(amounts.text_tokens)
            if amounts.seconds > 0:
                self.text_rate.add(amounts.text_tokens / amounts.seconds)

    def _score(self, name: str, value: float) -> None:
        column = COLUMNS.get(name)
        if column is not None and column.axis is not None:
            axis = column.axis
            self.scores.setdefault(name, Bins(axis.width, axis.bins, low=axis.low)).add(value)

    @property
    def crossing(self) -> int:
        """Speakers that stand in more than one split."""
        return sum(len(share.splits) > 1 for share in self.speakers.shares.values())


def survey(dataset: Dataset) -> Survey:
    """One pass over every sample, shard by shard; no shard stays open. Raises ``ShardError`` for a damaged one."""
    spec = dataset.description.get("speech") or {}
    found = Survey(CodeUse(spec.get("vocab_size")))
    for shard in dataset.description["tokens"]["shards"]:
        for sample in Shard(dataset.tokens, str(shard["name"]).removesuffix(".tar")):
            found.add(sample)
        found.codes.flush()  # its arrays are views of the shard: let go of both
    return found


def choose_examples(dataset: Dataset, count: int, seed: int = 0) -> list[Sample]:
    """``count`` samples drawn by ``seed``: of different speakers and between 1 and 12 seconds where there are such.

    At most eight times as many are looked at, so that it costs the same for any dataset. In the order of the draw.
    """
    if not len(dataset) or count <= 0:
        return []
    drawn = dict.fromkeys(draw("example", seed, i) % len(dataset) for i in range(8 * count))
    if len(dataset) <= 8 * count:
        drawn |= dict.fromkeys(range(len(dataset)))
    looked_at = [dataset[i] for i in drawn]
    best, others, speakers = [], [], Counter[str]()
    for sample in looked_at:
        speaker = str(sample.meta.get("speaker"))
        fits = 1 <= float(sample.meta.get("duration") or 0) <= 12 and not speakers[speaker]
        (best if fits else others).append(sample)
        speakers[speaker] += fits
    return (best + others)[:count]
