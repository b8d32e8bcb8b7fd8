"""Whisper from folders of Hugging Face transformers: what OpenAI's file of the same weights hears, and what transformers itself computes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from manifests.fingerprint import sha256
from manifests.settings.features import FeaturesSettings
from manifests.settings.recognisers import WhisperSettings
from tests.tokenization import whispers
from tests.tokenization.whispers import RATE, SAID, sound
from tokenization.adapter import TokenizerError
from tokenization.recognisers.base import Recogniser, RecogniserError
from tokenization.recognisers.openai_whisper import encoded
from tokenization.recognisers.registry import describe_recogniser, open_recogniser
from tokenization.recognisers.whisper_files import found_weights, loaded, renamed, sizes

pytest.importorskip("whisper")
transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return whispers.trained(tmp_path_factory)


@pytest.fixture(scope="module")
def folder(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return whispers.as_transformers(checkpoint, tmp_path_factory.mktemp("transformers") / "whisper")


@pytest.fixture(scope="module")
def recogniser(folder: Path) -> Recogniser:
    return open_recogniser(WhisperSettings(weights=str(folder)))


@pytest.fixture(scope="module")
def waves() -> list[np.ndarray]:
    return [sound(hertz) for hertz in (*SAID, 0)]


@pytest.fixture(scope="module")
def theirs(folder: Path) -> Any:
    """The model as transformers loads it."""
    return transformers.WhisperForConditionalGeneration.from_pretrained(folder, local_files_only=True).eval()


def mels(waves: list[np.ndarray]) -> torch.Tensor:
    """``mel_NML`` by transformers' own reading of sound."""
    return transformers.WhisperFeatureExtractor()(waves, sampling_rate=RATE, return_tensors="pt").input_features


def test_it_hears_to_the_last_bit_what_openais_file_of_the_same_weights_hears(
    recogniser: Recogniser, checkpoint: Path, waves: list[np.ndarray]
) -> None:
    heard = recogniser.recognise(waves)
    assert heard == open_recogniser(WhisperSettings(weights=str(checkpoint))).recognise(waves)
    assert [(t.text, t.language) for t in heard[:-1]] == list(SAID.values())
    assert heard[-1].no_speech is not None
    assert heard[-1].no_speech > 0.6


def test_the_words_are_those_that_transformers_generates(
    recogniser: Recogniser, folder: Path, waves: list[np.ndarray], theirs: Any
) -> None:
    from tokenizers import Tokenizer

    words, heard = Tokenizer.from_file(str(folder / "tokenizer.json")), recogniser.recognise(waves)
    for wave_T, ours in zip(waves, heard, strict=True):
        with torch.inference_mode():
            made = theirs.generate(
                mels([wave_T]), language=ours.language, task="transcribe", max_new_tokens=220, do_sample=False
            )
        said = words.decode(made[0].tolist(), skip_special_tokens=True).strip()
        assert said == ours.text


def test_the_encoders_states_are_those_that_transformers_computes(
    folder: Path, waves: list[np.ndarray], theirs: Any
) -> None:
    found = found_weights(FeaturesSettings(weights=str(folder)), "features")
    model, dims = loaded(found, "features")
    assert sizes(found, "features") == dims
    assert dims["n_audio_state"] == whispers.WIDTH
    with torch.inference_mode():
        ours_NFD = encoded(model, waves)
        theirs_NFD = theirs.model.encoder(mels(waves)).last_hidden_state
    assert ours_NFD.shape == (len(waves), 1_500, whispers.WIDTH)
    assert float(theirs_NFD.std()) > 0.1
    assert torch.allclose(ours_NFD, theirs_NFD, atol=1e-3)


