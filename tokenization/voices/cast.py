"""From the voices a screening kept to the cast of the demo."""

from __future__ import annotations

from collections.abc import Sequence

from manifests.demo.script import Cast, Persona
from tokenization.voices.base import Engine, Voice, VoiceError


def personas_of(voice: Voice) -> tuple[Persona, ...]:
    """The query speakers of one voice: its rates by its pitches, named like ``slt-r2p1``."""
    return tuple(
        Persona(f"{voice.name}-r{row}p{column}", voice.name, rate, pitch)
        for row, rate in enumerate(voice.rates)
        for column, pitch in enumerate(voice.pitches)
    )


def cast_of(engine: Engine, kept: Sequence[Voice], variation: float = 1.0) -> Cast:
    """The cast of the *kept* voices: the first in the engine's order is the assistant, all of them ask.

    The assistant's manner is the engine's, its ranges ``variation`` as wide.

    :class:`VoiceError` where no voice was kept.
    """
    if not kept:
        raise VoiceError(
            f"demo corpus: the recogniser understands no voice of {engine.name} well enough; "
            "raise max_wer or choose another engine"
        )
    names = {voice.name for voice in kept}
    ordered = [voice for voice in engine.candidates if voice.name in names]
    personas = tuple(persona for voice in ordered for persona in personas_of(voice))
    return Cast(engine.name, personas, ordered[0].name, engine.manner.narrowed(variation))
