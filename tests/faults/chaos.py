"""A soak: one fault after another, drawn from a seed, until time is up; after each the ledger balances and the bytes are the undisturbed ones.

    python -m tests.faults.chaos --seconds 600
    python -m tests.faults.chaos --seconds 600 --seed 1234      the same faults again

A round takes an output root that is unfinished or finished, lets something happen to it, and has it finished by ``data`` or ``repair``.
What happens when is drawn from seed and round; how far a run has come by then is the machine's affair.
"""

from __future__ import annotations

import argparse
import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.status import status
from pipelines.verify.verify import verify
from tests.faults.command import ROOT, finish, in_one_process, run, start
from tests.faults.processes import ray_of, workers_of
from tests.small_corpus import fingerprints, write_corpus

RESUMED = 240.0  # seconds that a run on the small corpus may take on a busy machine
POINTS = ("before-data", "between-files", "before-receipt", "after-receipt", "before-plan", "before-dataset")


@dataclass
class Soak:
    """One corpus, the bytes that its dataset must have, and what it has lived through."""

    folder: Path
    seed: int
    inline: bool = False
    survived: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.corpus = write_corpus(self.folder / "corpus", 16)
        self.whole = self.folder / "whole"
        self.undisturbed = in_one_process(self.corpus, self.whole)

    def round(self, number: int) -> str:
        """One fault, and its two checks. Returns what it was. Raises AssertionError with what to replay."""
        rng = random.Random(f"{self.seed}:{number}")
        kinds = [k for k in FAULTS if not (self.inline and k in WITH_RAY)]
        kind = rng.choice(kinds)
        out = self.folder / f"round-{number:05d}"
        try:
            FAULTS[kind](self, out, rng)
            self.check(out)
        except Exception as error:
            raise AssertionError(f"round {number} ({kind}) of seed {self.seed}, kept in {out}: {error}") from error
        shutil.rmtree(out)
        self.survived[kind] += 1
        return kind

    def check(self, out: Path) -> None:
        """The ledger balances, and every byte is that of the undisturbed run."""
        made, seen = fingerprints(out), status(str(out))
        different = sorted(n for n in made.keys() | self.undisturbed.keys() if made.get(n) != self.undisturbed.get(n))
        assert not different, f"other bytes: {different}"
        assert seen.ledger is not None
        assert seen.finished, seen.faults
        assert seen.ledger.settled
        verdict = verify(str(out), reencode=0)
        assert verdict.ok, [str(f) for f in verdict.faults]

    def started(self, out: Path, workers: int, crash: str = "") -> subprocess.Popen[str]:
        environment = {"SPEECHMILL_CRASH_AT": f"{crash}:{out}.marker"} if crash else {}
        return start(self.corpus, out, environment, **{"run.workers": workers})

    def finished(self, out: Path) -> None:
        code, output = run(self.corpus, out, **{"run.workers": 0})
        assert code == 0, output

    def repaired(self, out: Path) -> None:
        code = "from pipelines.cli import main; main()"
        command = [sys.executable, "-c", code, "repair", str(out)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=RESUMED, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def interrupted(sent: signal.Signals, times: int) -> Callable[[Soak, Path, random.Random], None]:
    """The driver gets a signal so many times, at a drawn moment; the next run finishes."""

    def happen(soak: Soak, out: Path, rng: random.Random) -> None:
        process = soak.started(out, 0 if soak.inline else rng.choice([0, 1, 2]))
        time.sleep(rng.uniform(0.5, 6))
        for _ in range(times):
            if process.poll() is None:
                process.send_signal(sent)
                time.sleep(rng.uniform(0, 0.5))
        finish(process, RESUMED)
        soak.finished(out)

    return happen


def worker_killed(soak: Soak, out: Path, rng: random.Random) -> None:
    """Ray workers are killed at drawn moments; the run goes on by itself."""
    process = soak.started(out, 2)
    deadline = time.monotonic() + rng.uniform(4, 12)
    while time.monotonic() < deadline and process.poll() is None:
        time.sleep(rng.uniform(0.1, 1.5))
        for worker in workers_of(process.pid)[:1]:
            worker.kill()
    code, output = finish(process, RESUMED)
    assert code in (0, 3), output  # 3: killed more often than it tries
    soak.finished(out)


def ray_killed(soak: Soak, out: Path, rng: random.Random) -> None:
    """A process that Ray itself is made of is killed: the run ends, by a line of its own or by Ray's, and resumes."""
    process = soak.started(out, 2)
    time.sleep(rng.uniform(3, 12))
    parts = ray_of(process.pid)
    for part in rng.sample(parts, min(len(parts), 1)):
        part.kill()
    code, output = finish(process, RESUMED)
    assert code in (0, 1, 3), output  # 1: Ray ends the process of a driver that has lost it
    assert "pipelines/" not in output, f"a traceback: {output}"
    soak.finished(out)


def died_at_a_point(soak: Soak, out: Path, rng: random.Random) -> None:
    """The driver, which is its own worker here, dies between two steps of a commit."""
    process = soak.started(out, 0, rng.choice(POINTS))
    code, output = finish(process, RESUMED)
    assert code == 137, output
    soak.finished(out)


def damaged(soak: Soak, out: Path, rng: random.Random) -> None:
    """Files of a finished dataset lose their end, change a bit, or are gone; ``repair`` mends it."""
    shutil.copytree(soak.whole, out)
    kept = ("run.json", ".lock", "events.jsonl")
    names = sorted(str(p.relative_to(out)) for p in out.rglob("*") if p.is_file() and p.name not in kept)
    for name in rng.sample(names, rng.randint(1, 5)):
        spoil(out / name, rng)
    soak.repaired(out)


def spoil(path: Path, rng: random.Random) -> None:
    data = bytearray(path.read_bytes())
    how = rng.choice(["flip", "cut", "gone"])
    if how == "gone":
        path.unlink()
    elif how == "cut" or not data:
        path.write_bytes(data[: rng.randrange(len(data) or 1)])
    else:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(data)


def repair_killed(soak: Soak, out: Path, rng: random.Random) -> None:
    """A repair is killed at a drawn moment; another one mends what is left."""
    shutil.copytree(soak.whole, out)
    for tar in rng.sample(sorted(out.rglob("shard-*.tar")), 2):
        spoil(tar, rng)
    code = "from pipelines.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "repair", str(out)], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    time.sleep(rng.uniform(0.5, 4))
    process.kill()
    process.wait()
    soak.repaired(out)


def two_drivers(soak: Soak, out: Path, rng: random.Random) -> None:
    """Two at the same time: one is refused or comes too late, none harms the other."""
    both = [soak.started(out, 0) for _ in range(2)]
    ends = [finish(process, RESUMED) for process in both]
    assert {code for code, _ in ends} <= {0, 3}, ends
    assert 0 in {code for code, _ in ends}, ends


def disk_full(soak: Soak, out: Path, rng: random.Random) -> None:
    """Files may not grow beyond a drawn size; with more room the next run finishes."""
    limit = rng.choice([1, 8, 16, 32]) * 1024
    code = f"import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit})); from pipelines.cli import main; main()"
    from tests.small_corpus import overrides

    sets = [part for value in overrides(soak.corpus, **{"run.workers": 0}) for part in ("--set", value)]
    command = [sys.executable, "-c", code, "data", "corpus", "-o", str(out), "--no-report", *sets]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=RESUMED, check=False)
    assert done.returncode in (0, 3), done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    soak.finished(out)


