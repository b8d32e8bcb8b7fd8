"""EnCodec's original checkpoints: a state dict in a ``.th`` file, whose names are those of another implementation."""

from __future__ import annotations

import re
from typing import Any

from tokenization.adapter import TokenizerError
from tokenization.codecs.pretrained import library
from tokenization.codecs.weights import Found

RENAMED = (
    (r"^(encoder|decoder)\.model\.", r"\1.layers."),
    (r"\.(?:conv|convtr)\.(?:conv|convtr)\.", ".conv."),
    (r"\.(?:conv|convtr)\.norm\.", ".norm."),
    (r"^quantizer\.vq\.layers\.(\d+)\._codebook\.", r"quantizer.layers.\1.codebook."),
    (r"\.weight_g$", ".parametrizations.weight.original0"),
    (r"\.weight_v$", ".parametrizations.weight.original1"),
)


def renamed(name: str) -> str:
    """What transformers calls the array that the original implementation calls ``name``."""
    for pattern, new in RENAMED:
        name = re.sub(pattern, new, name)
    return name


def original_config(sample_rate: int) -> Any:
    """The architecture of the published model of 24 or 48 kHz."""
    config = library("encodec").EncodecConfig
    if sample_rate == 24_000:
        return config()
    return config(
        sampling_rate=48_000, audio_channels=2, normalize=True, chunk_length_s=1.0, overlap=0.01, use_causal_conv=False,
        norm_type="time_group_norm", target_bandwidths=[3.0, 6.0, 12.0, 24.0],
    )  # fmt: skip


def load_original(config: Any, found: Found) -> Any:
    """The model with the weights of an original file; nothing but arrays is read of it.

    Raises :class:`TokenizerError` where it is no such file, or one of another model.
    """
    import torch

    try:
        state = torch.load(found.weights, map_location="cpu", weights_only=True)
    except Exception as error:  # unpickling refuses with errors of many types
        raise TokenizerError(
            f"speech.weights: {found.weights} is no state dict of EnCodec ({' '.join(str(error).split())[:200]})"
        ) from error
    model = library("encodec").EncodecModel(config)
    try:
        model.load_state_dict({renamed(name): array for name, array in state.items()}, strict=True)
    except (RuntimeError, AttributeError) as error:
        raise TokenizerError(
            f"speech.weights: {found.weights} is not the EnCodec of {config.sampling_rate} Hz that speech.sample_rate says "
            f"({' '.join(str(error).split())[:200]})"
        ) from error
    return model
