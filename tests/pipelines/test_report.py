"""The report page: one self-contained file that tells what a dataset holds and what became of every utterance.

Legend: wave_T mono float32; codes_FQ uint16 (frames x codebooks).
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manifests.dataset import FORMAT, NAME, Dataset
from manifests.fingerprint import canonical, pretty
from manifests.keys import key_of
from manifests.ledger import Outcome, fold
from manifests.receipt import FileEntry, Receipt, receipts, shard_stem, write_receipt
from manifests.shards import npy
from manifests.shards.reader import ShardError
from manifests.shards.writer import pack
from manifests.storage import Store
from pipelines.report.charts import codebook_use, histogram
from pipelines.report.collect import collect
from pipelines.report.endings import LISTED, UNKNOWN_REASON, meaning
from pipelines.report.example import CLIP_SECONDS, Example
from pipelines.report.page import build_report, write_report
from pipelines.report.sound import FLOOR_DB, audio_uri, log_mel, spectrogram_uri
from pipelines.report.survey import Bins, Groups, choose_examples, survey

RATE, FRAME_RATE, VOCAB = 16_000, 25.0, 64
SPEECH = {"name": "patches", "version": "1", "frame_rate": FRAME_RATE, "codebooks": 1, "vocab_size": VOCAB,
          "sample_rate": RATE, "checksum": "00"}  # fmt: skip
REASONS = {"too_short": "Shorter than the recipe allows.", "unreadable": "No decoder reads it."}
HOSTILE = "<script>alert(1)</script>\"'><img src=http://evil.example/x onerror=alert(2)>"
VOID = {"meta", "link", "img", "br", "hr", "input"}


@dataclass(frozen=True)
class Line:
    """An utterance to be: written where it has no reason."""

    id: str
    seconds: float = 2.0
    text: str | None = "set a timer"
    speaker: str | None = "anna"
    split: str = "train"
    corpus: str = "toy"


def sample(line: Line, codebooks: int = 1) -> tuple[str, dict[str, bytes]]:
    frames = round(line.seconds * FRAME_RATE)
    codes_FQ = (np.arange(frames * codebooks) * 7 % VOCAB).astype(np.uint16).reshape(frames, codebooks)
    meta = {"id": line.id, "text": line.text, "speaker": line.speaker, "split": line.split, "corpus": line.corpus,
            "duration": line.seconds, "frames": frames}  # fmt: skip
    text_L = np.arange(len((line.text or "").split()), dtype=np.int32)
    members = {"speech.npy": npy.dump(codes_FQ), "text.npy": npy.dump(text_L)}
    return key_of(line.id), {"json": canonical({k: v for k, v in meta.items() if v is not None}), **members}


def facts_of(lines: Sequence[Line]) -> dict[str, Any]:
    splits: dict[str, dict[str, float]] = {}
    for line in lines:
        amounts = splits.setdefault(line.split, {"utterances": 0, "frames": 0, "seconds": 0.0})
        amounts["utterances"] += 1
        amounts["frames"] += round(line.seconds * FRAME_RATE)
        amounts["seconds"] += line.seconds
    return {"splits": splits}


def make(
    root: Path, units: Sequence[Sequence[Line]], lost: Sequence[Outcome] = (), **about: Any
) -> tuple[Dataset, list[Receipt]]:
    """A finished dataset of one shard a unit; what was ``lost`` belongs to the last unit."""
    out, made, shards = Store(str(root)), [], []
    tokens = out.sub("tokens-0123456789ab")
    for number, lines in enumerate(units):
        packed, stem = pack(sample(line) for line in lines), shard_stem(number)
        files = {f"{stem}.tar": packed.tar, f"{stem}.idx": packed.index}
        for name, data in files.items():
            tokens.publish(name, data)
        ended = [Outcome(line.id, "written") for line in lines] + (list(lost) if number == len(units) - 1 else [])
        entries = tuple(FileEntry.of(name, data) for name, data in files.items())
        made.append(Receipt("tokens", number, entries, tuple(ended), facts_of(lines), {"seconds": 1.5, "attempt": 1}))
        write_receipt(tokens, made[-1])
        shards.append({"name": f"{stem}.tar", "samples": len(lines), "bytes": len(packed.tar), "sha256": packed.sha256,
                       "index": f"{stem}.idx", "index_sha256": packed.index_sha256})  # fmt: skip
    ledger = fold(sum(len(r.outcomes) for r in made), (o for r in made for o in r.outcomes))
    description = {
        "format": FORMAT, "name": "toy", "recipe": {"name": "toy", "plan": {"seed": 1}}, "speech": SPEECH,
        "text": {"vocab_size": 99},
        "ledger": ledger.to_json(), "splits": facts_of([line for lines in units for line in lines])["splits"],
        "tokens": {"folder": "tokens-0123456789ab", "shards": shards}, **about,
    }  # fmt: skip
    out.publish(NAME, pretty(description))
    return Dataset.open(str(root)), made


def example(name: str = "u0", seconds: float = 1.0, text: str | None = "set a timer", **more: Any) -> Example:
    t_T = np.arange(int(seconds * RATE)) / RATE
    wave_T = (0.3 * np.sin(2 * np.pi * 440 * t_T)).astype(np.float32)
    codes_FQ = (np.arange(int(seconds * FRAME_RATE)) % VOCAB).astype(np.uint16)[:, None]
    return Example(name, text, None, wave_T, wave_T * 0.5, RATE, codes_FQ, FRAME_RATE, **more)


class Page(HTMLParser):
    """A parsed page: its elements, its words, and what stands open at its end."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("style", "script"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.elements if name == tag]


