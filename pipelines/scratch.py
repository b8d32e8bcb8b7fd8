"""A folder that is gone afterwards, for what is only looked at."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from manifests.storage import Store

PREFIX = ".probe-"


@contextmanager
def scratch(out: Store) -> Iterator[Store]:
    """A folder of its own beside what it measures, so that it is on the same storage; gone at the end.

    What a killed one left behind goes first, where the output's lock says that none is at work.
    """
    store = out.sub(f"{PREFIX}{uuid.uuid4().hex[:12]}")
    for name in out.list() if out.is_local else []:
        if name.startswith(PREFIX):
            _remove(out.sub(name))
    try:
        yield store
    finally:
        _remove(store)


def _remove(store: Store) -> None:
    local = store.local("")
    if local is not None:
        shutil.rmtree(local, ignore_errors=True)
        return
    for name in list(store.walk()):
        store.remove(name)
