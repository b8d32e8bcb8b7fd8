"""The transcribe stage: texts for a corpus that has none, a second opinion for one that has, and the same bytes whatever dies."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from rich.console import Console

from manifests.dataset import Dataset
from manifests.ledger import Outcome
from manifests.receipt import receipts
from manifests.recipe import Recipe, RecipeError, parse
from manifests.shards.reader import Shard
from manifests.storage import Store
from pipelines.data import opened
from pipelines.repair.repair import repair
from pipelines.reporting import make_report
from pipelines.stages.s38_transcribe import wanted
from pipelines.status import quarantine, status
from pipelines.verify.verify import verify
from tests.corpora import corpus as real
from tests.faults import command
from tests.small_corpus import fingerprints, tone

QUIET = Console(quiet=True)
SMALL = {
    "plan": {"unit_seconds": 8}, "speech": {"codebook_size": 16, "fit_seconds": 10, "iterations": 2},
    "text": {"vocab_size": 300}, "mask": None, "run": {"workers": 0, "drain_seconds": 10},
}  # fmt: skip
LISTEN = {"transcribe": {"recogniser": {"name": "pocketsphinx"}}}
SPOKEN = {  # of LibriSpeech and a public-domain speech: clear enough for the embedded recogniser
    "green": ("librispeech_mini", "163-122947-0006", "now with red light now with green"),
    "virtues": ("librispeech_mini", "163-122947-0000", "chapter seven our virtues"),
    "learn": ("librispeech_mini", "118-47824-0002", None),
    "ask": ("jfk", "jfk", "And so my fellow Americans, ask not what your country can do for you, ask what you can do for your country."),
}  # fmt: skip


def recipe(root: Path, **blocks: Any) -> Recipe:
    return parse({"name": "heard", "corpus": {"layout": "table", "root": str(root)}, **SMALL, **blocks})


def made(asked: Recipe, out: Path) -> Dataset:
    with opened(asked, str(out), QUIET) as run:
        run()
    data = Dataset.open(str(out))
    ledger = data.description["ledger"]
    assert ledger["pending"] == 0
    assert len(data) == ledger["written"]
    return data


def sound_of(name: str) -> Path:
    folder, stem, _ = SPOKEN[name]
    return next(path for path in real(folder).rglob(f"{stem}.*") if path.suffix in (".flac", ".wav"))


def said_in(name: str) -> str:
    folder, stem, text = SPOKEN[name]
    if text is not None:
        return text
    [line] = [
        line
        for table in real(folder).rglob("*.trans.txt")
        for line in table.read_text().splitlines()
        if line.startswith(stem)
    ]
    return line.partition(" ")[2]


def spoken_corpus(folder: Path, texts: dict[str, str]) -> Path:
    """Real speech in a list, with these texts."""
    folder.mkdir(parents=True)
    lines = ["id\taudio\ttext\tspeaker\tlanguage"]
    for name, text in texts.items():
        path = sound_of(name)
        shutil.copy(path, folder / f"{name}{path.suffix}")
        lines.append(f"{name}\t{name}{path.suffix}\t{text}\t{name}\ten")
    (folder / "list.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def wordless(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Real speech without any text, and the dataset that came of it."""
    folder = tmp_path_factory.mktemp("wordless")
    root = spoken_corpus(folder / "corpus", {"green": "", "virtues": ""})
    made(recipe(root, **LISTEN), folder / "out")
    return root, folder / "out"


def test_a_corpus_without_texts_gets_the_words_that_are_heard(wordless: tuple[Path, Path]) -> None:
    _, out = wordless
    data, verdict = Dataset.open(str(out)), verify(str(out), reencode=2)
    assert verdict.ok, [str(fault) for fault in verdict.faults]
    texts = {sample.meta["id"]: sample for sample in data}
    assert texts["green"].meta["text"] == "now with red light now with green"
    assert texts["green"].meta["heard"]["is_text"] is True
    assert texts["virtues"].meta["text"].startswith("chapter seven")
    assert all(len(sample.arrays["text"]) > 3 for sample in data)
    assert data.description["transcripts"]["recogniser"]["name"] == "pocketsphinx"


