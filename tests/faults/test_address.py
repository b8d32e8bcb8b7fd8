"""Joining a running Ray cluster: the same bytes as alone; and one clear line where there is none to join."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.command import finish, in_one_process, run, start
from tests.faults.heads import Head, cluster, ended
from tests.ports import free_ports
from tests.small_corpus import fingerprints, write_corpus


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    with cluster() as found:
        yield found


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"), 12)


@pytest.fixture(scope="module")
def alone(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of a run in one process, without Ray."""
    out = tmp_path_factory.mktemp("alone")
    in_one_process(corpus, out)
    return out


def test_a_joined_cluster_makes_the_same_bytes_and_goes_on_when_the_driver_leaves(
    head: Head, corpus: Path, alone: Path, tmp_path: Path
) -> None:
    for out in (tmp_path / "first", tmp_path / "second"):  # the second joins what the first left behind
        code, output = run(corpus, out, head.environment, **{"run.address": head.address})
        assert code == 0, output
        assert fingerprints(out) == fingerprints(alone)
    assert head.process.poll() is None, "a driver that leaves must not end the cluster it joined"


def test_more_workers_than_the_cluster_has_cpus_make_the_same_bytes(
    head: Head, corpus: Path, alone: Path, tmp_path: Path
) -> None:
    code, output = run(corpus, tmp_path, head.environment, **{"run.address": head.address, "run.workers": 4})
    assert code == 0, output
    assert fingerprints(tmp_path) == fingerprints(alone)


@pytest.mark.parametrize("form", ["127.0.0.1:{port}", "ray://127.0.0.1:{port}"])
def test_an_address_where_nothing_listens_is_one_line_and_loses_nothing(form: str, corpus: Path, alone: Path) -> None:
    before, [port] = fingerprints(alone), free_ports(1)
    address, begun = form.format(port=port), time.monotonic()
    more = {"run.address": address, "text.vocab_size": 280}  # another vocabulary: fit and tokens are to be made again
    code, output = run(corpus, alone, **more)
    assert code == 3
    [line] = [line for line in output.splitlines() if line.startswith("speechmill: ")]
    assert f"no Ray cluster to join at {address}" in line
    assert "ray start --head" in line
    assert "Traceback" not in output
    assert time.monotonic() - begun < 60
    assert fingerprints(alone) == before


def test_a_client_by_ray_drives_the_same_bytes_with_its_own_code_and_is_told_when_its_head_goes(
    head: Head, corpus: Path, alone: Path, tmp_path: Path
) -> None:
    more = {"run.address": head.client, "run.ship": True}
    code, output = run(corpus, tmp_path / "first", head.environment, **more)
    assert code == 0, output
    assert fingerprints(tmp_path / "first") == fingerprints(alone)
    impatient = {**head.environment, "RAY_CLIENT_RECONNECT_GRACE_PERIOD": "2"}
    process = start(corpus, tmp_path / "second", impatient, **more)
    while process.poll() is None and not list(tmp_path.glob("second/tokens-*/receipts/*")):
        time.sleep(0.05)
    ended(head)
    code, output = finish(process)
    assert code == 3, output
    [line] = [line for line in output.splitlines() if line.startswith("speechmill: ")]
    assert "out of touch" in line
    assert "Traceback" not in output
    code, output = run(corpus, tmp_path / "second", **{"run.workers": 0})
    assert code == 0, output
    assert fingerprints(tmp_path / "second") == fingerprints(alone)
