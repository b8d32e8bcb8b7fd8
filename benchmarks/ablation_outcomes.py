"""What came of the runs of an ablation, an outcome a line: enough for every rate, interval and table, and small enough to keep.

Legend: N sentences.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Any

Figures = Mapping[str, Any]
ALONE = 0  # in place of steps, where a decoder has none
BASELINES = {
    "AR": "AR",
    "MTP, guesses kept": "MTP, unverified",
    "MTP, guesses tested": "MTP, verified",
}  # as an evaluation calls them
# What codes are like and how fast they came, each with the form in which it is told.
MEASURES: dict[str, tuple[Callable[[Figures], float], str]] = {
    "code entropy, bits": (lambda row: row["entropy_bits"], ".2f"),
    "of predictions": (lambda row: row["predictive_entropy_bits"], ".2f"),
    "repeats %": (lambda row: 100 * row["repeat_share"], ".1f"),
    "silence %": (lambda row: 100 * row["silence_share"], ".1f"),
    "length": (lambda row: row["length_ratio"], ".3f"),
    "tokens/s": (lambda row: row["speed"]["tokens_per_second"], ",.0f"),
    "RTF": (lambda row: row["speed"]["rtf"]["median"], ".4f"),
    "first chunk, ms": (lambda row: row["speed"]["first_chunk_ms"]["total"]["median"], ".0f"),
}


@dataclass(frozen=True)
class Outcome:
    """An arm with a seed, as it was heard at so many steps a block.

    steps            steps a block; :data:`ALONE` for a decoder that has none
    base             the hash of the weights that all arms beside it started from
    trained          steps of training
    seconds_a_step   of a processor
    errors, words    of each held-out sentence
    measures         what its codes are like and how fast it was, by :data:`MEASURES`
    """

    arm: str
    seed: int
    steps: int
    base: str
    trained: int
    seconds_a_step: float
    errors: tuple[int, ...]
    words: tuple[int, ...]
    measures: Mapping[str, float]

    @property
    def key(self) -> tuple[str, int, int]:
        return self.arm, self.seed, self.steps

    @property
    def once(self) -> bool:
        """Whether it was made once, whatever the seeds of others: a next-frame decoder."""
        return self.arm in BASELINES


def noted(run: Path) -> list[dict[str, Any]]:
    """What was noted of steps, and of looks at held-out utterances."""
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def seconds_a_step(run: Path) -> float:
    """What a step took of a processor, the median over the run. A run that was resumed counts from nothing again."""
    steps = [line for line in noted(run) if "loss" in line]
    gone = [(b["processor_seconds"] - a["processor_seconds"], b["step"] - a["step"]) for a, b in pairwise(steps)]
    return statistics.median(seconds / count for seconds, count in gone if seconds > 0)


def is_judged(run: Path) -> bool:
    return (run / "eval" / "eval.json").exists()


def outcomes_of(run: Path, arm: str, seed: int, base: str) -> list[Outcome]:
    """Of a run that was judged: one for each number of steps, or that of the decoder which has the arm's name."""
    rows = json.loads((run / "eval" / "eval.json").read_text())["rows"]
    wanted = BASELINES.get(arm)
    mine = [r for r in rows if (r["kind"] == "block" if wanted is None else r["name"] == wanted)]
    trained, seconds = max(line.get("step", 0) for line in noted(run)), round(seconds_a_step(run), 4)
    found = []
    for row in mine:
        errors, words = errors_of(row)
        steps = ALONE if wanted else row["decoder"]["steps"]
        measures = {name: round(float(measure(row)), 6) for name, (measure, _) in MEASURES.items()}
        found.append(Outcome(arm, seed, steps, base, trained, seconds, errors, words, measures))
    return found


def errors_of(row: Figures) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(errors, words) of each held-out sentence of a row of an evaluation."""
    from pipelines.evaluation.comparing import compared
    from tokenization.recognisers.score import wer

    said, heard = ([compared("grammar", h[side]) for h in row["heard"]] for side in ("said", "grammar"))
    each = wer(said, heard).each
    return tuple(int(errors) for _, errors in each), tuple(int(words) for words, _ in each)


def merged(*some: Iterable[Outcome]) -> list[Outcome]:
    """All of them in order; of the same arm, seed and steps the last one."""
    return list({outcome.key: outcome for outcomes in some for outcome in outcomes}.values())


def read(path: Path) -> list[Outcome]:
    """Raises ValueError, with the line, where one is none."""
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            value = json.loads(line)
            errors, words = (tuple(int(n) for n in value.pop(name)) for name in ("errors", "words"))
            found.append(Outcome(errors=errors, words=words, **value))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            names = ", ".join(field.name for field in fields(Outcome))
            raise ValueError(f"{path}, line {number} is no outcome ({names}): {error}") from None
        if len(found[-1].errors) != len(found[-1].words):
            raise ValueError(f"{path}, line {number} has not as many errors as words")
    return found


def write(path: Path, outcomes: Sequence[Outcome]) -> None:
    lines = [json.dumps(asdict(outcome), separators=(",", ":")) for outcome in outcomes]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
