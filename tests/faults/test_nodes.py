"""Several nodes: each stage where its resources are, code shipped to nodes that lack it, a node that is killed. The same bytes."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from manifests.receipt import Receipt
from manifests.storage import Store
from tests.faults.command import finish, in_one_process, run, start
from tests.faults.nodes import Nodes, cluster
from tests.small_corpus import fingerprints, write_corpus

NODES = [
    {"num_cpus": 1},
    {
        "num_cpus": 1,
        "num_gpus": 1,
        "resources": {"tokenizer": 1},
    },  # a GPU as Ray counts them: it is there by its word alone
    {"num_cpus": 1, "num_gpus": 1, "resources": {"tokenizer": 1, "ear": 1}},
]
TOKENS = {
    "run.stages.tokens": "{cpus: 1, gpus: 0.5, resources: {tokenizer: 1}}",
    "run.ship": True,
    "plan.unit_seconds": 2,
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"), 48)


@pytest.fixture(scope="module")
def undisturbed(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The bytes of a run in one process, without Ray."""
    return in_one_process(corpus, tmp_path_factory.mktemp("undisturbed"), **{"plan.unit_seconds": 2})


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    with cluster(NODES) as found:
        yield found


def receipts(out: Path, stage: str) -> list[Receipt]:
    found = sorted(out.glob(f"{stage}-*/receipts/*.json"))
    return [Receipt.from_bytes(path.read_bytes(), str(path)) for path in found]


def test_nodes_without_the_code_are_said_to_lack_it_and_nothing_is_blamed(
    nodes: Nodes, corpus: Path, tmp_path: Path
) -> None:
    code, output = run(corpus, tmp_path, nodes.environment, cwd=tmp_path, **{"run.address": nodes.address})
    assert code == 3, output
    [line] = [line for line in output.splitlines() if line.startswith("speechmill: ")]
    assert "installed on every node, or run.ship set?" in line


def test_each_stage_runs_where_its_resources_are_with_the_drivers_own_code(
    nodes: Nodes, corpus: Path, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    code, output = run(corpus, out, nodes.environment, cwd=tmp_path, **{"run.address": nodes.address, **TOKENS})
    assert code == 0, output
    assert fingerprints(out) == undisturbed
    tokenizing = {receipt.made["node"] for receipt in receipts(out, "tokens")}
    assert 1 <= len(tokenizing) <= 2
    assert len({receipt.made["node"] for receipt in receipts(out, "masks")} | tokenizing) >= 2


def test_sounds_are_decoded_on_nodes_of_their_own_where_the_recipe_asks_for_it(
    nodes: Nodes, corpus: Path, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    clean = {"run.stages.clean": "{workers: 2, cpus: 0, resources: {ear: 0.25}}"}  # one node carries an ear
    out, more = tmp_path / "out", {"run.address": nodes.address, **TOKENS, **clean}
    code, output = run(corpus, out, nodes.environment, cwd=tmp_path, **more)
    assert code == 0, output
    assert fingerprints(out) == undisturbed


def test_a_stage_that_no_node_has_room_for_says_so_and_a_stop_still_stops(
    nodes: Nodes, corpus: Path, tmp_path: Path
) -> None:
    more = {"run.address": nodes.address, "run.ship": True, "run.stages.ingest": "{resources: {ear: 2}}"}
    process = start(corpus, tmp_path / "out", nodes.environment, cwd=tmp_path, **more)
    assert process.stdout is not None
    line = next(line for line in process.stdout if "waiting for" in line)
    assert "a node that has CPU 1, ear 2 for a worker: none that is up has" in line
    assert "run.stages.ingest" in line
    process.terminate()
    code, output = finish(process)
    assert code == 130, output


def test_a_node_that_is_killed_at_work_costs_no_byte_and_no_utterance(
    nodes: Nodes, corpus: Path, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    process = start(corpus, out, nodes.environment, cwd=tmp_path, **{"run.address": nodes.address, **TOKENS})
    deadline = time.monotonic() + 200
    while not receipts(out, "tokens"):
        assert process.poll() is None, finish(process)[1]
        assert time.monotonic() < deadline, "no unit is ever finished"
        time.sleep(0.02)
    nodes.kill(1)
    code, output = finish(process)
    assert code == 0, output
    assert fingerprints(out) == undisturbed
    ledger = json.loads(Store(str(out)).read("dataset.json"))["ledger"]
    assert ledger["quarantined"] == {"empty_file": 1}
    assert ledger["planned"] == 48 == ledger["written"] + 2
