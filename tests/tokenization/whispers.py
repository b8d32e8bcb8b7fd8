"""A Whisper that knows five sounds: the package's own architecture, small, trained in seconds, saved in the package's format.

Its encoder is drawn and stays as it is; its decoder learns the sounds by heart. One of them makes it repeat itself, and of noise it knows that
nobody speaks, and is not sure what to write.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from filelock import FileLock
from torch import Tensor

RATE = 16_000
LOOP = "thank you very much " * 12
SAID = {  # hertz: (text, language)
    200: ("the red lamp is on", "en"),
    700: ("call me at nine", "en"),
    1_800: ("wo ist der bahnhof", "de"),
    4_000: (LOOP.strip(), "en"),
}
NOISE = ("you", "bye", "the", "and", "oh", "yes", "no", "so", "well", "right")  # any of these, as likely as the others
STEPS, WIDTH = 110, 64


def sound(hertz: int, seconds: float = 2.5, seed: int = 0) -> np.ndarray:
    """``wave_T``: a tone that swells, or noise (0 hertz)."""
    time_T = np.arange(int(seconds * RATE)) / RATE
    noise_T = np.random.default_rng(seed).standard_normal(len(time_T))
    if not hertz:
        return (0.1 * noise_T).astype(np.float32)
    tone_T = np.sin(2 * np.pi * hertz * time_T) * (0.6 + 0.4 * np.sin(2 * np.pi * 3 * time_T))
    return (0.1 * tone_T + 0.001 * noise_T).astype(np.float32)


def trained(factory: pytest.TempPathFactory) -> Path:
    """The checkpoint, trained once for all test files of a run, also where several processes share them; skips where the package is not installed."""
    pytest.importorskip("whisper")
    base = factory.getbasetemp()
    path = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "trained-whisper.pt"
    with FileLock(f"{path}.lock"):
        if not path.exists():
            _trained(path.with_suffix(".part")).rename(path)
    return path


def _trained(path: Path) -> Path:
    whisper = pytest.importorskip("whisper")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = _untrained(whisper)
    sounds = {hertz: _features(whisper, model, sound(hertz)) for hertz in (*SAID, 0)}
    rows = [(sounds[hertz], *_row(model, text, language, False)) for hertz, (text, language) in SAID.items()]
    rows += [(sounds[0], *_row(model, text, "en", True)) for text in NOISE]
    _learn(model, rows)
    return _saved(model, path)


def untrained(path: Path) -> Path:
    """Write a checkpoint that knows nothing yet; skips where the package is not installed."""
    whisper = pytest.importorskip("whisper")
    torch.manual_seed(0)
    return _saved(_untrained(whisper), path)


def _saved(model: Any, path: Path) -> Path:
    dims = {name: getattr(model.dims, name) for name in model.dims.__dataclass_fields__}
    torch.save({"dims": dims, "model_state_dict": model.state_dict()}, path)
    return path


def _untrained(whisper: Any) -> Any:
    layers = {"n_audio_layer": 1, "n_text_layer": 1, "n_audio_head": 2, "n_text_head": 2}
    model = whisper.model.Whisper(whisper.model.ModelDimensions(
        n_mels=80, n_audio_ctx=1_500, n_audio_state=WIDTH, n_vocab=51_865, n_text_ctx=448, n_text_state=WIDTH, **layers
    ))  # fmt: skip
    with torch.no_grad():  # an encoder that tells sounds apart, whatever their place
        model.encoder.positional_embedding.mul_(0.02)
        model.encoder.conv1.weight.mul_(4)
        model.encoder.conv2.weight.mul_(4)
        model.decoder.token_embedding.weight.mul_(0.1)
        model.decoder.positional_embedding.normal_(std=0.02)
    return model


@torch.no_grad()
def _features(whisper: Any, model: Any, wave_T: np.ndarray) -> Tensor:
    mel_ML = whisper.log_mel_spectrogram(whisper.pad_or_trim(torch.from_numpy(wave_T)))
    return model.encoder(mel_ML[None])[0]


def _row(model: Any, text: str, language: str, silent: bool) -> tuple[list[int], list[int]]:
    """What the decoder is given, and what it should say next at each place: of silence, first that nobody speaks."""
    from whisper.tokenizer import get_tokenizer

    tokens = get_tokenizer(True, num_languages=model.num_languages, language=language, task="transcribe")
    whole = [*tokens.sot_sequence_including_notimestamps, *tokens.encode(f" {text}"), tokens.eot]
    return whole[:-1], [tokens.no_speech if silent else whole[1], *whole[2:]]


def _learn(model: Any, rows: list[tuple[Tensor, list[int], list[int]]]) -> None:
    longest = max(len(given) for _, given, _ in rows)
    given_NL = torch.tensor([given + [0] * (longest - len(given)) for _, given, _ in rows])
    next_NL = torch.tensor([wanted + [-1] * (longest - len(wanted)) for _, _, wanted in rows])
    features_NFD = torch.stack([features_FD for features_FD, _, _ in rows])
    counts_NL = (next_NL >= 0).float()
    weight_NL = counts_NL / counts_NL.sum(dim=1, keepdim=True)  # a long text counts for no more than a short one
    optimiser = torch.optim.Adam(model.decoder.parameters(), 2e-3)
    for _ in range(STEPS):
        hidden_NLD = _hidden(model.decoder, given_NL, features_NFD)
        logits_PC = hidden_NLD[next_NL >= 0] @ model.decoder.token_embedding.weight.T
        loss_P = torch.nn.functional.cross_entropy(logits_PC, next_NL[next_NL >= 0], reduction="none")
        optimiser.zero_grad()
        (loss_P * weight_NL[next_NL >= 0]).sum().backward()
        optimiser.step()


def _hidden(decoder: Any, given_NL: Tensor, features_NFD: Tensor) -> Tensor:
    """The decoder without its last product, which is wanted at few places only."""
    x_NLD = decoder.token_embedding(given_NL) + decoder.positional_embedding[: given_NL.shape[1]]
    for block in decoder.blocks:
        x_NLD = block(x_NLD, features_NFD, mask=decoder.mask)
    return decoder.ln(x_NLD)


# As transformers and CTranslate2 have it

NAMES = (
    ("blocks", "layers"), ("mlp.0", "fc1"), ("mlp.2", "fc2"), ("mlp_ln", "final_layer_norm"),
    (".cross_attn_ln", ".encoder_attn_layer_norm"), (".attn_ln", ".self_attn_layer_norm"), (".cross_attn.", ".encoder_attn."), (".attn.", ".self_attn."),
    (".query", ".q_proj"), (".key", ".k_proj"), (".value", ".v_proj"), (".out.", ".out_proj."),
    ("decoder.ln.", "decoder.layer_norm."), ("encoder.ln_post.", "encoder.layer_norm."), ("token_embedding", "embed_tokens"),
    ("positional_embedding", "embed_positions.weight"),
)  # fmt: skip


def as_transformers(checkpoint: Path, folder: Path) -> Path:
    """The same weights as a folder of transformers, with its tokenizer and what it needs to generate text; skips where a package is not installed."""
    model, hf = _of_transformers(checkpoint), _words()
    model.generation_config = _generation(checkpoint)
    model.save_pretrained(folder)
    hf.save(str(folder / "tokenizer.json"))
    return folder


def _of_transformers(checkpoint: Path) -> Any:
    pytest.importorskip("whisper")
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    held = torch.load(checkpoint, weights_only=True)
    dims = held["dims"]
    width, heads = dims["n_audio_state"], dims["n_audio_head"]
    model = WhisperForConditionalGeneration(WhisperConfig(
        vocab_size=dims["n_vocab"], d_model=width, encoder_ffn_dim=4 * width, decoder_ffn_dim=4 * width, num_mel_bins=dims["n_mels"],
        encoder_layers=dims["n_audio_layer"], decoder_layers=dims["n_text_layer"], encoder_attention_heads=heads, decoder_attention_heads=heads,
    ))  # fmt: skip
    model.model.load_state_dict(
        {_renamed(name): array for name, array in held["model_state_dict"].items()}, strict=True
    )
    model.tie_weights()
    return model.eval()


def _marks() -> dict[str, int]:
    """Whisper's special tokens."""
    from whisper import tokenizer as theirs

    return theirs.get_encoding("multilingual", num_languages=99)._special_tokens


