"""The S3 tokenizer: files, windows of long audio, mel, and the hook for vocoders."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from manifests.settings.codecs import S3Settings
from tests.tokenization import checkpoints
from tests.tokenization.checkpoints import sounds
from tokenization.adapter import TokenizerError
from tokenization.codecs import vocoders
from tokenization.codecs.s3.mel import filters, log_mel
from tokenization.codecs.s3.tokenizer import CUT, PER_FRAME, windows
from tokenization.registry import open_tokenizer


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    torch.set_num_threads(1)
    return checkpoints.s3()


@pytest.fixture(scope="module")
def file(state: dict[str, torch.Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("s3") / "s3.pt"
    torch.save(state, place)
    return place


@given(st.integers(1, 30_000))
def test_windows_cover_an_utterance_and_every_frame_is_kept_once(mel_frames: int) -> None:
    spans = windows(mel_frames)
    assert spans[0][0] == 0
    assert spans[-1][1] == mel_frames
    assert all(end > start for start, end in spans)
    frames = [-(-(end - start) // PER_FRAME) for start, end in spans]
    assert sum(frames) - 2 * CUT * (len(spans) - 1) == -(-mel_frames // PER_FRAME)
    for (start, end), (following, _) in pairwise(spans):
        assert end - start == 3_000
        assert (start // PER_FRAME + frames[0] - CUT) == following // PER_FRAME + CUT, "what is kept joins"


def test_what_is_longer_than_thirty_seconds_is_encoded_in_windows(file: Path) -> None:
    tokenizer = open_tokenizer(S3Settings(weights=str(file), batch_seconds=100.0))
    [wave_T] = sounds(33.0, 16_000)
    [codes_FQ] = tokenizer.encode([wave_T])
    assert len(codes_FQ) == tokenizer.frames(len(wave_T)) == 825
    assert len(np.unique(codes_FQ)) > 200
    [first_FQ] = tokenizer.encode([wave_T[: 30 * 16_000]])
    assert (codes_FQ[: 750 - CUT] == first_FQ[: 750 - CUT]).mean() > 0.95, (
        "the loudest point of the rest may shift the mel a little"
    )


@pytest.mark.parametrize("samples", [1, 159, 639, 640, 700, 1_281])
def test_short_sound_has_codes_too(samples: int, file: Path) -> None:
    tokenizer = open_tokenizer(S3Settings(weights=str(file)))
    assert len(tokenizer.encode([sounds(0.1, 16_000)[0][:samples]])[0]) == tokenizer.frames(samples) > 0


def test_safetensors_hold_the_same_weights(state: dict[str, torch.Tensor], file: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file(state, tmp_path / "s3.safetensors")
    wave = sounds(1.0, 16_000)
    one, two = (open_tokenizer(S3Settings(weights=str(place))) for place in (file, tmp_path / "s3.safetensors"))
    assert np.array_equal(one.encode(wave)[0], two.encode(wave)[0])


@pytest.mark.parametrize("model", ["v2", "v3"])
def test_a_released_onnx_file_holds_the_same_weights(model: str, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    from tokenization.codecs.s3.files import read

    state = checkpoints.s3(6 if model == "v2" else 12)
    path = tmp_path / f"speech_tokenizer_{model}.onnx"
    onnx.save(released(onnx, state, decomposed=model == "v3"), str(path))
    found = read(path)
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], array) for name, array in state.items())
    settings = S3Settings.model_validate({"model": model, "weights": str(tmp_path)})
    assert open_tokenizer(settings).spec.checksum


def released(onnx: object, state: dict[str, torch.Tensor], decomposed: bool) -> object:
    """A graph with nodes named as the released files have them; v3 writes norms as a product and a sum, v2 as one node."""
    from onnx import helper, numpy_helper

    nodes, arrays = [], []

    def put(operation: str, node: str, *given: str | tuple[str, torch.Tensor]) -> None:
        names = []
        for one in given:
            if isinstance(one, tuple):
                names.append(one[0])
                arrays.append(numpy_helper.from_array(np.ascontiguousarray(one[1].numpy()), one[0]))
            else:
                names.append(one)
        nodes.append(helper.make_node(operation, ["x", *names], ["x"], name=node))

    for name, array in state.items():
        place, _, kind = name.rpartition(".")
        node = "/" + place.removeprefix("encoder.").replace(".attn.", "/attn/").replace("mlp.", "mlp/mlp.").replace(
            ".mlp/", "/mlp/"
        ).replace("attn_ln", "/attn_ln").replace("mlp_ln", "/mlp_ln").replace("./", "/")
        number = f"onnx::Array_{len(arrays)}"
        if "project_down" in name:
            if kind == "weight":
                put("MatMul", "/quantizer/project_in/MatMul", (number, array.T))
            else:
                put("Add", "/quantizer/project_in/Add", ("quantizer.project_in.bias", array))
        elif "conv" in place:
            if kind == "bias":
                put("Conv", f"{node}/Conv", (f"{number}w", state[f"{place}.weight"]), (number, array))
        elif "fsmn" in name:
            put("Conv", f"{node}/Conv", (number, array))
        elif "_ln" in place:
            if decomposed:
                put(
                    "Mul" if kind == "weight" else "Add",
                    f"{node}/{'Mul' if kind == 'weight' else 'Add_1'}",
                    (number, array),
                )
                put("Add", f"{node}/Add", (f"{number}eps", torch.tensor([1e-5])))
            elif kind == "bias":
                weight = state[f"{place}.weight"]
                put("LayerNormalization", f"{node}/LayerNormalization", (f"{number}w", weight), (number, array))
        elif kind == "weight":
            put("MatMul", f"{node}/MatMul", (number, array.T))
            put("Mul", f"/blocks.0/attn/Mul_{number}", (f"{number}s", torch.tensor([0.35, 0.35])))
        else:
            put("Add", f"{node}/Add", (number, array))
    return helper.make_model(helper.make_graph(nodes, "s3", [], [], arrays))


def test_what_is_no_s3_tokenizer_is_refused(state: dict[str, torch.Tensor], file: Path, tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match=r"has 6 layers, speech\.model says 12: is it the other model"):
        open_tokenizer(S3Settings(weights=str(file), model="v3"))
    torch.save({name: array for name, array in state.items() if "fsmn" not in name}, tmp_path / "part.pt")
    with pytest.raises(TokenizerError, match="holds no weights of an S3 tokenizer v2 or v3"):
        open_tokenizer(S3Settings(weights=str(tmp_path / "part.pt")))
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(TokenizerError, match="holds no weights of an S3 tokenizer"):
        open_tokenizer(S3Settings(weights=str(tmp_path / "text.pt")))


def test_mel_filters_have_unit_area_and_the_mel_is_bounded_from_below() -> None:
    assert filters(128).shape == (128, 201)
    assert torch.allclose(filters(80).sum(1) * 40.0, torch.ones(80), atol=0.5)
    mel_ML = log_mel(torch.from_numpy(sounds(1.0, 16_000)[0]), 128)
    assert mel_ML.shape == (128, 100)
    assert float(mel_ML.max() - mel_ML.min()) <= 2.0


# The reference implementation


@pytest.fixture
def reference(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The package s3tokenizer. It imports torchaudio, which it needs for reading files alone."""
    monkeypatch.setitem(sys.modules, "torchaudio", ModuleType("torchaudio"))
    return pytest.importorskip("s3tokenizer")


