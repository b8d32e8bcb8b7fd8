"""A corpus of ten million utterances without its sound: does planning, resuming and looking stay within memory and time?

    python benchmarks/scale.py [--utterances N] [--unit-seconds S] [--folder DIR]

A manifest is made up (durations of 1 to 15 s, 20,000 speakers, one in a hundred a copy, one in a thousand an id that occurred before), and receipts for the units. Every step
runs in a process of its own, through the code that ``speechmill`` runs; wall time and the peak of resident memory are that process's, with its imports. ``waiting`` are
seconds of the wall time in which it could have gone on, but other programs had the processors. ``first new unit`` is
the time from the start of the process to the moment a worker is handed one. Limits are for ten million; fewer must keep them too. Needs about 1.4 GB of disk for each million
utterances under DIR (a temporary folder), which is removed at the end.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # not this folder: its tokenize.py would hide Python's own

import argparse
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from manifests.fingerprint import draw, pretty
from manifests.ledger import Outcome
from manifests.receipt import FOLDER, FileEntry, Receipt, receipt_name, shard_stem
from manifests.recipe import Recipe, parse
from manifests.storage import Store
from manifests.utterance import AudioRef, Header, Utterance, to_cut
from pipelines.engine.contract import Beat, Made, Task, Unit
from pipelines.engine.progress import Events

SPEAKERS = 20_000
TOKENS, MASKS = "tokens-0", "masks-0"


@dataclass(frozen=True)
class Step:
    """One measured step.

    seconds, megabytes   its limits at ten million utterances
    """

    name: str
    says: str
    seconds: float
    megabytes: float


STEPS = (
    Step("write", "ingest: write the manifest", 3600, 300),
    Step("plan", "plan", 1800, 500),
    Step("again", "plan again: nothing to do", 10, 500),
    Step("resume", "resume, no index yet: first new unit", 30, 500),
    Step("resume_again", "resume again: first new unit", 30, 500),
    Step("status", "status, half of the tokens", 30, 500),
    Step("resume_masks", "resume in the masks: first new unit", 30, 500),
    Step("fold", "dataset.json from all receipts", 300, 500),
    Step("finished", "status of the whole, held against a forecast", 30, 300),
    Step("aside", "quarantine", 120, 300),
    Step("open", "open the dataset, find its last sample's shard", 30, 1000),
)
MADE = {
    "resume": ("half", TOKENS, 2),
    "resume_masks": ("rest", TOKENS, 1),
    "fold": ("masks", MASKS, 1),
}  # receipts that are made up before


def cuts(count: int) -> Iterator[dict[str, Any]]:
    """The made-up manifest; every number in it is a function of the place in it."""
    for i in range(count):
        noise = draw("scale", i)
        owner = i - 1 if noise % 100 == 0 and i else i  # a copy of the one before
        name = i - 7 if noise % 1000 == 1 and i > 7 else i  # an id that occurred before
        speaker, frames = f"s{noise % SPEAKERS:05d}", 16_000 + draw("frames", owner) % (14 * 16_000)
        text = f"this is what was said in utterance {owner} and it is about as long as what people say"
        path = f"audio/{speaker}/{owner // 1000:05d}/u{owner:08d}.flac"
        utterance = Utterance(f"corpus-{speaker}-u{name:08d}", AudioRef(path), text, speaker, "en")
        yield to_cut(utterance, Header(16_000, frames, 1, f"{draw('content', owner):016x}" * 2))


def recipe_of(root: Path, unit_seconds: float) -> Recipe:
    return parse({
        "name": "scale", "corpus": {"layout": "table", "root": str(root)}, "plan": {"unit_seconds": unit_seconds},
        "run": {"workers": 0, "relist": False},
    })  # fmt: skip


class First(BaseException):
    """A worker was handed a unit."""


@dataclass(frozen=True)
class FirstJob:
    """A stage that ends where its first unit begins."""

    folder: str
    units: tuple[Unit, ...]
    stage: str = "tokens"

    def open(self) -> FirstJob:
        return self

    def process(self, task: Task, beat: Beat) -> Made:
        raise First


@dataclass(frozen=True)
class Scale:
    """What the steps share."""

    root: Path
    utterances: int
    unit_seconds: float

    @property
    def out(self) -> Store:
        return Store(str(self.root))

    @property
    def recipe(self) -> Recipe:
        return recipe_of(self.root, self.unit_seconds)

    def write(self) -> None:
        from pipelines.stages.s20_ingest import MANIFEST, RECEIPT, settings_digest, write_manifest

        store = self.out.sub("cuts")
        with tempfile.NamedTemporaryFile(dir=self.root) as packed:
            known = write_manifest(cuts(self.utterances), packed, "made up", settings_digest(self.recipe.corpus))
            packed.flush()
            store.publish_file(MANIFEST, Path(packed.name))
        store.publish(RECEIPT, pretty(known.to_json()))

    def planned(self, work: Callable[[Any, str, tuple[Unit, ...]], None] | None = None) -> None:
        """The stages until the plan, and what comes then."""
        from pipelines.data import opened

        with opened(self.recipe, str(self.root), Console(quiet=True)) as run:
            _, folder, units = run.planned(str(self.root), {})
            if work is not None:
                work(run, folder, units)

    plan = again = planned

    def resume(self) -> None:
        def work(run: Any, _: str, units: tuple[Unit, ...]) -> None:
            try:
                run.engine.run(FirstJob(self.out.sub(TOKENS).root, units))
            except First:
                return
            raise AssertionError("nothing was left to do")

        self.planned(work)

    resume_again = resume

    def resume_masks(self) -> None:
        """All tokens are there and half of the masks: what ``DataRun.tokenized`` and ``masked`` look at."""
        from pipelines.stages.s70_mask import forget_outdated

        def work(run: Any, _: str, units: tuple[Unit, ...]) -> None:
            tokens, masks = self.out.sub(TOKENS), self.out.sub(MASKS)
            assert not run.engine.run(FirstJob(tokens.root, units))
            assert not forget_outdated(masks, tokens, units)
            try:
                run.engine.run(FirstJob(masks.root, units, "masks"))
            except First:
                return
            raise AssertionError("nothing was left to do")

        self.planned(work)

    def status(self) -> None:
        from pipelines.status import status

        seen = status(str(self.root))
        assert seen.ledger is not None
        assert (seen.forecast is not None) == self.out.exists("forecast.json")
        assert seen.ledger.planned == self.utterances
        assert not seen.faults

    finished = status

    def foretold(self) -> None:
        """A forecast beside the output, and the events of a run in which every unit ended."""
        from pipelines.forecast.compared import FORMAT, NAME
        from pipelines.stages.s30_plan import read_plan

        units = read_plan(self.out.sub(next(name for name in self.out.list() if name.startswith("plan-")))) or ()
        row = {
            "seconds": 9e4,
            "low": 8e4,
            "high": 1e5,
            "workers": 64,
            "worker_hours": 1537.0,
            "core_hours": None,
            "cpus": 1.0,
            "beside": 0,
        }
        stages = [{**row, "stage": stage, "bytes": 10**10} for stage in ("tokens", "masks")]
        whole = {
            "utterances": self.utterances,
            "recordings": None,
            "ray": 6.0,
            "seconds": 2e5,
            "low": 1e5,
            "high": 3e5,
            "stages": stages,
        }
        self.out.publish(NAME, pretty({"format": FORMAT, "made": 1.6e9, "before": ["plan"], "corpus": whole}))
        note = Events(self.out.local("events.jsonl"))
        with (self.root / "events.jsonl").open("a", encoding="utf-8") as file:
            for stage in ("tokens", "masks"):
                note("stage_started", stage=stage)
                for unit in units:
                    ended = {"stage": stage, "unit": unit.index, "audio_seconds": unit.seconds, "written": unit.count}
                    file.write(json.dumps({"time": 1.7e9, "event": "unit_done", **ended, "filtered": 0}) + "\n")
                file.flush()
                note("stage_ended", stage=stage, took_seconds=8.5e4)

    def fold(self) -> None:
        from pipelines.stages.s90_dataset import describe, publish, side_shards

        def work(run: Any, plan: str, units: tuple[Unit, ...]) -> None:
            about = {"folders": {"plan": plan, "tokens": TOKENS, "masks": MASKS}}
            value = describe(self.out.sub(TOKENS), len(units), self.utterances, about)
            shards = side_shards(self.out.sub(MASKS), MASKS, value["tokens"]["shards"])
            publish(self.out, {**value, "masks": {"folder": MASKS, "shards": shards}})

        self.planned(work)

    def aside(self) -> None:
        from pipelines.status import quarantine

        assert sum(1 for _ in quarantine(str(self.root))) > 0

    def open(self) -> None:
        from manifests.dataset import Dataset

        data = Dataset.open(str(self.root))
        assert len(data) == data.description["ledger"]["written"]
        assert len(data.masks) == len(data)

    def receipts(self, stage: str, every: int) -> None:
        """Make up the receipts of every ``every``-th unit that has none."""
        from pipelines.stages.s30_plan import read_plan, unit_cuts

        plan = self.out.sub(next(name for name in self.out.list() if name.startswith("plan-")))
        (self.root / stage / FOLDER).mkdir(parents=True, exist_ok=True)
        for unit in (read_plan(plan) or ())[::every]:
            path = self.root / stage / receipt_name(unit.index)
            if not path.exists():
                path.write_bytes(made_up(stage, unit, list(unit_cuts(plan, unit.index))).to_bytes())


def made_up(stage: str, unit: Unit, planned: list[dict[str, Any]]) -> Receipt:
    """A receipt of the usual size."""
    ends = tuple(_end(cut) for cut in planned)
    written = sum(end.status == "written" for end in ends)
    files = tuple(
        FileEntry(f"{shard_stem(unit.index)}{kind}", 700 * unit.count, f"{draw(unit.index, kind):016x}" * 4)
        for kind in (".tar", ".idx")
    )
    amounts = {
        "utterances": written,
        "seconds": unit.seconds,
        "frames": int(25 * unit.seconds),
        "query_seconds": 0.0,
        "text_tokens": 9 * unit.count,
    }
    facts: dict[str, Any] = {
        "splits": {"train": amounts},
        "parity": {"codes": 900, "mismatched": 0, "utterances": 4, "rate": 0.0},
    }
    if stage == MASKS:
        facts = {"beside": f"{draw(unit.index, '.tar'):016x}" * 4, "blocks": [[n, 3] for n in range(1, 25)]}
    made = {
        "seconds": 41.5,
        "started": 1.7e9 + unit.index,
        "attempt": 1,
        "host": "node-17",
        "node": "f" * 56,
        "machine": "x86_64",
        "python": "3.11.9",
    }
    return Receipt(stage.partition("-")[0], unit.index, files, ends, facts, made)


def _end(cut: dict[str, Any]) -> Outcome:
    custom = cut["custom"]
    if "fault" in custom:
        return Outcome(cut["id"], "quarantined", *custom["fault"])
    if "copy_of" in custom:
        return Outcome(cut["id"], "filtered", "duplicate_audio", f"a copy of {custom['copy_of']}")
    return Outcome(cut["id"], "written")


@dataclass(frozen=True)
class Took:
    """What a process took: seconds, those of a processor among them, those in which its main thread waited for one that others had, and
    megabytes at its peak.
    """

    seconds: float
    cpu: float
    waited: float
    megabytes: float


def alone(*arguments: str) -> Took:
    """Run this file with ``arguments`` in a process of its own."""
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, __file__, *arguments])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    waited = waited_by(process.pid)
    _, code, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(code)
    if process.returncode:
        raise SystemExit(f"{' '.join(arguments)}: ended with {process.returncode}")
    return Took(time.perf_counter() - started, usage.ru_utime + usage.ru_stime, waited, usage.ru_maxrss / 1024)


def waited_by(pid: int) -> float:
    """Seconds in which a process that has ended, and was not asked for yet, waited for a processor; 0 where the system does not tell."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


