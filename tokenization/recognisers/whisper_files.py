"""Weights of Whisper, in the two forms that people have: OpenAI's checkpoints (``{dims, model_state_dict}``), and folders of Hugging Face
transformers (``config.json``, ``model.safetensors``), whose arrays are the same under other names.

Either becomes the network of OpenAI's package, so both hear the same. Nothing but numbers and arrays is read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

import orjson

from manifests.settings.features import FeaturesSettings
from manifests.settings.recognisers import WhisperSettings
from tokenization.adapter import TokenizerError
from tokenization.codecs.weights import CONFIG, SAFETENSORS, Found, find
from tokenization.recognisers.base import RecogniserError

WORDS = "tokenizer.json"
MOST = 1 << 20  # of any size
MULTILINGUAL = 51_865  # entries of a vocabulary from which on it has marks for languages
VOCABULARIES = (51_864, 51_865, 51_866)  # English alone; with 99 languages; with 100
SIZES = {
    "n_mels": "num_mel_bins", "n_audio_ctx": "max_source_positions", "n_audio_state": "d_model", "n_audio_head": "encoder_attention_heads",
    "n_audio_layer": "encoder_layers", "n_vocab": "vocab_size", "n_text_ctx": "max_target_positions", "n_text_state": "d_model",
    "n_text_head": "decoder_attention_heads", "n_text_layer": "decoder_layers",
}  # fmt: skip
RENAMED = (
    (r"^model\.", ""),
    (r"\.layers\.", ".blocks."),
    (r"\.self_attn_layer_norm\.", ".attn_ln."),
    (r"\.encoder_attn_layer_norm\.", ".cross_attn_ln."),
    (r"\.final_layer_norm\.", ".mlp_ln."),
    (r"\.self_attn\.", ".attn."),
    (r"\.encoder_attn\.", ".cross_attn."),
    (r"\.q_proj\.", ".query."),
    (r"\.k_proj\.", ".key."),
    (r"\.v_proj\.", ".value."),
    (r"\.out_proj\.", ".out."),
    (r"\.fc1\.", ".mlp.0."),
    (r"\.fc2\.", ".mlp.2."),
    (r"^encoder\.layer_norm\.", "encoder.ln_post."),
    (r"^decoder\.layer_norm\.", "decoder.ln."),
    (r"\.embed_tokens\.", ".token_embedding."),
    (r"\.embed_positions\.weight$", ".positional_embedding"),
)
MARKS = ("<|endoftext|>", "<|startoftranscript|>", "<|transcribe|>", "<|notimestamps|>")
HEAD, EMBEDDING = "proj_out.weight", "decoder.token_embedding.weight"
PROBE = (
    "In 1984 naïve señors said «привет» to 東京, didn't they?"  # what any tokenizer of Whisper's reads in these numbers
)


def library(block: str) -> Any:
    """The package. Raises :class:`RecogniserError` where it is not installed; ``block`` of the recipe asks for it."""
    try:
        return import_module("whisper")
    except ImportError as error:
        raise RecogniserError(
            f"{block}.name is 'whisper', which needs the library openai-whisper ({error}): pip install 'speechmill[whisper]'"
        ) from error


def found_weights(settings: WhisperSettings | FeaturesSettings, block: str) -> Found:
    """A file, one of a folder by its name, or a folder or repository of transformers. Raises ``TokenizerError``."""
    path = Path(settings.weights).expanduser()
    if settings.weights and settings.model is None and path.is_dir() and not (path / CONFIG).is_file():
        raise TokenizerError(
            f"{block}.weights: {settings.weights} is a folder: name a checkpoint in it with {block}.model, or give one that has "
            f"{CONFIG} and {SAFETENSORS}"
        )
    if path.is_file() and path.suffix == ".safetensors":
        raise TokenizerError(f"{block}.weights: {path} is a file; give its folder, which has {CONFIG} as well")
    files = (CONFIG, SAFETENSORS) if settings.model is None else (f"{settings.model}.pt",)
    return find(settings, settings.name, files, block, (WORDS,))


def sizes(found: Found, block: str) -> dict[str, int]:
    """The sizes of the network, as OpenAI's package names them; no array is read. Raises :class:`RecogniserError`."""
    return _checkpoint(found.weights, block)["dims"] if found.config is None else _configured(found.config, block)


def loaded(found: Found, block: str) -> tuple[Any, dict[str, int]]:
    """The network, in float32, and its sizes. Raises :class:`RecogniserError`."""
    if found.config is None:
        held = _checkpoint(found.weights, block)
        dims, state = held["dims"], held["model_state_dict"]
    else:
        dims, state = _configured(found.config, block), _arrays(found.weights, block)
    model = library(block).model
    try:
        network = model.Whisper(model.ModelDimensions(**dims))
        network.load_state_dict(state)
    except (RuntimeError, AssertionError, ValueError) as error:
        raise RecogniserError(
            f"{block}.weights: {found.weights}: its arrays do not fit its {'dims' if found.config is None else CONFIG} "
            f"({' '.join(str(error).split())[:200]})"
        ) from error
    return network.float().eval(), dims


