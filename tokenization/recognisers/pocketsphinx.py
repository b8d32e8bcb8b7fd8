"""Pocketsphinx with the American English model of its wheel: an independent judge of intelligibility.

Shapes: ``wave_T`` is mono audio, T samples. With a JSGF grammar only its sentences can be heard, or nothing; without,
the wheel's language model listens openly.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.metadata import version

import numpy as np

from manifests.settings.recognisers import PocketsphinxSettings
from tokenization.adapter import Wave, checked_wave
from tokenization.recognisers.base import RATE, RecogniserSpec, Transcript, compression

VERSION = "1"
PATIENT = {"beam": 1e-120, "pbeam": 1e-120, "wbeam": 1e-100}  # usually 1e-48, 1e-48 and 7e-29
ALTERNATIVE = re.compile(r"\(\d+\)$")  # marks a second pronunciation of a word


def described(settings: PocketsphinxSettings) -> RecogniserSpec:
    """What it is. Its model comes with the package, and so goes by its version."""
    return RecogniserSpec(settings.name, f"{VERSION}-{version('pocketsphinx')}", "", language="en")


def opened(settings: PocketsphinxSettings) -> PocketsphinxRecogniser:
    """It listens openly."""
    return PocketsphinxRecogniser()


class PocketsphinxRecogniser:
    """One decoder; each utterance starts from the same state.

    The cepstral mean is taken over the utterance (``cmn="batch"``), and its front end begins anew with each: both would else carry over
    from one utterance to the next. It has no figure for how sure it is that could be held against others.
    """

    def __init__(self, grammar: str | None = None, patient: bool = False) -> None:
        """*grammar* is JSGF text whose public rules may be spoken; None listens openly.

        The usual search drops what looks unlikely midway, and where that was the sentence it hears nothing at all. A *patient* one keeps it, for somewhat more time: the best
        sentence is found, however badly a part of it is said. Then no sound is nothing: noise is some sentence too.
        """
        from pocketsphinx import Decoder

        self.spec = described(PocketsphinxSettings())
        config = {"samprate": RATE, "cmn": "batch", "loglevel": "FATAL", **(PATIENT if patient else {})}
        if grammar is None:
            self._decoder = Decoder(**config)
            return
        # a lattice search for the best path finds the same words in a closed grammar, at twice the time
        self._decoder = Decoder(lm=None, bestpath=False, **config)
        self._decoder.add_jsgf_string("grammar", _one_entry(grammar))
        self._decoder.activate_search("grammar")

    def recognise(self, waves: Sequence[Wave]) -> list[Transcript]:
        """What is heard in each wave; no words where there were none."""
        return [self._heard(as_int16(checked_wave(wave_T))) for wave_T in waves]

    def _heard(self, samples_T: np.ndarray) -> Transcript:
        if not len(samples_T):  # the decoder cannot take an empty buffer
            return Transcript("")
        self._decoder.reinit_feat()
        self._decoder.start_utt()
        self._decoder.process_raw(samples_T.tobytes(), full_utt=True)
        self._decoder.end_utt()
        heard = self._decoder.hyp()
        text = "" if heard is None else " ".join(ALTERNATIVE.sub("", word) for word in heard.hypstr.split())
        return Transcript(text, compression=compression(text))


def as_int16(wave_T: Wave) -> np.ndarray:
    """A wave in [-1, 1] as int16 samples."""
    return np.clip(np.rint(wave_T * 32768), -32768, 32767).astype(np.int16)


def _one_entry(grammar: str) -> str:
    """*grammar* with one public rule over all of its public rules: the decoder listens to the first one only."""
    names = re.findall(r"^public <([^>]+)>", grammar, flags=re.MULTILINE)
    if not names:
        raise ValueError("recogniser: the JSGF grammar has no public rule; mark at least one rule `public`")
    header, _, rules = grammar.replace("public <", "<").partition(";\ngrammar ")
    name, _, rules = rules.partition(";\n")
    alternatives = " | ".join(f"<{name}>" for name in names)
    return f"{header};\ngrammar {name};\npublic <anything> = {alternatives};\n{rules}"
