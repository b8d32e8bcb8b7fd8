"""The contract of a format: one small file that turns the utterances of a part into files, and says what stands beside the parts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from pipelines.export.about import About
from pipelines.export.items import Item

Facts = Mapping[str, Any]
Parts = Callable[[], Iterator[tuple[int, Mapping[str, Facts]]]]
"""(number, {split: facts}) of every part, in order, as often as it is called: receipts are read one at a time."""


@dataclass(frozen=True)
class Piece:
    """What was made of the utterances of one split in one part.

    files   contents by name, relative to the export
    facts   what :meth:`Format.beside` must know of it; kept in the part's receipt
    """

    files: Mapping[str, bytes]
    facts: Facts = field(default_factory=dict)


class Format(Protocol):
    """How one toolkit wants it. Everything it makes is a function of its arguments alone."""

    @property
    def name(self) -> str: ...

    def check(self, about: About) -> None:
        """Raises ``ExportError`` for a dataset that this format has no room for."""
        ...

    def notes(self, about: About) -> Sequence[str]:
        """What its users should know: what stays behind, what their loader will not like."""
        ...

    def piece(self, about: About, number: int, split: str, items: Sequence[Item]) -> Piece:
        """The utterances of ``split`` (at least one) in part ``number``."""
        ...

    def beside(self, about: About, parts: Parts) -> Iterator[tuple[str, Iterator[bytes]]]:
        """(name, contents) of what is written last: lists, cards."""
        ...
