"""Checkpoints of real codec architectures with seeded random weights, in each codec's own format.

Random codebooks make few codes, so every codebook is taken from what the encoder says about some sounds: many codes then occur.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from manifests.settings.codecs import (
    CodecSettings,
    DacSettings,
    EncodecSettings,
    MimiSettings,
    S3Settings,
    XcodecSettings,
)
from tests.small_corpus import tone

ENCODEC_48 = {
    "sampling_rate": 48_000, "audio_channels": 2, "normalize": True, "chunk_length_s": 1.0, "overlap": 0.01,
    "use_causal_conv": False, "norm_type": "time_group_norm", "target_bandwidths": [3.0, 6.0, 12.0, 24.0],
}  # fmt: skip
SMALL_MIMI = {
    "num_filters": 4, "hidden_size": 32, "codebook_size": 64, "codebook_dim": 16, "vector_quantization_hidden_dimension": 16,
    "num_hidden_layers": 2, "intermediate_size": 64, "num_attention_heads": 2, "num_key_value_heads": 2, "upsample_groups": 32,
    "num_quantizers": 8, "sliding_window": 20,
}  # fmt: skip
SMALL_HUBERT = {
    "model_type": "hubert", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16,
    "conv_dim": [8] * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2, "do_stable_layer_norm": False,
}  # fmt: skip


LOUDER = 30.0  # random weights say little of how a sound varies: what they hear is made louder


def sounds(seconds: float, rate: int, count: int = 1, seed: int = 0) -> list[np.ndarray]:
    """Different ``wave_T``: tones like speech with noise that comes and goes."""
    rng = np.random.default_rng(seed)
    made = []
    for i in range(count):
        wave_T = np.resize(tone(seed + i, seconds), int(seconds * rate))
        level_T = np.abs(np.sin(np.arange(len(wave_T)) / rate * (3 + i)))
        made.append((wave_T + 0.1 * level_T * rng.standard_normal(len(wave_T))).astype(np.float32))
    return made


def _heard(rate: int, channels: int = 1) -> torch.Tensor:
    """``waves_NDT`` that codebooks are taken from."""
    return torch.from_numpy(np.stack(sounds(1.0, rate, 6, seed=100)))[:, None].expand(-1, channels, -1)


def _drawn(rows_MZ: torch.Tensor, size: int) -> torch.Tensor:
    """``size`` of the rows, with a little noise where there are too few."""
    order = torch.randperm(max(len(rows_MZ), size)) % len(rows_MZ)
    rows = rows_MZ[order[:size]]
    return rows + 0.05 * rows_MZ.std(0) * torch.randn_like(rows)


def _fit_residual(layers: Any, latents_NDF: torch.Tensor, put: Callable[[Any, torch.Tensor], None], size: int) -> None:
    residual = latents_NDF
    for layer in layers:
        put(layer.codebook, _drawn(residual.mT.flatten(0, 1), size))
        residual = residual - layer.decode(layer.encode(residual))


def _spread(last: Any, latents_NDF: torch.Tensor) -> None:
    """Change an encoder's last convolution so that all that it says varies, and as much: distances are then far above rounding."""
    std_D, mean_D = latents_NDF.std((0, 2)), latents_NDF.mean((0, 2))
    last.parametrizations.weight.original0.div_(std_D[:, None, None])
    last.bias.copy_((last.bias - mean_D) / std_D)


def _put_embed(codebook: Any, rows: torch.Tensor) -> None:
    codebook.embed.copy_(rows)


def _put_sums(codebook: Any, rows: torch.Tensor) -> None:
    codebook.embed_sum.copy_(rows)
    codebook.cluster_usage.fill_(1.0)
    codebook._embed = None


def _latents(model: Any, waves_NDT: torch.Tensor, **asked: Any) -> torch.Tensor:
    """What the quantizer is given."""
    taken: list[torch.Tensor] = []
    real = model.quantizer.encode
    model.quantizer.encode = lambda latents, *rest, **more: taken.append(latents) or real(latents, *rest, **more)
    for wave_DT in waves_NDT:
        model.encode(wave_DT[None], **asked)
    del model.quantizer.encode
    return torch.cat(taken, dim=-1)


@torch.no_grad()
def encodec(rate: int = 24_000, small: bool = True) -> Any:
    from transformers import EncodecConfig, EncodecModel

    torch.manual_seed(0)
    sizes = {"num_filters": 4, "hidden_size": 16} if small else {}
    model = EncodecModel(EncodecConfig(**sizes, **(ENCODEC_48 if rate == 48_000 else {}))).eval()
    if rate == 24_000:
        model.encoder.layers[0].conv.parametrizations.weight.original0.mul_(LOUDER)
        _spread(model.encoder.layers[-1].conv, _latents(model, _heard(rate)))
    latents = _latents(model, _heard(rate, model.config.audio_channels), bandwidth=6.0)
    _fit_residual(model.quantizer.layers, latents, _put_embed, 1024)
    return model


@torch.no_grad()
def mimi(small: bool = True) -> Any:
    from transformers import MimiConfig, MimiModel

    torch.manual_seed(0)
    model = MimiModel(MimiConfig(**(SMALL_MIMI if small else {}))).eval()
    latents = _latents(model, _heard(24_000))
    for part in (
        model.quantizer.semantic_residual_vector_quantizer,
        model.quantizer.acoustic_residual_vector_quantizer,
    ):
        _fit_residual(part.layers, part.input_proj(latents), _put_sums, model.config.codebook_size)
    return model


