"""Our codes against those of the libraries' own `encode`, and EnCodec's original files against transformers' folders."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from manifests.settings.codecs import DacSettings, EncodecSettings, MimiSettings, XcodecSettings
from tests.tokenization import checkpoints
from tests.tokenization.checkpoints import original_names, sounds
from tokenization.adapter import TokenizerError
from tokenization.codecs.encodec_original import renamed
from tokenization.registry import open_tokenizer


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def tensor(wave_T: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(wave_T)[None, None]


@torch.no_grad()
def test_encodec_24_gives_the_librarys_codes(tmp_path: Path) -> None:
    model = checkpoints.encodec()
    model.save_pretrained(tmp_path)
    tokenizer = open_tokenizer(EncodecSettings(weights=str(tmp_path), bandwidth=12))
    wave_T = sounds(2.0, 24_000)[0]
    theirs_QF = model.encode(tensor(wave_T), bandwidth=12.0).audio_codes[0, 0]
    ours_FQ = tokenizer.encode([wave_T])[0]
    assert ours_FQ.shape == (150, 16)
    assert len(np.unique(ours_FQ[:, 0])) > 40
    assert np.array_equal(ours_FQ, theirs_QF.T.numpy())


@torch.no_grad()
def test_a_part_of_a_frame_is_filled_with_silence_and_changes_the_last_frame_at_most(tmp_path: Path) -> None:
    model = checkpoints.encodec()
    model.save_pretrained(tmp_path)
    tokenizer = open_tokenizer(EncodecSettings(weights=str(tmp_path)))
    wave_T = sounds(1.0, 24_000)[0][:-77]
    theirs_FQ = model.encode(tensor(wave_T), bandwidth=6.0).audio_codes[0, 0].T.numpy()
    ours_FQ = tokenizer.encode([wave_T])[0]
    assert ours_FQ.shape == theirs_FQ.shape
    assert np.array_equal(ours_FQ[:-1], theirs_FQ[:-1])
    assert np.array_equal(ours_FQ, tokenizer.encode([np.pad(wave_T, (0, 77))])[0])


@torch.no_grad()
@pytest.mark.parametrize("samples", [30_000, 48_000, 100_001, 143_000])
def test_encodec_48_gives_the_librarys_codes_segment_after_segment(samples: int, tmp_path: Path) -> None:
    model = checkpoints.encodec(48_000)
    model.save_pretrained(tmp_path)
    tokenizer = open_tokenizer(EncodecSettings(weights=str(tmp_path), sample_rate=48_000, batch_seconds=10.0))
    wave_T = sounds(3.0, 48_000)[0][:samples]
    said = model.encode(tensor(wave_T).expand(-1, 2, -1), bandwidth=6.0, return_dict=True)
    theirs_QF = torch.cat(list(said.audio_codes[:, 0]), dim=-1)
    theirs_FQ = theirs_QF.T[: theirs_QF.shape[1] - max(said.last_frame_pad_length, 0)].numpy()
    ours_FQ = tokenizer.encode([wave_T])[0]
    assert len(ours_FQ) == tokenizer.frames(samples)
    assert np.array_equal(ours_FQ, theirs_FQ)


@torch.no_grad()
def test_mimi_gives_the_librarys_codes(tmp_path: Path) -> None:
    model = checkpoints.mimi()
    model.save_pretrained(tmp_path)
    tokenizer = open_tokenizer(MimiSettings(weights=str(tmp_path), codebooks=5))
    wave_T = sounds(4.0, 24_000)[0]
    theirs_QF = model.encode(tensor(wave_T), num_quantizers=5).audio_codes[0]
    ours_FQ = tokenizer.encode([wave_T])[0]
    assert ours_FQ.shape == (50, 5)
    assert len(np.unique(ours_FQ[:, 0])) > 15
    assert np.array_equal(ours_FQ, theirs_QF.T.numpy())


@torch.no_grad()
@pytest.mark.parametrize("rate", [16_000, 24_000, 44_100])
def test_dac_gives_the_librarys_codes(rate: int, tmp_path: Path) -> None:
    model = checkpoints.dac(rate)
    model.save_pretrained(tmp_path)
    tokenizer = open_tokenizer(DacSettings.model_validate({"weights": str(tmp_path), "sample_rate": rate}))
    wave_T = sounds(1.6, rate)[0][: model.config.hop_length * 120]
    theirs_QF = model.encode(tensor(wave_T)).audio_codes[0]
    ours_FQ = tokenizer.encode([wave_T])[0]
    assert len(np.unique(ours_FQ[:, 0])) > 20
    assert np.array_equal(ours_FQ, theirs_QF.T.numpy())


@torch.no_grad()
def test_xcodec_gives_the_librarys_codes(tmp_path: Path) -> None:
    model = checkpoints.xcodec()
    model.save_pretrained(tmp_path)
    tokenizer = open_tokenizer(XcodecSettings(weights=str(tmp_path), bandwidth=1.5))
    wave_T = sounds(2.0, 16_000)[0]
    theirs_QF = model.encode(tensor(wave_T), bandwidth=1.5).audio_codes[0]
    ours_FQ = tokenizer.encode([wave_T])[0]
    assert ours_FQ.shape == (100, 3)
    assert len(np.unique(ours_FQ[:, 0])) > 40
    assert np.array_equal(ours_FQ, theirs_QF.T.numpy())


# EnCodec's original files


@pytest.mark.parametrize(
    ("original", "ours"),
    [
        ("encoder.model.0.conv.conv.weight_g", "encoder.layers.0.conv.parametrizations.weight.original0"),
        (
            "encoder.model.1.block.3.conv.conv.weight_v",
            "encoder.layers.1.block.3.conv.parametrizations.weight.original1",
        ),
        ("encoder.model.1.shortcut.conv.conv.bias", "encoder.layers.1.shortcut.conv.bias"),
        ("encoder.model.13.lstm.weight_hh_l1", "encoder.layers.13.lstm.weight_hh_l1"),
        ("decoder.model.3.convtr.convtr.bias", "decoder.layers.3.conv.bias"),
        ("decoder.model.3.convtr.norm.weight", "decoder.layers.3.norm.weight"),
        ("encoder.model.3.conv.norm.bias", "encoder.layers.3.norm.bias"),
        ("quantizer.vq.layers.17._codebook.embed", "quantizer.layers.17.codebook.embed"),
    ],
)
def test_names_of_the_original_implementation_are_known(original: str, ours: str) -> None:
    assert renamed(original) == ours


@pytest.mark.parametrize("rate", [24_000, 48_000])
def test_an_original_file_and_a_folder_of_the_same_weights_give_the_same_codes_and_sound(
    rate: int, tmp_path: Path
) -> None:
    """Of full size: an original file does not say its sizes."""
    model = checkpoints.encodec(rate, small=False)
    model.save_pretrained(tmp_path / "folder")
    original = original_names(model.state_dict())
    assert set(map(renamed, original)) == set(model.state_dict())
    assert not set(original) & {name for name in model.state_dict() if "lstm" not in name}, "every name differs"
    torch.save(original, tmp_path / "encodec.th")
    settings = EncodecSettings.model_validate({"sample_rate": rate, "bandwidth": 24})
    folder, file = (
        open_tokenizer(settings.model_copy(update={"weights": str(tmp_path / name)}))
        for name in ("folder", "encodec.th")
    )
    wave_T = sounds(1.0, rate)[0]
    codes_FQ = folder.encode([wave_T])[0]
    assert len(np.unique(codes_FQ[:, 0])) > 40
    assert np.array_equal(file.encode([wave_T])[0], codes_FQ)
    assert np.array_equal(file.decode(codes_FQ[:20]), folder.decode(codes_FQ[:20]))


@torch.no_grad()
@pytest.mark.parametrize("rate", [24_000, 48_000])
def test_an_original_file_gives_the_codes_of_the_original_implementation(
    rate: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The package is not for commercial use, so nothing installs it here: this runs where somebody did. Of torchaudio, which it imports, it needs nothing for this."""
    if find_spec("encodec") is None:
        pytest.skip("the package encodec is not installed")
    stub = ModuleType("torchaudio")
    stub.__spec__ = ModuleSpec("torchaudio", None)
    monkeypatch.setitem(sys.modules, "torchaudio", stub)
    theirs = import_module("encodec").EncodecModel
    original = original_names(checkpoints.encodec(rate, small=False).state_dict())
    torch.save(original, tmp_path / "encodec.th")
    network = (theirs.encodec_model_24khz if rate == 24_000 else theirs.encodec_model_48khz)(pretrained=False).eval()
    network.load_state_dict(original)
    network.set_target_bandwidth(6.0)
    [wave_T] = sounds(1.6, rate)
    segments = network.encode(tensor(wave_T).expand(-1, network.channels, -1))
    theirs_FQ = torch.cat([codes_NQF[0].T for codes_NQF, _ in segments]).numpy()
    settings = EncodecSettings.model_validate({"sample_rate": rate, "weights": str(tmp_path / "encodec.th")})
    ours_FQ = open_tokenizer(settings).encode([wave_T])[0]
    assert len(np.unique(ours_FQ[:, 0])) > 40
    assert np.array_equal(ours_FQ, theirs_FQ)


def test_a_file_of_the_other_rate_or_of_something_else_is_refused(tmp_path: Path) -> None:
    torch.save({"encoder.model.0.conv.conv.bias": torch.zeros(3)}, tmp_path / "other.th")
    with pytest.raises(TokenizerError, match=r"not the EnCodec of 24000 Hz that speech.sample_rate says"):
        open_tokenizer(EncodecSettings(weights=str(tmp_path / "other.th")))
    (tmp_path / "text.th").write_text("hello")
    with pytest.raises(TokenizerError, match="no state dict of EnCodec"):
        open_tokenizer(EncodecSettings(weights=str(tmp_path / "text.th")))


class Trap:
    """What an ill-meant checkpoint would run."""

    def __reduce__(self) -> tuple:
        return (Path.touch, (Path("sprung"),))


def test_a_file_that_would_run_code_is_refused_and_runs_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"encoder": Trap()}, tmp_path / "trap.th")
    with pytest.raises(TokenizerError, match="no state dict of EnCodec"):
        open_tokenizer(EncodecSettings(weights=str(tmp_path / "trap.th")))
    assert not (tmp_path / "sprung").exists()
