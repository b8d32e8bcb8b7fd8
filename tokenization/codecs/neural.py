"""A codec's network behind the adapter's contract.

Shapes: T samples, F frames, Q codebooks, K codes of each, Z dimensions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from tokenization.adapter import Codes, TokenizerError, TokenizerSpec, Vectors, Wave, checked_codes, checked_wave
from tokenization.streaming import cannot_stream

if TYPE_CHECKING:
    from torch import Tensor

    from tokenization.codecs.streaming import CodecStream, Steps


class Network(Protocol):
    """What a codec does with tensors, on its own device."""

    def frames(self, samples: int) -> int: ...

    def encode(self, waves: Sequence[Tensor]) -> list[Tensor]:
        """``wave_T`` of at least one sample each to ``codes_FQ``."""
        ...

    def decode(self, codes_FQ: Tensor) -> Tensor:
        """At least one frame to ``wave_T``. Raises :class:`TokenizerError` where there is no decoder."""
        ...

    def steps(self) -> Steps | None:
        """A fresh decoder that is fed piece by piece; None where there is none."""
        ...

    def vectors(self) -> Tensor | None: ...


@dataclass(frozen=True)
class NeuralTokenizer:
    """A network and what it is. One thread computes: codes do not depend on how many there are."""

    spec: TokenizerSpec
    network: Network
    device: str
    can_decode: bool = True
    can_encode = True

    def frames(self, samples: int) -> int:
        return self.network.frames(samples) if samples else 0

    def encode(self, waves: Sequence[Wave]) -> list[Codes]:
        import torch

        sounds = [checked_wave(wave_T) for wave_T in waves]
        heard = [torch.from_numpy(wave_T).to(self.device) for wave_T in sounds if len(wave_T)]
        with computing():
            made = iter(self.network.encode(heard) if heard else [])
        silent = np.zeros((0, self.spec.codebooks), np.uint16)
        return [checked_codes(next(made).cpu().numpy(), self.spec) if len(wave_T) else silent for wave_T in sounds]

    def decode(self, codes_FQ: Codes) -> Wave:
        import torch

        codes = checked_codes(codes_FQ, self.spec)
        if not self.can_decode:
            raise TokenizerError(f"codes of {self.spec.name} cannot be turned to sound here: it has no decoder")
        if not len(codes):
            return np.zeros(0, np.float32)
        with computing():
            wave_T = self.network.decode(torch.from_numpy(codes.astype(np.int64)).to(self.device))
        return np.ascontiguousarray(wave_T.cpu().numpy(), dtype=np.float32)

    def stream(self) -> CodecStream:
        """A fresh stream. Raises :class:`TokenizerError` where the codec makes sound of whole utterances only, or none."""
        from tokenization.codecs.streaming import CodecStream

        with computing():
            steps = self.network.steps() if self.can_decode else None
        if steps is None:
            raise TokenizerError(cannot_stream(self.spec.name))
        return CodecStream(self.spec, steps, self.device)

    def vectors(self) -> Vectors | None:
        vectors_QKZ = self.network.vectors()
        return None if vectors_QKZ is None else vectors_QKZ.detach().cpu().numpy().astype(np.float32)


@contextmanager
def computing() -> Iterator[None]:
    """One thread, and nothing kept for gradients: sums do not depend on how many cores there are."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            yield
    finally:
        torch.set_num_threads(threads)


def chosen_device(device: str, block: str = "speech") -> str:
    """``device`` as a block of the recipe says it. Raises :class:`TokenizerError` where it is not there."""
    import torch

    if device != "cpu" and not torch.cuda.is_available():
        raise TokenizerError(
            f"{block}.device is {device!r}, but PyTorch sees no GPU here: set it to cpu, or give workers one (run.gpus_per_worker=1)"
        )
    return device


def sized(wave_T: Tensor, samples: int) -> Tensor:
    """``wave_T`` cut or padded with silence to ``samples``."""
    import torch

    return torch.nn.functional.pad(wave_T, (0, samples - len(wave_T)))