def page_of(dataset: Dataset, made: Sequence[Receipt], examples: Sequence[Example] = (), **extras: Any) -> Page:
    page = Page(build_report(collect(dataset, made, examples, REASONS, extras)))
    assert page.open == [], "every element is closed"
    return page


@pytest.fixture
def toy(tmp_path: Path) -> tuple[Dataset, list[Receipt]]:
    units = [
        [Line("u0", 1.0), Line("u1", 3.0, speaker="ben", split="test")],
        [Line("u2", 2.0), Line("u3", 6.0, text=None, speaker=None, corpus="other")],
    ]
    lost = [
        Outcome("short1", "filtered", "too_short", "0.1 s"),
        Outcome("bad1", "quarantined", "unreadable", "bad1.wav: no header"),
    ]
    return make(tmp_path / "out", units, lost)


def test_the_page_tells_the_ledger_and_its_parts_sum_to_the_whole(toy: tuple[Dataset, list[Receipt]]) -> None:
    assert "4 written + 1 filtered + 1 quarantined = 6 planned" in page_of(*toy).text


def test_the_widths_of_the_ledger_bar_are_the_counts(toy: tuple[Dataset, list[Receipt]]) -> None:
    page = page_of(*toy)
    flex = {a["class"]: a["style"] for a in page.of("i") if "flex" in (a.get("style") or "")}
    assert flex == {"written": "flex:4 0 0", "filtered": "flex:1 0 0", "quarantined": "flex:1 0 0"}


def test_hours_by_split_corpus_and_speaker_all_sum_to_the_dataset(toy: tuple[Dataset, list[Receipt]]) -> None:
    found = survey(toy[0])
    assert found.total.seconds == pytest.approx(12.0)
    assert {k: v.seconds for k, v in found.splits.shares.items()} == {"train": 9.0, "test": 3.0}
    assert {k: v.seconds for k, v in found.corpora.shares.items()} == {"toy": 6.0, "other": 6.0}
    assert {k: v.seconds for k, v in found.speakers.shares.items()} == {"anna": 3.0, "ben": 3.0}
    assert found.unnamed.seconds == pytest.approx(6.0)
    assert found.codes.counts_QV.sum() == found.total.frames == 300


def test_reasons_come_with_their_meaning_and_quarantined_ones_with_their_error(
    toy: tuple[Dataset, list[Receipt]],
) -> None:
    text = page_of(*toy).text
    assert "Shorter than the recipe allows." in text
    assert "short1" in text
    assert "bad1.wav: no header" in text
    assert [o.id for o in collect(*toy).endings.quarantined] == ["bad1"]


def test_a_reason_of_a_query_is_explained_by_the_reason_of_the_sound() -> None:
    assert meaning("query_too_short", REASONS) == "Of the query: Shorter than the recipe allows."
    assert meaning("query_odd", REASONS) == UNKNOWN_REASON


def test_everything_agrees_in_a_sound_dataset(toy: tuple[Dataset, list[Receipt]]) -> None:
    assert [a["class"] for a in page_of(*toy).of("b") if a.get("class") in ("yes", "no")] == ["yes"] * 5


def test_a_receipt_that_disagrees_with_the_ledger_is_shown_as_a_fault(toy: tuple[Dataset, list[Receipt]]) -> None:
    dataset, made = toy
    assert "Receipts agree with the ledger: no" in page_of(dataset, made[:1]).text


