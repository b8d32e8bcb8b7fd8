"""What holds for an export into any format: whole or not there, the same bytes every time, resumed, and refused in one clear line."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from manifests.dataset import DatasetError
from manifests.fingerprint import pretty
from manifests.storage import Store
from pipelines import cli
from pipelines.engine.commit import execute
from pipelines.engine.contract import RunFailed, Task
from pipelines.export import export as module
from pipelines.export.about import split_folders
from pipelines.export.errors import ExportError
from pipelines.export.export import Asked, export
from pipelines.export.items import flac
from pipelines.export.job import deal
from pipelines.export.registry import FORMATS
from pipelines.output_lock import Locked, output_lock
from tests.pipelines.exported import contents, exported, heard, make_dialogues, quiet, samples

PLACE = "/somewhere"
POINTS = ("before-data", "between-files", "before-receipt", "after-receipt", "before-name", "after-name")


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_dialogues(tmp_path_factory.mktemp("dialogues"), unasked=0)


@pytest.fixture(scope="module")
def whole(root: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, bytes]]:
    """The contents of an undisturbed export, by format."""
    folder = tmp_path_factory.mktemp("whole")
    return {kind: contents(exported(root, kind, folder / kind, place=PLACE)) for kind in FORMATS}


@pytest.fixture
def die_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int], None]:
    """Make the ``nth`` passing of a crash point fatal."""

    def arm(point: str, nth: int) -> None:
        left = [nth]

        def crash(name: str) -> None:
            if name == point:
                left[0] -= 1
                if not left[0]:
                    raise Killed(name)

        monkeypatch.setattr("pipelines.engine.commit.crash_point", crash)
        monkeypatch.setattr(module, "crash_point", crash)

    return arm


def ask(root: str, kind: str, dest: Path, **more: object) -> bool:
    return export(Asked(root, kind, str(dest), **{"per_file": 4, "place": PLACE, **more}), quiet())  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", FORMATS)
def test_two_exports_are_equal_byte_for_byte(
    root: str, whole: dict[str, dict[str, bytes]], kind: str, tmp_path: Path
) -> None:
    assert ask(root, kind, tmp_path / "again")
    assert contents(tmp_path / "again") == whole[kind]


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("point", POINTS)
def test_killed_anywhere_it_is_not_there_or_whole_and_the_same_command_finishes_it(
    root: str, whole: dict[str, dict[str, bytes]], kind: str, point: str, tmp_path: Path,
    die_at: Callable[[str, int], None], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    dest = tmp_path / "to"
    die_at(point, 1 if point.endswith("name") else 2)
    with pytest.raises(Killed):
        ask(root, kind, dest)
    assert (dest / "export.json").is_file() == dest.exists() == (point == "after-name")
    monkeypatch.undo()
    assert ask(root, kind, dest) == (point != "after-name")
    assert contents(dest) == whole[kind]
    assert [path.name for path in tmp_path.iterdir()] == ["to"]


def test_a_process_killed_midway_goes_on_from_the_parts_that_are_there(
    root: str, whole: dict[str, dict[str, bytes]], tmp_path: Path
) -> None:
    code = "from pipelines.cli import main; main()"
    command = [
        sys.executable,
        "-c",
        code,
        "export",
        root,
        str(tmp_path / "to"),
        "--to",
        "vocalnet",
        "--per-file",
        "4",
        "--place",
        PLACE,
    ]
    crash = {**os.environ, "SPEECHMILL_CRASH_AT": f"before-receipt:{tmp_path / 'died'}"}
    assert subprocess.run(command, env=crash, capture_output=True, check=False).returncode == 128 + signal.SIGKILL
    assert not (tmp_path / "to").exists()
    assert ask(root, "vocalnet", tmp_path / "to")
    assert contents(tmp_path / "to") == whole["vocalnet"]


def test_finished_parts_are_kept_if_they_are_whole_and_made_again_if_not(
    root: str,
    whole: dict[str, dict[str, bytes]],
    tmp_path: Path,
    die_at: Callable[[str, int], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    die_at("before-name", 1)
    with pytest.raises(Killed):
        ask(root, "hf", tmp_path / "to")
    monkeypatch.undo()
    first, *kept = sorted((tmp_path / "to.partial" / "data").iterdir())
    first.write_bytes(first.read_bytes()[:-1] + b"?")
    before = {path: path.stat().st_ino for path in [first, *kept]}
    assert ask(root, "hf", tmp_path / "to")
    remade = {path for path, inode in before.items() if (tmp_path / "to" / "data" / path.name).stat().st_ino != inode}
    assert first in remade
    assert {path.stem[-6:] for path in remade} == {first.stem[-6:]}, "only the damaged part is made again"
    assert contents(tmp_path / "to") == whole["hf"]


def test_a_finished_export_is_left_alone(root: str, tmp_path: Path) -> None:
    assert ask(root, "hf", tmp_path / "to", sound=False)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "to").rglob("*")}
    assert not ask(root, "hf", tmp_path / "to", sound=False)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "to").rglob("*")} == before


def test_sums_are_of_every_file_and_right(whole: dict[str, dict[str, bytes]]) -> None:
    for files in whole.values():
        listed = dict(reversed(line.split("  ")) for line in files["SHA256SUMS"].decode().splitlines())
        assert listed == {
            n: hashlib.sha256(data).hexdigest() for n, data in files.items() if n not in ("SHA256SUMS", "export.json")
        }
        assert json.loads(files["export.json"])["SHA256SUMS"] == hashlib.sha256(files["SHA256SUMS"]).hexdigest()


def test_parts_made_elsewhere_and_in_another_order_are_the_same(
    root: str, whole: dict[str, dict[str, bytes]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(one: module.Export, *_: object) -> None:
        for unit in reversed(one.job.units):
            job = pickle.loads(pickle.dumps(one.job))  # as it travels to a worker
            execute(job, job.open(), Task(unit), lambda _: None)

    monkeypatch.setattr(module, "_run", run)
    for kind in FORMATS:
        assert ask(root, kind, tmp_path / kind)
        assert contents(tmp_path / kind) == whole[kind]


def test_masks_do_not_matter(root: str, tmp_path: Path) -> None:
    assert ask(root, "hf", tmp_path / "to", sound=False)
    other = Path(shutil.copytree(root, tmp_path / "out"))
    value = json.loads((other / "dataset.json").read_bytes())
    del value["masks"]
    value["recipe"] |= {"mask": {"of": "a later version"}, "teach": {"of": "a later version"}}
    (other / "dataset.json").write_bytes(pretty(value))
    assert not ask(str(other), "hf", tmp_path / "to", sound=False), "the same tokens: nothing to do"
    assert ask(str(other), "hf", tmp_path / "heard", sound=True), "nor does how a later version writes them down"


def copied(root: str, tmp_path: Path) -> Path:
    return Path(shutil.copytree(root, tmp_path / "out"))


def test_an_unfinished_dataset_is_refused(root: str, tmp_path: Path) -> None:
    out = copied(root, tmp_path)
    (out / "dataset.json").unlink()
    with pytest.raises(DatasetError, match="not finished"):
        ask(str(out), "hf", tmp_path / "to")


def test_a_dataset_json_without_its_parts_is_refused(root: str, tmp_path: Path) -> None:
    out = copied(root, tmp_path)
    value = json.loads((out / "dataset.json").read_bytes())
    (out / "dataset.json").write_bytes(pretty({k: v for k, v in value.items() if k != "speech"}))
    with pytest.raises(DatasetError, match="damaged: no speech"):
        ask(str(out), "hf", tmp_path / "to")


@pytest.mark.parametrize("name", ["shard-000001.tar", "shard-000001.idx"])
def test_a_flipped_bit_is_found_and_nothing_is_published(root: str, name: str, tmp_path: Path) -> None:
    out = copied(root, tmp_path)
    path = out / "tokens-0" / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(RunFailed, match=rf"{name}: damaged: its SHA-256 is not the one in dataset\.json"):
        ask(str(out), "hf", tmp_path / "to", sound=False)
    assert not (tmp_path / "to").exists()


def test_a_foreign_folder_is_refused_and_left_as_it_is(root: str, tmp_path: Path) -> None:
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / "thesis.tex").write_text("years")
    with pytest.raises(ExportError, match="something else; name an empty or a new folder"):
        ask(root, "hf", tmp_path / "to")
    (tmp_path / "fresh.partial").mkdir()
    (tmp_path / "fresh.partial" / "thesis.tex").write_text("years")
    with pytest.raises(ExportError, match=r"holds thesis\.tex, which is no export's"):
        ask(root, "hf", tmp_path / "fresh")
    assert (
        (tmp_path / "to" / "thesis.tex").read_text()
        == (tmp_path / "fresh.partial" / "thesis.tex").read_text()
        == "years"
    )


def test_an_empty_folder_is_taken(root: str, tmp_path: Path) -> None:
    (tmp_path / "to").mkdir()
    assert ask(root, "hf", tmp_path / "to", sound=False)
    assert (tmp_path / "to" / "README.md").is_file()


def test_a_link_to_an_empty_folder_is_followed(root: str, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "disk")
    assert ask(root, "hf", tmp_path / "out", sound=False)
    assert (tmp_path / "disk" / "export.json").is_file()
    assert not ask(root, "hf", tmp_path / "out", sound=False)


@pytest.mark.parametrize("name", ["SHA256SUMS", "README.md"])
def test_a_finished_export_of_which_files_are_gone_is_no_export(root: str, tmp_path: Path, name: str) -> None:
    ask(root, "hf", tmp_path / "out", sound=False)
    (tmp_path / "out" / name).unlink()
    with pytest.raises(ExportError, match=rf"{name} is gone from this export; remove the folder and export again"):
        ask(root, "hf", tmp_path / "out", sound=False)


def test_another_export_is_refused_finished_or_not(
    root: str, tmp_path: Path, die_at: Callable[[str, int], None]
) -> None:
    assert ask(root, "hf", tmp_path / "to", sound=False)
    with pytest.raises(ExportError, match=r"holds another export .format: hf there, shar asked for"):
        ask(root, "shar", tmp_path / "to", sound=False)
    die_at("after-receipt", 1)
    with pytest.raises(Killed):
        ask(root, "hf", tmp_path / "next", sound=False)
    with pytest.raises(ExportError, match=r"an unfinished export that differs .sound: False there, True asked for"):
        ask(root, "hf", tmp_path / "next")


def test_a_place_that_cannot_be_made_is_refused(root: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match=r"file/to\.partial: cannot be made"):
        ask(root, "hf", tmp_path / "file" / "to", sound=False)


def test_two_at_once_are_refused(root: str, tmp_path: Path) -> None:
    with output_lock(Store(str(tmp_path / "to.partial"))), pytest.raises(Locked):
        ask(root, "hf", tmp_path / "to", sound=False)


def test_a_corpus_that_is_gone_is_left_out_with_a_word_or_refused_where_it_was_asked_for(
    root: str, tmp_path: Path
) -> None:
    out = copied(root, tmp_path)
    value = json.loads((out / "run.json").read_bytes())
    (out / "run.json").write_bytes(pretty({**value, "root": str(tmp_path / "gone")}))
    console = quiet()
    assert export(Asked(str(out), "hf", str(tmp_path / "to")), console)
    assert "without sound: the corpus is not at" in console.file.getvalue()  # type: ignore[attr-defined]
    with pytest.raises(ExportError, match=r"the corpus is not at .*gone; name its place with --corpus"):
        ask(str(out), "hf", tmp_path / "next", sound=True)
    assert ask(str(out), "hf", tmp_path / "found", sound=True, corpus=str(Path(root).parent / "corpus"))


def test_a_sound_that_is_not_the_one_its_tokens_were_made_of_is_refused(root: str, tmp_path: Path) -> None:
    corpus = Path(shutil.copytree(Path(root).parent / "corpus", tmp_path / "corpus"))
    shutil.copy(corpus / "r3.wav", corpus / "r0.wav")
    with pytest.raises(RunFailed, match="plain: the corpus no longer gives the sound its tokens were made of"):
        ask(root, "hf", tmp_path / "to", corpus=str(corpus))
    assert not (tmp_path / "to").exists()


def test_a_sound_that_is_gone_is_refused_with_its_name(root: str, tmp_path: Path) -> None:
    corpus = Path(shutil.copytree(Path(root).parent / "corpus", tmp_path / "corpus"))
    (corpus / "r0.wav").unlink()
    with pytest.raises(RunFailed, match=r"its tokens were made of \(there is no file r0\.wav\); restore it"):
        ask(root, "hf", tmp_path / "to", corpus=str(corpus))


def test_sound_of_every_level_comes_back_bit_for_bit() -> None:
    pcm_T = np.arange(-32768, 32768).astype(np.int16)
    assert np.array_equal(heard(flac(pcm_T * np.float32(1 / 32768), 16_000))[0], pcm_T)


def test_a_dataset_at_a_url_is_exported_like_a_local_one(
    root: str, whole: dict[str, dict[str, bytes]], tmp_path: Path
) -> None:
    import fsspec

    fsspec.filesystem("memory").put(root, "/export-of-a-url", recursive=True)
    assert ask("memory://export-of-a-url", "shar", tmp_path / "to")
    assert contents(tmp_path / "to") == whole["shar"]


def test_an_unknown_format_is_refused_with_the_nearest(root: str, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="no such format; did you mean vocalnet"):
        ask(root, "vocalnett", tmp_path / "to")


def test_object_storage_is_refused_as_a_place(root: str) -> None:
    with pytest.raises(ExportError, match="local folder"):
        export(Asked(root, "hf", "s3://bucket/x"), quiet())


def test_splits_that_would_share_a_name_are_refused() -> None:
    assert split_folders(["train", "dev-1", "receipts"]) == {
        "train": "train",
        "dev-1": "dev_1",
        "receipts": "receipts_",
    }
    with pytest.raises(ExportError, match="'dev-1' and 'dev_1'"):
        split_folders(["dev-1", "dev_1"])


@given(st.lists(st.integers(0, 9), max_size=30), st.integers(1, 20))
def test_every_shard_is_in_one_part_and_no_part_is_empty(counts: list[int], least: int) -> None:
    parts, units = deal([{"samples": n} for n in counts], 10.0, least)
    dealt = [number for first, end in parts for number in range(first, end)]
    assert dealt == list(range(len(dealt)))
    assert not any(counts[len(dealt) :])
    assert [unit.count for unit in units] == [sum(counts[first:end]) for first, end in parts]
    assert all(unit.count >= least for unit in units[:-1])
    assert all(unit.count for unit in units)


def test_the_command_exports_and_then_has_nothing_to_do(root: str, tmp_path: Path) -> None:
    arguments = ["export", root, str(tmp_path / "to"), "--to", "hf", "--no-audio"]
    made, again = (CliRunner().invoke(cli.app, arguments) for _ in range(2))
    assert (made.exit_code, again.exit_code) == (0, 0)
    assert f"exported: {tmp_path / 'to'}" in made.output
    assert "nothing to do" in again.output
    assert len(samples(root)) == sum(json.loads((tmp_path / "to" / "export.json").read_bytes())["utterances"].values())
