"""Fuzzing that follows coverage (atheris, an extra: ``pip install -e '.[fuzz]'``), for the readers of raw bytes. ``make fuzz`` runs it where it is installed.

    python -m tests.guided tar --seconds 60 --seed 1234

What a reader may do with any bytes is what ``tests/manifests/test_fuzz.py`` says. What fails is left in a file whose name is printed.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

NAMES = ("tar", "shard", "array", "receipt")
LIMITS = (
    "-max_len=16384",
    "-rss_limit_mb=2048",
    "-malloc_limit_mb=64",
    "-timeout=20",
    "-verbosity=0",
    "-print_final_stats=1",
)


def there() -> bool:
    return find_spec("atheris") is not None


def targets() -> dict[str, tuple[Callable[[bytes], None], list[bytes]]]:
    """Each reader's property, and bytes to begin with."""
    from manifests.corpora.members import BrokenTar, members
    from manifests.receipt import Receipt, ReceiptError
    from manifests.shards import npy
    from manifests.shards.reader import ShardError
    from manifests.shards.scan import scan
    from tests.manifests.test_fuzz import PACKED, RECEIPT, or_refused

    def tar(data: bytes) -> None:
        with or_refused(BrokenTar, "x.tar "):
            for member in members(io.BytesIO(data), "x.tar"):
                assert not member.whole or 0 <= member.offset <= member.offset + member.size <= len(data)

    def shard(data: bytes) -> None:
        with or_refused(ShardError, "x.tar: "):
            for _, spans in scan(data, "x.tar"):
                assert all(0 <= start <= start + size <= len(data) for start, size in spans.values())

    def array(data: bytes) -> None:
        with or_refused(npy.NpyError, ""):
            found = npy.load(data)
            assert not found.flags.writeable
            assert not found.dtype.hasobject
            assert found.nbytes <= len(data)

    def receipt(data: bytes) -> None:
        with or_refused(ReceiptError, "unit-7: not a receipt"):
            Receipt.from_bytes(data, "unit-7")

    return {
        "tar": (tar, [PACKED.tar]), "shard": (shard, [PACKED.tar]), "array": (array, [PACKED.index]), "receipt": (receipt, [RECEIPT]),
    }  # fmt: skip


def main() -> None:
    """Exit code 0 where nothing is found in time."""
    import atheris

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", choices=NAMES)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    with atheris.instrument_imports(include=["manifests", "tarfile", "json"]):
        look, seeds = targets()[asked.target]
    with tempfile.TemporaryDirectory() as folder:
        for i, seed in enumerate(seeds):
            (Path(folder) / f"{i}").write_bytes(seed)
        seed = asked.seed % 2**31 or 1  # 0 would be drawn anew
        atheris.Setup([sys.argv[0], *LIMITS, f"-max_total_time={asked.seconds}", f"-seed={seed}", folder], look)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
