"""Whether whoever works has a core: the system's word for it, and nothing where it has none."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.engine import cores


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(cores, "OWN", tmp_path / "schedstat")
    return tmp_path / "schedstat"


def test_it_is_what_the_system_counts_in_nanoseconds(told: Path) -> None:
    told.write_text("5000000000 1500000000 42\n")
    before = cores.waited()
    assert before == 1.5
    told.write_text("6000000000 4000000000 43\n")
    assert cores.since(before) == 2.5


@pytest.mark.parametrize("text", [None, "", "0 0 0\n", "a b c\n", "7\n"])
def test_where_the_system_does_not_count_nothing_is_known(text: str | None, told: Path) -> None:
    if text is not None:
        told.write_text(text)
    assert cores.waited() is None
    assert cores.since(None) is None
    assert cores.since(1.0) is None


def test_it_never_runs_backwards(told: Path) -> None:
    told.write_text("5000000000 1500000000 42\n")
    assert cores.since(9.0) == 0.0
