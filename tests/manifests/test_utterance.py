"""Utterances: what a corpus says of one survives the way through a Lhotse cut, and Lhotse takes the cut."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.utterance import UNKNOWN_RATE, AudioRef, Header, Query, Utterance, from_cut, to_cut

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
MAYBE = st.none() | TEXT
REFS = st.builds(
    AudioRef, TEXT, st.none() | st.integers(0, 9), st.none() | st.integers(0, 9), st.none() | st.integers(0, 9), MAYBE
)
QUERIES = st.builds(Query, MAYBE, MAYBE, st.none() | REFS, st.none() | st.integers(0, 1))
SECONDS = st.floats(0, 1e4, allow_nan=False)
UTTERANCES = st.builds(
    Utterance, id=TEXT.filter(bool), audio=st.none() | REFS, text=MAYBE, speaker=MAYBE, language=MAYBE,
    recording=st.none() | TEXT.filter(bool), start=SECONDS, seconds=st.none() | SECONDS, channel=st.none() | st.integers(0, 3),
    split=MAYBE, query=st.none() | QUERIES, units=st.none() | REFS, fault=st.none() | st.tuples(TEXT, TEXT),
    extra=st.dictionaries(TEXT, TEXT | st.integers(0, 9), max_size=3),
)  # fmt: skip
HEADERS = st.builds(Header, st.sampled_from([8000, 16000, 44100]), st.integers(0, 10**7), st.integers(1, 2), MAYBE)


@given(UTTERANCES, HEADERS)
def test_the_way_through_a_cut_and_its_json_loses_nothing(utterance: Utterance, header: Header) -> None:
    again = from_cut(orjson.loads(orjson.dumps(to_cut(utterance, header))))
    assert again == replace(utterance, recording=utterance.recording_id)


@given(UTTERANCES, HEADERS)
def test_a_cut_lies_in_time_where_the_corpus_says(utterance: Utterance, header: Header) -> None:
    cut = to_cut(utterance, header)
    assert cut["start"] == utterance.start
    assert cut["duration"] >= 0
    if utterance.seconds is not None:
        assert cut["duration"] == utterance.seconds


def test_a_fault_of_the_header_is_kept_unless_the_corpus_has_one_itself() -> None:
    broken = Header(fault=("not_audio", "no sound"))
    assert from_cut(to_cut(Utterance("a"), broken)).fault == ("not_audio", "no sound")
    assert from_cut(to_cut(Utterance("a", fault=("bad_line", "two columns")), broken)).fault == (
        "bad_line",
        "two columns",
    )


def test_an_unreadable_file_still_has_a_length_so_that_it_can_be_planned() -> None:
    cut = to_cut(Utterance("a"), Header(fault=("not_audio", "no sound")))
    assert (cut["duration"], cut["recording"]["sampling_rate"]) == (1.0, UNKNOWN_RATE)


def test_renaming_keeps_the_recording() -> None:
    assert Utterance("a").renamed("b").recording_id == "a"


def test_lhotse_reads_the_manifest_and_writes_it_back_the_same(tmp_path: Path) -> None:
    lhotse = pytest.importorskip("lhotse")
    path = tmp_path / "cuts.jsonl"
    whole = Utterance("a", AudioRef("a.wav"), "hello", "sp", "en", extra={"age": 3})
    cuts = [to_cut(whole, Header(16_000, 32_000)), to_cut(Utterance("b"), Header(fault=("x", "y")))]
    path.write_bytes(b"".join(orjson.dumps(cut) + b"\n" for cut in cuts))
    first, second = list(lhotse.CutSet.from_jsonl_lazy(path))
    assert (first.id, first.duration, first.supervisions[0].text, first.custom["extra"]) == (
        "a",
        2.0,
        "hello",
        {"age": 3},
    )
    assert from_cut(json.loads(json.dumps(first.to_dict()))) == from_cut(cuts[0])
    assert second.custom["fault"] == ["x", "y"]
