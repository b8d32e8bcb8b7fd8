"""What planning finds out about single lines, since only here all are seen: ids that occur again, and copies.

Lines are dealt into buckets by the rank that the shuffle gives them, a hash of (seed, id). All lines of one id lie in one bucket, so that a bucket alone says
which ids occur again; a line that gets a new id moves to the bucket of that one. Copies are found in the same way, by what makes them copies.
The first in manifest order stays what it is.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from manifests.fingerprint import draw
from manifests.settings.plan import PlanSettings
from manifests.splits import MIN_SPEAKERS
from pipelines.stages.buckets import Bounds, Buckets

# One line: its rank in the shuffle, its place in the manifest, its length, what it is a copy by (nothing: zeros), and where its bytes lie in the bucket.
ROW = np.dtype(
    [("rank", "<u8"), ("place", "<u8"), ("seconds", "<f8"), ("content", "S16"), ("at", "<u8"), ("size", "<u4")]
)
PACKED = struct.Struct("<QQd16sQI")
assert PACKED.size == ROW.itemsize


def content_of(cut: dict[str, Any]) -> bytes:
    """What makes two utterances copies: a hash of the same bytes, the same part of them, the same words, in answer to the same query.

    Empty for what can be no copy. Queries are the same where the corpus says the same of them; their sound is not looked at yet.
    """
    custom = cut["custom"]
    if "content" not in custom or "fault" in custom:
        return b""
    part = [cut["start"], custom.get("asked_seconds"), custom.get("asked_channel"), cut["supervisions"][0].get("text")]
    if "query" in custom:  # the same words can answer many questions
        part.append(sorted(custom["query"].items()))
    text = f"{custom['content']}{part}"
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def marked(line: bytes, few_speakers: bool, renamed: str | None = None, copy_of: str | None = None) -> bytes:
    """The manifest's line as it stands in its unit: marked where planning found something."""
    if not few_speakers and renamed is None and copy_of is None:
        return line
    cut = orjson.loads(line)
    if few_speakers:
        cut["custom"]["few_speakers"] = True
    if renamed is not None:
        cut["custom"]["fault"] = [
            "duplicate_id",
            f"the id {cut['id']!r} occurs more than once in the corpus; only the first is used",
        ]
        cut["id"] = cut["supervisions"][0]["id"] = renamed
    if copy_of is not None:
        cut["custom"]["copy_of"] = copy_of
    return orjson.dumps(cut)


