"""Object storage: corpus and output behind S3, through a server that answers late, not at all, or half. The same bytes as on disk."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from typer.testing import CliRunner

import manifests.patience
from manifests.dataset import Dataset
from manifests.patience import StorageFailed
from manifests.storage import PART, Store
from pipelines import cli
from tests.faults.command import finish, run, start
from tests.object_store import BUCKET, Faults, environment, proxy, s3_server, upload
from tests.small_corpus import fingerprints, overrides, write_corpus
from training.course import vocabulary_of
from training.rows import Reader


@pytest.fixture(scope="module")
def server() -> Iterator[int]:
    with s3_server() as port:
        yield port


@pytest.fixture
def faults(server: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Faults]:
    """What a proxy before the server does wrong; this process and its children speak to the server through it."""
    found = Faults()
    with proxy(server, found) as endpoint:
        for name, value in environment(endpoint).items():
            monkeypatch.setenv(name, value)
        fsspec.get_filesystem_class("s3").clear_instance_cache()
        yield found


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def undisturbed(local: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The bytes of a run from disk to disk."""
    out = tmp_path_factory.mktemp("undisturbed")
    assert CliRunner().invoke(cli.app, data(str(local), str(out))).exit_code == 0
    return fingerprints(out)


@pytest.fixture(scope="module")
def corpus(server: int, local: Path) -> str:
    return upload(server, local, "corpus")


@pytest.fixture
def out(request: pytest.FixtureRequest) -> str:
    return f"s3://{BUCKET}/{request.node.name.replace('[', '-').strip(']')}"


def data(root: str, out: str, **more: object) -> list[str]:
    sets = [part for value in overrides(root, **{"run.workers": 0, **more}) for part in ("--set", value)]
    return ["data", "corpus", "-o", out, "--no-report", *sets]


def stored(out: str, server: int) -> dict[str, bytes]:
    """Every byte that the promise covers, read past the proxy."""
    client = {"endpoint_url": f"http://127.0.0.1:{server}"}
    fs = fsspec.filesystem("s3", key="nobody", secret="nothing", client_kwargs=client, use_listings_cache=False)
    top = out.removeprefix("s3://")
    found = (str(p).removeprefix(f"{top}/") for p in fs.find(top))
    wanted = [n for n in found if n.endswith((".tar", ".idx", ".gz", ".jsonl", ".safetensors")) or n == "dataset.json"]
    return {name: fs.cat_file(f"{top}/{name}") for name in sorted(wanted)}


def test_a_corpus_and_an_output_in_object_storage_end_to_end(
    faults: Faults, server: int, corpus: str, out: str, undisturbed: dict[str, bytes]
) -> None:
    say = CliRunner()
    made = say.invoke(cli.app, [a for a in data(corpus, out) if a != "--no-report"])
    assert made.exit_code == 0, made.output
    assert stored(out, server) == undisturbed
    assert Store(out).size("report/index.html") > 10_000
    assert "nothing to do" in say.invoke(cli.app, data(corpus, out)).output
    status = json.loads(say.invoke(cli.app, ["status", out, "--json"]).output)
    assert (status["finished"], status["faults"], status["ledger"]["pending"]) == (True, [], 0)
    verified = say.invoke(cli.app, ["verify", out, "--json"])
    assert verified.exit_code == 0, verified.output
    aside = [json.loads(line) for line in say.invoke(cli.app, ["quarantine", out]).output.splitlines()]
    assert {o["reason"] for o in aside} == {"empty_file", "silent"}
    assert "this is sentence number 1" in say.invoke(cli.app, ["inspect", out, "u001"]).output
    dataset = Dataset.open(out)
    row = Reader(dataset, vocabulary_of(dataset), block=4).clean(3)
    assert len(row.codes_LQ)


def test_failing_storage_that_lists_nothing_and_a_killed_driver_change_no_byte(
    faults: Faults, server: int, corpus: str, out: str, undisturbed: dict[str, bytes]
) -> None:
    faults.busy = faults.dropped = faults.unheard = faults.cut = faults.slow = 0.03
    faults.unlisted = out.removeprefix(f"s3://{BUCKET}/")
    process = start(corpus, out, **{"run.workers": 2})
    deadline = time.monotonic() + 200
    while not any("receipts" in name for name in _names(out, server, "tokens-")):
        assert process.poll() is None, finish(process)[1]
        assert time.monotonic() < deadline, "no unit is ever finished"
        time.sleep(0.2)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    code, output = run(corpus, out, **{"run.workers": 2})
    assert code == 0, output
    assert set(faults.count) == {"passed", "busy", "dropped", "unheard", "cut", "slow"}
    assert stored(out, server) == undisturbed
    assert json.loads(stored(out, server)["dataset.json"])["ledger"]["written"] == 22


