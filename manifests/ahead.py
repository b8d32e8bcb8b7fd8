"""Asking storage for many small files: several at once, answers in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

THREADS = 16
WINDOW = 64  # answers that wait at most


def in_order(work: Callable[[T], R], items: Iterable[T], threads: int = THREADS) -> Iterator[R]:
    """``work`` of each item, in order, some of it done ahead in threads: for waiting, not for computing.

    ``items`` are drawn as they are needed, in this thread. What ``work`` raises is raised here, and nothing more is begun.
    """
    with ThreadPoolExecutor(threads) as pool:
        waiting = deque[Future[R]]()
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) >= WINDOW:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
