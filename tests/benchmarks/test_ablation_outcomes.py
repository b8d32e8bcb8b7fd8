"""Outcomes of an ablation: what they take from a run, kept and read again, merged; a line that is none is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.ablation_outcomes import ALONE, Outcome, merged, outcomes_of, read, write

SPEED = {"tokens_per_second": 1000.0, "rtf": {"median": 0.02}, "first_chunk_ms": {"total": {"median": 20.0}}}
CODES = {"entropy_bits": 9.0, "predictive_entropy_bits": 2.0, "repeat_share": 0.25, "silence_share": 0.1, "length_ratio": 1.0}  # fmt: skip


def row(name: str, kind: str, heard: list[tuple[str, str]], **more: object) -> dict[str, object]:
    return {"name": name, "kind": kind, "heard": [{"said": a, "grammar": b} for a, b in heard], "speed": SPEED, **CODES, **more}  # fmt: skip


def run_with(folder: Path, *rows: dict[str, object]) -> Path:
    """A run of 22 steps, of which every fifth is noted, that was judged, stopped and resumed at the tenth."""
    times = [(5, 10.0), (10, 12.5), (15, 1.0), (20, 3.5)]
    lines: list[dict[str, object]] = [{"step": step, "processor_seconds": s, "loss": 1.0} for step, s in times]
    lines.append({"step": 22, "dev_full": 2.0})
    (folder / "eval").mkdir(parents=True)
    (folder / "log.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in [{"started": True}, *lines]))
    (folder / "eval" / "eval.json").write_text(json.dumps({"rows": rows}))
    return folder


HEARD = [("turn on the light", "turn on the light"), ("open the door", "shut a door"), ("stop", "")]


def test_a_run_gives_an_outcome_for_each_number_of_steps(tmp_path: Path) -> None:
    rows = [row(f"{steps} steps", "block", HEARD, decoder={"steps": steps}) for steps in (1, 4)]
    one, four = outcomes_of(run_with(tmp_path, row("AR", "ar", HEARD), *rows), "two", 2, "abc")
    assert (one.key, four.key) == (("two", 2, 1), ("two", 2, 4))
    assert (one.errors, one.words) == ((0, 2, 1), (4, 3, 1))
    assert (one.trained, one.seconds_a_step, one.base) == (22, 0.5, "abc")
    assert one.measures["repeats %"] == 25
    assert not one.once


def test_how_a_sentence_is_written_is_no_error(tmp_path: Path) -> None:
    heard = [("Stop! It's SEVEN o'clock.", "stop it's seven o'clock")]
    [one] = outcomes_of(run_with(tmp_path, row("4 steps", "block", heard, decoder={"steps": 4})), "two", 0, "abc")
    assert (one.errors, one.words) == ((0,), (4,))


def test_next_frame_decoding_has_no_steps_and_was_made_once(tmp_path: Path) -> None:
    rows = [
        row("MTP, verified", "mtp", HEARD),
        row("AR", "ar", HEARD),
        row("4 steps", "block", HEARD, decoder={"steps": 4}),
    ]
    [one] = outcomes_of(run_with(tmp_path, *rows), "AR", 0, "abc")
    assert one.steps == ALONE
    assert one.once


def an_outcome(seed: int = 0, trained: int = 300) -> Outcome:
    return Outcome("two, hierarchical", seed, 4, "abc", trained, 0.25, (0, 1), (4, 5), {"length": 1.0})


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    outcomes = [an_outcome(), an_outcome(seed=1)]
    write(tmp_path / "kept.jsonl", outcomes)
    assert read(tmp_path / "kept.jsonl") == outcomes


def test_of_the_same_run_the_last_outcome_counts() -> None:
    assert merged([an_outcome(), an_outcome(seed=1)], [an_outcome(trained=400)]) == [an_outcome(trained=400), an_outcome(seed=1)]  # fmt: skip


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("{", "no outcome"),
        ("[1]", "no outcome"),
        ('{"errors": [1], "words": [2]}', "no outcome"),
        (json.dumps({**vars(an_outcome()), "errors": ["many"]}), "no outcome"),
        (json.dumps({**vars(an_outcome()), "extra": 1}), "no outcome"),
        (json.dumps({**vars(an_outcome()), "errors": [1]}), "not as many errors as words"),
    ],
)
def test_a_line_that_is_none_is_named(tmp_path: Path, line: str, why: str) -> None:
    path = tmp_path / "kept.jsonl"
    write(path, [an_outcome()])
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(ValueError, match="line 2") as error:
        read(path)
    assert why in str(error.value)
