"""Stages that only some recipes ask for, measured: copies by ear, transcripts, features of queries, text states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import orjson

from manifests.recipe import Recipe
from manifests.settings.copies import CopiesSettings
from manifests.settings.features import STAGE as FEATURES
from manifests.settings.states import STAGE as STATES
from manifests.settings.transcribe import STAGE as TRANSCRIPTS
from manifests.storage import Store
from manifests.utterance import from_cut
from pipelines.engine.contract import Unit
from pipelines.forecast import driver, parts
from pipelines.forecast.left import Left
from pipelines.forecast.measured import Linear, Measurement
from pipelines.forecast.probe import Probe
from pipelines.forecast.units import SIDE, of_units
from pipelines.stages.s35_copies import MARK, marked
from pipelines.stages.s35_copies import STAGE as COPIES
from pipelines.stages.s38_transcribe import TranscribeJob, wanted

SOME = 20  # units that are marked once more


def copies(probe: Probe) -> Measurement:
    """Fingerprints of units, then marking. What comes after goes by the marked plan of these units."""
    units, plan = probe.sample(COPIES), probe.plan
    probe.bring(units)
    folder, _ = probe.run.printed(probe.root, plan, units)
    probe.folders[COPIES] = folder
    done = probe.engine.timings[COPIES].units
    probe.run.mark(plan, folder, done)
    settings = probe.recipe.copies
    assert settings is not None, "only asked of recipes with it"
    found = with_marking(of_units(probe, COPIES), probe.store.sub(plan), probe.store.sub(folder), done, settings)
    probe.goes_by(folder, done)
    return found


def with_marking(
    found: Measurement, plan: Store, prints: Store, units: Sequence[Unit], settings: CopiesSettings
) -> Measurement:
    """With what the driver does once all fingerprints are taken, timed on some units; what is a copy of nothing among these counts as none."""
    some = tuple(units[:SOME])
    lines, took = driver.timed(lambda: [line for _, data in marked(plan, prints, some, settings) for line in data.split(b"\n")[:-1]])  # fmt: skip
    seconds, dropped, count = 0.0, 0.0, 0
    for line in lines:
        cut = orjson.loads(line)
        seconds += cut["duration"]
        is_copy = MARK in cut["custom"]
        dropped, count = dropped + is_copy * cut["duration"], count + is_copy
    left = Left(
        1 - dropped / seconds if seconds else 1.0, {"near_duplicate_audio": count / len(lines)} if count else {}
    )
    marking = Linear(utterance=took / max(len(lines), 1))
    kept = Linear(utterance=sum(len(line) + 1 for line in lines) / max(len(lines), 1))
    return replace(found, before=found.before + marking, kept=kept, left=left)


def transcripts(probe: Probe) -> Measurement:
    """A recogniser hears units. What comes after goes by these, for their texts may be what it heard."""
    units = probe.sample(TRANSCRIPTS)
    probe.bring(units)
    probe.folders |= probe.run.transcribed(probe.root, probe.plan, units, {})
    timing = probe.engine.timings[TRANSCRIPTS]
    assert isinstance(timing.job, TranscribeJob)
    shares = probe.engine.asked(timing.job, parts.of_transcripts, units[0]) or {}
    probe.goes_by(probe.plan, timing.units)
    return replace(of_units(probe, TRANSCRIPTS), parts=shares)


def features(probe: Probe) -> Measurement:
    """Whisper's encoder hears the queries of units that have tokens."""
    units = probe.done[: len(probe.sample(FEATURES))]
    probe.folders |= probe.run.featured(probe.root, probe.plan, probe.folders["tokens"], units, {})
    return of_units(probe, FEATURES, SIDE)


def states(probe: Probe) -> Measurement:
    """Text states of units that have tokens are fetched and packed."""
    units = probe.done[: len(probe.sample(STATES))]
    probe.folders |= probe.run.stated(probe.folders["tokens"], units, {})
    return of_units(probe, STATES, SIDE)


def heard_share(probe: Probe) -> float:
    """Of the seconds of a sample of the plan, those that a recogniser is to hear."""
    asked = probe.recipe.transcribe
    assert asked is not None, "only asked of recipes with it"
    cuts = [orjson.loads(line) for line in driver.lines_of(probe.source, probe.units)]
    whole = sum(cut["duration"] for cut in cuts)
    return sum(cut["duration"] for cut in cuts if wanted(from_cut(cut), asked.use)) / whole if whole else 1.0


def features_bytes(recipe: Recipe) -> float:
    """Bytes of a second of queries: float16, so many frames wide as the weights say; 0 where these are not here."""
    from pipelines.stages.s65_features import FRAMES_A_SECOND, described
    from tokenization.adapter import TokenizerError
    from tokenization.recognisers.base import RecogniserError

    assert recipe.features is not None, "only asked of recipes with it"
    try:
        width = described(recipe.features)["width"]
    except (TokenizerError, RecogniserError):
        return 0.0
    return float(FRAMES_A_SECOND * width * np.dtype(np.float16).itemsize)
