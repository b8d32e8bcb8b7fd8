"""``say``: a text becomes sound, whole or block by block; what cannot be said is refused in one line."""

from __future__ import annotations

import io
import shutil
import wave
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from typer.testing import CliRunner

from manifests.dataset import Dataset
from manifests.settings.train import WindowSettings
from pipelines import cli
from pipelines.say import say_into
from pipelines.voice.device import device_of
from pipelines.voice.errors import SpeakError
from pipelines.voice.files import RawPipe, WavFile, pcm
from pipelines.voice.manner import STEPS, Manner
from pipelines.voice.parts import read_parts, save_parts
from pipelines.voice.saying import say
from pipelines.voice.voice import Voice, blocks_of
from tests.pipelines.test_cli import refused
from tests.pipelines.tiny_run import make_run, make_tested_dataset
from training.decoding.acceptance import acceptance_of
from training.noise.grid import Grid
from training.policies import policy_of

TEXT, HOP = "speaker 3 says line 2", 640
QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.set_num_threads(1)
    return make_tested_dataset(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def runs(data: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    return {kind: make_run(folder / kind, data, kind) for kind in ("block", "ar", "mtp")}


class Memory:
    """A sink that keeps its pieces."""

    def __init__(self) -> None:
        self.pieces: list[np.ndarray] = []

    def write(self, wave_T: np.ndarray) -> None:
        self.pieces.append(wave_T)


def spoken(path: Path) -> np.ndarray:
    with wave.open(str(path)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 16_000)
        return np.frombuffer(file.readframes(file.getnframes()), "<i2")


@pytest.mark.parametrize("kind", ["block", "ar", "mtp"])
@pytest.mark.parametrize("stream", [False, True])
def test_every_kind_of_run_speaks_into_a_valid_file(
    kind: str, stream: bool, runs: dict[str, Path], tmp_path: Path
) -> None:
    said = say_into(str(runs[kind]), TEXT, Manner(), str(tmp_path / "out.wav"), stream, QUIET)
    assert len(said.codes_FQ) > 0
    assert said.samples == len(spoken(tmp_path / "out.wav")) == len(said.codes_FQ) * HOP
    assert 0 < said.first.total <= said.times.total


def test_numbers_of_fewer_bits_speak_as_well_and_unknown_ones_are_refused(
    runs: dict[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "out.wav"
    said = say_into(str(runs["block"]), TEXT, Manner(), str(out), True, QUIET, precision="bf16")
    assert len(spoken(out)) == said.samples > 0
    assert Voice.load(runs["block"], precision="bf16").body.dtype == torch.bfloat16
    with pytest.raises(SpeakError, match="no precision 'fp8'; there are fp32, bf16"):
        Voice.load(runs["block"], precision="fp8")


@pytest.mark.parametrize("kind", ["block", "ar", "mtp"])
def test_a_stream_says_the_same_codes_and_its_sound_leaves_before_the_end(kind: str, runs: dict[str, Path]) -> None:
    voice, whole, streamed = Voice.load(runs[kind]), Memory(), Memory()
    at_once = say(voice, Manner(), TEXT, whole, stream=False)
    in_blocks = say(voice, Manner(), TEXT, streamed, stream=True)
    assert np.array_equal(at_once.codes_FQ, in_blocks.codes_FQ)
    assert len(whole.pieces) == 1
    assert len(streamed.pieces) == -(-len(at_once.codes_FQ) // voice.block) + 1
    assert sum(map(len, streamed.pieces)) == len(whole.pieces[0])


def test_blocks_are_equal_whatever_the_decoder_gives_at_a_time(runs: dict[str, Path]) -> None:
    voice = Voice.load(runs["ar"])
    text_NS, counts = voice.batch([TEXT])
    sizes = {}
    for chunk in (1, 3, 4):
        decoder = voice.decoder(Manner(), [TEXT], chunk=chunk)
        decoder.feed(text_NS, counts, ended=True)
        sizes[chunk] = [len(codes_FQ) for codes_FQ in blocks_of(decoder, 4)]
    assert sizes[1] == sizes[3] == sizes[4]
    assert set(sizes[1][:-1]) <= {4}


def test_the_same_seed_says_the_same_and_another_something_else(runs: dict[str, Path]) -> None:
    voice = Voice.load(runs["block"])
    manner = [Manner(temperature=1.0, seed=seed, max_seconds=2.0) for seed in (1, 1, 2)]
    one, same, other = (say(voice, m, TEXT, Memory(), stream=False).codes_FQ for m in manner)
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def drawn(voice: Voice, **more: Any) -> list[bytes]:
    """What is said at temperature 1 with a few seeds."""
    manners = [Manner(temperature=1.0, seed=seed, max_seconds=1.0, **more) for seed in range(4)]
    return [say(voice, manner, TEXT, Memory(), stream=False).codes_FQ.tobytes() for manner in manners]


@pytest.mark.parametrize("kind", ["block", "ar", "mtp"])
def test_of_next_to_no_mass_the_likeliest_code_is_left(kind: str, runs: dict[str, Path]) -> None:
    voice = Voice.load(runs[kind])
    cold = say(voice, Manner(max_seconds=1.0), TEXT, Memory(), stream=False).codes_FQ.tobytes()
    assert set(drawn(voice, top_p=1e-6)) == {cold}
    assert len({*drawn(voice), *drawn(voice, top_p=0.7)}) > 4, "draws, and other ones of less mass"


def test_policies_judge_before_temperature_unless_asked(runs: dict[str, Path]) -> None:
    voice = Voice.load(runs["block"])
    sure = Manner(policy="threshold:0.9", temperature=0.05, max_seconds=1.0)
    before, after = (
        say(voice, replace(sure, tempered=t), TEXT, Memory(), stream=False).forwards for t in (False, True)
    )
    assert after < before, "codes that are all but certain once they are drawn so cold take fewer passes"
    policy = voice.decoder(Manner(temperature=0.5, top_p=0.9, tempered=True), [TEXT]).policy  # type: ignore[attr-defined]
    assert (policy.temperature, policy.top_p, policy.tempered) == (0.5, 0.9, True)


def test_a_policy_that_is_written_out_is_what_decodes(runs: dict[str, Path]) -> None:
    voice = Voice.load(runs["block"])
    decoder = voice.decoder(Manner(policy="pmi+threshold:0.8+min_gap:2"), [TEXT])
    assert decoder.policy == policy_of("pmi+threshold:0.8+min_gap:2")  # type: ignore[attr-defined]
    assert decoder.steps == STEPS  # type: ignore[attr-defined]
    assert len(say(voice, Manner(policy="min_gap:2+pmi"), TEXT, Memory(), stream=False).codes_FQ)


def test_a_threshold_says_how_sure_guesses_must_be(runs: dict[str, Path]) -> None:
    """Next to 0 keeps all, at 1 none are kept: a pass for each frame."""
    voice, forwards = Voice.load(runs["mtp"]), {}
    for accept in ("confident:1e-9", "confident:1", "confident", "unverified"):
        assert voice.decoder(Manner(accept=accept), [TEXT]).accept == acceptance_of(accept)  # type: ignore[attr-defined]
        forwards[accept] = say(voice, Manner(accept=accept, max_seconds=1.0), TEXT, Memory(), stream=False).forwards
    assert forwards["confident:1e-9"] == forwards["unverified"] < forwards["confident:1"]


def test_a_talker_guesses_as_far_ahead_as_it_was_taught_to(data: str, runs: dict[str, Path], tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", data, "mtp", end=-50.0, windows={"ahead": 1, "causal": False})
    decoder = Voice.load(run).decoder(Manner(), [TEXT])
    assert (decoder.ahead, decoder.causal) == (1, False)  # type: ignore[attr-defined]
    said = say(Voice.load(run), Manner(max_seconds=0.64), TEXT, Memory(), stream=False)
    assert said.forwards * 5 == 8, "16 frames, two a pass; the grid counts the block of the end as well"
    usual, facts = Voice.load(runs["mtp"]), runs["mtp"].glob("*/*/state.json")
    assert (usual.windows.ahead, usual.windows.causal) == (3, True)
    old = orjson.loads(next(facts).read_bytes())
    del old["recipe"]["train"]["stages"][0]["windows"]
    assert replace(usual, facts=old).windows == WindowSettings(), "runs of before say nothing of windows"


def test_a_gpu_is_taken_where_there_is_one_and_a_processor_where_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for gpus, usual in ((0, "cpu"), (2, "cuda:0")):
        monkeypatch.setattr(torch.cuda, "device_count", lambda gpus=gpus: gpus)
        assert device_of(None) == torch.device(usual)
        assert device_of("cpu") == torch.device("cpu")
    assert device_of("cuda") == torch.device("cuda")
    assert device_of("cuda:1") == torch.device("cuda:1")
    with pytest.raises(SpeakError, match="--device cuda:2: not on this machine; there are cpu, cuda:0, cuda:1"):
        device_of("cuda:2")


def test_a_talker_that_does_not_end_is_stopped_and_that_is_told(data: str, tmp_path: Path) -> None:
    run, console = make_run(tmp_path / "run", data, end=-50.0), Console(file=io.StringIO(), width=200)
    said = say_into(str(run), TEXT, Manner(max_seconds=1.0), str(tmp_path / "out.wav"), True, console)
    assert said.cut
    assert said.seconds == 1.0
    assert "did not come to an end" in console.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("seconds", "limit"), [(1.0, "--max-seconds"), (float("inf"), "talker.max_frames"), (3.3, "talker.max_frames")]
)
def test_where_a_talker_was_stopped_is_blamed_on_what_stopped_it(
    data: str, tmp_path: Path, seconds: float, limit: str
) -> None:
    run, console = make_run(tmp_path / "run", data, end=-50.0), Console(file=io.StringIO(), width=200)
    said = say_into(str(run), TEXT, Manner(max_seconds=seconds), str(tmp_path / "out.wav"), False, console)
    assert said.cut
    assert said.seconds == min(seconds, 3.2), "80 frames are all that it has positions for"
    assert f"s ({limit}" in console.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", ["block", "ar", "mtp"])
def test_a_temperature_next_to_nothing_says_what_none_says(kind: str, runs: dict[str, Path]) -> None:
    voice = Voice.load(runs[kind])
    cold, none = (say(voice, Manner(temperature=t), TEXT, Memory(), stream=False).codes_FQ for t in (1e-39, 0.0))
    assert np.array_equal(cold, none)


@pytest.mark.parametrize(
    "manner",
    [
        Manner(max_seconds=float("nan")),
        Manner(temperature=float("nan")),
        Manner(temperature=float("inf")),
        Manner(max_seconds=-float("inf")),
    ],
)
def test_numbers_that_are_none_are_refused(runs: dict[str, Path], tmp_path: Path, manner: Manner) -> None:
    with pytest.raises(SpeakError, match="nothing can be said so"):
        say_into(str(runs["block"]), TEXT, manner, str(tmp_path / "out.wav"), False, QUIET)


def test_first_sound_and_its_parts_are_printed_only_of_a_stream(runs: dict[str, Path], tmp_path: Path) -> None:
    for stream in (False, True):
        console = Console(file=io.StringIO(), width=200)
        say_into(str(runs["block"]), TEXT, Manner(), str(tmp_path / "out.wav"), stream, console)
        lines = console.file.getvalue()  # type: ignore[attr-defined]
        assert ("first sound after" in lines) == stream
        assert "of real time" in lines


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 50), max_size=6))
def test_a_file_is_valid_after_every_piece(sizes: list[int]) -> None:
    file, total = io.BytesIO(), 0
    sink = WavFile(file, 16_000)
    for size in sizes:
        sink.write(np.full(size, 0.5, np.float32))
        total += size
        with wave.open(io.BytesIO(file.getvalue())) as found:
            assert found.getnframes() == total
    sink.close()


def test_a_pipe_gets_the_samples_and_nothing_else() -> None:
    file, wave_T = io.BytesIO(), np.array([0.0, 1.0, -1.0, 2.0], np.float32)
    RawPipe(file).write(wave_T)
    assert file.getvalue() == pcm(wave_T)
    assert np.frombuffer(file.getvalue(), "<i2").tolist() == [0, 32767, -32767, 32767]


def test_a_run_speaks_when_its_dataset_is_gone(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", make_tested_dataset(tmp_path))
    shutil.rmtree(tmp_path / "out")
    assert say_into(str(run), TEXT, Manner(), str(tmp_path / "out.wav"), False, QUIET).samples


def test_parts_are_written_once_and_count_what_training_sees(data: str, runs: dict[str, Path]) -> None:
    parts = read_parts(runs["block"])
    before = (runs["block"] / "voice" / "voice.json").stat().st_mtime_ns
    save_parts(runs["block"], data, 4)
    assert (runs["block"] / "voice" / "voice.json").stat().st_mtime_ns == before
    train = [s.arrays["speech"] for s in Dataset.open(data) if s.meta["split"] == "train"]
    frames = sum(map(len, train))
    assert parts.counts_QC[0, :-1].sum() == frames
    assert parts.counts_QC.sum() == sum(Grid(len(codes), 1, 4).positions for codes in train)


def test_every_option_reaches_the_decoder(
    runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Manner] = []
    genuine = Voice.decoder

    def noted(self: Voice, manner: Manner, *rest: Any, **more: Any) -> Any:
        asked.append(manner)
        return genuine(self, manner, *rest, **more)

    monkeypatch.setattr(Voice, "decoder", noted)
    drawn = ["--temperature", "0.7", "--top-p", "0.9", "--seed", "3", "--max-seconds", "1", "--device", "cpu"]
    order = ["--policy", "pmi+threshold:0.8+min_gap:2", "--steps", "3", "--judge-tempered"]
    for kind, own in {"block": order, "mtp": ["--accept", "confident:0.5"], "ar": ["--decoder", "ar"]}.items():
        arguments = ["say", TEXT, "--run", str(runs[kind]), "-o", str(tmp_path / f"{kind}.wav"), *drawn, *own]
        assert CliRunner().invoke(cli.app, arguments).exit_code == 0
        assert (tmp_path / f"{kind}.wav").exists()
    shared = {"temperature": 0.7, "top_p": 0.9, "seed": 3, "max_seconds": 1.0}
    assert set(asked) == {
        Manner(steps=3, policy="pmi+threshold:0.8+min_gap:2", tempered=True, **shared),
        Manner(accept="confident:0.5", **shared), Manner("ar", **shared),
    }  # fmt: skip


# Refusals


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["  "], "the text is empty"),
        ([TEXT, "--policy", "evenly"], "no policy 'evenly'; there are cosine, "),
        ([TEXT, "--policy", ""], "no policy ''; there are cosine, "),
        ([TEXT, "--policy", "pmi+threshold:2"], "policy 'pmi+threshold:2': tau is a probability above 0, not 2"),
        ([TEXT, "--accept", "confident"], "--accept is of the decoder mtp, and block is what decodes: leave it out"),
        ([TEXT, "--top-p", "0.5"], "--top-p is for codes that are drawn: give a --temperature above 0"),
        ([TEXT, "--judge-tempered"], "--judge-tempered is for codes that are drawn"),
        (
            [TEXT, "--temperature", "1", "--top-p", "1.5"],
            "--top-p 1.5: give a share of the mass, above 0 and at most 1",
        ),
        ([TEXT, "--temperature", "1", "--top-p", "nan"], "--top-p nan: give a share"),
        ([TEXT, "--device", "cuda:99"], "--device cuda:99: not on this machine; there are cpu"),
        ([TEXT, "--device", "tpu"], "--device tpu: not on this machine; there are cpu"),
        ([TEXT, "--decoder", "ar"], "trained for the decoder block, not ar"),
        ([TEXT, "--decoder", "best"], "no decoder 'best'; there are block, ar, mtp"),
        ([TEXT, "-o", "no/such/folder/out.wav"], "there is no folder"),
        ([TEXT, "-o", "."], "a folder; name a file"),
        ([TEXT * 50], "say it in parts"),
        (["half a pair \ud800"], "not Unicode"),
    ],
)
def test_what_cannot_be_said_is_refused_in_one_line(
    arguments: list[str],
    said: str,
    runs: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    code, error = refused(monkeypatch, capsys, "say", "--run", str(runs["block"]), *arguments)
    assert code == cli.USAGE
    assert said in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir()), "a refused text must make no file"


