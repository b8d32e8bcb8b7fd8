"""What a call takes of Python's memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


def peak_of(call: Callable[[], Result]) -> tuple[Result, int]:
    """What ``call`` returns, and the bytes that it holds at its peak: the less of two calls.

    What a process grows once, and not for this call (the table of its interned strings takes megabytes when its turn comes), is in
    one of them at most.
    """
    peaks = []
    for _ in range(2):
        tracemalloc.start()
        try:
            result = call()
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    return result, min(peaks)
