"""EnCodec of 48 kHz: stereo, not causal, in segments of one second that overlap by 1 % and are each made equally loud.

Each segment has its own 150 frames, so 0.99 s of sound bring 150 codes: 151.5 a second. A mono sound goes in on both channels. How loud
a segment was is no code: sound made from codes has the same loudness everywhere.

Shapes: N segments, T samples, F frames, Q codebooks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tokenization.adapter import frames_by_hop
from tokenization.codecs.encodec import codebook_vectors, quantized
from tokenization.codecs.grouping import Grouping

if TYPE_CHECKING:
    from torch import Tensor

LOUDNESS = 0.08  # root mean square of what is made from codes: that of speech at about -22 dB of full scale


@dataclass(frozen=True)
class SegmentedEncodec:
    """EnCodec of 48 kHz."""

    model: Any
    bandwidth: float
    batch_seconds: float

    @property
    def _segment_frames(self) -> int:
        return frames_by_hop(self.model.config.chunk_length, self.model.config.hop_length)

    @property
    def frame_rate(self) -> float:
        return self._segment_frames * self.model.config.sampling_rate / self.model.config.chunk_stride

    def _segments(self, samples: int) -> list[tuple[int, int]]:
        config = self.model.config
        return [(start, min(start + config.chunk_length, samples)) for start in range(0, samples, config.chunk_stride)]

    def frames(self, samples: int) -> int:
        return sum(frames_by_hop(end - start, self.model.config.hop_length) for start, end in self._segments(samples))

    def encode(self, waves: Sequence[Tensor]) -> list[Tensor]:
        import torch

        segments = [
            (i, wave_T[start:end]) for i, wave_T in enumerate(waves) for start, end in self._segments(len(wave_T))
        ]
        grouping = Grouping(int(self.batch_seconds * self.model.config.sampling_rate), equal=True)
        codes: list[Any] = [None] * len(segments)
        for group in grouping.groups([len(segment_T) for _, segment_T in segments]):
            stereo_NCT = torch.stack([segments[i][1] for i in group])[:, None].expand(
                -1, self.model.config.audio_channels, -1
            )
            for i, codes_FQ in zip(group, self._codes(stereo_NCT), strict=True):
                codes[i] = codes_FQ
        return [torch.cat([codes[j] for j, (of, _) in enumerate(segments) if of == i]) for i in range(len(waves))]

    def _codes(self, stereo_NCT: Tensor) -> Tensor:
        """``codes_NFQ`` of segments, each scaled to a root mean square of one."""
        if self.model.config.normalize:
            loudness_N11 = stereo_NCT.mean(1, keepdim=True).pow(2).mean(dim=-1, keepdim=True).sqrt() + 1e-8
            stereo_NCT = stereo_NCT / loudness_N11
        return quantized(self.model, self.model.encoder(stereo_NCT), self.bandwidth)

    def decode(self, codes_FQ: Tensor) -> Tensor:
        """The mean of both channels; segments are faded into each other."""
        return self.steps().feed(codes_FQ, True)

    def steps(self) -> SegmentedSteps:
        return SegmentedSteps(
            self._sound, self.model._linear_overlap_add, self._segment_frames, self.model.config.chunk_stride
        )

    def _sound(self, codes_FQ: Tensor) -> Tensor:
        """``wave_1CT`` of a segment."""
        import torch

        scale = torch.full((1, 1), LOUDNESS if self.model.config.normalize else 1.0, device=codes_FQ.device)
        return self.model._decode_frame(codes_FQ.T[None], scale)

    def vectors(self) -> Tensor:
        return codebook_vectors(self.model, self.model.quantizer.get_num_quantizers_for_bandwidth(self.bandwidth))


@dataclass
class SegmentedSteps:
    """Segment by segment: what no later segment is faded into leaves.

    sound     codes of a segment to ``wave_1CT``
    faded     the library's way of adding segments that overlap
    frames    of a segment
    stride    samples from the beginning of one segment to that of the next
    """

    sound: Callable[[Any], Any]
    faded: Callable[[list[Any], int], Any]
    frames: int
    stride: int
    _codes: Any = None
    _before: Any = None

    def feed(self, codes_FQ: Tensor, last: bool) -> Tensor:
        import torch

        self._codes = codes_FQ if self._codes is None else torch.cat([self._codes, codes_FQ])
        parts = []
        while len(self._codes) > self.frames or (last and len(self._codes)):
            segment_FQ, self._codes = self._codes[: self.frames], self._codes[self.frames :]
            parts.append(self._segment(segment_FQ, last and not len(self._codes)))
        return torch.cat(parts) if parts else torch.zeros(0, device=codes_FQ.device)

    def _segment(self, codes_FQ: Tensor, last: bool) -> Tensor:
        """The sound from the beginning of a segment to that of the next, or to its end; what goes before fades out in it."""
        import torch.nn.functional as F

        wave_1CT = self.sound(codes_FQ)
        end = wave_1CT.shape[-1] if last else self.stride
        if self._before is None:
            joined_1CT = self.faded([wave_1CT], self.stride)
        else:
            overlap = self._before.shape[-1] - self.stride
            filled_1CT = F.pad(
                wave_1CT, (0, max(0, overlap - wave_1CT.shape[-1]))
            )  # the last may be shorter than what it is faded into
            joined_1CT = self.faded([self._before, filled_1CT], self.stride)[..., self.stride :]
        self._before = wave_1CT
        return joined_1CT[0, :, :end].mean(dim=0)
