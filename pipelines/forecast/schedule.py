"""Units on workers: each takes the next unit when it is through, as the engine leases them."""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heapify, heapreplace


def makespan(seconds: Sequence[float], ready: Sequence[float]) -> float:
    """When the last of units that take ``seconds`` ends, leased in this order to workers who begin at ``ready``.

    A further worker, or a shorter unit at the end, never makes it later. 0 for no units.
    """
    if not seconds:
        return 0.0
    free = list(ready)
    heapify(free)
    last = 0.0
    for one in seconds:
        end = free[0] + one
        heapreplace(free, end)
        last = max(last, end)
    return last


def drawn(lengths: Sequence[float], rates: Sequence[float], mean: float) -> list[float]:
    """Seconds that units of ``lengths`` take: at the measured rates in turn, so that slow ones are among them, ``mean`` in the mean."""
    if not rates:
        return [length * mean for length in lengths]
    scale = mean / (sum(rates) / len(rates)) if sum(rates) else 0.0
    return [length * rates[i % len(rates)] * scale for i, length in enumerate(lengths)]