def test_a_speaker_in_two_splits_is_shown_as_a_fault(tmp_path: Path) -> None:
    dataset, made = make(tmp_path, [[Line("a", split="train"), Line("b", split="test")]])
    assert "No speaker is in two splits: no" in page_of(dataset, made).text


def test_the_page_loads_nothing_from_elsewhere(toy: tuple[Dataset, list[Receipt]]) -> None:
    page = page_of(*toy, [example()])
    links = [a[k] or "" for _, a in page.elements for k in ("src", "href", "srcset", "action", "data") if k in a]
    assert links
    assert all(link.startswith("data:") for link in links)
    assert not page.of("link")
    assert all("src" not in a for a in page.of("script"))


def test_the_style_sheet_refers_to_nothing_outside(toy: tuple[Dataset, list[Receipt]]) -> None:
    html = build_report(collect(*toy))
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL)
    assert style is not None
    assert "url(" not in style[1]
    assert "@import" not in style[1]


def test_hostile_ids_texts_and_names_are_shown_as_they_are_and_never_become_elements(tmp_path: Path) -> None:
    line = Line(f"{HOSTILE}1", text=HOSTILE, speaker=HOSTILE, split=HOSTILE, corpus=HOSTILE)
    lost = [Outcome(f"{HOSTILE}2", "quarantined", HOSTILE, HOSTILE)]
    dataset, made = make(tmp_path, [[line]], lost, name=HOSTILE, recipe={"name": HOSTILE})
    voices = [{"voice": HOSTILE, "wer": 0.1, "kept": False, "why": HOSTILE}]
    stages = [{"stage": HOSTILE, "seconds": 1, "units": 1, "audio_seconds": 1}]
    page = page_of(dataset, made, [example(HOSTILE, text=HOSTILE, speaker=HOSTILE)], voices=voices, stages=stages,
                   recognised={HOSTILE: {"wer": 0.5, "words": 2, "empty": 0}})  # fmt: skip
    assert len(page.of("script")) == 1
    assert all((a.get("src") or "").startswith("data:") for a in page.of("img"))
    assert not any(name.startswith("on") for _, attrs in page.elements for name in attrs)
    assert page.text.count("<script>alert(1)</script>") >= 8