def require_words(found: Found, dims: Mapping[str, int], block: str) -> None:
    """Raises :class:`RecogniserError` where the numbers that the weights write stand for other words than Whisper's."""
    path = found.folder / WORDS
    if found.config is None or not path.is_file():
        return
    from tokenizers import Tokenizer

    several = dims["n_vocab"] >= MULTILINGUAL
    words = import_module("whisper.tokenizer").get_tokenizer(several, num_languages=dims["n_vocab"] - 51_765 - several)
    try:
        beside = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises plain exceptions
        raise RecogniserError(f"{block}.weights: {path} is damaged ({' '.join(str(error).split())[:200]})") from error
    same = [beside.token_to_id(mark) == words.special_tokens[mark] for mark in MARKS]
    if not all(same) or beside.decode(words.encode(PROBE)) != PROBE:
        raise RecogniserError(f"{block}.weights: {path} is not Whisper's: its numbers stand for other words")


def _checkpoint(path: Path, block: str) -> dict[str, Any]:
    """What OpenAI's file holds. Arrays are mapped, not read, where the format lets them be."""
    import torch

    names = {field.name for field in fields(library(block).model.ModelDimensions)}
    try:
        value = torch.load(path, map_location="cpu", weights_only=True, mmap=is_zipfile(path))
        dims, state = dict(value["dims"]), value["model_state_dict"]
        if set(dims) != names or not all(isinstance(n, int) and 0 < n < MOST for n in dims.values()):
            raise ValueError(f"its dims are not {', '.join(sorted(names))}")
        return {"dims": dims, "model_state_dict": dict(state)}
    except Exception as error:  # unpickling refuses with errors of many types
        raise RecogniserError(
            f"{block}.weights: {path} is no checkpoint of Whisper ({' '.join(str(error).split())[:200]})"
        ) from error


def _configured(path: Path, block: str) -> dict[str, int]:
    """What a folder of transformers says of its sizes."""
    try:
        said = orjson.loads(path.read_bytes())
        if said.get("model_type") != "whisper":
            raise ValueError(f"it describes a model of type {said.get('model_type')!r}")
        dims = {ours: said.get(theirs) for ours, theirs in SIZES.items()}
        for ours, value in dims.items():
            if not isinstance(value, int) or not 0 < value < MOST:
                raise ValueError(f"its {SIZES[ours]} is {value!r}")
        _require_openais(said, dims)
    except (orjson.JSONDecodeError, AttributeError, ValueError) as error:
        raise RecogniserError(f"{block}.weights: {path} describes no Whisper that is known here ({error})") from error
    return dims


def _require_openais(said: Mapping[str, Any], dims: Mapping[str, int]) -> None:
    """Raises ``ValueError`` for what transformers would compute and OpenAI's network would not."""
    wanted = {
        "activation_function": ("gelu", "gelu"),
        "scale_embedding": (False, False),
        "encoder_ffn_dim": (4 * dims["n_audio_state"], None),
        "decoder_ffn_dim": (4 * dims["n_text_state"], None),
    }
    for key, (value, default) in wanted.items():
        if said.get(key, default) != value:
            raise ValueError(f"its {key} is {said.get(key)!r}, Whisper's is {value!r}")
    if dims["n_vocab"] not in VOCABULARIES:
        raise ValueError(
            f"its vocabulary has {dims['n_vocab']} entries, Whisper's {', '.join(map(str, VOCABULARIES[:-1]))} or {VOCABULARIES[-1]}"
        )


def _arrays(path: Path, block: str) -> dict[str, Any]:
    """The arrays of transformers under the names of OpenAI's package."""
    from safetensors.torch import load_file

    try:
        held = {renamed(name): array for name, array in load_file(path).items()}
    except Exception as error:  # the library raises its own, without a base
        raise RecogniserError(f"{block}.weights: {path} is damaged ({' '.join(str(error).split())[:200]})") from error
    head = held.pop(HEAD, None)
    if head is not None and not head.equal(held.setdefault(EMBEDDING, head)):
        raise RecogniserError(f"{block}.weights: {path} has a {HEAD} of its own; Whisper's is its token embedding")
    return held


def renamed(name: str) -> str:
    """What OpenAI's package calls the array that transformers calls ``name``."""
    for pattern, new in RENAMED:
        name = re.sub(pattern, new, name)
    return name
