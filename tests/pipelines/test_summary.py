"""What ends ``speechmill data`` on the console."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console

from pipelines.data import Result
from pipelines.reporting import make_report
from pipelines.summary import print_summary
from tests.pipelines.finished import make_dataset


def printed(description: dict[str, Any], out: Path) -> str:
    paper = io.StringIO()
    print_summary(Result(description, {"tokens": 1}, 1.0), str(out), Console(file=paper, width=300))
    return paper.getvalue()


def test_a_dataset_without_any_text_is_remarked_upon(tmp_path: Path) -> None:
    """A layout whose transcripts are elsewhere gives sound alone, and no error."""
    out = Path(make_dataset(tmp_path))
    description = orjson.loads((out / "dataset.json").read_bytes())
    assert "no utterance has a text" not in printed(description, out)
    for amounts in description["splits"].values():
        amounts["text_tokens"] = 0
    assert "no utterance has a text" in printed(description, out)


def test_places_with_brackets_are_printed_as_they_are(tmp_path: Path) -> None:
    out = Path(shutil.move(make_dataset(tmp_path), tmp_path / "w [x] out"))
    make_report(str(out), Console(quiet=True))
    said = printed(orjson.loads((out / "dataset.json").read_bytes()), out)
    title = said.split("┏")[0]
    assert "w [x] out" in " ".join(title.split())
    for place in (f"{out}/dataset.json", f"{out}/report/index.html"):
        assert place in said


def test_a_report_that_was_not_made_is_not_pointed_at(tmp_path: Path) -> None:
    out = Path(make_dataset(tmp_path))
    assert "report:" not in printed(orjson.loads((out / "dataset.json").read_bytes()), out)
