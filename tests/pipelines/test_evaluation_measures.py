"""What codes say about themselves, against a count by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.evaluation.measures import longest_run, of_codes, repeats, unigram_entropy
from pipelines.evaluation.plot import draw, ear_of, families
from pipelines.evaluation.speaking import Timing, speed

codes_of = st.lists(st.integers(0, 3), max_size=30).map(lambda v: np.array(v, np.uint16).reshape(-1, 1))


def test_entropy_of_even_codes_is_the_log_of_their_number() -> None:
    assert unigram_entropy(
        [np.arange(8, dtype=np.uint16)[:, None], np.arange(8, dtype=np.uint16)[:, None]]
    ) == pytest.approx(3.0)
    assert unigram_entropy([np.zeros((5, 1), np.uint16)]) == 0.0
    two = np.stack([np.zeros(4, np.uint16), np.arange(4, dtype=np.uint16)], axis=1)
    assert unigram_entropy([two]) == pytest.approx(1.0), "the mean over codebooks"
    assert unigram_entropy([]) == 0.0


@given(st.lists(codes_of, min_size=1, max_size=5))
def test_repeats_are_counted_within_utterances(codes: list[np.ndarray]) -> None:
    same = sum(int(a == b) for c in codes for a, b in zip(c[:-1, 0], c[1:, 0], strict=True))
    pairs = sum(max(len(c) - 1, 0) for c in codes)
    share, longest = repeats(codes)
    assert share == (same / pairs if pairs else 0.0)
    runs = [sum(1 for _ in run) for c in codes for run in runs_of(c[:, 0].tolist())]
    assert longest == max(runs, default=0)


def runs_of(values: list[int]) -> list[list[int]]:
    found: list[list[int]] = []
    for value in values:
        if found and found[-1][0] == value:
            found[-1].append(value)
        else:
            found.append([value])
    return found


@given(st.lists(st.booleans(), max_size=30))
def test_the_longest_run_is_the_longest_string_of_ones(flags: list[bool]) -> None:
    text = "".join("x" if flag else " " for flag in flags)
    assert longest_run(np.array(flags, np.bool_)) == max(map(len, text.split()), default=0)


def test_lengths_are_compared_only_where_there_is_a_recording() -> None:
    codes = [np.zeros((n, 1), np.uint16) for n in (10, 30, 500)]
    found = of_codes(codes, [np.zeros((20, 1), np.uint16), np.zeros((20, 1), np.uint16), None])
    assert found["length_ratio"] == 1.0
    assert found["length_spread"] == 0.5
    assert of_codes(codes, [None] * 3)["length_ratio"] is None


def test_speed_is_of_the_median_sentence_and_first_chunks_have_parts() -> None:
    told = [Timing(100, seconds, 7, 28, 0, (0.001, 0.01, 0.1)) for seconds in (1.0, 2.0, 4.0)]
    found = speed([*told, Timing(0, 9.0, 1, 4, 0, (0.0, 0.0, 0.0))], 25.0)
    assert found["sentences"] == 3, "a sentence of which nothing was said has no speed"
    assert found["tokens_per_second"] == pytest.approx(50.0)
    assert found["rtf"]["median"] == pytest.approx(0.5)
    assert found["forwards_per_block"] == 4.0
    assert found["first_chunk_ms"]["total"]["median"] == pytest.approx(111.0)
    assert speed([], 25.0) == {"sentences": 0}


def a_row(name: str, kind: str, speed_of: float, **rest: object) -> dict[str, object]:
    errors = {"rate": 0.1, "low": 0.05, "high": 0.2}
    return {
        "name": name, "kind": kind, "wer": {"open": errors}, "entropy_bits": 7.0, "speed": {"tokens_per_second": speed_of},
        "decoder": {"steps": None, "policy": None}, **rest,
    }  # fmt: skip


def test_curves_are_of_one_policy_and_what_says_nothing_is_left_out() -> None:
    rows = [
        {
            "name": "codec",
            "kind": "codec",
            "wer": {"open": {"rate": 0.02, "low": 0.0, "high": 0.1}},
            "entropy_bits": 8.0,
        },
        a_row("AR", "ar", 300.0),
        *(
            a_row(f"{s}", "block", 1000.0 / s, decoder={"steps": s, "policy": p})
            for p in ("even", "pmi")
            for s in (1, 2)
        ),
        {**a_row("mute", "ar", 0.0), "speed": {"sentences": 0}},
    ]
    assert {name: len(members) for name, members in families(rows).items()} == {
        "AR": 1,
        "block, even": 2,
        "block, pmi": 2,
    }
    assert ear_of({"rows": rows}) == "open"
    assert draw({"rows": rows}).startswith(b"\x89PNG")
