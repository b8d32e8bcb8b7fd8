"""A trained talker with its tokenizers: text, or text states, in, speech codes out.

Legend: N rows, S text states, W their width, F frames, Q codebooks, M cells of a block, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from manifests.settings.train import WindowSettings
from pipelines.voice.errors import SpeakError
from pipelines.voice.manner import STEPS, Manner
from pipelines.voice.parts import Parts, read_parts, run_of
from pipelines.voice.words import States, Words, name_of
from training.decoding.acceptance import acceptance_of
from training.decoding.body import Body
from training.decoding.protocol import Decoder
from training.decoding.registry import open_decoder
from training.errors import CheckpointError
from training.loading import load_talker
from training.policies import frequencies, policy_of
from training.rows import TEXT_EOS
from training.talker import Talker

Ids = npt.NDArray[np.int64]

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}
KINDS = {"block": "block", "ar": "autoregressive", "mtp": "multi_token"}
TEACHES = {
    "two_stream": ("block",),
    "single_stream": ("block",),
    "autoregressive": ("ar",),
    "anchored": ("mtp", "ar"),
}


@dataclass(frozen=True)
class Voice:
    """A talker and its tokenizers. ``facts`` are those of its checkpoint."""

    run: Path
    talker: Talker
    facts: Mapping[str, Any]
    parts: Parts

    @classmethod
    def load(cls, path: str | Path, device: torch.device | str = "cpu", precision: str = "fp32") -> Voice:
        """Of a run or a checkpoint; ``precision`` is one of :data:`PRECISIONS`.

        Raises ``CheckpointError``, :class:`SpeakError`, ``TokenizerError``.
        """
        if precision not in PRECISIONS:
            raise SpeakError(f"no precision {precision!r}; there are {', '.join(PRECISIONS)}")
        if not Path(path).exists():
            raise CheckpointError(f"{path}: no such run; `speechmill train` makes one")
        talker, facts = load_talker(path, device=device)
        run = run_of(path)
        parts = read_parts(run)
        parts.require_those_of(facts, str(path))
        if not parts.speech.can_decode:
            raise SpeakError(
                f"{path}: speaks {parts.speech.spec.name!r} codes that came with the corpus: nothing here makes sound of them"
            )
        return cls(run, talker.in_numbers(PRECISIONS[precision]), facts, parts)

    @cached_property
    def body(self) -> Body:
        """The talker made ready, its weights in the order that few rows are multiplied by fastest."""
        return Body(self.talker, packed=True)

    @property
    def block(self) -> int:
        return self.talker.settings.block

    @property
    def kinds(self) -> tuple[str, ...]:
        """The decoders it was trained for, the usual one first."""
        return TEACHES[self.facts["recipe"]["train"]["stages"][-1]["layout"]]

    @property
    def windows(self) -> WindowSettings:
        """Those in which it learned to guess ahead."""
        stage = self.facts["recipe"]["train"]["stages"][-1]
        return WindowSettings.model_validate(stage.get("windows") or {})  # runs of old do not say

    def told(self, words: Words) -> Ids | States:
        """What the talker is fed of some words: ``ids_S``, the last one <eos>, or ``states_SW``.

        Raises :class:`SpeakError` for what says nothing, is too long, or is not what this talker reads.
        """
        told_S = self._ids(words) if isinstance(words, str) else self._states(words)
        if len(told_S) > self.talker.settings.max_frames:
            what = "tokens" if isinstance(words, str) else "states"
            raise SpeakError(
                f"the text has {len(told_S)} {what}, the talker reads {self.talker.settings.max_frames}: say it in parts"
            )
        return told_S

    def _ids(self, text: str) -> Ids:
        if not text.strip():
            raise SpeakError("the text is empty: nothing to say")
        if self.text_width is not None:
            raise SpeakError(
                f"{self.run}: reads text states of a language model (talker.text_width {self.text_width}), no text: give --states FILE.npy"
            )
        return np.append(self.parts.text.encode(text), TEXT_EOS).astype(np.int64)

    def _states(self, states_SW: States) -> States:
        if self.text_width is None:
            raise SpeakError(f"{self.run}: reads text, no text states (talker.text_width is empty): give it the text")
        if states_SW.shape[1] != self.text_width:
            raise SpeakError(
                f"{self.run}: reads text states of width {self.text_width} (talker.text_width), not {states_SW.shape[1]}"
            )
        return states_SW

    @property
    def text_width(self) -> int | None:
        """Of the text states that it reads; None: it reads text."""
        return self.talker.settings.text_width

    def batch(self, words: Sequence[Words]) -> tuple[Tensor, list[int]]:
        """``text_NS`` of what is to be said, ids or (NSW) states, padded, and how long each is."""
        rows = [self.told(one) for one in words]
        text_NS = np.zeros((len(rows), max(map(len, rows)), *rows[0].shape[1:]), rows[0].dtype)
        for row, told_S in enumerate(rows):
            text_NS[row, : len(told_S)] = told_S
        return torch.from_numpy(text_NS).to(self.talker.place.weight.device), [len(told_S) for told_S in rows]

    def frames(self, manner: Manner) -> float:
        """The longest speech that ``manner`` asks for, in frames: a whole number, or infinite; the talker may have positions for fewer."""
        asked = manner.max_seconds * self.parts.speech.spec.frame_rate
        return math.floor(asked) if math.isfinite(asked) else asked

    def decoder(self, manner: Manner, words: Sequence[Words], **changes: Any) -> Decoder:
        """A decoder that is to say ``words``; draws depend on what is said. Raises :class:`SpeakError`."""
        kind = manner.decoder or self.kinds[0]
        if kind not in KINDS:
            raise SpeakError(f"no decoder {kind!r}; there are {', '.join(KINDS)}")
        if kind not in self.kinds:
            raise SpeakError(f"{self.run}: trained for the decoder {' or '.join(self.kinds)}, not {kind}")
        manner.require_fit(kind)
        if not self.frames(manner) >= 1:
            raise SpeakError(f"at most {manner.max_seconds} seconds: nothing can be said so")
        settings = {
            "seed": manner.seed,
            "utterances": [name_of(one) for one in words],
            "max_frames": int(min(self.frames(manner), self.talker.settings.max_frames)),
            "body": self.body,
            **SETTINGS[kind](self, manner),
            **changes,
        }
        return open_decoder(self.talker, KINDS[kind], len(words), **settings)

    @cached_property
    def prior(self) -> Tensor:
        """Log frequencies of the codes in training, (C,) or, of several codebooks, (M, C)."""
        prior_QC = torch.stack([frequencies(torch.from_numpy(counts_C.copy())) for counts_C in self.parts.counts_QC])
        prior_QC = prior_QC.to(self.talker.place.weight.device)
        return prior_QC[0] if len(prior_QC) == 1 else prior_QC.repeat(self.block, 1)


T = TypeVar("T")


def _said(make: Callable[[str], T], text: str) -> T:
    """What ``make`` makes of an option. Raises :class:`SpeakError` where it knows no such thing."""
    try:
        return make(text)
    except ValueError as error:
        raise SpeakError(str(error)) from None


def _block(voice: Voice, manner: Manner) -> dict[str, Any]:
    policy = _said(policy_of, "even" if manner.policy is None else manner.policy)
    drawn = replace(policy, temperature=manner.temperature, top_p=manner.top_p, tempered=manner.tempered)
    return {"policy": drawn, "steps": manner.steps or STEPS, "prior": voice.prior}


def _frame_by_frame(voice: Voice, manner: Manner) -> dict[str, Any]:
    """On a processor, speech is looked at for its end after each frame; a GPU would have to wait for that."""
    on_cpu = voice.talker.place.weight.device.type == "cpu"
    return {"temperature": manner.temperature, "top_p": manner.top_p, "chunk": 1 if on_cpu else None}


def _guesses(voice: Voice, manner: Manner) -> dict[str, Any]:
    accept = _said(acceptance_of, "unverified" if manner.accept is None else manner.accept)
    learned = {"ahead": voice.windows.ahead, "causal": voice.windows.causal}
    return {"temperature": manner.temperature, "top_p": manner.top_p, "accept": accept, **learned}


SETTINGS: dict[str, Callable[[Voice, Manner], dict[str, Any]]] = {
    "block": _block,
    "ar": _frame_by_frame,
    "mtp": _guesses,
}


def rows_of(decoder: Decoder) -> Iterator[list[npt.NDArray[np.uint16]]]:
    """What each row says in each chunk, ``codes_FQ``."""
    while (chunk := decoder.next()) is not None:
        codes_NTQ = chunk.codes_NTQ.cpu().numpy()
        yield [codes_NTQ[row, :valid].astype(np.uint16) for row, valid in enumerate(chunk.valid_N)]


def blocks_of(decoder: Decoder, block: int) -> Iterator[npt.NDArray[np.uint16]]:
    """What a decoder of one row says, ``block`` frames at a time, fewer at the end: equal chunks from any decoder."""
    waiting: list[npt.NDArray[np.uint16]] = []
    for (codes_FQ,) in rows_of(decoder):
        waiting.append(codes_FQ)
        if sum(map(len, waiting)) >= block:
            joined_FQ = np.concatenate(waiting)
            yield joined_FQ[:block]
            waiting = [joined_FQ[block:]]
    if sum(map(len, waiting)):
        yield np.concatenate(waiting)
