"""The report page: everything it says in one HTML file that needs nothing else, and writing it.

Texts, ids and names come from the data: the template escapes them all, and here they are cut to a bounded length.
"""

from __future__ import annotations

import base64
import hashlib
import math
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manifests.dataset import Dataset
from manifests.filters.columns import COLUMNS
from manifests.receipt import Receipt
from manifests.storage import Store
from pipelines.report.charts import codebook_use, compact, histogram, size
from pipelines.report.checks import checks
from pipelines.report.collect import ReportInput, collect
from pipelines.report.endings import LISTED, meaning
from pipelines.report.example import MAX_EXAMPLES, Example, show
from pipelines.report.film import SURE
from pipelines.report.sound import FLOOR_DB
from pipelines.report.survey import Share, Survey
from pipelines.report.timing import stage_times

NAME = "report/index.html"
HERE = Path(__file__).parent
SPEAKERS, GROUPS, CODEBOOKS, SHARDS, VOICES = 20, 50, 8, 500, 200  # rows shown of each; the rest is summed in a line
LABEL, SENTENCE = 80, 400  # characters kept of an id or name, and of a text or error


def printable(value: object, limit: int) -> str:
    """``value`` as text of at most ``limit`` characters, control characters and lone surrogates made visible."""
    text = str(value)
    if len(text) > limit:
        text = f"{text[: limit - 1]}…"
    return "".join(
        "\N{REPLACEMENT CHARACTER}" if unicodedata.category(c) in ("Cc", "Cs") and c not in "\t\n" else c for c in text
    )


def duration(seconds: float) -> str:
    """Seconds as a person says them: 3.2 s, 4 min 10 s, 12.5 h, 6,012 h."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60)} s"
    hours = seconds / 3600
    return f"{hours:.1f} h" if hours < 100 else f"{hours:,.0f} h"


def percent(part: float, whole: float) -> str:
    """A share; one that is not nothing is never shown as 0 %."""
    share = 100 * part / whole if whole else 0.0
    return "<0.1%" if 0 < share < 0.1 else f"{share:.1f}%".replace(".0%", "%")


def _environment() -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    env = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    env.filters |= {
        "duration": duration, "size": size, "compact": compact, "label": lambda v: printable(v, LABEL),
        "sentence": lambda v: printable(v, SENTENCE),
    }  # fmt: skip
    env.globals |= {"percent": percent, "amount": amount}
    return env


def bits_per_second(speech: Mapping[str, Any] | None) -> float | None:
    """What the speech codes cost, each in log2(vocabulary) bits."""
    return speech["frame_rate"] * speech["codebooks"] * math.log2(speech["vocab_size"]) if speech else None


@dataclass(frozen=True)
class Rows:
    """Named shares, most seconds first; ``others`` names are summed in ``rest``."""

    rows: list[tuple[str, Share]]
    others: int
    rest: Share
    top: float

    @classmethod
    def of(cls, groups: Any, count: int) -> Rows:
        rows = groups.largest(count)
        rest, shown = groups.total(), Share()
        for _, share in rows:
            shown = shown.plus(share)
        return cls(
            rows, len(groups.shares) - len(rows), rest.minus(shown), max((s.seconds for _, s in rows), default=0.0)
        )


def amount(seconds: float) -> tuple[str, str]:
    """Seconds as a key figure and its unit: minutes below an hour."""
    hours = seconds / 3600
    if hours < 1:
        return f"{seconds / 60:.1f}", "minutes"
    return (f"{hours:,.2f}" if hours < 100 else f"{hours:,.0f}"), "hours"


def _recipe(description: Mapping[str, Any]) -> str:
    import yaml

    recipe = description.get("recipe") or {}
    return yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True) if recipe else ""


def _charts(found: Survey) -> list[tuple[str, str, Any]]:
    """(title, unit, histogram) of what there is."""
    wanted = (
        ("Duration", "s", found.seconds), ("Speech tokens per utterance", "frames", found.frames),
        ("Text tokens per utterance", "tokens", found.text_tokens),
        ("Text tokens per second", "tokens/s", found.text_rate),
    )  # fmt: skip
    return [(title, unit, chart) for title, unit, bins in wanted if (chart := histogram(bins, unit))]


def _score_charts(found: Survey) -> list[tuple[str, str, Any]]:
    """(title, unit, histogram) of each score that samples carry."""
    told = ((COLUMNS[name], bins) for name, bins in sorted(found.scores.items()))
    return [(c.what[:1].upper() + c.what[1:], c.unit, chart) for c, bins in told if (chart := histogram(bins, c.unit))]


def _view(data: ReportInput) -> dict[str, Any]:
    """Everything the template names."""
    description, found, ended = data.description, data.survey, data.endings
    ledger, shards = description["ledger"], description["tokens"]["shards"]
    quarantined = sum(ledger["quarantined"].values())
    books = [u for q, uses_V in enumerate(found.codes.counts_QV[:CODEBOOKS]) if (u := codebook_use(q, uses_V))]
    speech = description.get("speech")
    return {
        "d": description, "name": description.get("name") or "dataset", "speech": speech, "s": found,
        "bits": bits_per_second(speech), "tokens": int(found.codes.counts_QV.sum()), "floor_db": int(FLOOR_DB),
        "ledger": ledger, "filtered": sum(ledger["filtered"].values()),
        "quarantined": quarantined, "reasons": [(r, meaning(r.code, data.reasons)) for r in ended.sorted_reasons],
        "listed": ended.quarantined, "unlisted": max(quarantined - len(ended.quarantined), 0), "LISTED": LISTED,
        "splits": Rows.of(found.splits, GROUPS), "corpora": Rows.of(found.corpora, GROUPS),
        "languages": Rows.of(found.languages, GROUPS), "speakers": Rows.of(found.speakers, SPEAKERS), "askers": Rows.of(found.askers, SPEAKERS),
        "charts": _charts(found), "scores": _score_charts(found), "books": books, "more_books": len(found.codes.counts_QV) - len(books),
        "examples": show(data.examples), "more_examples": max(len(data.examples) - MAX_EXAMPLES, 0),
        "stages": stage_times(ended, data.extras), "voices": list(data.extras.get("voices") or ())[:VOICES],
        "recognised": data.extras.get("recognised") or {}, "shards": shards[:SHARDS], "shard_count": len(shards),
        "shard_bytes": sum(int(s["bytes"]) for s in shards), "recipe": _recipe(description), "checks": checks(data),
        "masks": data.masks, "teach": data.teach, "shades": SURE,
    }  # fmt: skip


def build_report(data: ReportInput) -> str:
    """The page: HTML with style, script, sounds and pictures inside it, and a policy that lets it load nothing else."""
    style, script = ((HERE / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    from markupsafe import Markup

    inline = {"style": Markup(style), "script": Markup(script), "digest": digest}
    return _environment().get_template("page.html").render(**_view(data), **inline)


def write_report(
    out: Store, dataset: Dataset, receipts: Iterable[Receipt], examples: Sequence[Example],
    reasons: Mapping[str, str], extras: Mapping[str, Any],
) -> str:  # fmt: skip
    """Write ``report/index.html`` under ``out`` and return its full path. Nothing else of the dataset is touched.

    Raises ``ShardError`` where a shard of the dataset is damaged.
    """
    page = build_report(collect(dataset, receipts, examples, reasons, extras))
    out.publish(NAME, page.encode("utf-8", "replace"))
    return out.path(NAME)
