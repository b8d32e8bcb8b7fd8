"""Reading token records: our shards against WebDataset, Lhotse Shar and Hugging Face parquet, all decoding JSON and arrays.

    python benchmarks/shards.py [--records N] [--repeats R]

The same records (2-30 s of 25 Hz codes, text tokens, JSON) are written in every format; each side then reads all of
them, in order and, where it can, at random, with a warm cache and in one process. A record counts as read when its JSON is a dict and both
of its arrays are numpy arrays. The best of the repeats is shown; the last column is our speed over theirs.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # not this folder: its tokenize.py would hide Python's own

import argparse
import json
import random
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from manifests.fingerprint import canonical
from manifests.shards import npy
from manifests.shards.reader import Shard
from manifests.shards.writer import pack
from manifests.storage import Store

PER_SHARD = 2_000

Read = tuple[dict[str, Any], np.ndarray, np.ndarray]
Reader = Callable[[], Iterable[Read]]


@dataclass(frozen=True)
class Record:
    """One utterance: codes_FQ uint16 (frames, 1), text_L int32."""

    key: str
    meta: dict[str, Any]
    codes_FQ: np.ndarray
    text_L: np.ndarray


def make_records(count: int) -> list[Record]:
    draws = np.random.default_rng(0)
    return [_record(i, draws) for i in range(count)]


def _record(i: int, draws: np.random.Generator) -> Record:
    seconds = float(draws.uniform(2, 30))
    codes_FQ = draws.integers(0, 1024, (int(25 * seconds), 1), np.uint16)
    text_L = draws.integers(0, 1024, int(4 * seconds), np.int32)
    meta = {
        "id": f"sp{i % 97}/u{i}", "text": "a sentence of about the usual length, spoken at the usual pace", "speaker": f"sp{i % 97}",
        "language": "en", "corpus": "bench", "recording": f"r{i}", "start": 0.0, "duration": round(seconds, 3),
        "frames": len(codes_FQ), "split": "train",
    }  # fmt: skip
    return Record(f"u{i:07d}", meta, codes_FQ, text_L)


def parts(records: list[Record]) -> Iterator[tuple[str, list[Record]]]:
    for k, first in enumerate(range(0, len(records), PER_SHARD)):
        yield f"shard-{k:06d}", records[first : first + PER_SHARD]


def shuffled(count: int) -> list[int]:
    order = list(range(count))
    random.Random(0).shuffle(order)
    return order


def write_shards(records: list[Record], folder: Path) -> None:
    """The tars that we and WebDataset both read."""
    store = Store(str(folder))
    for stem, some in parts(records):
        packed = pack(
            (r.key, {"json": canonical(r.meta), "speech.npy": npy.dump(r.codes_FQ), "text.npy": npy.dump(r.text_L)})
            for r in some
        )
        store.publish(f"{stem}.tar", packed.tar)
        store.publish(f"{stem}.idx", packed.index)


def ours(folder: Path, records: list[Record]) -> tuple[Reader, Reader]:
    stems = [stem for stem, _ in parts(records)]

    def open_all() -> list[Shard]:
        return [Shard(Store(str(folder)), stem) for stem in stems]

    def in_order() -> Iterator[Read]:
        for shard in open_all():
            for s in shard:
                yield s.meta, s.arrays["speech"], s.arrays["text"]

    def at_random() -> Iterator[Read]:
        shards = open_all()
        for i in shuffled(len(records)):
            s = shards[i // PER_SHARD][i % PER_SHARD]
            yield s.meta, s.arrays["speech"], s.arrays["text"]

    return in_order, at_random


def webdataset_side(folder: Path, records: list[Record]) -> tuple[Reader, None]:
    from webdataset.compat import WebDataset

    urls = [str(folder / f"{stem}.tar") for stem, _ in parts(records)]

    def in_order() -> Iterator[Read]:
        samples: Any = WebDataset(urls, shardshuffle=False).decode()
        for s in samples:
            yield s["json"], s["speech.npy"], s["text.npy"]

    return in_order, None


def lhotse_side(folder: Path, records: list[Record]) -> tuple[Reader, None]:
    """Shar: cuts in JSONL, each array field in a tar of its own."""
    import lhotse
    from lhotse.features.io import MemoryRawWriter
    from lhotse.shar import SharWriter

    folder.mkdir()
    with SharWriter(str(folder), fields={"speech": "numpy", "text": "numpy"}, shard_size=PER_SHARD) as writer:
        for r in records:
            cut = lhotse.MonoCut(r.key, 0.0, r.meta["duration"], 0, custom={"meta": r.meta})
            cut.speech = MemoryRawWriter().store_array(r.key, r.codes_FQ, frame_shift=0.04, temporal_dim=0, start=0.0)
            cut.text = MemoryRawWriter().store_array(r.key, r.text_L)
            writer.write(cut)

    def in_order() -> Iterator[Read]:
        cuts: Any = lhotse.CutSet.from_shar(in_dir=str(folder))
        for cut in cuts:
            yield cut.custom["meta"], cut.load_speech(), cut.load_text()

    return in_order, None


def parquet_side(folder: Path, records: list[Record]) -> tuple[Reader, Reader]:
    """Parquet through `datasets`: streamed in order, in memory at random; JSON as text, arrays as lists of numbers."""
    import datasets
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir()
    datasets.disable_progress_bars()
    for stem, some in parts(records):
        table = pa.table({
            "json": [json.dumps(r.meta) for r in some],
            "speech": pa.array([r.codes_FQ[:, 0] for r in some], pa.list_(pa.uint16())),
            "text": pa.array([r.text_L for r in some], pa.list_(pa.int32())),
        })  # fmt: skip
        pq.write_table(table, folder / f"{stem}.parquet")
    files = [str(folder / f"{stem}.parquet") for stem, _ in parts(records)]

    def read(row: Any) -> Read:
        return json.loads(row["json"]), np.asarray(row["speech"], np.uint16)[:, None], np.asarray(row["text"], np.int32)

    def in_order() -> Iterator[Read]:
        stream: Any = datasets.load_dataset("parquet", data_files=files, split="train", streaming=True)
        return map(read, stream.with_format("numpy"))

    loaded: Any = datasets.load_dataset(
        "parquet", data_files=files, split="train", cache_dir=str(folder / "cache"), keep_in_memory=True
    )
    table = loaded.with_format("numpy")

    def at_random() -> Iterator[Read]:
        return (read(table[i]) for i in shuffled(len(records)))

    return in_order, at_random


def seconds_of(reader: Reader, records: int, repeats: int) -> float:
    """The best time to read everything, after one round that warms the cache. Refuses a side that reads less or other types."""
    best = float("inf")
    for round_ in range(repeats + 1):
        started, count, frames = time.perf_counter(), 0, 0
        for meta, codes_FQ, text_L in reader():
            count, frames = count + 1, frames + len(codes_FQ) - meta["frames"]
            assert codes_FQ.dtype == np.uint16
            assert text_L.dtype == np.int32
        best = min(best, time.perf_counter() - started) if round_ else best
        if count != records or frames:
            raise SystemExit(f"a side read {count} of {records} records, {frames} frames too many")
    return best


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--records", type=int, default=20_000)
    options.add_argument("--repeats", type=int, default=2)
    asked = options.parse_args()
    records = make_records(asked.records)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_shards(records, folder / "shards")
        sides: dict[str, tuple[Reader, Reader | None]] = {
            "speechmill": ours(folder / "shards", records),
            "webdataset": webdataset_side(folder / "shards", records),
            "lhotse shar": lhotse_side(folder / "shar", records),
            "hf parquet": parquet_side(folder / "parquet", records),
        }
        show(sides, len(records), asked.repeats)


def show(sides: dict[str, tuple[Reader, Reader | None]], records: int, repeats: int) -> None:
    """Print records per second of every side, and how many times ours that is."""
    print(f"{records} records, best of {repeats}, warm cache, one process")
    print(f"{'reader':<12} {'order':<10} {'records/s':>12} {'ours / it':>10}")
    for place, order in enumerate(("in order", "at random")):
        reference = 0.0
        for side, readers in sides.items():
            reader = readers[place]
            if reader is None:
                print(f"{side:<12} {order:<10} {'-':>12} {'-':>10}")
                continue
            speed = records / seconds_of(reader, records, repeats)
            reference = reference or speed
            print(f"{side:<12} {order:<10} {speed:>12,.0f} {reference / speed:>10.1f}", flush=True)


if __name__ == "__main__":
    main()
