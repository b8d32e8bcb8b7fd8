"""Rates that the user measured elsewhere: ``--rate tokens=120``, hours of audio for each hour of one worker."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from dataclasses import replace

from pipelines.forecast.driver import START
from pipelines.forecast.errors import ForecastError
from pipelines.forecast.measured import Measurement, Piece
from pipelines.forecast.stages import Stage


def parsed(given: Iterable[str], stages: Iterable[Stage]) -> dict[str, float]:
    """Rates by stage. Raises :class:`ForecastError` for what is none."""
    names = [stage.name for stage in stages if stage.units]
    found: dict[str, float] = {}
    for one in given:
        name, equals, text = one.partition("=")
        if name not in names:
            near = difflib.get_close_matches(name, names, 1)
            hint = f"did you mean {near[0]}?" if near else f"stages of this recipe that take rates: {', '.join(names)}"
            raise ForecastError(f"--rate {one}: no such stage; {hint}")
        found[name] = _rate(one, text if equals else "")
    return found


def _rate(one: str, text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = math.nan
    if not (math.isfinite(rate) and rate > 0):
        raise ForecastError(
            f"--rate {one}: write STAGE=HOURS, hours of audio for each hour of one worker, as in tokens=120"
        )
    return rate


def given(
    stage: str, rate: float, measured: Measurement | None, reach: float = 1.0, weight: float = 0.0
) -> Measurement:
    """A stage at a given rate; bytes and what the driver does are those that were ``measured``, if they were.

    reach    seconds that it works on for each second of the plan
    weight   bytes that it makes of each second of the plan, where that is known without measuring
    """
    audio = 3600.0
    piece = Piece(audio * reach / rate, audio, round((measured.byte_rate if measured else weight) * audio))
    if measured is None:
        return Measurement(stage, "given", (piece,), start=START)
    return replace(measured, source="given", pieces=(piece,), parts={})
