"""What ends a run with one clear line. Light to import: the command line knows these before torch is there."""

from __future__ import annotations


class RowsError(ValueError):
    """A dataset that cannot be trained on as the recipe asks: says what and what to do."""


class CheckpointError(ValueError):
    """A checkpoint that is missing, damaged, or of another kind of run: says which and why."""


class Diverged(RuntimeError):
    """The loss or the gradient is no longer a number: says at which step, on which utterances."""
