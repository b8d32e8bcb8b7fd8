"""What the documents show and point at is there: pictures as the code draws them, links that lead somewhere, commands that exist."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from textwrap import indent
from types import ModuleType

import pytest

from tests.pipelines.tiny_run import make_tested_dataset

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def pictures() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pictures", ROOT / "docs" / "pictures.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["masks.svg", "attention.svg", "revealing.svg"])
def test_a_picture_is_what_the_code_draws(name: str) -> None:
    module = pictures()
    assert name in module.PICTURES
    assert (ROOT / "docs" / name).read_text(encoding="utf-8") == module.drawn(name), (
        "python docs/pictures.py draws it anew"
    )


def anchors(page: Path) -> set[str]:
    """What a page's headings can be linked by, as GitHub names them."""
    heads = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = page if not path else (page.parent / path).resolve()
        assert there.exists(), f"{page.name} links to {target}"
        if anchor:
            assert anchor in anchors(there), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_pages_name_are_there(page: Path) -> None:
    named = re.findall(r"`((?:pipelines|tokenization|training|manifests|tests|benchmarks|deploy|docs)/[\w./-]+\.\w+)`", page.read_text(encoding="utf-8"))  # fmt: skip
    assert [name for name in named if not (ROOT / name).exists()] == []


def snippets(name: str, *parts: str) -> list[str]:
    """The Python code of a page that holds all of these."""
    page = (ROOT / name).read_text(encoding="utf-8")
    return [code for code in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if all(part in code for part in parts)]


def test_code_that_reads_a_dataset_runs(tmp_path: Path) -> None:
    make_tested_dataset(tmp_path)
    [opened], [loaded] = snippets("README.md", "Dataset.open"), snippets("docs/data-format.md", "DataLoader")
    told = "\n    print(codes_BFQ.ndim, codes_BFQ.dtype, len(codes_BFQ) == len(texts))"
    for code in (opened.replace('sample.meta["query"]["text"]', "None"), f"if True:\n{indent(loaded, '    ')}{told}"):
        path = tmp_path / "snippet.py"
        path.write_text(code)
        done = subprocess.run([sys.executable, path], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False)  # fmt: skip
        assert done.returncode == 0, done.stderr
    assert done.stdout == "3 torch.int64 True\n"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_that_pages_name_exist(page: Path) -> None:
    from typer.main import get_command

    from pipelines.cli import app

    known = set(get_command(app).commands)  # type: ignore[attr-defined]
    said = set(re.findall(r"(?:^|[\s`/])speechmill ([a-z][a-z-]+)", page.read_text(encoding="utf-8")))
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    made = set(re.findall(r"(?:^|`|&& )make ([a-z]+)", page.read_text(encoding="utf-8"), re.MULTILINE))
    assert said <= known
    assert made <= targets
