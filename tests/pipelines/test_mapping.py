"""What an ordered map over Ray tasks makes of an exception of its work."""

from __future__ import annotations

import pytest
import ray
from ray.exceptions import RayTaskError
from rich.console import Console

from pipelines.engine.mapping import _Calls
from pipelines.engine.room import Demand, Wait
from pipelines.engine.stopping import Stopping
from pipelines.voice.errors import SpeakError


class Refuses:
    """Work that can do nothing."""

    def __call__(self, chunk: list[object]) -> list[object]:
        raise SpeakError("one line")

    def poisoned(self, chunk: list[object]) -> list[object]:
        return []


def test_an_exception_of_the_work_comes_as_it_was_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def get(reference: object) -> list[object]:
        raise RayTaskError("_call", "Traceback: of many lines", SpeakError("one line")).as_instanceof_cause()

    monkeypatch.setattr(ray, "wait", lambda references, timeout: (references, []))
    monkeypatch.setattr(ray, "get", get)
    wait = Wait("listening", 1, Demand({"CPU": 1}), Console(quiet=True))
    calls = _Calls(lambda chunk: None, Refuses(), Stopping(0.0), wait)
    with pytest.raises(SpeakError) as found:
        calls.result([1], object())
    assert str(found.value) == "one line"
