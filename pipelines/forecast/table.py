"""A forecast for people."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipelines.forecast.answer import Answer
from pipelines.forecast.predict import Forecast, Spent
from pipelines.forecast.times import between, span
from pipelines.report.charts import size


def _hours(hours: float) -> str:
    return f"{hours:,.2g}" if hours < 100 else f"{hours:,.0f}"


def render(answer: Answer, console: Console) -> None:
    """Print it: a table, stores, the bottleneck in a sentence, what it goes by."""
    forecast = answer.forecast
    amount = forecast.amount
    cut_up = "" if amount.recordings is None else f" of recordings, {amount.hours:,.4g} h of them in utterances,"
    console.print(
        f"forecast for {amount.listed.hours:,.4g} h{cut_up} in {amount.units:,} units on {escape(forecast.cluster.source)}",
        soft_wrap=True,
    )
    console.print(_table(forecast))
    for spent in forecast.stages:
        if spent.stage == "tokens" and spent.measured.left is not None:
            console.print(
                f"of {spent.hours:,.4g} h {escape(spent.measured.left.sentence(spent.hours))}", soft_wrap=True
            )
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


COLUMNS = ("stage", "workers", "wall time", "9 in 10", "start-up", "busy", "CPU h", "GPU h", "storage")


def _table(forecast: Forecast) -> Table:
    """``start-up`` is of the wall time; ``busy`` the share of it in which workers do something."""
    paid = forecast.money is not None
    table = Table(box=box.SIMPLE, pad_edge=False)
    for column in (*COLUMNS, *([forecast.currency] if paid else [])):
        table.add_column(column, justify="left" if column == "stage" else "right", no_wrap=True)
    if forecast.ray:
        table.add_row("Ray", "", span(forecast.ray))
    for spent in forecast.stages:
        table.add_row(*_row(spent, paid))
    money = [f"{forecast.money:,.2f}"] if forecast.money is not None else []
    table.add_row(
        "whole", "", span(forecast.seconds), between(forecast.low, forecast.high), "", "", _hours(forecast.total("cpu_hours")),
        _hours(forecast.total("gpu_hours")), size(forecast.bytes), *money, style="bold",
    )  # fmt: skip
    return table


def _row(spent: Spent, paid: bool) -> list[str]:
    nine = between(spent.low, spent.high) if spent.high > spent.low else ""
    driver = spent.crew is None
    workers, start, busy = (
        ("driver", "", "") if driver else (f"{spent.workers:,}", span(spent.ready), f"{spent.efficiency:.0%}")
    )
    money = [f"{spent.money or 0.0:,.2f}"] if paid else []
    held = (_hours(spent.cpu_hours), _hours(spent.gpu_hours), size(spent.bytes))
    return [spent.stage, workers, span(spent.seconds), nine, start, busy, *held, *money]