def _names(out: str, server: int, prefix: str) -> list[str]:
    client = {"endpoint_url": f"http://127.0.0.1:{server}"}
    fs = fsspec.filesystem("s3", key="nobody", secret="nothing", client_kwargs=client, use_listings_cache=False)
    return [n for n in fs.find(out) if f"/{prefix}" in n]


def test_an_outage_ends_the_run_with_one_line_and_the_next_one_goes_on(
    faults: Faults, server: int, corpus: str, out: str, undisturbed: dict[str, bytes],
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(manifests.patience, "PAUSE", 0.01)
    monkeypatch.setattr("sys.argv", ["speechmill", *data(corpus, out, **{"run.error_retries": 0})])
    faults.down_after = 150
    with pytest.raises(SystemExit) as ended:
        cli.main()
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("speechmill: ")]
    assert ended.value.code == cli.UNFINISHED
    assert len(said) == 1
    assert "does not answer" in said[0]
    assert "run again to resume" in said[0]
    faults.down_after = None
    made = CliRunner().invoke(cli.app, data(corpus, out))
    assert made.exit_code == 0, made.output
    assert stored(out, server) == undisturbed


def test_two_drivers_on_one_output_do_each_others_work_and_harm_nothing(
    faults: Faults, server: int, corpus: str, out: str, undisturbed: dict[str, bytes]
) -> None:
    both = [start(corpus, out, **{"run.workers": 0}) for _ in range(2)]
    for process in both:
        code, output = finish(process)
        assert code == 0, output
    assert stored(out, server) == undisturbed


def test_a_large_file_goes_in_parts_and_appears_whole(faults: Faults, out: str) -> None:
    whole = os.urandom(2 * PART + 12345)
    faults.busy, faults.unheard = 0.1, 0.1
    Store(out).publish("large.tar", whole)
    assert Store(out).read("large.tar") == whole
    assert Store(out).read("large.tar", PART - 3, 7) == whole[PART - 3 : PART + 4]
    assert sum(faults.count.values()) > 4, "it was not cut into parts"


@pytest.mark.parametrize("way", ["busy", "dropped"])
def test_a_storage_that_never_answers_is_given_up_after_bounded_tries(
    way: str, faults: Faults, out: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manifests.patience, "PAUSE", 0.01)
    monkeypatch.setattr(manifests.patience, "ATTEMPTS", 2)
    setattr(faults, way, 1.0)
    with pytest.raises(StorageFailed, match=r"does not answer .*tried 2 times.*run again to resume"):
        Store(out).read("a")
    with pytest.raises(StorageFailed, match="does not answer"):
        Store(out).publish("a", b"x")


def test_a_bucket_that_is_not_there_and_a_protocol_that_nobody_knows_are_said_so(faults: Faults) -> None:
    with pytest.raises(StorageFailed, match=r"s3://nobody-has-this/x/a: cannot be written .*make the bucket"):
        Store("s3://nobody-has-this/x").publish("a", b"")
    with pytest.raises(StorageFailed, match="nonsense://x"):
        Store("nonsense://x").read("a")


def test_credentials_that_are_no_good_are_no_files_fault(faults: Faults, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    with pytest.raises(StorageFailed, match="takes no such credentials"):
        Store(f"s3://{BUCKET}/x").read("a")


def test_a_forecast_leaves_the_plan_and_itself_and_the_run_is_held_against_it(
    corpus: str, out: str, faults: Faults
) -> None:
    asked = [*data(corpus, out), "--hours", "10"]
    shown = CliRunner().invoke(cli.app, ["plan", *(part for part in asked[1:] if part != "--no-report"), "--json"])
    assert shown.exit_code == 0, shown.output
    left = {name.split("/")[0].split("-")[0] for name in Store(out).walk()}
    assert left == {"cuts", "plan", "forecast.json"}
    assert CliRunner().invoke(cli.app, data(corpus, out)).exit_code == 0
    told = json.loads(CliRunner().invoke(cli.app, ["status", out, "--json"]).output)["forecast"]
    assert {row["stage"] for row in told["stages"]} == {"fit", "tokens", "masks"}
