"""Fuzzing until time is up: the properties of the files below again and again, each time from another seed.

    python -m tests.fuzz --seconds 600
    python -m tests.fuzz --seconds 600 --seed 1234      begins with that seed

What fails is shrunk, printed, and kept in ``.hypothesis``, so that the next test run tries it first. Where atheris is installed, a third of
the time goes to ``tests/guided.py``.
"""

from __future__ import annotations

import argparse
import secrets
import subprocess
import sys
import time
from pathlib import Path

from tests import guided

FILES = ("tests/manifests/test_fuzz.py", "tests/manifests/test_corpora_timed.py")
ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Exit code 1 as soon as a property does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=None)
    asked = parser.parse_args()
    seed = secrets.randbits(32) if asked.seed is None else asked.seed
    follow = asked.seconds / 3 if guided.there() else 0.0
    for name in guided.NAMES if follow else ():
        guide(name, follow / len(guided.NAMES), seed)
    rounds = properties(asked.seconds - follow, seed)
    also = (
        f"{follow:.0f} s of it guided by coverage"
        if follow
        else "atheris is not installed: nothing was guided by coverage"
    )
    print(f"nothing found in {asked.seconds:.0f} s, from seed {seed} on ({rounds} whole rounds; {also})")


def guide(name: str, seconds: float, seed: int) -> None:
    command = [sys.executable, "-m", "tests.guided", name, "--seconds", str(max(int(seconds), 1)), "--seed", str(seed)]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, errors="replace")
    if done.returncode:
        raise SystemExit(f"{done.stderr[-4000:]}\nseed {seed}: {name} does not hold")
    tried = next((line.split()[-1] for line in done.stderr.splitlines() if "number_of_executed_units" in line), "?")
    print(f"{name}: {tried} inputs, guided by coverage", flush=True)


def properties(seconds: float, seed: int) -> int:
    """Rounds of all properties until time is up; how many were whole."""
    ends, rounds = time.monotonic() + seconds, 0
    while (left := ends - time.monotonic()) > 0 or rounds == 0:
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-x",
            "--timeout=0",
            "--hypothesis-profile=fuzz",
            f"--hypothesis-seed={seed + rounds}",
            *FILES,
        ]
        try:
            done = subprocess.run(command, cwd=ROOT, timeout=max(left, 30.0), check=False)
        except subprocess.TimeoutExpired:
            break
        rounds += 1
        if done.returncode:
            raise SystemExit(f"seed {seed + rounds - 1}: a property does not hold")
    return rounds


if __name__ == "__main__":
    main()
