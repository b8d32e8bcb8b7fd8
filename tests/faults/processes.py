"""The processes that Ray starts below a driver: workers, which a run goes on without, and those that Ray itself is made of."""

from __future__ import annotations

from collections.abc import Callable

import psutil


def workers_of(driver: int) -> list[psutil.Process]:
    return _below(driver, lambda command: command.startswith("ray::") and not _serves_ray(command))


def ray_of(driver: int) -> list[psutil.Process]:
    """The raylet and what it lives and dies with: without any of them there is no node."""
    return _below(driver, _serves_ray)


def _serves_ray(command: str) -> bool:
    agent = command.startswith("ray::") and command.rstrip().endswith("Agent")
    return agent or "raylet/raylet" in command


def _below(driver: int, wanted: Callable[[str], bool]) -> list[psutil.Process]:
    try:
        return [p for p in psutil.Process(driver).children(recursive=True) if wanted(" ".join(p.cmdline()))]
    except psutil.Error:  # one that ended just now
        return []
