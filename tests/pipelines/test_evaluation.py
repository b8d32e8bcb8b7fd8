"""``eval``: the same held-out sentences for every system, everything measured, the recogniser asked once for each sound."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import orjson
import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner

from manifests.dataset import Dataset
from manifests.demo.grammar import dialogues, sentences, split_of
from manifests.keys import id_of
from pipelines import cli
from pipelines.evaluation import evaluate as module
from pipelines.evaluation.comparing import COMPARED, compared
from pipelines.evaluation.evaluate import Asked, evaluate
from pipelines.evaluation.listening import EARS, Heard, Hearing, Listen, Sound, silence, sound_of, word_errors
from pipelines.evaluation.page import examples
from pipelines.evaluation.rows import Row
from pipelines.evaluation.sentences import Sentence, held_out
from pipelines.evaluation.speaking import spoken
from pipelines.evaluation.systems import Ways, systems
from pipelines.evaluation.table import COLUMNS, cells, heading, show
from pipelines.voice.errors import SpeakError
from pipelines.voice.manner import Manner
from pipelines.voice.voice import Voice
from tests.pipelines.parrot import Parrot
from tests.pipelines.test_cli import refused
from tests.pipelines.tiny_run import make_run, make_tested_dataset

QUIET = Console(quiet=True)


@pytest.fixture(autouse=True)
def parrot(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    Parrot.asked = 0
    monkeypatch.setitem(EARS, "open", Parrot)
    monkeypatch.setitem(EARS, "grammar", Parrot)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_tested_dataset(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def runs(data: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    return {kind: make_run(folder / kind, data, kind) for kind in ("block", "ar", "mtp")}


def asked(runs: dict[str, Path], **changes: object) -> Asked:
    others = (("ar", str(runs["ar"])), ("mtp", str(runs["mtp"])))
    settings = {"others": others, "sentences": 4, "steps": (1, 2), "timed": 2, "batch": 3, "workers": 0, **changes}
    return Asked(str(runs["block"]), **settings)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def once(runs: dict[str, Path]) -> dict[str, object]:
    """One evaluation with all kinds of rows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(EARS, "open", Parrot)
        return evaluate(asked(runs, policies=("even", "pmi")), QUIET)


def test_there_is_a_row_for_every_system_and_ceilings_for_all(once: dict, runs: dict[str, Path]) -> None:
    names = [row["name"] for row in once["rows"]]
    steps = ["1 step, even", "2 steps, even", "1 step, pmi", "2 steps, pmi"]
    guessed = ["MTP, unverified", "MTP, confident", "MTP, verified"]
    assert names == ["recordings", "codec", "AR", *guessed, *steps]
    assert once == orjson.loads((runs["block"] / "eval" / "eval.json").read_bytes())


def test_every_system_has_every_figure(once: dict) -> None:
    columns, rows = cells(once)
    grammar = {"WER grammar %", "none heard"}
    assert {c.heading for c in columns} == {c.heading for c in COLUMNS} - grammar, (
        "no grammar for a corpus that is not the demo"
    )
    for row in rows[2:]:
        assert all(row), dict(zip([c.heading for c in columns], row, strict=True))


def test_figures_mean_what_they_say(once: dict, data: str) -> None:
    rows = {row["name"]: row for row in once["rows"]}
    test = [s.arrays["speech"] for s in Dataset.open(data) if s.meta["split"] == "test"]
    assert rows["codec"]["frames"] == sum(map(len, test))
    assert rows["codec"]["length_ratio"] == 1.0
    assert rows["AR"]["speed"]["forwards_per_block"] > rows["1 step, even"]["speed"]["forwards_per_block"]
    assert rows["1 step, even"]["speed"]["forwards_per_block"] <= 1.0
    assert rows["2 steps, even"]["speed"]["forwards_per_block"] <= 2.0
    assert rows["1 step, even"]["frames"] == rows["1 step, pmi"]["frames"], "one step leaves nothing to order"
    assert [h["said"] for h in rows["AR"]["heard"]] == [h["said"] for h in rows["codec"]["heard"]]
    assert 0 < rows["AR"]["predictive_entropy_bits"] < 5


