"""One driver at a time on one output root: the second is refused, and a dead one leaves nothing to clean up."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from manifests.storage import Store

NAME = ".lock"


class Locked(RuntimeError):
    """Another driver works on this output root."""


@contextmanager
def output_lock(out: Store) -> Iterator[None]:
    """Hold the root's lock: the kernel's, so it ends with the process however that dies. Local roots only."""
    path = out.local(NAME)
    if path is None:
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise Locked(
            f"{out.root}: another speechmill (lock file {os.fspath(path)}) works on it; wait for it, or stop it"
        ) from None
    try:
        yield
    finally:
        lock.release()
