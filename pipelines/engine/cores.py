"""Whether whoever works has a core: on a busy machine a clock tells of the neighbours as much as of the work."""

from __future__ import annotations

from pathlib import Path

OWN = Path("/proc/thread-self/schedstat")  # nanoseconds on a core, nanoseconds ready for one, turns


def waited() -> float | None:
    """Seconds in which this thread could have gone on but had no core, since it began; None where the system does not tell.

    Waiting for storage, for a GPU or for another process is not among them.
    """
    try:
        had, waited_for, *_ = map(int, OWN.read_text(encoding="ascii").split())
    except (OSError, ValueError):
        return None
    return waited_for / 1e9 if had else None  # a kernel that does not count says zero to everything


def since(before: float | None) -> float | None:
    """The same, since ``before`` was asked for in this thread."""
    now = waited()
    return None if before is None or now is None else max(now - before, 0.0)