def test_side_shards_hold_the_plans_utterances_in_its_order(wordless: tuple[Path, Path]) -> None:
    _, out = wordless
    about = Dataset.open(str(out)).description
    store = Store(str(out)).sub(about["folders"]["transcripts"])
    for receipt in receipts(store, len(about["transcripts"]["shards"])):
        shard = Shard(store, f"shard-{receipt.unit:06d}")
        assert shard.keys == [o.id for o in receipt.outcomes if o.status == "written"]
        assert {side for sample in shard for side in sample.meta} == {"id", "response"}
        assert receipt.facts["recogniser"]["name"] == "pocketsphinx"
        assert receipt.facts["response"] == len(shard)


def test_status_and_report_show_the_stage(wordless: tuple[Path, Path], tmp_path: Path) -> None:
    _, out = wordless
    stage = next(s for s in status(str(out)).stages if s.stage == "transcripts")
    assert stage.units == stage.done > 0
    copy = Path(shutil.copytree(out, tmp_path / "out"))
    assert "transcripts" in Path(make_report(str(copy), QUIET)).read_text(encoding="utf-8")


def test_exactly_the_swapped_texts_are_filtered_and_say_what_was_heard(tmp_path: Path) -> None:
    names = ["green", "virtues", "learn", "ask"]
    texts = {name: said_in(name) for name in names}
    texts["green"], texts["learn"] = texts["learn"], texts["green"]
    root, out = spoken_corpus(tmp_path / "corpus", texts), tmp_path / "out"
    data = made(recipe(root, transcribe={"use": "compare"}, verify_text={"max_wer": 0.6}), out)
    aside = {outcome.id: outcome for outcome in quarantine(str(out))}
    assert set(aside) == {"green", "learn"}
    assert {o.reason for o in aside.values()} == {"text_mismatch"}
    error = aside["green"].error or ""
    assert error.startswith("WER ")
    assert "over 0.6: heard 'now with red light now with green'" in error
    kept = {sample.meta["id"]: sample.meta for sample in data}
    assert set(kept) == {"virtues", "ask"}
    for name, meta in kept.items():
        assert meta["text"] == texts[name], "a second opinion changes no text"
        assert 0 <= meta["heard"]["wer"] <= 0.6
        assert "is_text" not in meta["heard"]
    verdict = verify(str(out), reencode=1)
    assert verdict.ok, [str(fault) for fault in verdict.faults]


# Whatever dies


ASKED = {
    "mask": "null", "transcribe": "{use: both}", "verify_text": "{max_wer: null}", "plan.unit_seconds": 1, "speech.codebook_size": 16, "speech.pca": 8,
}  # fmt: skip
HUMS = 5


