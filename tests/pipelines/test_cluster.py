"""The cluster that a run starts for itself."""

from __future__ import annotations

from typing import Any

import pytest

from manifests.settings.run import RunSettings
from pipelines.cluster import cpus_of_our_own


@pytest.mark.parametrize(
    ("settings", "cpus"),
    [
        ({}, 4),
        ({"workers": 2}, 2),
        ({"workers": 2, "cpus_per_worker": 1.25}, 3),
        ({"workers": 1, "stages": {"clean": {"workers": 1}}}, 2),
        ({"workers": 2, "stages": {"clean": {}}}, 4),
        ({"workers": 8, "stages": {"clean": {"workers": 2}, "tokens": {"workers": 1}}}, 8),
        ({"workers": 1, "stages": {"clean": {"workers": 3, "cpus": 0.5}, "tokens": {"workers": 2}}}, 5),
        ({"workers": 1, "stages": {"clean": {"workers": 3, "cpus": 0}}}, 1),
    ],
)
def test_it_has_room_for_its_workers_and_for_those_that_hear_for_them(settings: dict[str, Any], cpus: int) -> None:
    assert cpus_of_our_own(RunSettings(**settings), cores=4) == cpus
