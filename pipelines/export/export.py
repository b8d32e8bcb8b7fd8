"""``speechmill export``: parts, then what stands beside them, then the name under which the export is believed.

Everything is written into ``DEST.partial``; DEST appears whole, by one rename. A killed export goes on from the parts whose files are
still what their receipts say.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.markup import escape

from manifests.dataset import Dataset
from manifests.fingerprint import pretty, sha256
from manifests.receipt import FOLDER, FileEntry, Receipt, ReceiptError, read_receipt, receipt_name
from manifests.run_file import RUN, place_of_corpus
from manifests.settings.run import RunSettings
from manifests.storage import Store, in_full, sweep_attempts
from pipelines.cluster import Cluster
from pipelines.engine.commit import crash_point
from pipelines.engine.progress import Events
from pipelines.engine.run import Engine
from pipelines.engine.stopping import Stopping
from pipelines.export.about import About
from pipelines.export.base import Facts, Format
from pipelines.export.errors import ExportError
from pipelines.export.job import ExportJob, deal
from pipelines.export.registry import format_named
from pipelines.output_lock import NAME as LOCK
from pipelines.output_lock import output_lock

VERSION = 1
MARK, PLAN, SUMS = "export.json", "plan.json", "SHA256SUMS"


@dataclass(frozen=True)
class Asked:
    """What the command line asks for.

    sound      True: with sound, or not at all; False: without; None: with it where the corpus can be found
    corpus     where the corpus lies now; None: where ``run.json`` says
    per_file   utterances of a part, at least: parts are whole token shards
    place      folder that lists name files by; None: ``dest``
    """

    out: str
    kind: str
    dest: str
    sound: bool | None = None
    corpus: str | None = None
    per_file: int = 1000
    place: str | None = None
    workers: int | None = 0
    address: str | None = None


@dataclass(frozen=True)
class Export:
    """One export under way.

    plan   what makes it this export and no other, as JSON
    dest, partial   where it will lie, and where it lies until it is whole
    """

    job: ExportJob
    format: Format
    plan: Mapping[str, Any]
    dest: Path
    partial: Path

    @property
    def store(self) -> Store:
        return Store(str(self.partial))

    def receipts(self) -> Iterator[Receipt]:
        """Raises :class:`ExportError` where one is gone while the export runs."""
        for unit in self.job.units:
            receipt = read_receipt(self.store, unit.index)
            if receipt is None:
                raise ExportError(f"{self.partial}/{receipt_name(unit.index)}: gone; run again to resume")
            yield receipt

    def parts(self) -> Iterator[tuple[int, Mapping[str, Facts]]]:
        return ((receipt.unit, receipt.facts) for receipt in self.receipts())


def export(asked: Asked, console: Console) -> bool:
    """Carry out an export; False where it stood there already.

    Raises ``DatasetError``, ``ShardError`` and :class:`ExportError` for what cannot be exported, ``RunFailed`` and
    ``Interrupted`` for what is not finished: the same command goes on with it.
    """
    one = _planned(asked, console)
    if _stands(one):
        _tidy(one.dest)
        return False
    _make(one.partial)
    with output_lock(one.store):
        _check_partial(one)
        damaged = forget_damaged(one)
        if damaged:
            console.print(f"export: {damaged} parts are not what their receipts say; they are made again")
        for note in one.format.notes(one.job.about):
            console.print(f"export: {escape(note)}", soft_wrap=True)
        _run(one, RunSettings(workers=asked.workers, address=asked.address, error_retries=1), console)
        _finish(one)
    return True


def _planned(asked: Asked, console: Console) -> Export:
    if "://" in asked.dest:
        raise ExportError(f"{asked.dest}: an export is written into a local folder; copy it from there")
    format_, data = format_named(asked.kind), Dataset.open(asked.out)
    dest = Path(os.path.realpath(asked.dest))  # a name can be given to what a link leads to, not to the link
    corpus = _corpus(asked, data, console)
    about = About.of(data, corpus is not None, asked.place or str(dest))
    format_.check(about)
    partial = dest.with_name(f"{dest.name}.partial")
    seconds = sum(amounts["seconds"] for amounts in about.description["splits"].values())
    parts, units = deal(data.description["tokens"]["shards"], seconds, asked.per_file)
    plan = {
        "format": format_.name, "version": VERSION, "dataset": about.identity, "sound": about.sound, "per_file": asked.per_file,
        "place": asked.place,
    }  # fmt: skip
    job = ExportJob(str(partial), in_full(asked.out), corpus, format_.name, about, parts, units)
    _check_dest(dest)
    return Export(job, format_, plan, dest, partial)


def _corpus(asked: Asked, data: Dataset, console: Console) -> str | None:
    """Where the corpus lies, or None where no sound goes along. Raises :class:`ExportError` where it must and cannot."""
    if asked.sound is False:
        return None
    places = [in_full(place) for place in ([asked.corpus] if asked.corpus else _places(data))]
    found = next((place for place in places if _there(place)), None)
    if found is None:
        why = f"the corpus is not at {' or '.join(places)}" if places else "run.json does not say where the corpus lies"
        if asked.sound or asked.corpus:
            raise ExportError(f"{asked.out}: {why}; name its place with --corpus, or export with --no-audio")
        console.print(f"export: without sound: {escape(why)}; --corpus names another place", soft_wrap=True)
    return found


def _places(data: Dataset) -> list[str]:
    """Where the corpus lay when the dataset was made, and beside the dataset, where the demo's lies."""
    try:
        root = place_of_corpus(data.store, str(orjson.loads(data.store.read(RUN))["root"]))
    except (FileNotFoundError, orjson.JSONDecodeError, KeyError, TypeError):
        return []
    beside = f"{data.store.root.rstrip('/')}/{root.rstrip('/').rsplit('/', 1)[-1]}"
    return [root, beside] if root and "spoken" in data.description else [root] if root else []