def test_verified_guesses_say_what_their_own_next_frame_says(runs: dict[str, Path]) -> None:
    """The baseline is what it claims to be: the same codes as autoregressive decoding of the same talker."""
    voice = Voice.load(runs["mtp"])
    (verified,) = systems(voice, (), Ways(accept=("verified",)))
    texts = ["speaker 3 says line 1", "speaker 3 says line 3"]
    alone = [voice.decoder(module.replace(verified.manner, decoder="ar", accept=None), [text]) for text in texts]
    for decoder, text, codes_FQ in zip(alone, texts, spoken(verified, texts, 2).codes, strict=True):
        text_NS, counts = voice.batch([text])
        decoder.feed(text_NS, counts, ended=True)
        assert np.array_equal(np.concatenate([c for (c,) in module.speaking.rows_of(decoder)]), codes_FQ)


def test_batches_say_what_each_sentence_says_alone(runs: dict[str, Path]) -> None:
    texts = [f"speaker {i} says line " + " ".join("12345"[: 5 - 2 * i % 5]) for i in range(5)]
    assert sorted(texts, key=len) != texts, "batches are of about the same length, and so in another order"
    for system in systems(Voice.load(runs["block"]), (), Ways((2,))):
        together, alone = (spoken(system, texts, batch).codes for batch in (4, 1))
        assert all(map(np.array_equal, together, alone))


def test_the_files_are_whole(once: dict, runs: dict[str, Path]) -> None:
    folder = runs["block"] / "eval"
    assert (folder / "eval.png").read_bytes().startswith(b"\x89PNG")
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert page.count("<audio") == 3 * len(once["rows"])
    assert not re.findall(r"(?:src|href)=\"(?!data:)", page), "the page needs nothing else"
    for row in once["rows"]:
        assert row["name"] in page


def test_the_table_is_printed_in_parts_that_fit(once: dict) -> None:
    out = io.StringIO()
    show(once, Console(file=out, width=100))
    table = [line for line in out.getvalue().splitlines() if line[:1] in "┏┃┡│└"]
    assert table
    assert max(map(len, table)) <= 100
    assert sum("1 step, even" in line for line in table) > 1, "every part names the systems"


def test_a_second_evaluation_asks_the_recogniser_nothing_and_finds_the_same(once: dict, runs: dict[str, Path]) -> None:
    second = evaluate(asked(runs, policies=("even", "pmi")), QUIET)
    assert Parrot.asked == 0
    for one, other in zip(once["rows"], second["rows"], strict=True):
        assert {k: v for k, v in one.items() if k != "speed"} == {k: v for k, v in other.items() if k != "speed"}


def test_fewer_sentences_can_be_heard_openly_or_none(runs: dict[str, Path]) -> None:
    some = evaluate(asked(runs, heard=2, others=(), steps=(1,)), QUIET)
    assert {row["wer"]["open"]["sentences"] for row in some["rows"]} == {2}
    none = evaluate(asked(runs, heard=0, others=(), steps=(1,)), QUIET)
    assert all(row["wer"] == {} for row in none["rows"])


# Held-out sentences


def test_sentences_are_those_of_the_test_split_and_distinct(data: str) -> None:
    dataset = Dataset.open(data)
    found = held_out(dataset, 4)
    assert {s.text for s in found} == {s.meta["text"] for s in dataset if s.meta["split"] == "test"}
    assert held_out(dataset, 2) == [] or [s.text for s in held_out(dataset, 2)] == [s.text for s in found[:2]]


