"""Speech tokenizers that turn codes to sound while they still arrive."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from tokenization.adapter import Codes, SpeechTokenizer, TokenizerError, Wave


class SoundStream(Protocol):
    """The sound of one utterance. What it gave is final; in all it gives as many samples as ``decode`` of all codes."""

    def push(self, codes_FQ: Codes) -> Wave:
        """Take in frames; float32 ``wave_T`` of the samples that are certain now, maybe none."""
        ...

    def finish(self) -> Wave:
        """The rest of the samples, when no frame follows."""
        ...


@runtime_checkable
class Streaming(Protocol):
    """What a tokenizer offers beside :class:`SpeechTokenizer` where it can stream."""

    def stream(self) -> SoundStream:
        """A fresh stream. Raises :class:`TokenizerError` where its settings leave it none."""
        ...


def open_stream(tokenizer: SpeechTokenizer) -> SoundStream:
    """A fresh stream. Raises :class:`TokenizerError` where the tokenizer makes sound of whole utterances only, or none."""
    if not isinstance(tokenizer, Streaming):
        raise TokenizerError(cannot_stream(tokenizer.spec.name))
    return tokenizer.stream()


def cannot_stream(name: str) -> str:
    return f"the {name!r} tokenizer cannot make sound block by block: leave out --stream"
