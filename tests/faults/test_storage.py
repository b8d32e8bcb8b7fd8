"""A disk that is full, fails or may not be written: one clear line, no partial file under a final name, and a resume."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from manifests.settings.run import RunSettings
from manifests.storage import Store
from pipelines.cluster import Cluster
from pipelines.engine.contract import RunFailed, Unit
from pipelines.verify.verify import verify
from tests.faults.command import in_one_process, run
from tests.faults.toy import ToyJob, ends, engine
from tests.small_corpus import fingerprints, write_corpus

ALONE = {"run.workers": 0}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus"), 12)


@pytest.fixture(scope="module")
def undisturbed(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return in_one_process(corpus, tmp_path_factory.mktemp("undisturbed"))


def mount(folder: Path, options: str) -> None:
    """A file system in memory, or another look at one. Skips the test where this user may not mount."""
    folder.mkdir(exist_ok=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"mounting is not allowed here: {done.stderr.decode().strip()}")


@contextmanager
def disk(folder: Path, kilobytes: int) -> Iterator[Path]:
    mount(folder, f"size={kilobytes}k")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def remounted(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", folder], check=True)


def refused(code: int, output: str) -> None:
    """One line that says what is wrong and what to do, and nothing else."""
    assert code == 3, output
    assert "Traceback" not in output
    [line] = [line for line in output.splitlines() if line.startswith("speechmill: ")]
    assert "run again" in line


@pytest.mark.parametrize("kilobytes", [16, 200])
def test_a_full_disk_ends_the_run_in_one_line_and_with_more_room_it_is_finished(
    kilobytes: int, corpus: Path, undisturbed: dict, tmp_path: Path
) -> None:
    assert sum(len(data) for data in undisturbed.values()) > kilobytes * 1024
    with disk(tmp_path / "disk", kilobytes) as folder:
        refused(*run(corpus, folder, **ALONE))
        assert not (folder / "dataset.json").exists()
        for tar in folder.rglob("shard-*"):
            assert undisturbed.get(str(tar.relative_to(folder))) == tar.read_bytes(), "a partial file was published"
        remounted(folder, "size=64m")
        code, output = run(corpus, folder, **ALONE)
        assert code == 0, output
        assert fingerprints(folder) == undisturbed
        assert not verify(str(folder), reencode=0).faults


def test_a_read_only_output_is_refused_in_one_line_and_left_as_it_is(
    corpus: Path, undisturbed: dict, tmp_path: Path
) -> None:
    with disk(tmp_path / "disk", 64 * 1024) as folder:
        remounted(folder, "ro")
        refused(*run(corpus, folder, **ALONE))
        assert not list(folder.iterdir())
        remounted(folder, "rw")
        assert run(corpus, folder, **ALONE)[0] == 0
        assert fingerprints(folder) == undisturbed


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("place", ["fsync", "replace"])
def test_a_write_that_fails_is_tried_again_then_fails_the_run_and_a_later_run_finishes(
    code: int, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = ToyJob(str(tmp_path / "toy"), tuple(Unit(k, 2, 2.0) for k in range(3)))
    alone, calls = engine(Cluster(RunSettings(workers=0)), tmp_path, workers=0, error_retries=2), [0]
    whole = getattr(os, place)

    def failing(*arguments: object) -> object:
        calls[0] += 1
        if calls[0] > 3:
            raise OSError(code, os.strerror(code))
        return whole(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(os, place, failing)
        with pytest.raises(RunFailed, match=rf"OSError: .*{os.strerror(code)}; run again to resume"):
            alone.run(job)
    assert not [name for name in Store(job.folder).walk() if ".attempt-" in name]
    alone.run(job)
    assert set(ends(job).values()) == {"written"}
