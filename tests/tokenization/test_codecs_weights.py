"""Weights of codecs: found by file, folder or repository, held to a checksum, refused with what to do."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from manifests.settings.codecs import DacSettings, EncodecSettings, MimiSettings, XcodecSettings
from tests.tokenization import checkpoints
from tokenization.adapter import TokenizerError
from tokenization.registry import open_tokenizer, pinned

SHA = "0" * 64


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(checkpoints.save(tmp_path_factory.mktemp("weights"), "mimi").weights)


def copied(folder: Path, place: Path) -> Path:
    import shutil

    return Path(shutil.copytree(folder, place / "weights"))


def test_the_checksum_is_that_of_the_file_that_holds_the_weights(folder: Path) -> None:
    tokenizer = open_tokenizer(MimiSettings(weights=str(folder)))
    assert tokenizer.spec.checksum == hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert open_tokenizer(MimiSettings(weights=str(folder), checksum=tokenizer.spec.checksum)).spec == tokenizer.spec


def test_weights_with_another_checksum_than_the_recipes_are_refused(folder: Path) -> None:
    with pytest.raises(TokenizerError, match=rf"has SHA-256 [0-9a-f]{{64}}, the recipe \(speech.checksum\) says {SHA}"):
        open_tokenizer(MimiSettings(weights=str(folder), checksum=SHA))


def test_a_changed_configuration_is_another_version(folder: Path, tmp_path: Path) -> None:
    other = copied(folder, tmp_path)
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**config, "sliding_window": 7, "transformers_version": "9"}))
    one, two = (open_tokenizer(MimiSettings(weights=str(place))).spec for place in (folder, other))
    assert one.checksum == two.checksum
    assert one.version != two.version
    (other / "config.json").write_text(json.dumps({**config, "transformers_version": "9"}))
    assert open_tokenizer(MimiSettings(weights=str(other))).spec == one


def test_pinned_settings_name_the_weights_for_every_process(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    asked = MimiSettings(weights=folder.name)
    settings = pinned(asked, open_tokenizer(asked))
    assert settings.weights == str(folder.resolve())
    assert settings.checksum == open_tokenizer(asked).spec.checksum


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ("", r"where are the weights of 'mimi'\?"),
        ("/no/such/folder", "is no file or folder here, nor the name of a repository"),
        (".", r"\. has no config.json and no model.safetensors"),
    ],
)
def test_weights_that_are_not_there_are_refused(
    weights: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TokenizerError, match=said) as caught:
        open_tokenizer(MimiSettings(weights=weights))
    assert "\n" not in str(caught.value)


def test_a_repository_that_the_hub_does_not_give_is_refused_and_offline_nothing_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        TokenizerError, match="some/mimi is no file or folder here, and the hub does not give it"
    ) as caught:
        open_tokenizer(MimiSettings(weights="some/mimi"))
    assert "\n" not in str(caught.value)


def test_a_repository_in_the_hubs_cache_opens_offline(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    commit = "1" * 40
    repository = tmp_path / "models--some--mimi"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    shutil.copytree(folder, repository / "snapshots" / commit)
    for revision in (None, commit):
        tokenizer = open_tokenizer(MimiSettings(weights="some/mimi", revision=revision))
        assert tokenizer.spec == open_tokenizer(MimiSettings(weights=str(folder))).spec


def test_weights_of_another_codec_are_refused(folder: Path) -> None:
    with pytest.raises(TokenizerError, match="describes a model of type 'mimi', not 'dac'"):
        open_tokenizer(DacSettings(weights=str(folder)))


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("dac", {"sample_rate": 24_000}, "speech.sample_rate is 24000, but .* is a model of 16000 Hz"),
        ("dac", {"codebooks": 9}, "speech.codebooks is 9, but these weights of 'dac' have 4"),
        ("encodec", {"sample_rate": 48_000}, "is a model of 24000 Hz"),
    ],
)
def test_weights_that_do_not_fit_the_recipe_are_refused(name: str, change: dict, said: str, tmp_path: Path) -> None:
    settings = checkpoints.save(tmp_path, name)
    with pytest.raises(TokenizerError, match=said):
        open_tokenizer(settings.model_copy(update=change))


def test_damaged_and_incomplete_weights_are_refused(folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    other = copied(folder, tmp_path)
    state = load_file(folder / "model.safetensors")
    dropped = next(name for name in state if "encoder" in name and name.endswith("conv.weight"))
    save_file({k: v for k, v in state.items() if k != dropped}, other / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(TokenizerError, match=r"does not belong to its config.json: 1 missing keys"):
        open_tokenizer(MimiSettings(weights=str(other)))
    (other / "model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(TokenizerError, match=r"model\.safetensors") as caught:
        open_tokenizer(MimiSettings(weights=str(other)))
    assert "\n" not in str(caught.value)


def test_a_single_file_is_refused_where_a_folder_is_needed(folder: Path) -> None:
    with pytest.raises(TokenizerError, match="is read from a folder or repository"):
        open_tokenizer(XcodecSettings(weights=str(folder / "model.safetensors")))


def test_a_bandwidth_that_a_model_does_not_offer_is_refused() -> None:
    with pytest.raises(ValueError, match=r"bandwidth 1.5: encodec of 48000 Hz has 3, 6, 12, 24 kbit/s"):
        EncodecSettings(sample_rate=48_000, bandwidth=1.5)