def test_the_demos_grammar_has_more_and_none_is_of_training() -> None:
    from pipelines.evaluation.sentences import _scripted

    description = {"recipe": {"corpus": {"layout": "demo", "dialogues": 50, "seed": 0}}}
    found = [s.text for _, s in zip(range(20), _scripted(description), strict=False)]
    assert len(set(found)) == 20
    assert {split_of(text) for text in found} == {"test"}
    assert not {d.response for d in dialogues(0, 400) if d.split != "test"} & set(found)
    assert found == [s.text for _, s in zip(range(20), _scripted(description), strict=False)]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--sentences", "9"], "4 distinct held-out sentences in the test split, 9 are asked for: give --sentences 4"),
        (["--steps", "1,x"], "--steps 1,x: write whole numbers"),
        (["--steps", "0"], "--steps 0: write whole numbers"),
        (["--policies", "best"], "no policy 'best'"),
        (["--policies", "even,pmi+best"], "policy 'pmi+best': no part 'best'; there are scores"),
        (["--policies", ","], "--policies names nothing"),
        (["--accept", "verified"], "--accept is of the decoder mtp, and block is what decodes here"),
        (["--top-p", "0.9"], "--top-p is for codes that are drawn: give a --temperature above 0"),
        (["--top-p", "0", "--temperature", "1"], "--top-p 0.0: give a share of the mass, above 0 and at most 1"),
        (["--device", "cuda:99"], "--device cuda:99: not on this machine; there are cpu"),
        (["--data", "nowhere"], "--data says where the dataset lies"),
        (["--ar", "nowhere"], "nowhere: no such run"),
    ],
)
def test_what_cannot_be_judged_is_refused_in_one_line(
    arguments: list[str],
    said: str,
    runs: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, error = refused(
        monkeypatch, capsys, "eval", str(runs["block"]), "--sentences", "4", "--workers", "0", *arguments
    )
    assert code == cli.USAGE
    assert said in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("kind", "option"),
    [("ar", "--steps=1"), ("mtp", "--policies=even"), ("ar", "--accept=verified"), ("mtp", "--steps=2")],
)
def test_options_that_no_run_goes_by_are_refused(
    kind: str, option: str, runs: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, error = refused(monkeypatch, capsys, "eval", str(runs[kind]), "--sentences", "4", option)
    assert (code, error.count("\n")) == (cli.USAGE, 1)
    assert f"{option.partition('=')[0]} is of the decoder" in error
    assert f"and {kind} is what decodes here: leave it out" in error
    assert not (runs[kind] / "eval").exists()


def test_rows_are_as_usual_where_nothing_is_asked_for(runs: dict[str, Path]) -> None:
    voices = {kind: Voice.load(run) for kind, run in runs.items()}
    others = [(kind, voices[kind]) for kind in ("ar", "mtp")]
    usual = ["AR", "MTP, unverified", "MTP, confident", "MTP, verified"]
    assert [s.name for s in systems(voices["mtp"], (), Ways())] == usual[1:]
    assert [s.name for s in systems(voices["block"], others, Ways())] == [
        *usual,
        "1 step",
        *(f"{n} steps" for n in (2, 4, 8, 16)),
    ]
    asked_of_others = Ways((4,), ("pmi+min_gap:2",), ("confident:0.6", "verified"))
    names = [s.name for s in systems(voices["block"], others, asked_of_others)]
    assert names == ["AR", "MTP, confident:0.6", "MTP, verified", "4 steps"]


def test_the_heading_tells_of_a_temperature(once: dict) -> None:
    about = once["about"]
    assert heading({"about": {**about, "temperature": 0.7}}) == f"{heading(once)}, codes drawn at temperature 0.7"


def test_every_option_reaches_the_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[Asked] = []
    monkeypatch.setattr(module, "evaluate", lambda asked, console: found.append(asked) or {"about": {}, "rows": []})
    drawn = ["--temperature", "0.7", "--top-p", "0.9", "--seed", "3", "--device", "cpu"]
    ways = ["--steps", "2,4", "--policies", "even,margin+cosine", "--accept", "confident:0.8"]
    for arguments in ([], [*drawn, *ways]):
        CliRunner().invoke(cli.app, ["eval", "run", *arguments])
    usual, other = found
    assert usual.ways == Ways()
    like = Manner(temperature=0.7, seed=3, top_p=0.9)
    assert other.ways == Ways((2, 4), ("even", "margin+cosine"), ("confident:0.8",), like)
    assert (usual.device, other.device) == (None, "cpu")


def test_codes_are_drawn_at_the_temperature_and_seed_that_are_asked_for(runs: dict[str, Path]) -> None:
    """Every kind of row: the same seed says the same, another something else; at 0 the seed does nothing."""

    def said(temperature: float, seed: int) -> dict[str, list[str]]:
        asked_for = asked(
            runs, steps=(2,), temperature=temperature, top_p=0.95 if temperature else 1.0, seed=seed, heard=0
        )
        found = module.Evaluation.open(asked_for, QUIET).rows()
        return {row.name: [sound.name for sound in row.sounds] for row in found}

    drawn, again, other = said(1.0, 0), said(1.0, 0), said(1.0, 1)
    cold, still = said(0.0, 0), said(0.0, 1)
    assert drawn == again
    assert cold == still
    for name in ("AR", "MTP, unverified", "MTP, confident", "MTP, verified", "2 steps"):
        assert drawn[name] != other[name]
        assert drawn[name] != cold[name]


def test_a_baseline_of_another_kind_or_vocabulary_is_refused(runs: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(SpeakError, match=r"--ar .*: trained for the decoder block, not ar"):
        evaluate(asked(runs, others=(("ar", str(runs["block"])),)), QUIET)
    stranger = make_run(tmp_path / "run", make_tested_dataset(tmp_path, codes=8), "ar")
    with pytest.raises(SpeakError, match="cannot be compared"):
        evaluate(asked(runs, others=(("ar", str(stranger)),)), QUIET)


def test_another_dataset_is_refused(runs: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(SpeakError, match=r"has another (speech|text) tokenizer"):
        evaluate(asked(runs, data=make_tested_dataset(tmp_path, codes=8)), QUIET)


# Listening


def heard_row(ear: str, said: str, heard: str, language: str | None = None) -> Row:
    return Row("x", "codec", [Sentence(said, language=language)], [Sound("x")], {}, {ear: [Heard(heard, 0.0)]})


@pytest.mark.parametrize(
    ("ear", "said", "heard"),
    [
        ("open", "OKAY I SET A TIMER FOR TEN MINUTES", "okay i set a timer for ten minutes"),
        ("open", "Okay, I've set a timer for 10 minutes.", "okay i've set a timer for ten minutes"),
        ("grammar", "Okay, I SET it for seven o'clock.", "okay i set it for seven o'clock"),
    ],
)
def test_how_a_sentence_is_written_is_no_error(
    ear: str, said: str, heard: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = heard_row(ear, said, heard)
    assert row.to_json()["wer"][ear]["errors"] == 0
    assert row.to_json()["heard"] == [{"said": said, ear: heard}], "what is kept is what was heard"
    monkeypatch.setattr("pipelines.evaluation.page._audio", lambda sound, tokenizer: "")
    [(_, _, right)] = examples([row], None)[0].tracks[0].heard  # type: ignore[arg-type]
    assert right, "the page's mark agrees"


def test_words_of_another_language_are_not_taken_for_english() -> None:
    assert heard_row("open", "der Um zug", "der zug", "de").to_json()["wer"]["open"]["errors"] == 1
    assert heard_row("open", "the um train", "the train", "en-US").to_json()["wer"]["open"]["errors"] == 0


def test_a_sentence_without_words_is_compared_as_it_is() -> None:
    errors = heard_row("open", "Um...", "").to_json()["wer"]["open"]
    assert (errors["words"], errors["errors"], errors["empty"]) == (1, 1, 1)


def test_an_ear_with_a_grammar_counts_the_demos_words_as_they_stand() -> None:
    assert set(COMPARED) == set(EARS)
    for said in sentences("response"):
        assert compared("grammar", said) == said


def test_nothing_heard_is_counted_apart() -> None:
    found = word_errors(["a b c d", "e f", "g h i j"], ["a b c x", "", "g h i j"])
    assert (found["errors"], found["words"], found["empty"]) == (3, 10, 1)
    assert found["rate_heard"] == 1 / 8
    assert found["empty_part"] == 2 / 10
    assert found["wrong_sentences"] == 2
    assert found["low"] <= found["rate"] <= found["high"]


def test_names_of_sounds_tell_codes_shapes_and_codecs_apart() -> None:
    from manifests.settings.speech import PatchesSettings

    codes, speech = np.arange(6, dtype=np.uint16)[:, None], PatchesSettings()
    names = {
        sound_of(codes, speech, "a").name, sound_of(codes + 1, speech, "a").name, sound_of(codes.reshape(3, 2), speech, "a").name,
        sound_of(codes, speech, "b").name, sound_of(codes, PatchesSettings(griffin_lim=1), "a").name,
    }  # fmt: skip
    assert len(names) == 5


def test_what_was_heard_survives_a_torn_last_line_and_a_new_ear(runs: dict[str, Path], tmp_path: Path) -> None:
    voice = Voice.load(runs["block"])
    weights = (runs["block"] / "voice" / "speech.safetensors").read_bytes()
    mapper = module.Mapper(lambda: 0, lambda: None, module.Stopping(0.0))
    hearing = Hearing(tmp_path / "heard.jsonl", mapper, voice.parts.facts.speech, weights)
    sounds = [sound_of(np.full((n, 1), n, np.uint16), voice.parts.facts.speech, "x") for n in (3, 8)]
    first = hearing.hear("open", [*sounds, sounds[0]], lambda done, of: None)
    assert (len(first), Parrot.asked) == (2, 2)
    with hearing.path.open("ab") as file:
        file.write(b'{"version":1,"ear":"op')
    assert hearing.hear("open", sounds, lambda done, of: None) == first
    assert Parrot.asked == 2
    hearing.hear("grammar", sounds, lambda done, of: None)
    assert Parrot.asked == 4


def test_a_sound_that_kills_the_recogniser_is_one_in_which_nothing_is_heard(runs: dict[str, Path]) -> None:
    weights = (runs["block"] / "voice" / "speech.safetensors").read_bytes()
    work = Listen("open", Voice.load(runs["block"]).parts.facts.speech, weights)
    assert [h.words for h in work.poisoned([Sound("x"), Sound("y")])] == ["", ""]


def test_recordings_out_of_reach_are_left_out_and_a_note_says_so(
    data: str, runs: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    moved = Path(data).parent / "corpus-elsewhere"
    (Path(data).parent / "corpus").rename(moved)
    out = io.StringIO()
    try:
        found = evaluate(asked(runs, others=(), steps=(1,)), Console(file=out, width=200))
    finally:
        moved.rename(Path(data).parent / "corpus")
    assert [row["name"] for row in found["rows"]] == ["codec", "1 step"]
    [note] = found["about"]["notes"]
    assert note.startswith("the row of recordings is left out: the corpus is not at ")
    assert note in out.getvalue()
    assert "the row of recordings is left out" in (runs["block"] / "eval" / "index.html").read_text(encoding="utf-8")
    assert evaluate(asked(runs, others=(), steps=(1,)), QUIET)["about"]["notes"] == []


def test_a_single_recording_out_of_reach_is_named_and_nothing_is_kept_of_it(
    data: str, runs: dict[str, Path], tmp_path: Path
) -> None:
    voice = Voice.load(runs["block"])
    weights = (runs["block"] / "voice" / "speech.safetensors").read_bytes()
    mapper = module.Mapper(lambda: 0, lambda: None, module.Stopping(0.0))
    hearing = Hearing(tmp_path / "heard.jsonl", mapper, voice.parts.facts.speech, weights)
    corpus = Path(data).parent / "corpus"
    first, second = (Sound(str(s.key), data=data, key=str(s.key)) for s in held_out(Dataset.open(data), 2))
    hearing.hear("open", [first], lambda done, of: None)
    file, away = corpus / f"{id_of(second.key)}.wav", tmp_path / "away.wav"
    file.rename(away)
    try:
        with pytest.raises(SpeakError, match=f"the recording of {second.key} is out of reach") as found:
            hearing.hear("open", [first, second], lambda done, of: None)
    finally:
        away.rename(file)
    assert "\n" not in str(found.value)
    assert hearing.path.read_bytes().count(b"\n") == 1, "nothing is kept of what was not heard"


def test_what_was_stored_of_recordings_out_of_reach_is_not_believed(runs: dict[str, Path], tmp_path: Path) -> None:
    voice = Voice.load(runs["block"])
    weights = (runs["block"] / "voice" / "speech.safetensors").read_bytes()
    (tmp_path / "heard.jsonl").write_bytes(b'{"version":2,"ear":"open","sound":"x","words":"","silence":1.0}\n')
    mapper = module.Mapper(lambda: 0, lambda: None, module.Stopping(0.0))
    hearing = Hearing(tmp_path / "heard.jsonl", mapper, voice.parts.facts.speech, weights)
    sound = Sound("x", np.full((8, 1), 8, np.uint16))
    assert hearing.hear("open", [sound], lambda done, of: None)["x"].words
    assert Parrot.asked == 1


def test_silence_is_measured_against_the_loudest_frame() -> None:
    rate = 16_000
    loud, soft = np.sin(np.arange(rate) / 5), 1e-4 * np.sin(np.arange(rate) / 5)
    assert silence(loud, rate) == 0.0
    assert silence(np.concatenate([loud, soft]), rate) == 0.5
    assert silence(soft, rate) == 1.0
    assert silence(loud[:0], rate) == 1.0
