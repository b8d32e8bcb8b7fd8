"""Every layout is one file, is registered under its name, and is chosen by ``corpus.layout``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from manifests.corpora import LAYOUTS, AnyCorpus, Corpus


@pytest.mark.parametrize("name", sorted(LAYOUTS))
def test_a_layout_is_found_by_its_name_and_lives_in_a_file_of_that_name(name: str) -> None:
    made: Corpus = TypeAdapter(AnyCorpus).validate_python({"layout": name})
    assert type(made) is LAYOUTS[name]
    assert made.layout == name
    assert type(made).__module__ == f"manifests.corpora.{name}"
    assert TypeAdapter(AnyCorpus).validate_json(made.model_dump_json()) == made


def test_unknown_layouts_and_settings_are_refused() -> None:
    for value in (
        {"layout": "nope"},
        {"layout": "folder", "speeker": "x"},
        {"layout": "table", "columns": {"txt": "a"}},
    ):
        with pytest.raises(ValidationError):
            TypeAdapter(AnyCorpus).validate_python(value)


@pytest.mark.parametrize("name", sorted(LAYOUTS))
def test_the_documentation_has_every_layout_and_option(name: str) -> None:
    text = (Path(__file__).parents[2] / "docs" / "corpora.md").read_text(encoding="utf-8")
    row = next(line for line in text.splitlines() if line.startswith(f"| `{name}`"))
    if name != "demo":
        options = set(LAYOUTS[name].model_fields) - set(Corpus.model_fields)
        assert [o for o in sorted(options) if f"`{o}`" not in row] == []


def test_importing_the_layouts_imports_nothing_heavy() -> None:
    code = "import sys, manifests.corpora, manifests.fetch; print([m for m in sys.argv[1:] if m in sys.modules])"
    heavy = ["torch", "lhotse", "datasets", "ray", "pyarrow", "pandas", "av", "soundfile"]
    done = subprocess.run([sys.executable, "-c", code, *heavy], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
