"""Near duplicates: copies are found whatever was done to them, strangers are not, and the first in plan order is who stays."""

from __future__ import annotations

import io
import random
from collections.abc import Callable

import numpy as np
import orjson
import pytest
import soundfile
import soxr
from hypothesis import given
from hypothesis import strategies as st

from manifests.settings.copies import CopiesSettings
from manifests.settings.plan import PlanSettings
from manifests.utterance import AudioRef, Header, Query, Utterance, from_cut, to_cut
from pipelines.near.lsh import PER_KEY, Index, MinHash, Table, bands_for, jaccard
from pipelines.near.sound import LEAST_WORDS, NearSounds, agreement, fingerprints
from pipelines.near.text import NearTexts, evened, pieces
from pipelines.stages.s30_plan import planned
from pipelines.stages.s35_copies import packed, unpacked
from tests.corpora import corpus

# Hashing


@pytest.mark.parametrize("similarity", [0.5, 0.6, 0.7, 0.8, 0.9, 0.95])
def test_sets_that_are_as_alike_as_asked_are_candidates(similarity: float) -> None:
    draws = np.random.default_rng(0)
    found = 0
    for _ in range(200):
        whole = draws.integers(0, 2**63, 400).astype(np.uint64)
        shared = round(400 * similarity)
        a, b = (
            whole[: shared + (400 - shared) // 2],
            np.concatenate([whole[:shared], whole[shared + (400 - shared) // 2 :]]),
        )
        assert jaccard(np.unique(a), np.unique(b)) == pytest.approx(similarity, abs=0.01)
        index = Index.at(similarity)
        index.add(index.minhash.keys(np.unique(a)), 0)
        found += index.candidates(index.minhash.keys(np.unique(b))) == [0]
    assert found >= 194


def test_strangers_are_seldom_candidates() -> None:
    draws = np.random.default_rng(1)
    index = Index.at(0.9)
    sets = [np.unique(draws.integers(0, 2**63, 60).astype(np.uint64)) for _ in range(300)]
    for item, elements in enumerate(sets):
        assert index.candidates(index.minhash.keys(elements)) == []
        index.add(index.minhash.keys(elements), item)


@given(st.lists(st.tuples(st.integers(0, 2**32 - 1) | st.integers(0, 3), st.integers(0, 50)), max_size=400))
def test_the_table_finds_what_was_added_and_nothing_else_however_it_grows(entries: list[tuple[int, int]]) -> None:
    table, wanted = Table(size=4), dict[int, list[int]]()
    for key, item in entries:
        table.add(key, item)
        kept = wanted.setdefault(key, [])
        kept += [item] if len(kept) < PER_KEY else []
    for key, items in wanted.items():
        assert table.find([key]) == sorted(set(items))
    assert table.find(wanted) == sorted({item for items in wanted.values() for item in items})
    assert table.find([77_777]) == sorted(set(wanted.get(77_777, [])))
    assert table.find([]) == []


def test_keys_are_the_same_in_every_process_and_do_not_depend_on_the_order() -> None:
    elements = np.arange(10_000, dtype=np.uint64) * np.uint64(7919)
    assert MinHash(2, 3).keys(elements) == MinHash(2, 3).keys(elements[::-1].copy()) == [1618525337, 1298708670]
    assert bands_for(0.9) == (14, 9)


# Texts

SENTENCE = "The quick brown fox jumps over the lazy dog, and then it sleeps until noon."


@pytest.mark.parametrize(
    ("other", "alike"),
    [
        (SENTENCE.upper(), True),
        ("  the quick brown fox — jumps over the lazy dog and then it sleeps until noon ", True),
        (SENTENCE.replace("noon", "moon"), True),
        (SENTENCE.replace("sleeps until noon", "eats"), False),
        ("An entirely different sentence about something else, of about the same length.", False),
        ("", False),
    ],
)
def test_a_text_resembles_one_that_says_nearly_the_same(other: str, alike: bool) -> None:
    near = NearTexts(0.85)
    assert near.resembled("first", SENTENCE) is None
    found = near.resembled("second", other)
    assert (found is not None and found[0] == "first") is alike
    assert found is None or found[1] >= 0.85


@given(st.lists(st.sampled_from(["yes", "Yes!", "no", "oh no", "", "ß", "SS", "第三次", "\ud800"]), max_size=12))
def test_at_one_texts_that_are_equal_but_for_writing_are_one(texts: list[str]) -> None:
    near, stayed = NearTexts(1.0), dict[str, str]()
    for n, text in enumerate(texts):
        found = near.resembled(str(n), text)
        even = evened(text)
        assert found == ((stayed[even], 1.0) if even in stayed else None)
        if even:
            stayed.setdefault(even, str(n))


def test_every_text_that_stays_is_unlike_all_others_that_stay_and_every_other_is_like_one() -> None:
    draws, words = random.Random(0), ["set", "the", "timer", "ten"]
    texts = [" ".join(draws.choices(words, k=draws.randint(4, 6))) for _ in range(150)]
    near = NearTexts(0.7)
    found = {n: near.resembled(str(n), text) for n, text in enumerate(texts)}
    stayed = [n for n in found if found[n] is None]
    sets = [pieces(evened(text)) for text in texts]
    assert 0 < len(stayed) < len(texts)
    assert all(jaccard(sets[a], sets[b]) < 0.7 for a in stayed for b in stayed if a != b)
    for n, resembled in found.items():
        if resembled:
            assert found[int(resembled[0])] is None
            assert round(jaccard(sets[n], sets[int(resembled[0])]), 4) == resembled[1] >= 0.7


def line(utterance_id: str, text: str | None, query: str | None = None, fault: bool = False) -> bytes:
    said = Query(query) if query else None
    broken = ("bad_line", "it is broken") if fault else None
    return orjson.dumps(
        to_cut(Utterance(utterance_id, AudioRef("a.wav"), text, query=said, fault=broken), Header(1000, 1000))
    )


def marks(lines: list[bytes], **settings: object) -> dict[str, list]:
    files = (data for _, data in planned(lines, PlanSettings(unit_seconds=2, **settings)))  # pyright: ignore[reportArgumentType]
    cuts = (orjson.loads(cut) for data in files for cut in data.splitlines())
    return {cut["id"]: cut["custom"].get("near_text_of") for cut in cuts}


def test_the_plan_marks_texts_that_resemble_an_earlier_one_of_the_plan() -> None:
    lines = [line(f"u{n}", SENTENCE if n % 2 else f"{SENTENCE}!") for n in range(6)] + [line("none", None)]
    lines.append(line("asked", SENTENCE, query="what does the fox do in the morning and in the evening"))
    found = marks(lines, near_text=0.9)
    order = [name for name in found if name.startswith("u")]
    assert {name: mark for name, mark in found.items() if mark} == {name: [order[0], 1.0] for name in order[1:]}
    assert marks(lines[::-1], near_text=0.9) == found
    assert not any(marks(lines).values())


def test_what_never_is_written_stands_for_no_other_text() -> None:
    assert not any(marks([line("a", SENTENCE, fault=True), line("b", SENTENCE)], near_text=0.9).values())


def test_a_plan_without_it_has_the_lines_it_always_had() -> None:
    lines = [line(f"u{n}", SENTENCE) for n in range(5)]
    data = b"".join(data for _, data in planned(lines, PlanSettings(unit_seconds=2)))
    assert sorted(data.splitlines()) != sorted(lines)  # of few speakers every line is marked
    assert all(from_cut(orjson.loads(cut)).few_speakers for cut in data.splitlines())


# Sounds


def real_speech() -> list[tuple[np.ndarray, int]]:
    """Eight sentences of two speakers."""
    root = corpus("librispeech_mini") / "LibriSpeech/train-clean-5"
    files = [file for name in ("118", "163") for file in sorted(root.glob(f"{name}/*/*.flac"))[:4]]
    return [soundfile.read(file, dtype="float32") for file in files]


def encoded(wave_T: np.ndarray, rate: int, kind: str, subtype: str | None = None) -> np.ndarray:
    file = io.BytesIO()
    soundfile.write(file, wave_T, rate, format=kind, subtype=subtype)
    file.seek(0)
    return soundfile.read(file, dtype="float32")[0]


CHANGES: dict[str, Callable[[np.ndarray, int], tuple[np.ndarray, int]]] = {
    "quieter": lambda w, r: (w * 0.1, r),
    "mp3": lambda w, r: (encoded(w, r, "MP3"), r),
    "vorbis": lambda w, r: (encoded(w, r, "OGG", "VORBIS"), r),
    "telephone": lambda w, r: (encoded(soxr.resample(w, r, 8000), 8000, "WAV", "ULAW"), 8000),
    "at another rate": lambda w, r: (soxr.resample(w, r, 44_100), 44_100),
    "cut at the start": lambda w, r: (w[round(0.531 * r) :], r),
    "cut at both ends, as mp3": lambda w, r: (encoded(w[round(0.2 * r) : -round(0.413 * r)], r, "MP3"), r),
}


@pytest.fixture(scope="module")
def speech() -> list[tuple[np.ndarray, int]]:
    return real_speech()


@pytest.fixture(scope="module")
def originals(speech: list) -> NearSounds:
    """All sentences, none of which resembles another."""
    near = NearSounds(CopiesSettings())
    for n, (wave_T, rate) in enumerate(speech):
        assert near.resembled(str(n), fingerprints(wave_T, rate)) is None
    return near


@pytest.mark.parametrize("change", CHANGES)
def test_a_recording_is_known_in_every_other_form(change: str, speech: list, originals: NearSounds) -> None:
    for n, (wave_T, rate) in enumerate(speech):
        found = originals.resembled("copy", fingerprints(*CHANGES[change](wave_T, rate)))
        assert found is not None, f"sentence {n}"
        assert found[0] == str(n)
        assert found[1] >= 0.85


def test_sentences_of_one_speaker_are_far_from_being_copies(speech: list) -> None:
    prints = [fingerprints(wave_T, rate) for wave_T, rate in speech]
    agreed = [agreement(a[0], phase, 0.6) for i, a in enumerate(prints) for b in prints[:i] for phase in b]
    assert max(agreed) < 0.65


def test_of_a_sound_that_is_too_short_or_silent_nothing_is_said(speech: list) -> None:
    wave_T, rate = speech[0]
    near = NearSounds(CopiesSettings())
    for short_T in (wave_T[:0], wave_T[: rate // 4], wave_T[:rate], np.zeros(5 * rate, np.float32)):
        prints = fingerprints(short_T, rate)
        assert np.count_nonzero(prints[0]) < LEAST_WORDS
        assert near.resembled("a", prints) is None
        assert near.resembled("b", prints) is None


@given(st.integers(-300, 300), st.integers(0, 2**32 - 1))
def test_two_fingerprints_are_laid_over_each_other_wherever_they_meet(moved: int, seed: int) -> None:
    words_F = np.random.default_rng(seed).integers(1, 2**32, 2000).astype(np.uint32)
    words_F[100:200] = words_F[99]  # a held tone
    other_F = words_F[max(moved, 0) : len(words_F) + min(moved, 0)]
    assert agreement(words_F, other_F, 0.9) == 1.0
    assert agreement(words_F, other_F[::-1], 0.9) < 0.6


def test_an_hour_is_held_against_an_hour_in_little_memory() -> None:
    words_F = np.random.default_rng(0).integers(1, 2**32, 16 * 3600).astype(np.uint32)
    assert agreement(words_F, words_F[5000:], 0.6) == 1.0


def test_a_part_is_a_copy_only_where_enough_of_it_lies_in_the_other(speech: list) -> None:
    wave_T, rate = speech[0]
    head_T, tail_T = wave_T[: len(wave_T) * 3 // 4], wave_T[len(wave_T) // 4 :]
    for overlap, found in ((0.9, False), (0.5, True)):
        near = NearSounds(CopiesSettings(overlap=overlap))
        near.resembled("head", fingerprints(head_T, rate))
        assert (near.resembled("tail", fingerprints(tail_T, rate)) is not None) is found


@given(st.lists(st.integers(0, 5), max_size=6))
def test_packed_fingerprints_are_unpacked_and_other_bytes_refused(frames: list[int]) -> None:
    prints = [np.arange(4 * f, dtype=np.uint32).reshape(4, f) for f in frames]
    data = packed(prints)
    assert [p.tolist() for p in unpacked(data)] == [p.tolist() for p in prints]
    for damaged in (data[:-4], b"", data[:20]):
        with pytest.raises(ValueError):  # noqa: PT011 - NpyError of several kinds
            list(unpacked(damaged))