@dataclass
class Dealt:
    """The lines of a manifest in buckets, and what was found out about them.

    rows, lines    by rank, in manifest order; of lines that occur again only the first stays in ``kept``
    moved          rows and finished lines of those that were renamed, by their new rank
    copies         [place, id of the first] of each copy, by the rank of the line
    """

    folder: Path
    settings: PlanSettings
    bounds: Bounds
    few_speakers: bool = False
    rows: Buckets = field(init=False)
    lines: Buckets = field(init=False)
    kept: Buckets = field(init=False)
    moved_rows: Buckets = field(init=False)
    moved_lines: Buckets = field(init=False)
    copies: Buckets = field(init=False)

    def __post_init__(self) -> None:
        for name in ("rows", "lines", "kept", "moved_rows", "moved_lines", "copies"):
            setattr(self, name, self._buckets(name))

    def _buckets(self, name: str) -> Buckets:
        return Buckets(self.folder, name, self.bounds)

    @classmethod
    def of(cls, lines: Iterable[bytes], settings: PlanSettings, folder: Path, bounds: Bounds) -> Dealt:
        """Deal out a manifest, read once, and mark it; files in ``folder``."""
        dealt = cls(folder, settings, bounds)
        dealt._take(lines)
        contents = dealt._rename(dealt._keep())
        if settings.dedup:
            dealt._find_copies(contents)
        return dealt

    def rank(self, utterance_id: str) -> int:
        return draw("plan", self.settings.seed, utterance_id)

    def _take(self, lines: Iterable[bytes]) -> None:
        speakers = set[str]()
        for place, line in enumerate(lines):
            cut = orjson.loads(line)
            self._put(self.rows, self.lines, self.rank(cut["id"]), place, cut["duration"], content_of(cut), line)
            if len(speakers) < MIN_SPEAKERS and (speaker := cut["supervisions"][0].get("speaker")):
                speakers.add(speaker)
        self.few_speakers = len(speakers) < MIN_SPEAKERS

    def _put(
        self, rows: Buckets, lines: Buckets, rank: int, place: int, seconds: float, content: bytes, line: bytes
    ) -> None:
        bucket = self.bounds.of(rank)
        at = lines.add(bucket, line + b"\n")
        rows.add(bucket, PACKED.pack(rank, place, seconds, content, at, len(line) + 1))

    def _cut(self, bucket: int, at: int, size: int) -> dict[str, Any]:
        return orjson.loads(self.lines.piece(bucket, at, size))

    def _keep(self) -> tuple[Buckets, Buckets]:
        """Sort out lines whose id occurred before. Returns these, with the names they ask for, and the contents of all others."""
        repeats, contents = self._buckets("repeats"), self._buckets("contents")
        for bucket in self.rows.used:
            seen = _Seen(self, bucket)
            for rows_N in self.rows.chunks(bucket, ROW):
                again_N = seen.again(rows_N, repeats)
                kept_N = rows_N[~again_N]
                self.kept.add(bucket, kept_N.tobytes())
                able_N = kept_N[kept_N["content"] != b""]
                contents.add_rows(able_N, self.bounds.of_all(_head(able_N["content"])))
            self.rows.drop(bucket)
        return repeats, contents

    def ask(self, repeats: Buckets, name: str, row: list[Any]) -> None:
        """Note that a line, told by (place, seconds, bucket, at, size), would like to be called ``name``."""
        repeats.add(self.bounds.of(self.rank(name)), orjson.dumps([name, *row]) + b"\n")

    def _rename(self, found: tuple[Buckets, Buckets]) -> Buckets:
        """Give every line that occurs again a new id that no line has: ``id#2``, with another ``#`` for each time that is taken.

        Two of them never want the same: what stands before the last number and its ``#`` is the id, and the number counts its lines.
        """
        asked, contents = found
        turn = 0
        while asked.used:
            turn, refused = turn + 1, self._buckets(f"repeats{turn}")
            for bucket in asked.used:
                taken = _Taken.of(self, bucket)
                for line in asked.lines(bucket):
                    name, *row = orjson.loads(line)
                    if name in taken:
                        self.ask(refused, f"{name}#", row)
                    else:
                        self._move(name, *row)
                asked.drop(bucket)
            asked = refused
        return contents

    def _move(self, name: str, place: int, seconds: float, bucket: int, at: int, size: int) -> None:
        line = marked(self.lines.piece(bucket, at, size)[:-1], self.few_speakers, renamed=name)
        self._put(self.moved_rows, self.moved_lines, self.rank(name), place, seconds, b"", line)

    def _find_copies(self, contents: Buckets) -> None:
        for bucket in contents.used:
            firsts_C = np.zeros(0, ROW)
            for rows_N in contents.chunks(bucket, ROW):
                firsts_C = _firsts(np.concatenate([firsts_C, rows_N]))
            for rows_N in contents.chunks(bucket, ROW):
                self._note_copies(rows_N, firsts_C[np.searchsorted(firsts_C["content"], rows_N["content"])])
            contents.drop(bucket)

    def _note_copies(self, rows_N: np.ndarray, firsts_N: np.ndarray) -> None:
        copies_N = rows_N["place"] != firsts_N["place"]
        columns = (rows_N["rank"], rows_N["place"], firsts_N["rank"], firsts_N["at"], firsts_N["size"])
        for rank, place, owner, at, size in zip(*(c[copies_N].tolist() for c in columns), strict=True):
            first = self._cut(self.bounds.of(owner), at, size)["id"]
            self.copies.add(self.bounds.of(rank), orjson.dumps([place, first]) + b"\n")

    @property
    def used(self) -> list[int]:
        """The buckets that hold lines, in the order of the shuffle."""
        return sorted({*self.kept.used, *self.moved_rows.used})

    def copies_in(self, bucket: int) -> dict[int, str]:
        """The id of the first, by the place of each copy in a bucket."""
        return dict(orjson.loads(line) for line in self.copies.lines(bucket))

    def drop(self, bucket: int) -> None:
        """Free the room of a bucket that is done with."""
        for buckets in (self.lines, self.kept, self.moved_rows, self.moved_lines, self.copies):
            buckets.drop(bucket)


