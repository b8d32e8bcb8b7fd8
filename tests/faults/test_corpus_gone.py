"""A corpus that goes away while it is read: no utterance is blamed, the run ends unfinished, and is finished when the corpus is back."""

from __future__ import annotations

import shutil
from pathlib import Path

import orjson
import pytest
from rich.console import Console

from manifests.corpora.base import Corpus
from manifests.fetch import Fetcher, FetchFailed
from manifests.recipe import Recipe, load
from manifests.storage import Store
from manifests.utterance import AudioRef, Header
from pipelines.data import opened
from pipelines.engine.contract import RunFailed
from pipelines.engine.mapping import Mapper
from pipelines.engine.progress import Events
from pipelines.engine.stopping import Stopping
from pipelines.stages import s20_ingest
from pipelines.stages.s20_ingest import cut_lines, ingest
from pipelines.status import quarantine
from tests.faults.command import in_one_process, run
from tests.small_corpus import fingerprints, overrides, write_corpus

ALONE = {"run.workers": 0}


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return write_corpus(tmp_path / "corpus", 12)


def recipe(corpus: Path, **more: object) -> Recipe:
    return load("corpus", overrides(corpus, **{**ALONE, **more}))


def ingested(corpus: Path, out: Path) -> None:
    """The corpus is listed, and nothing else is done yet."""
    with opened(recipe(corpus), str(out), Console(quiet=True)) as started:
        started.planned(str(corpus), {})


def unfinished(code: int, output: str, *words: str) -> None:
    assert code == 3, output
    assert "Traceback" not in output
    assert "the corpus changed or went away while it was read" in " ".join(output.split())
    for word in words:
        assert word in output


def test_a_corpus_that_goes_away_mid_run_ends_it_unfinished_and_blames_no_utterance(
    corpus: Path, tmp_path: Path
) -> None:
    wanted, out = in_one_process(corpus, tmp_path / "undisturbed", **ALONE), tmp_path / "out"
    ingested(corpus, out)
    shutil.move(corpus, tmp_path / "unmounted")
    corpus.mkdir()  # what a mount leaves
    with (
        opened(recipe(corpus, **{"run.relist": False}), str(out), Console(quiet=True)) as again,
        pytest.raises(RunFailed, match=r"fit: 1 of 1 units failed.*went away while it was read.*is it mounted"),
    ):
        again()
    assert not list(out.rglob("receipts/*"))
    corpus.rmdir()
    shutil.move(tmp_path / "unmounted", corpus)
    code, output = run(corpus, out, **ALONE)
    assert code == 0, output
    assert fingerprints(out) == wanted


def test_a_sound_deleted_mid_run_says_what_the_next_run_makes_of_it_and_that_run_does(
    corpus: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    ingested(corpus, out)
    (corpus / "u007.wav").unlink()
    code, output = run(corpus, out, **ALONE, **{"run.relist": False})
    unfinished(code, output, "u007.wav", "run again", "listed as missing")
    code, output = run(corpus, out, **ALONE)
    assert code == 0, output
    assert [o.error for o in quarantine(str(out)) if o.id == "u007"] == ["there is no file u007.wav"]


@pytest.fixture
def flapping(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Sounds that are away while headers are read, and there for whoever asks for their size."""
    away, scan = set[str](), Fetcher.scan

    def look(self: Fetcher, ref: AudioRef) -> Header:
        if ref.path in away:
            return Header(fault=("missing_audio", f"there is no file {ref.path}"))
        return scan(self, ref)

    monkeypatch.setattr(Fetcher, "scan", look)
    return away


def listed(corpus: Corpus, out: Path) -> list[str]:
    """Ids whose sound is missing, by the manifest."""
    cuts = Store(str(out / "cuts"))
    ingest(corpus, corpus.root, cuts, Mapper(lambda: 0, lambda: None, Stopping(0.0)), Events(None))
    found = (orjson.loads(line) for line in cut_lines(cuts))
    return [cut["id"] for cut in found if cut["custom"].get("fault", [""])[0] == "missing_audio"]


def test_sounds_that_are_away_for_a_moment_while_the_corpus_is_listed_are_not_listed_as_missing(
    corpus: Path, tmp_path: Path, flapping: set[str]
) -> None:
    flapping.add("u004.wav")
    with pytest.raises(FetchFailed, match=r"went away while it was read: there was no file u004\.wav.*run again"):
        listed(recipe(corpus).corpus, tmp_path)
    assert not (tmp_path / "cuts" / "cuts.json").exists()
    flapping.clear()
    (corpus / "u004.wav").unlink()  # gone for good before it is listed: that is how the corpus is
    assert listed(recipe(corpus).corpus, tmp_path) == ["u004"]


def test_a_corpus_that_is_listed_twice_and_not_alike_is_listed_again(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, digest = recipe(corpus).corpus, s20_ingest.listing_digest

    def cut_short(settings: Corpus, root: str) -> str:
        found, lines = digest(settings, root), (corpus / "list.tsv").read_text().splitlines()
        (corpus / "list.tsv").write_text("\n".join(lines[:5]) + "\n")
        return found

    monkeypatch.setattr(s20_ingest, "listing_digest", cut_short)
    with pytest.raises(FetchFailed, match="lists other utterances than a moment ago"):
        listed(asked, tmp_path)
    monkeypatch.setattr(s20_ingest, "listing_digest", digest)
    assert not (tmp_path / "cuts" / "cuts.json").exists()
    assert listed(asked, tmp_path) == []


def test_a_corpus_that_goes_away_while_headers_are_read_is_not_listed_as_missing(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan, read = Fetcher.scan, list[str]()

    def look(self: Fetcher, ref: AudioRef) -> Header:
        read.append(ref.path)
        if len(read) == 6:
            for sound in corpus.glob("*.wav"):
                sound.unlink()
        return scan(self, ref)

    monkeypatch.setattr(Fetcher, "scan", look)
    with pytest.raises(FetchFailed, match="went away while it was read"):
        listed(recipe(corpus).corpus, tmp_path)
    assert not (tmp_path / "cuts" / "cuts.json").exists()
