"""How long each stage took: as the caller measured it, else as the receipts say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.report.endings import Endings


@dataclass(frozen=True)
class StageRow:
    """One stage. ``seconds`` are of work, summed over units that may have run side by side."""

    stage: str
    seconds: float
    units: int | None
    audio_seconds: float
    longest: float | None
    again: int | None
    percent: float

    @property
    def speed(self) -> float | None:
        """Seconds of audio per second of work."""
        return self.audio_seconds / self.seconds if self.seconds and self.audio_seconds else None


def stage_times(ended: Endings, extras: Mapping[str, Any]) -> list[StageRow]:
    """The stages of ``extras["stages"]``, then those only receipts know; bars relative to the longest."""
    given = {str(s["stage"]): s for s in extras.get("stages") or ()}
    raw = [
        (
            stage,
            float(s.get("seconds") or 0),
            s.get("units"),
            float(s.get("audio_seconds") or 0),
            ended.times.get(stage),
        )
        for stage, s in given.items()
    ]
    raw += [(t.stage, t.seconds, t.units, t.audio_seconds, t) for t in ended.times.values() if t.stage not in given]
    top = max((seconds for _, seconds, *_ in raw), default=0.0)
    return [
        StageRow(
            stage,
            seconds,
            units,
            audio,
            t.longest if t else None,
            t.again if t else None,
            100 * seconds / top if top else 0.0,
        )
        for stage, seconds, units, audio, t in raw
    ]