def _head(content_N: np.ndarray) -> np.ndarray:
    """The first eight bytes of each content, as a number."""
    return np.ascontiguousarray(content_N).view("<u8").reshape(-1, 2)[:, 0]


def _firsts(rows_N: np.ndarray) -> np.ndarray:
    """Of each content the row that stands first in the manifest, by content."""
    rows_N = rows_N[np.lexsort((rows_N["place"], rows_N["content"]))]
    first_N = np.ones(len(rows_N), np.bool_)
    first_N[1:] = rows_N["content"][1:] != rows_N["content"][:-1]
    return rows_N[first_N]


@dataclass
class _Seen:
    """The ids that occurred so far in a bucket: where the first line of each rank lies, and how often those occurred that did so again."""

    dealt: Dealt
    bucket: int
    _first: dict[int, tuple[int, int]] = field(default_factory=dict)
    _times: dict[str, int] = field(default_factory=dict)

    def again(self, rows_N: np.ndarray, repeats: Buckets) -> np.ndarray:
        """Which rows are lines whose id occurred before; they ask for a new name in ``repeats``."""
        again_N = np.zeros(len(rows_N), np.bool_)
        columns = (rows_N[name].tolist() for name in ("rank", "place", "seconds", "at", "size"))
        for i, (rank, place, seconds, at, size) in enumerate(zip(*columns, strict=True)):
            if self._first.setdefault(rank, (at, size)) == (at, size):
                continue
            name, times = self._occurred(rank, at, size)
            if times > 1:
                again_N[i] = True
                self.dealt.ask(repeats, f"{name}#{times}", [place, seconds, self.bucket, at, size])
        return again_N

    def _occurred(self, rank: int, at: int, size: int) -> tuple[str, int]:
        """The id of a line whose rank was seen before, and how often it occurred by now."""
        name = self.dealt._cut(self.bucket, at, size)["id"]
        if name not in self._times:  # else two ids share one hash
            self._times[name] = int(name == self.dealt._cut(self.bucket, *self._first[rank])["id"])
        self._times[name] += 1
        return name, self._times[name]


@dataclass
class _Taken:
    """The ids of the manifest in one bucket."""

    dealt: Dealt
    bucket: int
    rows_N: np.ndarray

    @classmethod
    def of(cls, dealt: Dealt, bucket: int) -> _Taken:
        rows_N = dealt.kept.rows(bucket, ROW)
        return cls(dealt, bucket, rows_N[np.argsort(rows_N["rank"])])

    def __contains__(self, name: str) -> bool:
        ends = (
            np.searchsorted(self.rows_N["rank"], np.uint64(self.dealt.rank(name)), side) for side in ("left", "right")
        )
        return name in (self._id(row) for row in self.rows_N[slice(*ends)])

    def _id(self, row: np.void) -> str:
        return self.dealt._cut(self.bucket, int(row["at"]), int(row["size"]))["id"]


def placed(dealt: Dealt, bucket: int) -> tuple[np.ndarray, np.ndarray]:
    """The rows of a bucket in the order of the shuffle, and which of them were renamed."""
    kept_N, moved_N = dealt.kept.rows(bucket, ROW), dealt.moved_rows.rows(bucket, ROW)
    rows_N = np.concatenate([kept_N, moved_N])
    moved = np.arange(len(rows_N)) >= len(kept_N)
    order_N = np.lexsort((rows_N["place"], rows_N["rank"]))
    return rows_N[order_N], moved[order_N]


def line_reader(dealt: Dealt, bucket: int) -> Iterator[bytes]:
    """The lines of a bucket as they stand in their units, in the order of the shuffle."""
    rows_N, moved_N = placed(dealt, bucket)
    own, moved, copies = dealt.lines.view(bucket), dealt.moved_lines.view(bucket), dealt.copies_in(bucket)
    columns = (rows_N[name].tolist() for name in ("place", "at", "size"))
    for place, at, size, renamed in zip(*columns, moved_N.tolist(), strict=True):
        line = bytes((moved if renamed else own)[at : at + size])
        if renamed or not (dealt.few_speakers or place in copies):
            yield line
        else:
            yield marked(line[:-1], dealt.few_speakers, copy_of=copies.get(place)) + b"\n"
