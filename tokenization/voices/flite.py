"""Flite: the ``flite`` command, one short process for each phrase.

Rate is the feature ``duration_stretch`` (its inverse), pitch ``f0_shift``; the voice ``rms`` ignores the latter. The
output is a function of the arguments alone, so nothing has to be reset between phrases. The command's fifth voice,
``kal``, is ``kal16`` at 8 kHz; it is no candidate, because half of the band would be empty.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import wave
from pathlib import Path

import numpy as np

from manifests.demo.script import Manner, Prosody
from tokenization.voices.base import Engine, Voice, VoiceError, Wave, say_phrases

COMMAND = "flite"
TIMEOUT_SECONDS = 60
RATES = (0.9, 1.0, 1.1)
PITCHES = (0.9, 1.0, 1.1)
CANDIDATES = (
    Voice("slt", "flite", RATES, PITCHES),
    Voice("rms", "flite", RATES),
    Voice("awb", "flite", RATES, PITCHES),
    Voice("kal16", "flite", RATES, PITCHES),
)
MANNER = Manner(rate=(0.85, 1.15), pitch=(0.88, 1.12))


class FliteSpeaker:
    """Says text with the flite command; holds nothing between calls."""

    def say(self, text: str, voice: str, prosody: Prosody) -> tuple[Wave, int]:
        """``wave_T`` int16 and the voice's own sample rate (16 kHz)."""
        with tempfile.TemporaryDirectory(prefix="flite-") as folder:
            target = Path(folder) / "phrase.wav"
            return say_phrases(lambda phrase: _render(phrase, voice, prosody, target), text, prosody)

    def close(self) -> None:
        """Nothing to let go of."""


def available() -> bool:
    """Whether the flite command is installed."""
    return shutil.which(COMMAND) is not None


def versions() -> dict[str, str]:
    """What ``flite --version`` says of itself."""
    said = subprocess.run([COMMAND, "--version"], capture_output=True, text=True, check=False, timeout=TIMEOUT_SECONDS)
    lines = [line.strip() for line in said.stdout.splitlines() if "version:" in line]
    return {"flite": lines[0].removeprefix("version:").strip() if lines else "unknown"}


def _render(phrase: str, voice: str, prosody: Prosody, target: Path) -> tuple[Wave, int]:
    # flite answers an unknown voice with its default one, silently
    if voice not in {candidate.name for candidate in CANDIDATES}:
        raise VoiceError(f"flite has no voice {voice!r}: it has {', '.join(c.name for c in CANDIDATES)}")
    command = [COMMAND, "-voice", voice, "--setf", f"duration_stretch={1 / prosody.rate:.6f}"]
    command += ["--setf", f"f0_shift={prosody.pitch:.6f}", "-t", phrase, "-o", str(target)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise VoiceError(f"flite did not say {phrase!r} with voice {voice}: {error}") from error
    if done.returncode:
        raise VoiceError(f"flite exited {done.returncode} for {phrase!r} with voice {voice}: {done.stderr.strip()}")
    with wave.open(str(target)) as reader:
        return np.frombuffer(reader.readframes(reader.getnframes()), np.int16), reader.getframerate()


FLITE = Engine(
    name="flite",
    candidates=CANDIDATES,
    manner=MANNER,
    available=available,
    speaker=FliteSpeaker,
    versions=versions,
    install="apt-get install flite",
)
