"""What a stage costs at the prices of a recipe."""

from __future__ import annotations

from collections.abc import Mapping

from manifests.settings.prices import PriceSettings
from pipelines.forecast.crew import Crew


def paid(prices: PriceSettings | None, who: Crew | None, node_hours: Mapping[str, float], hours: float) -> float | None:
    """The price of one stage: nodes with a price of their own whole, on others the CPUs and GPUs that workers hold.

    None without prices of either.
    """
    if prices is None or (prices.cpu_hour is None and prices.gpu_hour is None and not prices.nodes):
        return None
    whole = sum(prices.nodes.get(name, 0.0) * count for name, count in node_hours.items())
    if who is None:
        return whole
    elsewhere = sum(name not in prices.nodes for name, _ in who.placed.workers)
    held = who.demand.amounts
    each = (prices.cpu_hour or 0.0) * held.get("CPU", 0.0) + (prices.gpu_hour or 0.0) * held.get("GPU", 0.0)
    return whole + elsewhere * each * hours


def kept_a_month(prices: PriceSettings | None, count: float) -> float | None:
    """The price of keeping so many bytes for a month."""
    return None if prices is None or prices.gb_month is None else prices.gb_month * count / 1e9