@settings(max_examples=15, deadline=None)
@given(st.text(min_size=1, max_size=60))
def test_any_text_at_all_leaves_the_page_whole(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    dataset, made = make(tmp_path_factory.mktemp("out"), [[Line("u", text="x", speaker="s")]], [])
    outcome = Outcome(text, "quarantined", "unreadable", text)
    page_of(dataset, [*made, Receipt("tokens", 1, (), (outcome,))], [example(text, 0.1, text)])


@pytest.mark.parametrize("text", ["שלום עולם", "مرحبا", "日本語テキスト", "a\u202eb\u202c", "e\u0301", "👩‍👩‍👧"])
def test_text_of_any_script_is_kept_and_set_in_its_own_direction(toy: tuple[Dataset, list[Receipt]], text: str) -> None:
    page = page_of(*toy, [example(text=text)])
    assert text in page.text
    assert [a["dir"] for a in page.of("blockquote")] == ["auto"]


def test_control_characters_and_lone_surrogates_can_be_written(
    toy: tuple[Dataset, list[Receipt]], tmp_path: Path
) -> None:
    path = write_report(Store(str(tmp_path)), *toy, [example("a\x00b\ud800", text="\x1b[31mred")], REASONS, {})
    written = Path(path).read_text(encoding="utf-8")
    assert "a\ufffdb\ufffd" in written
    assert "\x1b" not in written


def test_an_empty_dataset_says_so(tmp_path: Path) -> None:
    page = page_of(*make(tmp_path, [], speech=None, text=None))
    assert "There are no samples in this dataset: its corpus has no utterances." in page.text
    assert not page.of("svg")


def test_a_dataset_of_which_nothing_was_written_says_why(tmp_path: Path) -> None:
    page = page_of(*make(tmp_path, [[]], [Outcome("u", "filtered", "too_short", "0.1 s")]))
    assert "every one of its 1 utterances was left out" in page.text


@pytest.mark.parametrize("line", [Line("u"), Line("u", 0.0), Line("u", text=None, speaker=None), Line("u", 400.0)])
def test_a_dataset_of_one_utterance_has_a_whole_page(tmp_path: Path, line: Line) -> None:
    assert "1 written" in page_of(*make(tmp_path, [[line]])).text


def test_of_ten_thousand_speakers_the_largest_are_shown_and_the_rest_is_summed(tmp_path: Path) -> None:
    lines = [Line(f"u{i}", 1.0 if i else 5.0, speaker=f"speaker{i}") for i in range(10_000)]
    page = page_of(*make(tmp_path, [lines]))
    assert "10,000 named speakers" in page.text
    assert "speaker0" in page.text
    assert "9,980 others 9,980" in page.text


def test_names_beyond_the_limit_are_summed_together() -> None:
    from pipelines.report.survey import Amounts

    groups = Groups(limit=2)
    for name in "abcab":
        groups.add(name, Amounts(1.0, 25, 3, 0.0, "train"))
    assert {k: v.utterances for k, v in groups.shares.items()} == {"a": 2, "b": 2}
    assert groups.rest.utterances == 1
    assert groups.total().seconds == pytest.approx(5.0)


def test_quarantined_utterances_are_listed_up_to_a_limit_and_the_rest_is_counted(tmp_path: Path) -> None:
    lost = [Outcome(f"bad{i:04d}", "quarantined", "unreadable", f"file {i} is torn") for i in range(LISTED + 50)]
    text = page_of(*make(tmp_path, [[Line("u")]], lost)).text
    assert f"file {LISTED - 1} is torn" in text
    assert f"file {LISTED} is torn" not in text
    assert "and 50 more" in text


def test_six_long_examples_fit_in_three_megabytes(toy: tuple[Dataset, list[Receipt]]) -> None:
    noise = np.random.default_rng(0)
    waves = [(0.1 * noise.standard_normal(20 * RATE)).astype(np.float32) for _ in range(3)]
    codes_FQ = noise.integers(0, VOCAB, (500, 8)).astype(np.uint16)
    shown = [Example(f"u{i}", "x", "y", waves[0], waves[1], RATE, codes_FQ, FRAME_RATE, waves[2]) for i in range(6)]
    html = build_report(collect(*toy, shown))
    assert len(html.encode()) < 3_000_000
    assert f"its first {CLIP_SECONDS:g} seconds" in html


def test_an_example_is_heard_and_seen_on_one_time_axis(toy: tuple[Dataset, list[Receipt]]) -> None:
    page = page_of(*toy, [example(seconds=2.0, query_original_T=np.zeros(RATE, np.float32))])
    assert [a["title"] for a in page.of("audio")] == ["query", "original", "resynthesised"]
    widths = [a["style"] for a in page.of("div") if a.get("class") == "strip"]
    assert widths == ["width:50.000%", "width:100.000%", "width:100.000%", "width:100.000%"]


def test_an_example_without_sound_or_tokens_is_named_all_the_same(toy: tuple[Dataset, list[Receipt]]) -> None:
    bare = Example("lonely", None, None, None, None, RATE, None, FRAME_RATE)
    assert "neither sound nor tokens at hand" in page_of(*toy, [bare]).text


@pytest.mark.parametrize(("lossless", "error"), [(True, 1e-4), (False, 0.1)])
def test_the_sound_in_the_page_is_the_sound_given(lossless: bool, error: float) -> None:
    import soundfile

    wave_T = example(seconds=1.5).original_T
    assert wave_T is not None
    uri = audio_uri(wave_T, RATE, lossless)
    heard_T, rate = soundfile.read(io.BytesIO(base64.b64decode(uri.partition(",")[2])), dtype="float32")
    assert rate == RATE
    assert len(heard_T) == len(wave_T)
    assert np.abs(heard_T - wave_T).max() < error


def test_a_spectrogram_is_brightest_where_the_tone_is() -> None:
    t_T = np.arange(RATE) / RATE
    low_FM, high_FM = (log_mel(np.sin(2 * np.pi * hertz * t_T), RATE) for hertz in (200, 4000))
    assert low_FM[50].argmax() < high_FM[50].argmax()
    assert low_FM.max() == pytest.approx(0.0)
    assert low_FM.min() >= -FLOOR_DB


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 3000), st.sampled_from([8000, 16_000, 24_000, 48_000]))
def test_a_sound_of_any_length_has_a_picture(samples: int, rate: int) -> None:
    from matplotlib.image import imread

    uri = spectrogram_uri(np.zeros(samples, np.float32), rate)
    image = imread(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
    assert image.shape[0] == 80
    assert image.shape[1] >= 1


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0, 300, allow_nan=False), min_size=1, max_size=80))
def test_the_bars_of_a_histogram_and_what_lies_beyond_sum_to_its_total(values: list[float]) -> None:
    bins = Bins(0.1, 1200)
    for value in values:
        bins.add(value)
    chart = histogram(bins, "s")
    assert chart is not None
    counted = sum(int(bar.title.rpartition(": ")[2].replace(",", "")) for bar in chart.bars)
    assert counted + chart.over == chart.total == len(values)
    assert all(bar.x >= 46 and bar.x + bar.width <= 512.001 and bar.y >= 9.99 for bar in chart.bars)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 3000), min_size=1, max_size=51))