def clock_moved(soak: Soak, out: Path, rng: random.Random) -> None:
    """All times of corpus and output jump."""
    shutil.copytree(soak.whole, out)
    for path in (*soak.corpus.iterdir(), *(p for p in out.rglob("*") if p.is_file())):
        moment = rng.uniform(0, 4e9)
        os.utime(path, (moment, moment))
    soak.finished(out)


FAULTS: dict[str, Callable[[Soak, Path, random.Random], None]] = {
    "driver killed": interrupted(signal.SIGKILL, 1),
    "SIGINT once": interrupted(signal.SIGINT, 1),
    "SIGINT twice": interrupted(signal.SIGINT, 2),
    "SIGTERM": interrupted(signal.SIGTERM, 1),
    "worker killed": worker_killed,
    "Ray killed": ray_killed,
    "death at a crash point": died_at_a_point,
    "damaged files": damaged,
    "repair killed": repair_killed,
    "two drivers": two_drivers,
    "files that may not grow": disk_full,
    "times that jump": clock_moved,
}
WITH_RAY = {"worker killed", "Ray killed"}


def soak(seconds: float, seed: int, folder: Path, inline: bool = False) -> Counter[str]:
    """Rounds until ``seconds`` are over (one at least); the faults survived, by kind."""
    ends = time.monotonic() + seconds
    trial, number = Soak(folder, seed, inline), 0
    while number == 0 or time.monotonic() < ends:
        kind = trial.round(number)
        print(f"round {number}: {kind}: same bytes, ledger balances", flush=True)
        number += 1
    return trial.survived


def main() -> None:
    """Soak, and print the count; a fault that was not survived ends it with what to replay."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=None, help="replays the faults of another soak")
    parser.add_argument("--inline", action="store_true", help="without Ray: faults of the driver and of files only")
    asked = parser.parse_args()
    seed = secrets.randbits(32) if asked.seed is None else asked.seed
    print(f"seed {seed}")
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    survived = soak(asked.seconds, seed, folder, asked.inline)
    shutil.rmtree(folder)
    print(f"survived {survived.total()} faults of {len(survived)} kinds (seed {seed}):")
    for kind, count in sorted(survived.items()):
        print(f"  {count:5d}  {kind}")


if __name__ == "__main__":
    main()
