"""What is left of the audio behind a stage: rules, copies and cuts take some away, and what comes after has less to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from manifests.receipt import Receipt

LOOK = 200  # receipts that are read whole for it


@dataclass(frozen=True)
class Left:
    """Of the audio that a stage is given, what goes on.

    share     of its seconds
    aside     shares of its utterances that end here, by reason
    queries   seconds of queries that go along, for each second given
    """

    share: float
    aside: Mapping[str, float] = field(default_factory=dict)
    queries: float = 0.0

    def sentence(self, hours: float) -> str:
        """For people, of so many hours."""
        most = sorted(self.aside.items(), key=lambda item: -item[1])
        why = ", ".join(f"{reason} {share:.2g} %" for reason, share in ((r, 100 * s) for r, s in most))
        return f"{self.share * hours:,.4g} h are written" + (f"; of utterances are left out: {why}" if why else "")


def left_of_tokens(made: Iterable[Receipt], seconds: Mapping[int, float]) -> Left | None:
    """What receipts of the token stage say; ``seconds`` are those of each unit. None of nothing."""
    given = written = queries = 0.0
    count, aside = 0, Counter[str]()
    for receipt in made:
        given, count = given + seconds[receipt.unit], count + len(receipt.outcomes)
        aside.update(o.reason or "" for o in receipt.outcomes if o.status != "written")
        for amounts in receipt.facts.get("splits", {}).values():
            written, queries = written + amounts.get("seconds", 0.0), queries + amounts.get("query_seconds", 0.0)
    if not given:
        return None
    return Left(min(written / given, 1.0), {reason: n / count for reason, n in aside.items()}, queries / given)
