"""Codecs of Hugging Face transformers: opened from a folder of ``config.json`` and ``model.safetensors``."""

from __future__ import annotations

from typing import Any

import orjson

from manifests.fingerprint import canonical, sha256
from manifests.settings.codecs import CodecSettings
from tokenization.adapter import TokenizerError
from tokenization.codecs.weights import Found

IDLE = ("_name_or_path", "architectures", "dtype", "torch_dtype", "transformers_version", "return_dict")
"""What stands in a config and changes no code."""


def library(name: str) -> Any:
    """The transformers library. Raises :class:`TokenizerError` where it is not installed."""
    try:
        import transformers
    except ImportError as error:
        raise TokenizerError(
            f"speech.name is {name!r}, which needs the library transformers ({error}): pip install 'speechmill[codecs]'"
        ) from error
    return transformers


def config_of(kind: str, settings: CodecSettings, found: Found, name: str) -> Any:
    """The configuration beside the weights. Raises :class:`TokenizerError` where it is another codec's, or damaged."""
    if found.config is None:
        raise TokenizerError(
            f"speech.weights: {found.weights} is a file; {name!r} is read from a folder or repository with config.json and "
            "model.safetensors"
        )
    reader = getattr(library(name), f"{kind}Config")
    try:
        said = orjson.loads(found.config.read_bytes()).get("model_type")
        if said != reader.model_type:
            raise TokenizerError(f"speech.weights: {found.config} describes a model of type {said!r}, not {name!r}")
        return reader.from_pretrained(found.folder, local_files_only=True)
    except TokenizerError:
        raise
    except Exception as error:  # the library checks values with errors of many types
        raise TokenizerError(f"speech.weights: {found.config}: {' '.join(str(error).split())[:300]}") from error


def rate_is(settings: Any, rate: int, found: Found) -> None:
    """Raises :class:`TokenizerError` where the weights are of another sample rate than the recipe says."""
    if settings.sample_rate != rate:
        raise TokenizerError(
            f"speech.sample_rate is {settings.sample_rate}, but {found.weights} is a model of {rate} Hz"
        )


def model_of(kind: str, config: Any, found: Found, name: str, device: str) -> Any:
    """The model, in float32, on ``device``. Raises :class:`TokenizerError` where weights do not belong to ``config``."""
    import torch

    transformers = library(name)
    quiet = transformers.utils.logging
    bars, level = quiet.is_progress_bar_enabled(), quiet.get_verbosity()
    quiet.disable_progress_bar()
    quiet.set_verbosity_error()
    try:
        model, report = getattr(transformers, f"{kind}Model").from_pretrained(
            found.folder, config=config, local_files_only=True, use_safetensors=True, dtype=torch.float32,
            output_loading_info=True,
        )  # fmt: skip
    except Exception as error:  # the library raises anything for damaged files: RuntimeError, SafetensorError, OSError
        raise TokenizerError(f"speech.weights: {found.weights}: {' '.join(str(error).split())[:300]}") from error
    finally:
        quiet.set_verbosity(level)
        if bars:
            quiet.enable_progress_bar()
    faults = [f"{len(report[key])} {key.replace('_', ' ')}" for key in sorted(report) if report[key]]
    if faults:
        raise TokenizerError(f"speech.weights: {found.weights} does not belong to its config.json: {', '.join(faults)}")
    return model.eval().to(device)


def version(code: str, config: Any) -> str:
    """The version of an adapter: its code's, and a hash of what the configuration says beside the weights."""
    said = {key: value for key, value in config.to_dict().items() if key not in IDLE}
    return f"{code}-{sha256(canonical(said))[:12]}"


def asked_codebooks(asked: int | None, offered: int, name: str) -> int:
    """How many codebooks are used. Raises :class:`TokenizerError` where there are fewer."""
    if (asked or 1) > offered:
        raise TokenizerError(f"speech.codebooks is {asked}, but these weights of {name!r} have {offered}")
    return asked or offered
