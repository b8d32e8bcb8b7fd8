"""The S3 tokenizer behind the adapter's contract.

Padding is masked in every layer, so utterances of any length go through together. Its positions end at 81 s: what is longer than 30 s goes
through in windows of 30 s that overlap by 4 s, two seconds of which are cut off on either side, as CosyVoice does. That is part of
the codec: its codes are not those of a whole that it cannot hear.

Shapes: N windows, T samples, M mel bands, L mel frames, F frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from manifests.settings.codecs import S3Settings
from tokenization.adapter import TokenizerError, TokenizerSpec
from tokenization.codecs.grouping import Grouping
from tokenization.codecs.neural import NeuralTokenizer, chosen_device
from tokenization.codecs.vocoders import Vocoder, vocoder
from tokenization.codecs.weights import find

if TYPE_CHECKING:
    from torch import Tensor

VERSION = "1"  # changes whenever the same weights would give other codes
LAYERS = {"v2": 6, "v3": 12}
VOCABULARY, FRAME_RATE, RATE = 6_561, 25.0, 16_000
HOP, PER_FRAME = 160, 4  # samples of a mel frame, mel frames of a frame
WINDOW, STRIDE = 3_000, 2_600  # mel frames
CUT = (WINDOW - STRIDE) // 2 // PER_FRAME  # frames


def opened(settings: S3Settings) -> NeuralTokenizer:
    """Raises :class:`TokenizerError` where weights, device or vocoder are missing, or do not fit the recipe."""
    from tokenization.codecs.s3.files import network_of, read

    device = chosen_device(settings.device)
    found = find(settings, settings.name, (f"speech_tokenizer_{settings.model}.onnx",))
    model = network_of(read(found.weights), found.weights, LAYERS[settings.model]).to(device)
    sound = vocoder(settings.vocoder) if settings.vocoder else None
    spec = TokenizerSpec(settings.name, f"{VERSION}-{settings.model}", FRAME_RATE, 1, VOCABULARY, RATE, found.checksum)
    return NeuralTokenizer(spec, S3(model, settings.batch_seconds, sound), device, can_decode=sound is not None)


def windows(mel_frames: int) -> list[tuple[int, int]]:
    """(start, end) of the windows of an utterance, in mel frames. The first that reaches the end is the last."""
    if mel_frames <= WINDOW:
        return [(0, mel_frames)]
    starts = range(0, mel_frames - WINDOW + STRIDE, STRIDE)
    return [(start, min(start + WINDOW, mel_frames)) for start in starts]


@dataclass(frozen=True)
class S3:
    model: Any
    batch_seconds: float
    sound: Vocoder | None

    def frames(self, samples: int) -> int:
        return -(-max(samples // HOP, 1) // PER_FRAME)

    def encode(self, waves: Sequence[Tensor]) -> list[Tensor]:
        import torch

        spans = [(i, mel_ML[:, start:end]) for i, mel_ML in enumerate(map(self._mel, waves))
                 for start, end in windows(mel_ML.shape[-1])]  # fmt: skip
        grouping = Grouping(int(self.batch_seconds * RATE / HOP))
        codes: list[Any] = [None] * len(spans)
        for group in grouping.groups([mel_ML.shape[-1] for _, mel_ML in spans]):
            for i, codes_F in zip(group, self._codes([spans[i][1] for i in group]), strict=True):
                codes[i] = codes_F
        parts = [[codes[j] for j, (of, _) in enumerate(spans) if of == i] for i in range(len(waves))]
        return [torch.cat([_middle(p, k, len(part)) for k, p in enumerate(part)])[:, None] for part in parts]

    def _mel(self, wave_T: Tensor) -> Tensor:
        import torch

        from tokenization.codecs.s3.mel import log_mel

        shortest = HOP * PER_FRAME  # what is shorter has no spectrum
        padded_T = torch.nn.functional.pad(wave_T, (0, max(0, shortest - len(wave_T))))
        mel_ML = log_mel(padded_T, self.model.encoder.conv1.in_channels)
        return mel_ML[:, : max(len(wave_T) // HOP, 1)]

    def _codes(self, mels: Sequence[Tensor]) -> list[Tensor]:
        """``codes_F`` of windows, padded to the longest."""
        import torch

        counts_N = torch.tensor([mel_ML.shape[-1] for mel_ML in mels], device=mels[0].device)
        longest = int(counts_N.max())
        mel_NML = torch.stack([torch.nn.functional.pad(mel_ML, (0, longest - mel_ML.shape[-1])) for mel_ML in mels])
        codes_NF = self.model(mel_NML, counts_N)
        return [codes_F[: -(-int(count) // PER_FRAME)] for codes_F, count in zip(codes_NF, counts_N, strict=True)]

    def decode(self, codes_FQ: Tensor) -> Tensor:
        import torch

        if self.sound is None:
            raise TokenizerError("the S3 tokenizer makes no sound by itself: name a vocoder (speech.vocoder)")
        return torch.from_numpy(self.sound(codes_FQ[:, 0].cpu().numpy()))

    def steps(self) -> None:
        """A vocoder is given whole utterances."""

    def vectors(self) -> Tensor:
        """The levels of each code in the quantizer's eight dimensions."""
        import torch

        from tokenization.codecs.s3.network import DIMENSIONS, LEVELS

        codes_K1 = torch.arange(VOCABULARY)[:, None]
        return (codes_K1 // LEVELS ** torch.arange(DIMENSIONS) % LEVELS - 1).float()[None]


def _middle(codes_F: Tensor, position: int, count: int) -> Tensor:
    """What is kept of a window's codes: all but the overlaps with those before and after."""
    return codes_F[CUT if position else 0 : len(codes_F) - (CUT if position < count - 1 else 0)]
