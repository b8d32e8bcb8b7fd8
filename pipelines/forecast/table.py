"""A forecast for people."""

from __future__ import annotations

import math

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipelines.forecast.answer import Answer
from pipelines.forecast.predict import Forecast, Spent
from pipelines.report.charts import size

UNITS = ((100.0, 1.0, "s"), (6_000.0, 60.0, "min"), (360_000.0, 3_600.0, "h"), (math.inf, 86_400.0, "d"))


def _unit(seconds: float) -> tuple[float, str]:
    """(its seconds, its name) of the unit that a time is told in."""
    return next((each, name) for limit, each, name in UNITS if seconds < limit)


def _number(value: float) -> str:
    return f"{value:.3g}" if value < 99.5 else f"{value:,.0f}"


def span(seconds: float) -> str:
    """A time for people: 4.2 s, 7 min, 3.5 h, 12 d."""
    each, name = _unit(seconds)
    return f"{_number(seconds / each)} {name}"


def _between(low: float, high: float) -> str:
    each, name = _unit(high)
    return f"{_number(low / each)} to {_number(high / each)} {name}"


def _hours(hours: float) -> str:
    return f"{hours:,.2g}" if hours < 100 else f"{hours:,.0f}"


def render(answer: Answer, console: Console) -> None:
    """Print it: a table, stores, the bottleneck in a sentence, what it goes by."""
    forecast = answer.forecast
    amount = forecast.amount
    console.print(
        f"forecast for {amount.hours:,.4g} h in {amount.units:,} units on {escape(forecast.cluster.source)}",
        soft_wrap=True,
    )
    console.print(_table(forecast))
    for spent in forecast.stages:
        if spent.stores:
            kinds = ", ".join(f"{name} {size(count)}" for name, count in spent.stores.items())
            console.print(f"{spent.stage}, by store: {kinds}", soft_wrap=True)
    if forecast.month is not None:
        console.print(f"kept for a month: {forecast.month:,.2f} {escape(forecast.currency)}", soft_wrap=True)
    if answer.bottleneck is not None:
        console.print(f"bottleneck: {escape(answer.bottleneck.sentence)}", soft_wrap=True)
    console.print("it goes by this:")
    for note in answer.notes:
        console.print(f"- {escape(note)}", soft_wrap=True)


def _table(forecast: Forecast) -> Table:
    paid = forecast.money is not None
    columns = [
        "stage",
        "workers",
        "wall time",
        "9 in 10",
        "CPU h",
        "GPU h",
        "storage",
        *([forecast.currency] if paid else []),
    ]
    table = Table(box=box.SIMPLE, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="left" if column == "stage" else "right", no_wrap=True)
    for spent in forecast.stages:
        table.add_row(*_row(spent, paid))
    money = [f"{forecast.money:,.2f}"] if forecast.money is not None else []
    table.add_row(
        "whole", "", span(forecast.seconds), _between(forecast.low, forecast.high), _hours(forecast.total("cpu_hours")),
        _hours(forecast.total("gpu_hours")), size(forecast.bytes), *money, style="bold",
    )  # fmt: skip
    return table


def _row(spent: Spent, paid: bool) -> list[str]:
    workers = "driver" if spent.crew is None else f"{spent.workers:,}"
    between = _between(spent.low, spent.high) if spent.high > spent.low else ""
    money = [f"{spent.money or 0.0:,.2f}"] if paid else []
    return [
        spent.stage,
        workers,
        span(spent.seconds),
        between,
        _hours(spent.cpu_hours),
        _hours(spent.gpu_hours),
        size(spent.bytes),
        *money,
    ]
