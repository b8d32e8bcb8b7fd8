"""Nodes with addresses of their own: code and data by the network alone, a plug that is pulled, a machine that is no node. The same bytes.

Where network namespaces are not permitted these tests are skipped, and say so.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sized
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import boto3
import psutil
import pytest

from manifests.receipt import Receipt
from manifests.storage import Store
from tests.faults.command import ROOT, finish, in_one_process, run, start
from tests.faults.namespaces import SWITCH, Hosts, Network, hosts, network
from tests.object_store import BUCKET, environment, s3_server, upload
from tests.small_corpus import fingerprints, write_corpus

ROOMS = [ROOT / room for room in ("manifests", "tokenization", "training", "pipelines")]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

COUNT = 32
OFFERS = {
    "head": {"num-cpus": "1", "resources": '{"mouth": 1}'},
    "one": {"num-cpus": "1", "resources": '{"ear": 1}'},
    "two": {"num-cpus": "1", "resources": '{"ear": 1}'},
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"), COUNT)


@pytest.fixture(scope="module")
def undisturbed(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The bytes of a run in one process, without Ray or a network."""
    return in_one_process(corpus, tmp_path_factory.mktemp("undisturbed"), **{"plan.unit_seconds": 2})


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that only the driver has."""
    return tmp_path_factory.mktemp("desk")


@dataclass(frozen=True)
class Lan:
    """The cluster on its network, and the S3 server on the switch."""

    cluster: Hosts
    port: int

    @property
    def net(self) -> Network:
        return self.cluster.net

    @property
    def keys(self) -> dict[str, str]:
        return environment(f"http://{self.net.address(SWITCH)}:{self.port}")

    def start(
        self, corpus: Path | str, out: Path | str, desk: Path, host: str = "head", **more: object
    ) -> subprocess.Popen[str]:
        """The command, on a host; from a folder that only this process has, and all of its files in it."""
        told = {**self.cluster.secret, **self.keys, "TMPDIR": str(desk)}
        ours = {"run.address": self.cluster.address, "run.ship": True, "plan.unit_seconds": 2, **more}
        return start(corpus, out, told, desk, partial(self.net.within, host), **ours)

    @contextmanager
    def cut_off(self, process: str) -> Iterator[str]:
        """Without a node where such a process runs, which is there anew afterwards; its name. The head is none."""
        running = {host: self.net.processes(host).values() for host in ("one", "two")}
        host = next(host for host, lines in running.items() if any(line.startswith(process) for line in lines))
        with self.restored(host):
            self.net.cut(host)
            yield host

    def worker(self, host: str) -> psutil.Process | None:
        """The worker of a stage on a node, once there is one."""
        found = (one for one, line in self.net.processes(host).items() if line.startswith("ray::_Actor"))
        return next(map(psutil.Process, found), None)

    @contextmanager
    def restored(self, host: str) -> Iterator[None]:
        """Whatever becomes of a node, or of the test: the next one finds it anew."""
        try:
            yield
        finally:
            self.net.mend(host)
            self.cluster.again(host)

    def given_up(self) -> None:
        """Wait until the head takes a node for dead."""
        code = (
            "import ray, sys, time; ray.init(sys.argv[1])\nwhile all(n['Alive'] for n in ray.nodes()): time.sleep(0.1)"
        )
        command = self.net.within("head", [sys.executable, "-c", code, self.cluster.address])
        subprocess.run(command, env={**os.environ, **self.cluster.secret}, capture_output=True, check=True, timeout=120)

    def stored(self, prefix: str, kind: str = "") -> dict[str, bytes]:
        """What lies in the store, asked for in the thread of the caller, who is on the network."""
        client = boto3.client(
            "s3", endpoint_url=self.keys["AWS_ENDPOINT_URL_S3"], region_name="us-east-1", aws_access_key_id="nobody",
            aws_secret_access_key="nothing",
        )  # fmt: skip
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        names = [found["Key"] for page in pages for found in page.get("Contents", ()) if kind in found["Key"]]
        return {name: client.get_object(Bucket=BUCKET, Key=name)["Body"].read() for name in names}

    def fetched(self, prefix: str, folder: Path) -> Path:
        for name, data in self.stored(prefix).items():
            path = folder / name.removeprefix(f"{prefix}/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return folder


@pytest.fixture(scope="module")
def lan(desk: Path, undisturbed: dict[str, bytes]) -> Iterator[Lan]:
    """A head and two more nodes that have neither the project nor what is on the driver's disk; ``away`` is no node."""
    with ExitStack() as stack:
        net = stack.enter_context(network([*OFFERS, "away"]))
        where = net.address(SWITCH)
        with net.inside(SWITCH):
            port = stack.enter_context(s3_server(where))
        keys = environment(f"http://{where}:{port}")
        yield Lan(stack.enter_context(hosts(net, OFFERS, [*ROOMS, desk], keys)), port)


def receipts(out: Path, stage: str) -> list[Receipt]:
    found = sorted(out.glob(f"{stage}-*/receipts/*.json"))
    return [Receipt.from_bytes(path.read_bytes(), str(path)) for path in found]


