"""espeak-ng, from its wheel (no root needed), in a helper process; see :mod:`tokenization.voices.espeak_child`.

Rate is words a minute, 140 at rate 1; pitch is espeak's 0 to 100 scale, 50 at pitch 1.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from importlib.metadata import version
from typing import Any, BinaryIO, cast

import numpy as np

from manifests.demo.script import Manner, Prosody
from tokenization.voices.base import Engine, Voice, VoiceError, Wave, say_phrases

WORDS_A_MINUTE, PITCH = 140, 50
VARIANTS = (
    "f5", "f2", "robosoft2", "robosoft3", "robosoft", "robosoft7", "robosoft6", "robosoft5", "anikaRobot", "klatt4",
)  # fmt: skip
RATES = (0.95, 1.05)
PITCHES = (0.85, 1.15)
CANDIDATES = tuple(Voice(f"en-us+{variant}", "espeak", RATES, PITCHES) for variant in VARIANTS)
MANNER = Manner(rate=(0.92, 1.06), pitch=(0.85, 1.15))


class EspeakSpeaker:
    """Says text through a helper process, started at the first call and again should it die."""

    def __init__(self) -> None:
        self._helper: subprocess.Popen[bytes] | None = None
        self.engine_version = ""

    def say(self, text: str, voice: str, prosody: Prosody) -> tuple[Wave, int]:
        """``wave_T`` int16 at espeak-ng's 22 050 Hz."""
        return say_phrases(lambda phrase: self._render(phrase, voice, prosody), text, prosody)

    def close(self) -> None:
        """End the helper, if one runs."""
        helper, self._helper = self._helper, None
        if helper is not None:
            for stream in (helper.stdin, helper.stdout):
                cast(BinaryIO, stream).close()
            helper.kill()
            helper.wait()

    def start(self) -> subprocess.Popen[bytes]:
        """The running helper, started where there is none."""
        if self._helper is None or self._helper.poll() is not None:
            self.close()
            command = [sys.executable, "-m", "tokenization.voices.espeak_child"]
            self._helper = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            self.engine_version = str(self._header(self._helper)["version"])
        return self._helper

    def _render(self, phrase: str, voice: str, prosody: Prosody) -> tuple[Wave, int]:
        rate, pitch = round(WORDS_A_MINUTE * prosody.rate), round(PITCH * prosody.pitch)
        helper = self.start()
        request = {"text": phrase, "voice": voice, "rate": rate, "pitch": pitch}
        requests = cast(BinaryIO, helper.stdin)
        try:
            requests.write(json.dumps(request).encode() + b"\n")
            requests.flush()
        except BrokenPipeError as error:
            raise VoiceError("the espeak-ng helper process ended; it starts again at the next call") from error
        header = self._header(helper)
        if "error" in header:
            raise VoiceError(f"{header['error']} (saying {phrase!r} with voice {voice})")
        size = 2 * int(header["samples"])
        raw = cast(BinaryIO, helper.stdout).read(size)
        if len(raw) != size:
            self.close()
            raise VoiceError(f"the espeak-ng helper process ended while saying {phrase!r} with voice {voice}")
        return np.frombuffer(raw, np.int16), int(header["sample_rate"])

    def _header(self, helper: subprocess.Popen[bytes]) -> dict[str, Any]:
        line = cast(BinaryIO, helper.stdout).readline()
        if not line:
            self.close()
            raise VoiceError("the espeak-ng helper process ended; run `python -m tokenization.voices.espeak_child`")
        return json.loads(line)


def available() -> bool:
    """Whether espeak-ng's wheel is installed."""
    return importlib.util.find_spec("espeakng_loader") is not None


def versions() -> dict[str, str]:
    """espeak-ng's own version and its wheel's."""
    speaker = EspeakSpeaker()
    try:
        speaker.start()
        return {"espeak-ng": speaker.engine_version, "espeakng-loader": version("espeakng-loader")}
    finally:
        speaker.close()


ESPEAK = Engine(
    name="espeak",
    candidates=CANDIDATES,
    manner=MANNER,
    available=available,
    speaker=EspeakSpeaker,
    versions=versions,
    install="pip install espeakng-loader",
)
