"""The weights of the S3 tokenizer: a state dict (``.pt``, ``.safetensors``), or the released ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tokenization.adapter import TokenizerError
from tokenization.codecs.s3.network import HEAD, S3Network

if TYPE_CHECKING:
    from torch import Tensor


def read(path: Path) -> dict[str, Tensor]:
    """The arrays of a file, by their names. Nothing but arrays is read. Raises :class:`TokenizerError`."""
    try:
        if path.suffix == ".onnx":
            from tokenization.codecs.s3.onnx_file import read_onnx

            return read_onnx(path)
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        import torch

        return torch.load(path, map_location="cpu", weights_only=True)
    except ImportError as error:
        raise TokenizerError(
            f"speech.weights: {path} is an ONNX file, which needs the library onnx ({error}): pip install 'speechmill[s3tokenizer]'"
        ) from error
    except TokenizerError:
        raise
    except Exception as error:  # safetensors, unpickling and protobuf refuse with errors of many types
        raise TokenizerError(
            f"speech.weights: {path} holds no weights of an S3 tokenizer ({' '.join(str(error).split())[:200]})"
        ) from error


def network_of(state: dict[str, Tensor], path: Path, layers: int) -> S3Network:
    """The network whose sizes the arrays tell. Raises :class:`TokenizerError` where it is none, or has not ``layers``."""
    try:
        width, mels, _ = state["encoder.conv1.weight"].shape
        found = 1 + max(int(name.split(".")[2]) for name in state if name.startswith("encoder.blocks."))
        network = S3Network(mels, width, found)
        network.load_state_dict(
            {name: array.float() for name, array in state.items() if name != FREQUENCIES}, strict=True
        )
    except (KeyError, ValueError, RuntimeError, AttributeError, TypeError) as error:
        raise TokenizerError(
            f"speech.weights: {path} holds no weights of an S3 tokenizer v2 or v3 ({' '.join(str(error).split())[:200]})"
        ) from error
    if layers != found:
        raise TokenizerError(
            f"speech.weights: {path} has {found} layers, speech.model says {layers}: is it the other model?"
        )
    if width % HEAD:
        raise TokenizerError(f"speech.weights: {path}: {width} channels are no multiple of {HEAD}")
    return network.eval()


FREQUENCIES = "encoder.freqs_cis"
