"""The espeak-ng helper process: ``python -m tokenization.voices.espeak_child``.

Reads one JSON object a line on stdin (``text``, ``voice``, ``rate`` in words a minute, ``pitch`` 0 to 100); answers
each on stdout with a JSON line (``samples`` and ``sample_rate``, or ``error``) followed by that many int16 samples.
Every utterance is made in a fork of its own, because espeak-ng's samples depend on what the process has said before.
The helper has one thread and never speaks itself, so the fork is safe and always starts from the same state.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from typing import Any, BinaryIO

SYNCHRONOUS, BUFFER_MS = 2, 0
RATE, PITCH = 1, 3  # espeak_PARAMETER
AT_CHARACTER, UTF8 = 1, 1
NOISE_SEED = 1


class Espeak:
    """espeak-ng's library, initialised; :meth:`say` may be called once in a process."""

    def __init__(self) -> None:
        import espeakng_loader

        self.library = ctypes.CDLL(espeakng_loader.get_library_path())
        self.library.espeak_Synth.argtypes = [
            ctypes.c_void_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int, ctypes.c_uint, ctypes.c_uint,
            ctypes.c_void_p, ctypes.c_void_p,
        ]  # fmt: skip
        data = str(espeakng_loader.get_data_path()).encode()
        self.sample_rate = int(self.library.espeak_Initialize(SYNCHRONOUS, BUFFER_MS, data, 1 << 15))
        self.library.espeak_Info.restype = ctypes.c_char_p
        self.version = self.library.espeak_Info(None).decode()

    def say(self, text: str, voice: str, rate: int, pitch: int) -> bytes:
        """The int16 samples of *text*, as bytes; ValueError for an unknown voice."""
        parts: list[bytes] = []

        def keep(samples: int | None, count: int, _events: int | None) -> int:
            if samples and count > 0:
                parts.append(ctypes.string_at(samples, 2 * count))
            return 0

        callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)(keep)
        self.library.espeak_SetSynthCallback(callback)
        if self.library.espeak_SetVoiceByName(voice.encode()):
            raise ValueError(f"espeak-ng has no voice {voice!r}")
        self.library.espeak_SetParameter(RATE, rate, 0)
        self.library.espeak_SetParameter(PITCH, pitch, 0)
        # initialising seeds the noise with the time of day; the same sentence must not differ between helpers
        self.library.espeak_ng_SetRandSeed(ctypes.c_long(NOISE_SEED))
        raw = text.encode() + b"\0"
        self.library.espeak_Synth(raw, len(raw), 0, AT_CHARACTER, 0, UTF8, None, None)
        self.library.espeak_Synchronize()
        return b"".join(parts)


def serve(engine: Espeak, requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer requests until *requests* ends."""
    for line in iter(requests.readline, b""):
        child = os.fork()
        if child == 0:
            _answer_and_exit(engine, json.loads(line), answers)
        _, status = os.waitpid(child, 0)
        if status:
            _write(answers, {"error": f"espeak-ng failed with status {os.waitstatus_to_exitcode(status)}"}, b"")


def _answer_and_exit(engine: Espeak, request: dict[str, Any], answers: BinaryIO) -> None:
    """In the fork: one whole answer, then out, without any clean-up that belongs to the parent."""
    try:
        samples = engine.say(**request)
        _write(answers, {"samples": len(samples) // 2, "sample_rate": engine.sample_rate}, samples)
    except (ValueError, TypeError) as error:
        _write(answers, {"error": str(error)}, b"")
    finally:
        os._exit(0 if sys.exc_info()[0] is None else 1)


def _write(answers: BinaryIO, header: dict[str, Any], samples: bytes) -> None:
    answers.write(json.dumps(header).encode() + b"\n" + samples)
    answers.flush()


if __name__ == "__main__":
    speaking = Espeak()
    _write(sys.stdout.buffer, {"version": speaking.version}, b"")
    serve(speaking, sys.stdin.buffer, sys.stdout.buffer)