def test_every_array_has_its_name_and_the_folder_may_hold_half_precision_and_the_head(
    folder: Path, checkpoint: Path, waves: list[np.ndarray], tmp_path: Path
) -> None:
    held = load_file(folder / "model.safetensors")
    assert set(map(renamed, held)) == set(torch.load(checkpoint, weights_only=True)["model_state_dict"])
    other = Path(shutil.copytree(folder, tmp_path / "other"))
    half = {name: array.half() for name, array in held.items()}
    half["proj_out.weight"] = half["model.decoder.embed_tokens.weight"].clone()
    save_file(half, other / "model.safetensors", {"format": "pt"})
    heard = open_recogniser(WhisperSettings(weights=str(other))).recognise(waves[:3])
    assert [t.text for t in heard] == [text for text, _ in list(SAID.values())[:3]]
    half["proj_out.weight"] += 1
    save_file(half, other / "model.safetensors", {"format": "pt"})
    with pytest.raises(RecogniserError, match=r"has a proj_out.weight of its own"):
        open_recogniser(WhisperSettings(weights=str(other)))


def test_it_is_told_by_the_file_of_its_weights_and_by_its_sizes(folder: Path, tmp_path: Path) -> None:
    spec = describe_recogniser(WhisperSettings(weights=str(folder)))
    assert spec.checksum == sha256((folder / "model.safetensors").read_bytes())
    assert (spec.name, spec.window, spec.language) == ("whisper", 30.0, None)
    assert open_recogniser(WhisperSettings(weights=str(folder), checksum=spec.checksum)).spec == spec
    other = Path(shutil.copytree(folder, tmp_path / "other"))
    assert describe_recogniser(WhisperSettings(weights=str(other))) == spec
    changed(other, encoder_attention_heads=4)
    assert describe_recogniser(WhisperSettings(weights=str(other))).version != spec.version
    with pytest.raises(TokenizerError, match=r"transcribe.recogniser.checksum\) says 0000"):
        describe_recogniser(WhisperSettings(weights=str(folder), checksum="0" * 64))


def changed(folder: Path, **values: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"model_type": "bart"}, "it describes a model of type 'bart'"),
        ({"d_model": "wide"}, "its d_model is 'wide'"),
        ({"encoder_layers": 0}, "its encoder_layers is 0"),
        ({"encoder_ffn_dim": 128}, "its encoder_ffn_dim is 128, Whisper's is 256"),
        ({"activation_function": "relu"}, "its activation_function is 'relu', Whisper's is 'gelu'"),
        ({"vocab_size": 52_000}, "its vocabulary has 52000 entries, Whisper's 51864, 51865 or 51866"),
    ],
)
def test_what_is_no_whisper_is_refused_in_one_line_before_anything_is_done(
    values: dict[str, Any], said: str, folder: Path, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(folder, tmp_path / "other"))
    changed(other, **values)
    with pytest.raises(RecogniserError) as refused:
        describe_recogniser(WhisperSettings(weights=str(other)))
    assert "config.json describes no Whisper that is known here" in str(refused.value)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_damaged_and_missing_files_are_refused(folder: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(folder, tmp_path / "other"))
    with pytest.raises(TokenizerError, match=r"model.safetensors is a file; give its folder"):
        describe_recogniser(WhisperSettings(weights=str(other / "model.safetensors")))
    changed(other, decoder_layers=2)
    with pytest.raises(RecogniserError, match=r"its arrays do not fit its config.json"):
        open_recogniser(WhisperSettings(weights=str(other)))
    (other / "model.safetensors").write_bytes(b"no arrays")
    with pytest.raises(RecogniserError, match=r"model.safetensors is damaged"):
        open_recogniser(WhisperSettings(weights=str(other)))
    (other / "config.json").write_text("{")
    with pytest.raises(RecogniserError, match=r"config.json describes no Whisper"):
        describe_recogniser(WhisperSettings(weights=str(other)))
    (other / "model.safetensors").unlink()
    with pytest.raises(TokenizerError, match=r"has no model.safetensors"):
        describe_recogniser(WhisperSettings(weights=str(other)))


def test_a_tokenizer_with_other_numbers_is_refused(folder: Path, tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models

    other = Path(shutil.copytree(folder, tmp_path / "other"))
    Tokenizer(models.BPE({"a": 0}, [])).save(str(other / "tokenizer.json"))
    with pytest.raises(RecogniserError, match=r"tokenizer.json is not Whisper's: its numbers stand for other words"):
        describe_recogniser(WhisperSettings(weights=str(other)))
    (other / "tokenizer.json").unlink()
    assert describe_recogniser(WhisperSettings(weights=str(other)))