def _there(place: str) -> bool:
    try:
        return Store(place).exists("")
    except Exception:  # noqa: BLE001 - every file system of fsspec has errors of its own; each means that it is not in reach
        return False


def _check_dest(dest: Path) -> None:
    """Raises :class:`ExportError` where something else lies there."""
    if dest.is_dir() and ((dest / MARK).is_file() or not any(dest.iterdir())):
        return
    if dest.exists() or dest.is_symlink():
        raise ExportError(f"{dest}: there is something else; name an empty or a new folder")


def _stands(one: Export) -> bool:
    """Whether this very export is there. Raises :class:`ExportError` where another one is, or files of it are gone."""
    known = _json(one.dest / MARK)
    if known is None:
        return False
    if {k: known.get(k) for k in one.plan} == dict(one.plan):
        if gone := next((name for name in _listed(one.dest) if not (one.dest / name).exists()), None):
            raise ExportError(f"{one.dest}: {gone} is gone from this export; remove the folder and export again")
        return True
    raise ExportError(
        f"{one.dest}: holds another export ({_differs(known, one.plan)}); remove it, or name another folder"
    )


def _listed(dest: Path) -> Iterator[str]:
    """The files of a finished export; the list itself where that is gone."""
    try:
        with (dest / SUMS).open(encoding="utf-8") as sums:
            yield from (line.rstrip("\n").partition("  ")[2] for line in sums)
    except FileNotFoundError:
        yield SUMS


def _make(partial: Path) -> None:
    try:
        partial.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ExportError(f"{partial}: cannot be made ({error.strerror}); name a folder that can") from None