@torch.no_grad()
def dac(rate: int = 16_000, small: bool = True) -> Any:
    from transformers import DacConfig, DacModel

    torch.manual_seed(0)
    ratios = {16_000: [2, 4, 5, 8], 24_000: [2, 4, 5, 8], 44_100: [2, 4, 8, 8]}[rate]
    sizes = (
        {"encoder_hidden_size": 4, "decoder_hidden_size": 32, "codebook_size": 64, "n_codebooks": 4}
        if small
        else {"n_codebooks": 12}
    )
    model = DacModel(DacConfig(downsampling_ratios=ratios, sampling_rate=rate, **sizes)).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.Conv1d):
            torch.nn.init.kaiming_normal_(module.weight)
    residual = model.encoder(_heard(rate)[: None if small else 1])
    for book in model.quantizer.quantizers:
        book.codebook.weight.copy_(_drawn(book.in_proj(residual).mT.flatten(0, 1), model.config.codebook_size))
        residual = residual - book(residual)[0]
    _quieter(model)
    return model


def _quieter(model: Any) -> None:
    """A decoder of random weights sounds at its limit all the time: change its last convolution so that it seldom gets there."""
    codes_NQF = torch.randint(0, model.config.codebook_size, (1, model.config.n_codebooks, 20))
    limit, model.decoder.tanh = model.decoder.tanh, torch.nn.Identity()
    sound_N1T = model.decoder(model.quantizer.from_codes(codes_NQF)[0])
    model.decoder.tanh = limit
    model.decoder.conv2.weight.mul_(0.3 / sound_N1T.std())
    model.decoder.conv2.bias.zero_()


@torch.no_grad()
def xcodec(small: bool = True) -> Any:
    from transformers import XcodecConfig, XcodecModel

    torch.manual_seed(0)
    acoustic = {"model_type": "dac", "encoder_hidden_size": 4, "decoder_hidden_size": 32, "hidden_size": 16,
                "downsampling_ratios": [8, 5, 4, 2], "upsampling_ratios": [8, 5, 4, 2]}  # fmt: skip
    sizes = {"acoustic_model_config": acoustic, "semantic_model_config": SMALL_HUBERT} if small else {}
    model = XcodecModel(XcodecConfig(**sizes)).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.Conv1d | torch.nn.Linear):
            torch.nn.init.normal_(module.weight, std=(2 / module.weight[0].numel()) ** 0.5)
    _fit_residual(model.quantizer.quantizers, _latents(model, _heard(16_000)[: None if small else 1]), _put_embed, 1024)
    return model


@torch.no_grad()
def s3(layers: int = 6, width: int = 64) -> dict[str, torch.Tensor]:
    """The state dict of a narrow S3 tokenizer, as the ``s3tokenizer`` package names its arrays."""
    from tokenization.codecs.s3.mel import log_mel
    from tokenization.codecs.s3.network import S3Network

    torch.manual_seed(0)
    network = S3Network(128, width, layers).eval()
    mels = torch.stack([log_mel(wave_DT[0], 128) for wave_DT in _heard(16_000)])
    heard_MD = network.encoder(mels, torch.full((len(mels),), mels.shape[-1])).flatten(0, 1)
    down = network.quantizer._codebook.project_down
    said_M8 = (heard_MD - heard_MD.mean(0)) @ down.weight.T
    down.weight.div_(said_M8.std(0)[:, None])
    down.bias.copy_(-(heard_MD.mean(0) @ down.weight.T))
    return network.state_dict()


def original_names(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Arrays of transformers' EncodecModel under the names of the original implementation."""
    return {_original(name): array for name, array in state.items()}


def _original(name: str) -> str:
    half, _, rest = name.partition(".")
    if half == "quantizer":
        return name.replace("quantizer.layers.", "quantizer.vq.layers.").replace(".codebook.", "._codebook.")
    upwards = half == "decoder" and rest.split(".")[1] in UPSAMPLING and "block" not in rest and "shortcut" not in rest
    kind = "convtr" if upwards else "conv"
    rest = rest.replace("layers.", "model.").replace("parametrizations.weight.original0", "weight_g")
    rest = rest.replace("parametrizations.weight.original1", "weight_v")
    rest = rest.replace(".conv.", f".{kind}.{kind}.").replace(".norm.", f".{kind}.norm.")
    return f"{half}.{rest}"


UPSAMPLING = {"3", "6", "9", "12"}  # the layers of the decoder that are transposed convolutions


def save(folder: Path, name: str) -> CodecSettings:
    """A small checkpoint of codec ``name`` under ``folder``, and settings that open it."""
    made: dict[str, tuple[Callable[[], Any], CodecSettings]] = {
        "encodec": (encodec, EncodecSettings(bandwidth=3)),
        "encodec_48": (lambda: encodec(48_000), EncodecSettings(sample_rate=48_000, bandwidth=3)),
        "mimi": (mimi, MimiSettings(codebooks=4)),
        "dac": (dac, DacSettings(codebooks=3)),
        "dac_44": (lambda: dac(44_100), DacSettings(sample_rate=44_100)),
        "xcodec": (xcodec, XcodecSettings(bandwidth=1)),
        "s3_v2": (s3, S3Settings()),
        "s3_v3": (lambda: s3(12), S3Settings(model="v3")),
    }
    make, settings = made[name]
    place = folder / name
    if name.startswith("s3"):
        place.mkdir(parents=True)
        place = place / "s3.pt"
        torch.save(make(), place)
    else:
        make().save_pretrained(place)
    return settings.model_copy(update={"weights": str(place)})


CODECS = ("encodec", "encodec_48", "mimi", "dac", "dac_44", "xcodec", "s3_v2", "s3_v3")