def until(what: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait for something that is to happen while the run goes on."""
    deadline = time.monotonic() + 200
    while not what():
        assert process.poll() is None, finish(process)[1]
        assert time.monotonic() < deadline, "it never happens"
        time.sleep(0.02)


def made_on(out: Path) -> list[str]:
    """The node of each unit of tokens that is done."""
    return [receipt.made["node"] for receipt in receipts(out, "tokens")]


def kinds(out: Path) -> set[object]:
    return {event["event"] for event in map(json.loads, (out / "events.jsonl").read_text().splitlines())}


def ends_well(process: subprocess.Popen[str], out: Path, undisturbed: dict[str, bytes]) -> None:
    """The run ends by itself, with the same bytes and a ledger that balances; no unit was blamed for anything."""
    code, output = finish(process)
    assert code == 0, output
    balanced(out, undisturbed)
    assert not kinds(out) & {"task_died", "task_stalled", "task_error"}


def balanced(out: Path, undisturbed: dict[str, bytes]) -> None:
    assert fingerprints(out) == undisturbed
    ledger = json.loads(Store(str(out)).read("dataset.json"))["ledger"]
    assert ledger["planned"] == COUNT == ledger["written"] + 2
    assert ledger["quarantined"] == {"empty_file": 1}
    units = [receipt.unit for receipt in receipts(out, "tokens")]
    assert units == list(range(len(units))), "a unit is there twice, or not at all"


@contextmanager
def both_at_work(lan: Lan, process: subprocess.Popen[str], done: Callable[[], Sized]) -> Iterator[None]:
    """Both nodes have a worker, "one" has made a unit at least, and has more: however late either comes, neither does it all."""
    held: dict[str, psutil.Process] = {}

    def here() -> bool:
        for host in {"one", "two"} - held.keys():
            if worker := lan.worker(host):
                worker.suspend()
                held[host] = worker
        return len(held) == 2

    until(here, process)
    held["one"].resume()
    until(lambda: len(done()) >= 1, process)
    yield
    held["two"].resume()


# One worker on each of two nodes; a unit that is blamed once would be searched, and the search seen.
EARS = {"run.stages.tokens": "{workers: 2, resources: {ear: 1}}", "run.attempts": 1}


def test_nodes_that_have_neither_code_nor_data_get_both_by_the_network_and_one_that_is_cut_off_is_done_without(
    lan: Lan, corpus: Path, undisturbed: dict[str, bytes], desk: Path, tmp_path: Path
) -> None:
    """What it had leased is done elsewhere, while it waits for a store that it cannot reach; then it is back, in a run that gave it up."""
    with lan.net.inside(SWITCH), lan.restored("one"):
        root = upload(lan.port, corpus, "corpus", lan.net.address(SWITCH))
        process = lan.start(root, f"s3://{BUCKET}/out", desk, **EARS)
        with both_at_work(lan, process, lambda: lan.stored("out/tokens", "/receipts/")):
            lan.net.cut("one")
        lan.given_up()
        lan.net.mend("one")
        code, output = finish(process)
        assert code == 0, output
        found = lan.fetched("out", tmp_path / "out")
    balanced(found, undisturbed)
    again = [receipt for receipt in receipts(found, "tokens") if receipt.made["attempt"] == 2]
    assert 1 <= len(again) <= 2, (
        "what ran on the node that was cut off, and what waited there, is done once more elsewhere"
    )


def test_a_machine_that_is_no_node_is_told_so_in_one_line_and_may_come_as_a_client(
    lan: Lan, corpus: Path, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    """It has no process and no file of the cluster, as a desk that stands elsewhere."""
    within = partial(lan.net.within, "away", hide=[lan.cluster.folder], alone=True)
    client = f"ray://{lan.net.address('head')}:10001"

    def asked(address: str, ship: bool = False) -> tuple[int, str]:
        more = {"run.address": address, "run.ship": ship, "run.workers": 1, "plan.unit_seconds": 2}
        return run(corpus, tmp_path / "out", lan.cluster.secret, tmp_path, within, **more)

    for address, wanted in (
        (lan.cluster.address, f"ray start --address={lan.cluster.address} --num-cpus=0"),
        (client, "set run.ship"),
    ):
        code, output = asked(address)
        assert code == 3, output
        [line] = [line for line in output.splitlines() if line.startswith("speechmill: ")]
        assert wanted in line
        assert "Traceback" not in output
    code, output = asked(client, ship=True)
    assert code == 0, output
    balanced(tmp_path / "out", undisturbed)


def test_a_node_that_decodes_for_others_is_cut_off_and_no_unit_pays_for_it(
    lan: Lan, corpus: Path, undisturbed: dict[str, bytes], desk: Path, tmp_path: Path
) -> None:
    clean = {
        "run.stages.tokens": "{workers: 1, resources: {mouth: 1}}",
        "run.stages.clean": "{workers: 1, cpus: 0, resources: {ear: 1}}",
    }
    process = lan.start(corpus, tmp_path / "out", desk, **{"run.attempts": 1, **clean})
    until(lambda: len(made_on(tmp_path / "out")) >= 2, process)
    with lan.cut_off("ray::_Listener"):
        ends_well(process, tmp_path / "out", undisturbed)
    assert "task_lost" in kinds(tmp_path / "out")


def test_a_node_out_of_reach_may_go_on_writing_and_the_run_waits_for_the_next_that_has_room(
    lan: Lan, corpus: Path, undisturbed: dict[str, bytes], desk: Path, tmp_path: Path
) -> None:
    """It shares the storage by another way, and does not know that it was given up: what it wrote counts, and only once."""
    out = tmp_path / "out"
    process = lan.start(corpus, out, desk, **{**EARS, "run.stages.tokens": "{workers: 1, resources: {ear: 1}}"})
    until(lambda: len(made_on(out)) >= 1, process)
    with lan.cut_off("ray::_Actor"):
        lan.given_up()
    ends_well(process, out, undisturbed)
