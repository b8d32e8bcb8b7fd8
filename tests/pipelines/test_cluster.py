"""The cluster that a run starts for itself."""

from __future__ import annotations

from typing import Any

import pytest

from manifests.settings.run import RunSettings
from pipelines.cluster import STILLBORN, TRIES, Cluster, ClusterUnreachable, cpus_of_our_own


@pytest.mark.parametrize("words", STILLBORN)
@pytest.mark.parametrize(("deaths", "joins"), [(0, True), (1, True), (TRIES - 1, True), (TRIES, False)])
def test_a_clients_server_that_dies_as_it_starts_is_asked_for_again(
    deaths: int, joins: bool, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = list[dict[str, Any]]()

    def init(**options: Any) -> None:
        calls.append(options)
        if len(calls) <= deaths:
            raise ConnectionAbortedError(f"Initialization failure from server:\nRuntimeError: {words}. See its log.")

    monkeypatch.setattr("ray.init", init)
    monkeypatch.setattr("ray.put", lambda value: value)
    monkeypatch.setattr("pipelines.cluster._knock", lambda address: True)
    cluster = Cluster(RunSettings(address="ray://10.0.0.1:10001"))
    if joins:
        cluster.start()
    else:
        with pytest.raises(ClusterUnreachable, match=words):
            cluster.start()
    assert len(calls) == min(deaths + 1, TRIES)


def test_any_other_refusal_of_a_client_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = list[str]()

    def init(**options: Any) -> None:
        calls.append(options["address"])
        raise ConnectionAbortedError("Initialization failure from server:\nversions differ")

    monkeypatch.setattr("ray.init", init)
    monkeypatch.setattr("pipelines.cluster._knock", lambda address: True)
    with pytest.raises(ClusterUnreachable, match="versions differ"):
        Cluster(RunSettings(address="ray://10.0.0.1:10001")).start()
    assert calls == ["ray://10.0.0.1:10001"]


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
