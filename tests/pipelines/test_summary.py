"""What ends ``speechmill data`` on the console."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import orjson
from rich.console import Console

from pipelines.data import Result
from pipelines.summary import print_summary
from tests.pipelines.finished import make_dataset


def test_places_with_brackets_are_printed_as_they_are(tmp_path: Path) -> None:
    out = shutil.move(make_dataset(tmp_path), tmp_path / "w [x] out")
    paper = io.StringIO()
    description = orjson.loads((tmp_path / "w [x] out" / "dataset.json").read_bytes())
    print_summary(Result(description, {"tokens": 1}, 1.0), str(out), Console(file=paper, width=300))
    title = paper.getvalue().split("┏")[0]
    assert "w [x] out" in " ".join(title.split())
    for place in (f"{out}/dataset.json", f"{out}/report/index.html"):
        assert place in paper.getvalue()