def _check_partial(one: Export) -> None:
    """Begin, or go on. Raises :class:`ExportError` where an unfinished export of something else is under way."""
    sweep_attempts(one.store, "")
    known = _json(one.partial / PLAN)
    if known is None:
        strangers = sorted(p.name for p in one.partial.iterdir() if p.name not in (LOCK, PLAN))
        if strangers:
            raise ExportError(f"{one.partial}: holds {strangers[0]}, which is no export's; move it away")
        one.store.publish(PLAN, pretty(one.plan))
    elif known != dict(one.plan):
        raise ExportError(
            f"{one.partial}: an unfinished export that differs ({_differs(known, one.plan)}); finish it as it was asked for, or remove it"
        )


def _json(path: Path) -> dict[str, Any] | None:
    try:
        value = orjson.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except orjson.JSONDecodeError:
        raise ExportError(f"{path}: damaged; remove the folder and export again") from None
    if not isinstance(value, dict):
        raise ExportError(f"{path}: damaged; remove the folder and export again")
    return value


def _differs(known: Mapping[str, Any], plan: Mapping[str, Any]) -> str:
    return ", ".join(f"{k}: {known.get(k)} there, {plan[k]} asked for" for k in plan if known.get(k) != plan[k])


def forget_damaged(one: Export) -> int:
    """Remove the receipts of parts whose files are not what they say, so that they are made again; returns how many."""
    damaged = 0
    for unit in one.job.units:
        try:
            receipt = read_receipt(one.store, unit.index)
            whole = receipt is None or all(_intact(one.partial / f.name, f) for f in receipt.files)
        except ReceiptError:
            whole = False
        if not whole:
            one.store.remove(receipt_name(unit.index))
            damaged += 1
    return damaged


def _intact(path: Path, entry: FileEntry) -> bool:
    return path.is_file() and path.stat().st_size == entry.bytes and sha256(path.read_bytes()) == entry.sha256


def _run(one: Export, settings: RunSettings, console: Console) -> None:
    cluster = Cluster(settings)
    with Stopping(settings.drain_seconds) as stopping:
        try:
            Engine(settings, console, Events(None), stopping, cluster.start).run(one.job)
        finally:
            cluster.stop()


def _finish(one: Export) -> None:
    """Lists and cards, sums, the mark, the name."""
    _sweep(one.partial)
    with (one.partial / SUMS).open("wb") as sums:
        for receipt in one.receipts():
            sums.writelines(_sum(f.name, f.sha256) for f in receipt.files)
        for name, contents in one.format.beside(one.job.about, one.parts):
            sums.write(_sum(name, _write(one.partial / name, contents)))
    listed = sha256((one.partial / SUMS).read_bytes())
    counts = {one.job.about.folders[s]: int(n["utterances"]) for s, n in one.job.about.description["splits"].items()}
    mark = {**one.plan, "name": one.job.about.name, "recipe": one.job.about.recipe, "utterances": counts, SUMS: listed}
    (one.partial / MARK).write_bytes(pretty(mark))
    os.sync()  # nothing under the final name may be lost with the power
    crash_point("before-name")
    try:
        os.rename(one.partial, one.dest)
    except OSError as error:
        raise ExportError(
            f"{one.dest}: cannot be given its name ({error.strerror}); the export is whole in {one.partial}"
        ) from None
    crash_point("after-name")
    _tidy(one.dest)


def _tidy(dest: Path) -> None:
    """Remove what only an export under way needs."""
    shutil.rmtree(dest / FOLDER, ignore_errors=True)
    for name in (PLAN, LOCK):
        (dest / name).unlink(missing_ok=True)


def _sweep(folder: Path) -> None:
    """Remove what killed attempts left."""
    for path in folder.rglob("*.attempt-*"):
        path.unlink()


def _sum(name: str, digest: str) -> bytes:
    """A line as ``sha256sum`` writes and checks it."""
    return f"{digest}  {name}\n".encode()


def _write(path: Path, contents: Iterator[bytes]) -> str:
    """Write as it comes; returns the SHA-256."""
    digest = hashlib.sha256()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        for block in contents:
            file.write(block)
            digest.update(block)
    return digest.hexdigest()
