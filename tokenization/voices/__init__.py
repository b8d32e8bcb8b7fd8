"""Speech engines that give the demo corpus its sound."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from tokenization.voices.base import Engine, VoiceError
from tokenization.voices.espeak import ESPEAK
from tokenization.voices.flite import FLITE

# in order of preference: a recogniser understands flite best
ENGINES: Mapping[str, Engine] = {engine.name: engine for engine in (FLITE, ESPEAK)}


def choose_engine(preferred: Literal["auto", "flite", "espeak"] = "auto") -> Engine:
    """The engine asked for, or under ``auto`` the first that is installed; :class:`VoiceError` where there is none."""
    wanted = [engine for engine in ENGINES.values() if preferred in ("auto", engine.name)]
    if not wanted:
        raise VoiceError(f"no speech engine is called {preferred!r}: choose auto, {' or '.join(ENGINES)}")
    for engine in wanted:
        if engine.available():
            return engine
    cure = " or ".join(f"`{engine.install}`" for engine in wanted)
    raise VoiceError(f"demo corpus: no speech engine is installed for engine={preferred}; run {cure}")


def engine_versions() -> dict[str, str]:
    """The versions of every installed engine."""
    found = [engine.versions() for engine in ENGINES.values() if engine.available()]
    return {name: version for versions in found for name, version in versions.items()}
