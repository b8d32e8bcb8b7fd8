"""Pocketsphinx with the American English model of its wheel: an independent judge of intelligibility.

Shapes: ``wave_T`` is mono audio, T samples. With a JSGF grammar only its sentences can be heard, or nothing; without,
the wheel's language model listens openly.
"""

from __future__ import annotations

import re

import numpy as np

SAMPLE_RATE = 16_000
ALTERNATIVE = re.compile(r"\(\d+\)$")  # marks a second pronunciation of a word


class PocketsphinxRecogniser:
    """One decoder; each utterance starts from the same state.

    The cepstral mean is taken over the utterance (``cmn="batch"``): the running mean of the default carries over
    from one utterance to the next.
    """

    def __init__(self, grammar: str | None = None) -> None:
        """*grammar* is JSGF text whose public rules may be spoken; None listens openly."""
        from pocketsphinx import Decoder

        config = {"samprate": SAMPLE_RATE, "cmn": "batch", "loglevel": "FATAL"}
        if grammar is None:
            self._decoder = Decoder(**config)
            return
        # a lattice search for the best path finds the same words in a closed grammar, at twice the time
        self._decoder = Decoder(lm=None, bestpath=False, **config)
        self._decoder.add_jsgf_string("grammar", _one_entry(grammar))
        self._decoder.activate_search("grammar")

    def recognise(self, wave_T: np.ndarray, sample_rate: int) -> str:
        """The words heard; empty where none were."""
        samples_T = as_int16(wave_T, sample_rate)
        if not len(samples_T):  # the decoder cannot take an empty buffer
            return ""
        self._decoder.start_utt()
        self._decoder.process_raw(samples_T.tobytes(), full_utt=True)
        self._decoder.end_utt()
        heard = self._decoder.hyp()
        return "" if heard is None else " ".join(ALTERNATIVE.sub("", word) for word in heard.hypstr.split())


def as_int16(wave_T: np.ndarray, sample_rate: int) -> np.ndarray:
    """*wave_T* (int16, or float in [-1, 1]) as int16 at 16 kHz; ValueError where it is not one channel of sound."""
    if wave_T.ndim != 1:
        raise ValueError(
            f"recogniser: one channel is expected, not an array of shape {wave_T.shape}; mix it down first"
        )
    if wave_T.dtype == np.int16 and sample_rate == SAMPLE_RATE:
        return wave_T
    scale = 1 / 32768 if wave_T.dtype == np.int16 else 1.0
    float_T = wave_T.astype(np.float32) * np.float32(scale)
    if sample_rate != SAMPLE_RATE:
        import soxr

        float_T = soxr.resample(float_T, sample_rate, SAMPLE_RATE)
    return np.clip(np.rint(float_T * 32768), -32768, 32767).astype(np.int16)


def _one_entry(grammar: str) -> str:
    """*grammar* with one public rule over all of its public rules: the decoder listens to the first one only."""
    names = re.findall(r"^public <([^>]+)>", grammar, flags=re.MULTILINE)
    if not names:
        raise ValueError("recogniser: the JSGF grammar has no public rule; mark at least one rule `public`")
    header, _, rules = grammar.replace("public <", "<").partition(";\ngrammar ")
    name, _, rules = rules.partition(";\n")
    alternatives = " | ".join(f"<{name}>" for name in names)
    return f"{header};\ngrammar {name};\npublic <anything> = {alternatives};\n{rules}"
