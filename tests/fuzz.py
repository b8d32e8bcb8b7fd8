"""Fuzzing until time is up: the properties of the files below again and again, each time from another seed.

    python -m tests.fuzz --seconds 600
    python -m tests.fuzz --seconds 600 --seed 1234      begins with that seed

What fails is shrunk, printed, and kept in ``.hypothesis``, so that the next test run tries it first.
"""

from __future__ import annotations

import argparse
import secrets
import subprocess
import sys
import time
from pathlib import Path

FILES = ("tests/manifests/test_fuzz.py", "tests/manifests/test_corpora_timed.py")
ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Exit code 1 as soon as a property does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=None)
    asked = parser.parse_args()
    seed = secrets.randbits(32) if asked.seed is None else asked.seed
    ends, rounds = time.monotonic() + asked.seconds, 0
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
    print(f"nothing found in {asked.seconds:.0f} s, from seed {seed} on ({rounds} whole rounds)")


if __name__ == "__main__":
    main()