@pytest.fixture(scope="module")
def humming(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Short hums that the recogniser makes something of; every other one has a text; one more file is empty, one is silent."""
    folder = tmp_path_factory.mktemp("humming") / "corpus"
    folder.mkdir()
    lines = ["id\taudio\ttext\tspeaker"]
    for i in range(HUMS):
        soundfile.write(folder / f"u{i}.wav", tone(i, 0.4 + 0.02 * i), 16_000, subtype="PCM_16")
        lines.append(f"u{i}\tu{i}.wav\t{'' if i % 2 else f'this is hum {i}'}\ts{i}")
    (folder / "empty.wav").write_bytes(b"")
    soundfile.write(folder / "silent.wav", np.zeros(8_000, np.float32), 16_000, subtype="PCM_16")
    lines += [f"{name}\t{name}.wav\t\ts0" for name in ("empty", "silent")]
    (folder / "list.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def undisturbed(humming: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    code, output = command.run(humming, out, **ASKED, **{"run.workers": 0})
    assert code == 0, output
    return out


def test_only_what_is_asked_for_is_heard_and_broken_files_keep_their_reasons(humming: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    data = made(recipe(humming, **LISTEN), out)
    stated = {line.split("\t")[0] for line in (humming / "list.tsv").read_text().splitlines() if line.split("\t")[2]}
    for sample in data:
        assert ("heard" in sample.meta) == (sample.meta["id"] not in stated)
    assert {o.id: o.reason for o in quarantine(str(out))} == {"empty": "empty_file", "silent": "silent"}
    assert verify(str(out), reencode=2).ok


def test_killed_wherever_it_may_be_while_it_transcribes_and_resumed_it_makes_the_same_bytes(
    humming: Path, undisturbed: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    for point in ("between-files", "before-receipt"):
        crash = {"SPEECHMILL_CRASH_AT": f"{point}:{tmp_path / point}"}
        code, output = command.run(humming, out, crash, **ASKED, **{"run.workers": 0})
        assert code == 137, output
        assert list(out.glob("plan-*/plan.json"))
        assert not list(out.glob("fit-*")), "it died in this stage"
    code, output = command.run(humming, out, **ASKED, **{"run.workers": 0})
    assert code == 0, output
    assert fingerprints(out) == fingerprints(undisturbed)


def test_an_actor_that_dies_changes_nothing(humming: Path, undisturbed: Path, tmp_path: Path) -> None:
    out, marker = tmp_path / "out", tmp_path / "died"
    crash = {"SPEECHMILL_CRASH_AT": f"between-files:{marker}"}
    code, output = command.run(humming, out, crash, **ASKED, **{"run.workers": 2})
    assert code == 0, output
    assert marker.exists()
    assert fingerprints(out) == fingerprints(undisturbed)


def test_the_same_recipe_has_nothing_to_do_and_another_rule_hears_nothing_again(
    undisturbed: Path, humming: Path, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(undisturbed, tmp_path / "out"))
    heard = next(out.glob("transcripts-*"))
    before = {path.name: path.stat().st_ino for path in heard.rglob("*")}
    code, output = command.run(humming, out, **{**ASKED, "verify_text": "{max_wer: 0.9}"}, **{"run.workers": 0})
    assert code == 0, output
    assert [path.name for path in out.glob("transcripts-*")] == [heard.name]
    assert {path.name: path.stat().st_ino for path in heard.rglob("*")} == before
    assert len(list(out.glob("tokens-*"))) == 2


@pytest.mark.parametrize("end", [".tar", ".idx"])
def test_a_damaged_transcript_is_found_and_made_anew(end: str, undisturbed: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(undisturbed, tmp_path / "out"))
    path = next(out.glob(f"transcripts-*/shard-000001{end}"))
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(data)
    faults = [fault for fault in verify(str(out), reencode=0).faults if not fault.warning]
    assert any(fault.where.startswith("transcripts-") for fault in faults)
    assert repair(str(out), QUIET).ok
    assert fingerprints(out) == fingerprints(undisturbed)


def test_a_transcript_that_says_something_else_is_found_by_hearing_again(
    undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tokenization.recognisers.base import Transcript
    from tokenization.recognisers.pocketsphinx import PocketsphinxRecogniser

    assert verify(str(undisturbed), reencode=2).ok
    said = lambda self, waves: [Transcript("something else") for _ in waves]
    monkeypatch.setattr(PocketsphinxRecogniser, "recognise", said)
    faults = verify(str(undisturbed), reencode=2).faults
    assert any("heard again its response is 'something else'" in fault.what for fault in faults)


class Choking:
    """Cannot hear a batch, nor anything longer than a given time."""

    def __init__(self, recogniser: Any) -> None:
        self.spec, self._recogniser = recogniser.spec, recogniser

    def recognise(self, waves: list[np.ndarray]) -> Any:
        if len(waves) > 1 or len(waves[0]) > 0.43 * 16_000:
            raise RuntimeError("no room\nfor that")
        return self._recogniser.recognise(waves)


def test_what_the_recogniser_cannot_hear_is_quarantined_alone(
    humming: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipelines.stages import s38_transcribe

    honest = s38_transcribe.open_recogniser
    monkeypatch.setattr(s38_transcribe, "open_recogniser", lambda settings: Choking(honest(settings)))
    out = tmp_path / "out"
    data = made(recipe(humming, transcribe={"use": "both"}), out)
    aside = {o.id: o for o in quarantine(str(out)) if o.reason == "recognise_failed"}
    assert aside
    assert {o.status for o in aside.values()} == {"quarantined"}
    assert {o.error for o in aside.values()} == {"no room for that"}
    assert len(data) + len(aside) == HUMS


# What is asked


def test_who_is_heard(tmp_path: Path) -> None:
    from manifests.utterance import AudioRef, Query, Utterance

    sound = AudioRef("a.wav")
    both = Utterance("a", sound, text=" ", query=Query("what", audio=sound))
    assert [wanted(both, use) for use in ("missing", "compare", "both")] == [
        ("response",),
        ("query",),
        ("response", "query"),
    ]
    assert wanted(Utterance("b", None, text=None), "both") == ()


def test_a_rule_without_a_recogniser_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        RecipeError, match="verify_text compares texts with what a recogniser hears: say which in transcribe"
    ):
        recipe(tmp_path, verify_text={})


def test_a_recipe_with_neither_block_is_described_as_before(tmp_path: Path) -> None:
    plain = recipe(tmp_path).deciding()
    assert not {"transcribe", "verify_text"} & set(plain)
    assert "transcribe" in recipe(tmp_path, **LISTEN).deciding("tokens")


def test_where_weights_lie_is_no_part_of_it(tmp_path: Path) -> None:
    asked = recipe(tmp_path, transcribe={"recogniser": {"name": "whisper", "weights": "/models/large-v3.pt"}})
    assert "weights" not in asked.deciding()["transcribe"]["recogniser"]


def test_missing_weights_are_refused_before_anything_is_done(tmp_path: Path) -> None:
    pytest.importorskip("whisper")
    from tokenization.adapter import TokenizerError

    asked = recipe(tmp_path, transcribe={"recogniser": {"name": "whisper", "weights": "/no/such.pt"}})
    with pytest.raises(TokenizerError, match=r"/no/such\.pt"), opened(asked, str(tmp_path / "out"), QUIET):
        pass
    assert not (tmp_path / "out").exists()


# With a Whisper


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.tokenization import whispers

    return whispers.trained(tmp_path_factory)


def whispered(folder: Path) -> Path:
    """Sounds that the small Whisper knows, in a list: with the right text, none, a wrong one, in a wrong language."""
    from tests.tokenization.whispers import SAID, sound

    folder.mkdir()
    rows = {
        "right": (200, "The red lamp is on!", "en"), "wrong": (700, "the red lamp is on", "en"), "german": (1_800, "wo ist der bahnhof", "de"),
        "called_english": (1_800, "wo ist der bahnhof", "en"), "bare": (700, "", "en"), "loop": (4_000, "", "en"), "noise": (0, "", "en"),
        "loop_with_text": (4_000, "hello", "en"), "loop_as_said": (4_000, SAID[4_000][0], "en"),
    }  # fmt: skip
    lines = ["id\taudio\ttext\tspeaker\tlanguage"]
    for i, (name, (hertz, text, language)) in enumerate(rows.items()):
        soundfile.write(folder / f"{name}.wav", sound(hertz, seed=i), 16_000, subtype="PCM_16")
        lines.append(f"{name}\t{name}.wav\t{text}\t{name}\t{language}")
    (folder / "list.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def test_a_whisper_gives_texts_holds_texts_against_them_and_is_doubted_itself(checkpoint: Path, tmp_path: Path) -> None:
    listen = {"recogniser": {"name": "whisper", "weights": str(checkpoint)}, "use": "both", "batch_seconds": 90}
    out = tmp_path / "out"
    data = made(recipe(whispered(tmp_path / "corpus"), transcribe=listen, verify_text={}), out)
    texts = {sample.meta["id"]: sample.meta for sample in data}
    assert {name: meta["text"] for name, meta in texts.items() if name != "loop_as_said"} == {
        "right": "The red lamp is on!", "german": "wo ist der bahnhof", "bare": "call me at nine",
    }  # fmt: skip
    assert texts["right"]["heard"]["wer"] == 0
    assert texts["right"]["heard"]["language"] == "en"
    assert texts["loop_as_said"]["heard"]["wer"] == 0, "where both agree there is nothing to doubt"
    aside: dict[str, Outcome] = {o.id: o for o in quarantine(str(out))}
    assert {name: o.reason for name, o in aside.items()} == {
        "wrong": "text_mismatch", "called_english": "wrong_language", "loop": "heard_loop", "noise": "heard_no_speech",
        "loop_with_text": "heard_loop",
    }  # fmt: skip
    assert {o.status for o in aside.values()} == {"filtered"}
    assert "heard 'call me at nine'" in (aside["wrong"].error or "")
    assert "the corpus says en, de is heard" in (aside["called_english"].error or "")
    verdict = verify(str(out), reencode=3)
    assert verdict.ok, [str(fault) for fault in verdict.faults]
    spec = data.description["transcripts"]["recogniser"]
    assert spec["checksum"] == data.description["recipe"]["transcribe"]["recogniser"]["checksum"]
