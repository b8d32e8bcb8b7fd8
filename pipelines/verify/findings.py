"""What verification finds: faults that name file and key, and notes on what could not be looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from manifests.fetch import FetchFailed

REMAKE = "delete the file and its unit's receipt, then run the recipe again: only that unit is made anew"
RERUN = "run the recipe again"
ELSEWHERE = "restore the corpus, or make the dataset anew"  # making the unit anew does not help

Progress = Callable[[str, int, int], None]  # (what is looked at, done, of so many)


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong.

    where     file or shard, relative to the output root
    key       key of the utterance, where one is to blame
    what      what was found
    remedy    what to do
    warning   True for what is out of place, but harms no sample
    """

    where: str
    key: str | None
    what: str
    remedy: str
    warning: bool = False

    def __str__(self) -> str:
        place = f"{self.where}: {self.key}" if self.key else self.where
        return f"{place}: {self.what}; {self.remedy}"


@dataclass(frozen=True)
class Verdict:
    """What a verification came to.

    notes        what could not be looked at, and why
    samples      how many samples were read and checked
    reencoded    how many were made again from their sound
    """

    faults: tuple[Fault, ...]
    notes: tuple[str, ...]
    samples: int
    reencoded: int

    @property
    def ok(self) -> bool:
        """True where nothing is wrong; warnings do not count."""
        return all(fault.warning for fault in self.faults)


@dataclass
class Findings:
    """Collects faults while checks run; no damaged file stops the checks of the others."""

    faults: list[Fault] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    samples: int = 0
    reencoded: int = 0

    def add(self, where: str, what: str, remedy: str, key: str | None = None, warning: bool = False) -> None:
        self.faults.append(Fault(where, key, what, remedy, warning))

    def require(self, holds: bool, where: str, what: str, remedy: str, key: str | None = None) -> bool:
        """Add the fault unless ``holds``; returns ``holds``."""
        if not holds:
            self.add(where, what, remedy, key)
        return holds

    def apart(self, one: str, other: str, what: str, remedy: str) -> None:
        """Two files that should agree do not, and nothing says which one is right: both are named."""
        self.add(one, f"{what} differs from what {other} says", remedy)
        self.add(other, f"{what} differs from what {one} says", remedy)

    @contextmanager
    def guard(self, where: str, remedy: str, key: str | None = None) -> Iterator[None]:
        """Whatever reading a damaged file raises becomes a fault of that file; what the corpus does not give again is not the file's fault."""
        try:
            yield
        except FetchFailed as error:
            self.add(where, f"the corpus no longer gives this sample ({error.__cause__ or error})", ELSEWHERE, key)
        except FileNotFoundError:
            self.add(where, "missing", remedy, key)
        except Exception as error:  # noqa: BLE001 - damage can surface as any error of any parser: a finding, no crash
            said = " ".join(str(error).split())[:300]
            self.add(where, f"cannot be read ({type(error).__name__}: {said})", remedy, key)

    def verdict(self) -> Verdict:
        return Verdict(tuple(self.faults), tuple(self.notes), self.samples, self.reencoded)