@pytest.mark.parametrize("model", ["v2", "v3"])
def test_codes_are_those_of_the_reference_implementation_of_any_length_in_one_batch(
    model: str, reference: Any, tmp_path: Path
) -> None:
    state = checkpoints.s3(6 if model == "v2" else 12)
    torch.save(state, tmp_path / "s3.pt")
    tokenizer = open_tokenizer(S3Settings.model_validate({"weights": str(tmp_path / "s3.pt"), "model": model}))
    kind, about = ("S3TokenizerV2", "ModelConfig") if model == "v2" else ("S3TokenizerV3", "ModelConfigV3")
    narrow = getattr(sys.modules[f"s3tokenizer.model_{model}"], about)(n_audio_state=64, n_audio_head=1)
    network = getattr(reference, kind)(f"speech_tokenizer_{model}_25hz", narrow).eval()
    network.load_state_dict(state)
    waves = [sounds(seconds, 16_000, seed=i)[0] for i, seconds in enumerate((0.5, 1.37, 4.0, 33.0))]
    mel_NML, counts_N = reference.padding([reference.log_mel_spectrogram(torch.from_numpy(wave_T)) for wave_T in waves])
    theirs_NF, frames_N = network.quantize(mel_NML, counts_N)
    ours = tokenizer.encode(waves)
    for ours_FQ, theirs_F, frames in zip(ours, theirs_NF, frames_N, strict=True):
        assert np.array_equal(ours_FQ[:, 0], theirs_F[: int(frames)].numpy())
    assert len(np.unique(np.concatenate(ours))) > 100


# Vocoders


def load() -> vocoders.Vocoder:
    return lambda codes_F: np.repeat(codes_F.astype(np.float32) / 6561, 640)


def test_an_installed_packages_vocoder_makes_sound(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = EntryPoint("mine", f"{__name__}:load", vocoders.GROUP)
    monkeypatch.setattr(vocoders, "entry_points", lambda group: [entry] if group == vocoders.GROUP else [])
    tokenizer = open_tokenizer(S3Settings(weights=str(file), vocoder="mine"))
    assert tokenizer.can_decode
    assert np.array_equal(tokenizer.decode(np.array([[5], [7]], np.uint16))[::640], np.array([5, 7], np.float32) / 6561)


def test_a_vocoder_that_nobody_offers_is_refused_and_without_one_there_is_no_sound(file: Path) -> None:
    with pytest.raises(TokenizerError, match=r"no installed package offers 'os\.system'"):
        open_tokenizer(S3Settings(weights=str(file), vocoder="os.system"))
    silent = open_tokenizer(S3Settings(weights=str(file)))
    assert not silent.can_decode
    with pytest.raises(TokenizerError, match="has no decoder"):
        silent.decode(np.zeros((1, 1), np.uint16))
