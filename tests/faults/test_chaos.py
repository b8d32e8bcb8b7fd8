"""The soak in short; ``make chaos SECONDS=600`` is the long form."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.faults.chaos import FAULTS, Soak, soak


def test_a_short_soak_without_ray_is_survived(tmp_path: Path) -> None:
    assert soak(12, 5, tmp_path, inline=True).total() >= 1


def test_a_seed_draws_the_same_faults_again() -> None:
    drawn = [[random.Random(f"7:{n}").choice(list(FAULTS)) for n in range(20)] for _ in range(2)]
    assert drawn[0] == drawn[1]
    assert len(set(drawn[0])) > 5


def test_a_fault_that_is_not_survived_is_found(tmp_path: Path) -> None:
    trial = Soak(tmp_path, 1, inline=True)
    name = next(n for n in trial.undisturbed if n.endswith(".tar"))
    trial.undisturbed[name] += b"x"
    with pytest.raises(AssertionError, match=r"round 0 .* of seed 1.*other bytes"):
        trial.round(0)