@pytest.mark.parametrize(
    ("kind", "arguments", "said"),
    [
        ("ar", ["--steps", "4"], "--steps is of the decoder block, and ar is what decodes: leave it out"),
        ("ar", ["--policy", "even"], "--policy is of the decoder block, and ar"),
        ("mtp", ["--policy", "verified"], "--policy is of the decoder block, and mtp"),
        ("ar", ["--accept", "verified"], "--accept is of the decoder mtp, and ar"),
        ("mtp", ["--judge-tempered", "--temperature", "1"], "--judge-tempered is of the decoder block, and mtp"),
        ("mtp", ["--accept", "all"], "no way 'all' to accept guesses; there are confident, unverified, verified"),
        ("mtp", ["--accept", "confident:2"], "confident:2: tau is a probability above 0, not 2"),
        ("mtp", ["--accept", "verified:0.5"], "verified takes no numbers"),
    ],
)
def test_what_a_decoder_does_not_go_by_is_refused(
    kind: str, arguments: list[str], said: str, runs: dict[str, Path], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    out = tmp_path / "out.wav"
    code, error = refused(monkeypatch, capsys, "say", TEXT, "--run", str(runs[kind]), "-o", str(out), *arguments)
    assert (code, error.count("\n")) == (cli.USAGE, 1)
    assert said in error
    assert not out.exists()


def test_no_run_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    code, error = refused(
        monkeypatch, capsys, "say", TEXT, "--run", str(tmp_path / "none"), "-o", str(tmp_path / "out.wav")
    )
    assert (code, error.count("\n")) == (cli.USAGE, 1)
    assert "no such run" in error


def copied(run: Path, folder: Path) -> Path:
    shutil.copytree(run, folder / "run")
    return folder / "run"


def test_tokenizers_of_another_run_are_refused(runs: dict[str, Path], tmp_path: Path) -> None:
    run = copied(runs["block"], tmp_path)
    text = b'{"version":"1.0","added_tokens":[],"model":{"type":"BPE","vocab":{"a":0},"merges":[]}}'
    facts = orjson.loads((run / "voice" / "voice.json").read_bytes())
    (run / "voice" / "text.json").write_bytes(text)
    with pytest.raises(SpeakError, match=r"text.json: damaged: not the file that voice.json lists"):
        Voice.load(run)
    import hashlib

    facts["files"]["text.json"] = hashlib.sha256(text).hexdigest()
    (run / "voice" / "voice.json").write_bytes(orjson.dumps(facts))
    with pytest.raises(SpeakError, match="trained with another text tokenizer"):
        Voice.load(run)


@pytest.mark.parametrize("name", ["voice.json", "text.json", "speech.safetensors"])
def test_a_run_without_its_parts_says_how_to_get_them(name: str, runs: dict[str, Path], tmp_path: Path) -> None:
    run = copied(runs["block"], tmp_path)
    (run / "voice" / name).unlink()
    with pytest.raises(SpeakError, match=rf"incomplete \({name} is missing\): give `speechmill train` once more"):
        Voice.load(run)


def test_damaged_facts_are_refused(runs: dict[str, Path], tmp_path: Path) -> None:
    run = copied(runs["block"], tmp_path)
    (run / "voice" / "voice.json").write_bytes(b'{"format": 3}')
    with pytest.raises(SpeakError, match="damaged"):
        Voice.load(run)
