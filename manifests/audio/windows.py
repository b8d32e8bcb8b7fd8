"""Sound of any length in windows: a few seconds of it in memory at a time, by the same libraries and rules as :mod:`manifests.audio.decode`.

Legend: piece_CT, block_TC are float32, full scale 1.0; channels x samples, samples x channels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import numpy as np

from manifests.audio.decode import BLOCK_SAMPLES, Decoded, Span, decode_into, put_piece
from manifests.audio.probe import Unreadable, check_shape


class Listener(Protocol):
    """Whoever hears a recording window by window."""

    def hear(self, piece_CT: np.ndarray) -> None:
        """The next window; the memory is written over afterwards."""
        ...


L = TypeVar("L", bound=Listener)


@dataclass(frozen=True)
class Heard(Generic[L]):
    """A recording that was heard to its end.

    listener   who heard it
    decoded    what :func:`~manifests.audio.decode.decode` would give; only that its sound is gone, and all zeros
    """

    listener: L
    decoded: Decoded


class _Passing:
    """A sink that keeps one window, and passes it on when it is full."""

    def __init__(
        self, listener: Listener, max_seconds: float, window: int, rate: int, channels: int, expected: int | None
    ) -> None:
        self.listener, self.rate, self.channels, self.frames = listener, rate, channels, 0
        self.expected = expected
        self.max_seconds, self.most = max_seconds, int(max_seconds * rate)
        self.block_TC, self.filled = np.empty((max(window // channels, 1), channels), np.float32), 0

    def free(self) -> np.ndarray:
        """Room for no more than one frame beyond those that are expected: asked for more, libsndfile reads on in the file, and what it left unread is not seen."""
        left = None if self.expected is None else max(self.expected + 1 - self.frames, 1)
        return self.block_TC[self.filled :][:left]

    def take(self, frames: int) -> None:
        self.frames, self.filled = self.frames + frames, self.filled + frames
        if self.frames > self.most:
            raise Unreadable(
                "too_long", f"it decodes to more than segment.max_recording_seconds = {self.max_seconds:g}"
            )
        if self.filled == len(self.block_TC):
            self._pass_on()

    def put(self, piece_CT: np.ndarray) -> None:
        put_piece(self, piece_CT)

    def done(self) -> np.ndarray:
        """An array of the right shape that takes no memory: the sound itself was passed on."""
        self._pass_on()
        return np.broadcast_to(np.float32(0), (self.channels, self.frames))

    def _pass_on(self) -> None:
        if self.filled:
            self.listener.hear(self.block_TC[: self.filled].T)
        self.filled = 0


def listen(
    data: bytes | Path,
    new: Callable[[int, int], L],
    max_seconds: float,
    span: Span | None = None,
    window: int = BLOCK_SAMPLES,
) -> Heard[L]:
    """Decode, whole or in part, into the ears of a listener that ``new`` makes for a sample rate and a number of channels.

    ``window`` is the number of samples, over all channels, that are heard at a time. Where one library breaks off, the other one begins
    anew, with a new listener. (Of MP3, libmpg123 gives other last bits for other windows; so callers whose bytes count leave it as it is.) Raises :class:`Unreadable` and OSError as :func:`~manifests.audio.decode.decode` does, ``too_long`` for more than ``max_seconds``.
    """
    listeners: dict[str, L] = {}

    def make(decoder: str, rate: int, channels: int, expected: int | None) -> _Passing:
        check_shape(rate, channels)
        listeners[decoder] = new(rate, channels)
        return _Passing(listeners[decoder], max_seconds, window, rate, channels, expected)

    decoded = decode_into(data, make, span)
    return Heard(listeners[decoded.decoder], decoded)