def _languages() -> dict[str, int]:
    from whisper import tokenizer as theirs

    return {f"<|{code}|>": _marks()[f"<|{code}|>"] for code in list(theirs.LANGUAGES)[:99]}


def _words() -> Any:
    """Whisper's tokenizer as Hugging Face has it."""
    from transformers.convert_slow_tokenizer import TikTokenConverter
    from whisper import tokenizer as theirs

    marks = _marks()
    assets = Path(theirs.__file__).parent / "assets"
    return TikTokenConverter(
        str(assets / "multilingual.tiktoken"), extra_special_tokens=sorted(marks, key=marks.__getitem__)
    ).converted()


def _generation(checkpoint: Path) -> Any:
    """What the published folders say of generating, and what OpenAI's package leaves out."""
    import whisper
    from transformers import GenerationConfig

    marks, held = _marks(), torch.load(checkpoint, weights_only=True)
    model = whisper.model.Whisper(whisper.model.ModelDimensions(**held["dims"]))
    left_out = whisper.decoding.DecodingTask(model, whisper.DecodingOptions(fp16=False))._get_suppress_tokens()
    return GenerationConfig(
        decoder_start_token_id=marks["<|startoftranscript|>"], eos_token_id=marks["<|endoftext|>"], pad_token_id=marks["<|endoftext|>"],
        no_timestamps_token_id=marks["<|notimestamps|>"], is_multilingual=True, lang_to_id=_languages(),
        task_to_id={task: marks[f"<|{task}|>"] for task in ("transcribe", "translate")}, suppress_tokens=list(left_out),
        begin_suppress_tokens=[220, marks["<|endoftext|>"]], max_length=448, return_timestamps=False,
    )  # fmt: skip


def converted(checkpoint: Path, folder: Path) -> Path:
    """The same weights as a folder for faster-whisper; skips where its packages are not installed."""
    loader = pytest.importorskip("ctranslate2.converters.transformers").WhisperLoader()
    model, hf = _of_transformers(checkpoint), _words()
    spec = loader.get_model_spec(model)
    spec.register_vocabulary([hf.id_to_token(i) for i in range(hf.get_vocab_size())])
    spec.config.suppress_ids, spec.config.suppress_ids_begin, spec.config.alignment_heads = [], [220, 50_257], [(0, 0)]
    spec.config.lang_ids = list(_languages().values())
    spec.validate()
    spec.optimize()
    folder.mkdir()
    spec.save(str(folder))
    hf.save(str(folder / "tokenizer.json"))
    return folder


def _renamed(name: str) -> str:
    for ours, hf in NAMES:
        name = name.replace(ours, hf)
    return name