def test_the_median_of_whole_numbers_is_one_of_them(values: list[int]) -> None:
    bins = Bins(1, 2048, whole=True)
    for value in values:
        bins.add(value)
    exact = sorted(values)[(len(values) - 1) // 2]
    assert bins.quantile(0.5) == (exact if exact < 2048 else max(values))


def test_even_use_of_a_codebook_has_its_size_as_perplexity() -> None:
    even, lone = codebook_use(0, np.full(64, 5)), codebook_use(0, np.eye(64, dtype=np.int64)[3])
    assert even is not None
    assert lone is not None
    assert (even.used, even.perplexity) == (64, pytest.approx(64))
    assert (lone.used, lone.perplexity) == (1, pytest.approx(1))


def test_stage_times_are_those_given_and_else_those_of_the_receipts(toy: tuple[Dataset, list[Receipt]]) -> None:
    assert re.search(r"tokens 2 3\.0 s 1\.5 s 0 12\.0 s 4\.0", page_of(*toy).text)
    given_stages = [{"stage": "tokens", "seconds": 6.0, "units": 2, "audio_seconds": 12.0}]
    assert re.search(r"tokens 2 6\.0 s 1\.5 s 0 12\.0 s 2\.0", page_of(*toy, stages=given_stages).text)


def test_screening_and_recognition_are_shown_where_given(toy: tuple[Dataset, list[Receipt]]) -> None:
    voices = [
        {"voice": "amy", "wer": 0.05, "kept": True, "why": ""},
        {"voice": "zoe", "wer": 0.8, "kept": False, "why": "unclear"},
    ]
    recognised = {
        "original": {"wer": 0.042, "words": 300, "empty": 0},
        "resynthesised": {"wer": 0.081, "words": 300, "empty": 1},
    }
    text = page_of(*toy, voices=voices, recognised=recognised).text
    assert "1 of 2 kept" in text
    assert "original 4.2% 300 0 resynthesised 8.1% 300 1" in text
    assert "Can it still be understood?" not in page_of(*toy).text


def test_writing_the_report_changes_nothing_else(toy: tuple[Dataset, list[Receipt]], tmp_path: Path) -> None:
    dataset, _ = toy
    before = {n: dataset.store.read(n) for n in dataset.store.walk()}
    path = write_report(dataset.store, dataset, receipts(dataset.tokens, 2), [example()], REASONS, {})
    after = {n: dataset.store.read(n) for n in dataset.store.walk()}
    assert Path(path).name == "index.html"
    assert set(after) - set(before) == {"report/index.html"}
    assert all(after[n] == data for n, data in before.items())


def test_receipts_are_taken_one_at_a_time(toy: tuple[Dataset, list[Receipt]]) -> None:
    def stream() -> Iterator[Receipt]:
        yield from toy[1]

    assert collect(toy[0], stream()).endings.written == 4


def test_examples_are_the_same_for_the_same_seed_and_all_different(tmp_path: Path) -> None:
    dataset, _ = make(tmp_path, [[Line(f"u{i}", speaker=f"s{i % 7}") for i in range(40)]])
    drawn = [s.key for s in choose_examples(dataset, 6, seed=3)]
    assert drawn == [s.key for s in choose_examples(dataset, 6, seed=3)]
    assert len(set(drawn)) == 6
    assert len({s.meta["speaker"] for s in choose_examples(dataset, 6, seed=3)}) == 6
    assert len(choose_examples(dataset, 100)) == 40
    assert choose_examples(dataset, 0) == []


def test_a_damaged_shard_is_reported_by_name(toy: tuple[Dataset, list[Receipt]]) -> None:
    toy[0].tokens.publish("shard-000001.tar", b"torn")
    with pytest.raises(ShardError, match=r"shard-000001\.tar"):
        collect(*toy)