def disk(root: Path) -> float:
    """Gigabytes under ``root``."""
    return sum(os.lstat(Path(where) / name).st_size for where, _, names in os.walk(root) for name in names) / 1e9


def measure(root: Path, arguments: argparse.Namespace, console: Console) -> bool:
    """Every step in turn; prints the table. Returns whether all limits were kept."""
    table = Table(
        "step",
        "seconds",
        "limit",
        "CPU s",
        "waiting s",
        "peak MB",
        "limit",
        "",
        title=f"{arguments.utterances:,} utterances",
    )
    rest = (str(root), str(arguments.utterances), str(arguments.unit_seconds))
    kept: list[bool] = []
    for step in STEPS:
        if step.name in MADE:
            _, stage, every = MADE[step.name]
            alone("--step", "receipts", *rest, stage, str(every))
            if step.name == "fold":
                alone("--step", "foretold", *rest)
            if step.name == "resume_masks":
                alone("--step", "receipts", *rest, MASKS, "2")
        took = alone("--step", step.name, *rest)
        kept.append(took.seconds <= step.seconds and took.megabytes <= step.megabytes)
        row = (
            f"{took.seconds:,.1f}",
            f"{step.seconds:,.0f}",
            f"{took.cpu:,.1f}",
            f"{took.waited:,.1f}",
            f"{took.megabytes:,.0f}",
            f"{step.megabytes:,.0f}",
        )
        table.add_row(step.says, *row, "pass" if kept[-1] else "FAIL")
        console.print(
            f"{step.says}: {took.seconds:,.1f} s, {took.cpu:,.1f} s of a processor, {took.waited:,.1f} s without one, {took.megabytes:,.0f} MB"
        )
    console.print(table)
    units = len(json.loads((next(root.glob("plan-*")) / "plan.json").read_bytes())["units"])
    console.print(f"{units:,} units; {disk(root):.1f} GB on disk at the end")
    return all(kept)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--utterances", type=int, default=10_000_000)
    parser.add_argument("--unit-seconds", type=float, default=600.0)
    parser.add_argument("--folder", type=Path, help="where the temporary folder is made")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder, prefix="speechmill-scale-") as folder:
        kept = measure(Path(folder), arguments, Console(highlight=False))
    raise SystemExit(0 if kept else 1)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--step"]:
        name, root, utterances, unit_seconds, *more = sys.argv[2:]
        tempfile.tempdir = root  # all that is spilled lies there too
        scale = Scale(Path(root), int(utterances), float(unit_seconds))
        getattr(scale, name)(*(int(value) if value.isdigit() else value for value in more))
    else:
        main()
