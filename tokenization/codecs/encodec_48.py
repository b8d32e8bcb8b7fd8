"""EnCodec of 48 kHz: stereo, not causal, in segments of one second that overlap by 1 % and are each made equally loud.

Each segment has its own 150 frames, so 0.99 s of sound bring 150 codes: 151.5 a second. A mono sound goes in on both channels. How loud
a segment was is no code: sound made from codes has the same loudness everywhere.

Shapes: N segments, T samples, F frames, Q codebooks.
"""

from __future__ import annotations

from collections.abc import Sequence
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
        import torch

        scale = torch.full((1, 1), LOUDNESS if self.model.config.normalize else 1.0, device=codes_FQ.device)
        segments = [self.model._decode_frame(part.T[None], scale) for part in codes_FQ.split(self._segment_frames)]
        return self.model._linear_overlap_add(segments, self.model.config.chunk_stride)[0].mean(dim=0)

    def vectors(self) -> Tensor:
        return codebook_vectors(self.model, self.model.quantizer.get_num_quantizers_for_bandwidth(self.bandwidth))
