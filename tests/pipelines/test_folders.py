"""The names of the stages' folders: what enters them, and what leaves them as they are."""

from __future__ import annotations

from typing import Any

import pytest

from manifests.recipe import parse
from pipelines.folders import copies_folder, fit_folder, tokens_folder
from pipelines.workspace import Workspace

CORPUS: dict[str, Any] = {"corpus": {"layout": "table", "root": "/nowhere"}}


def names(**blocks: Any) -> dict[str, str]:
    """The folders of copies, fit and tokens of a recipe, by stage."""
    space = Workspace(parse({**CORPUS, "copies": {}, **blocks}), "/nowhere/out")
    return {
        "copies": copies_folder(space, "plan"), "fit": fit_folder(space, "plan"), "tokens": tokens_folder(space, "plan", None),
    }  # fmt: skip


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {stage for stage, name in before.items() if after[stage] != name}


ASKED = {"scores": ["snr_db", "bandwidth_hz"]}
FILTERED = {"filters": {"noisy": "query_snr_db < 10"}}
OTHERS = ({}, {"scores": ["bandwidth_hz"]}, {"filters": {"short": "seconds < 1"}})


def test_a_score_that_was_changed_renames_the_folders_that_hold_it_or_depend_on_it_and_no_others(
    monkeypatch: Any,
) -> None:
    now, others = [names(**blocks) for blocks in (ASKED, FILTERED)], [names(**blocks) for blocks in OTHERS]
    monkeypatch.setattr("tokenization.scores.registry.REVISED", {"snr_db": 9})
    assert changed(now[0], names(**ASKED)) == {"tokens"}
    assert changed(now[1], names(**FILTERED)) == {"copies", "fit", "tokens"}
    assert [names(**blocks) for blocks in OTHERS] == others


def test_how_texts_are_compared_renames_what_depends_on_it_only_where_they_are(monkeypatch: Any) -> None:
    listens = {"transcribe": {"recogniser": {"name": "pocketsphinx"}}}
    compares = {**listens, "verify_text": {}}
    heard, compared = names(**listens), names(**compares)
    monkeypatch.setattr("pipelines.stages.s45_verify_text.VERSION", 9)
    assert not changed(heard, names(**listens))
    assert changed(compared, names(**compares)) == {"fit", "tokens"}


def test_a_rule_that_was_changed_renames_what_it_filters() -> None:
    listed, plain = {"filters": {"a": 'extra.v in ("1",)'}}, {"filters": {"a": 'language in ("1",)'}}
    now, others = names(**listed), names(**plain)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("manifests.filters.rule._finds_fields", lambda node: False)
        assert changed(now, names(**listed)) == {"copies", "fit", "tokens"}
        assert names(**plain) == others
