"""A forecast as JSON: for scripts, and beside the output that it is about (``forecast.json``, no part of the dataset)."""

from __future__ import annotations

import time
from typing import Any

from manifests.fingerprint import pretty
from manifests.storage import Store
from pipelines.forecast.amount import Amount
from pipelines.forecast.answer import Answer
from pipelines.forecast.compared import FORMAT, NAME
from pipelines.forecast.left import Left
from pipelines.forecast.measured import spread
from pipelines.forecast.predict import Forecast, Spent


def to_json(answer: Answer) -> dict[str, Any]:
    """All of it. ``asked`` is the forecast that was asked for, ``corpus`` that of the corpus as it is: the one a run can be held against."""
    found = answer.bottleneck
    held = (
        None
        if found is None
        else {
            "stage": found.stage,
            "share": round(found.share, 4),
            **found.finding._asdict(),
            "sentence": found.sentence,
        }
    )
    return {
        "format": FORMAT, "asked": _forecast(answer.forecast), "corpus": _forecast(answer.own), "bottleneck": held,
        "notes": list(answer.notes), "before": list(answer.before),
    }  # fmt: skip


def _forecast(forecast: Forecast) -> dict[str, Any]:
    return {
        "hours": round(forecast.amount.listed.hours, 6), "recordings": _recordings(forecast.amount), "utterances": round(forecast.amount.utterances), "units": forecast.amount.units,
        "cluster": forecast.cluster.source, "seconds": round(forecast.seconds, 3),
        "ray": round(forecast.ray, 3), "low": round(forecast.low, 3),
        "high": round(forecast.high, 3), "cpu_hours": round(forecast.total("cpu_hours"), 6),
        "gpu_hours": round(forecast.total("gpu_hours"), 6), "bytes": round(forecast.bytes), "money": forecast.money,
        "money_a_month": forecast.month, "currency": forecast.currency or None, "stages": [_stage(s) for s in forecast.stages],
    }  # fmt: skip


def _recordings(amount: Amount) -> dict[str, Any] | None:
    """What is cut up; None where the utterances are those that the corpus lists, of which ``hours`` are told then."""
    found = amount.recordings
    if found is None:
        return None
    return {"count": round(found.utterances), "units": found.units, "hours_in_utterances": round(amount.hours, 6)}


def _left(left: Left | None) -> dict[str, Any] | None:
    if left is None:
        return None
    aside = {reason: round(share, 6) for reason, share in sorted(left.aside.items())}
    return {"share": round(left.share, 6), "aside": aside}


def _stage(spent: Spent) -> dict[str, Any]:
    measured, found = spent.measured, spread(spent.measured.rates)
    rate = None if found is None else dict(zip(("median", "least", "most"), (round(v, 9) for v in found), strict=True))
    cpus = spent.crew.demand.amounts.get("CPU", 0.0) if spent.crew else 0.0
    return {
        "stage": spent.stage, "source": measured.source, "measured": len(measured.pieces), "hours": round(spent.hours, 6), "left": _left(measured.left),
        "waited": None if measured.waited is None else round(measured.waited, 4), "cpus": cpus, "seconds_per_audio_second": rate,
        "parts": {part: round(share, 4) for part, share in measured.parts.items()}, "workers": spent.workers if spent.crew else 0,
        "limit": spent.crew.limit if spent.crew else None, "seconds": round(spent.seconds, 3), "low": round(spent.low, 3),
        "high": round(spent.high, 3), "start": round(spent.ready, 3), "efficiency": round(spent.efficiency, 4),
        "worker_hours": round(spent.worker_hours, 6), "core_hours": None if spent.core_hours is None else round(spent.core_hours, 6),
        "cpu_hours": round(spent.cpu_hours, 6), "gpu_hours": round(spent.gpu_hours, 6),
        "node_hours": {name: round(hours, 6) for name, hours in spent.node_hours.items()}, "bytes": round(spent.bytes),
        "beside": round(spent.beside) if measured.pieces else 0, "stores": {name: round(count) for name, count in spent.stores.items()}, "money": spent.money,
    }  # fmt: skip


def keep(out: Store, value: dict[str, Any]) -> None:
    """Write it beside the output, in the place of an earlier one."""
    out.publish(NAME, pretty({"made": round(time.time(), 3), **value}))
