"""Text states of a language model beside the tokens: packed as they are, nothing lost silently, byte for byte the same however often a run is stopped."""

from __future__ import annotations

import io
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from manifests.dataset import Dataset
from manifests.keys import key_of
from manifests.recipe import Recipe, RecipeError, parse
from manifests.shards import npy
from manifests.storage import Store
from pipelines.data import Result, opened
from pipelines.repair.repair import repair
from pipelines.stages.s68_states import read, read_one
from pipelines.status import status
from pipelines.summary import stated
from pipelines.verify.verify import verify
from tests.faults import command
from tests.pipelines.test_forecast import foretold
from tests.small_corpus import fingerprints, write_corpus

QUIET = Console(quiet=True)
WIDTH, UTTERANCES = 5, 12
ODD = {"u001": "missing", "u004": "other width", "u006": "text", "u007": "flat", "u008": "infinite"}
WRITTEN = [f"u{i:03d}" for i in range(UTTERANCES) if i not in (3, 5)]  # those have no sound


def states(name: str) -> np.ndarray:
    """``states_SW`` of an utterance, in float16 and float32 by turns."""
    number = int(name[1:])
    drawn = np.random.default_rng(number).standard_normal((1 + number % 4, WIDTH))
    return drawn.astype((np.float16, np.float32)[number % 2])


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("corpus") / "corpus", UTTERANCES)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of states, and some files that are none."""
    folder = tmp_path_factory.mktemp("states")
    for i in range(UTTERANCES):
        name = f"u{i:03d}"
        if name not in ODD:
            np.save(folder / f"{name}.npy", states(name))
    np.save(folder / "u004.npy", np.zeros((2, WIDTH + 1), np.float32))
    (folder / "u006.npy").write_text("no array")
    np.save(folder / "u007.npy", np.zeros((0, WIDTH), np.float32))
    np.save(folder / "u008.npy", np.full((1, WIDTH), np.inf, np.float16))
    return folder


def recipe(corpus: Path, source: Path | None, **blocks: Any) -> Recipe:
    asked = {} if source is None else {"states": {"source": str(source), "width": WIDTH}}
    return parse({
        "name": "corpus", "corpus": {"layout": "table", "root": str(corpus)}, "plan": {"unit_seconds": 2}, "mask": None,
        "speech": {"codebook_size": 16, "fit_seconds": 10, "pca": 8, "iterations": 2}, "text": {"vocab_size": 300},
        "run": {"workers": 0}, **asked, **blocks,
    })  # fmt: skip


def made(asked: Recipe, out: Path) -> Result:
    with opened(asked, str(out), QUIET) as run:
        return run()


@pytest.fixture(scope="module")
def finished(corpus: Path, source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "out"
    made(recipe(corpus, source), out)
    return out


def test_they_lie_beside_the_tokens_as_they_came(finished: Path) -> None:
    data = Dataset.open(str(finished))
    assert [sample.key for sample in data.states] == [sample.key for sample in data]
    assert sorted(sample.key for sample in data.states) == WRITTEN
    for sample in data.states:
        if sample.key in ODD:
            assert not sample.arrays
            continue
        assert sample.arrays["states"].dtype == states(sample.key).dtype
        np.testing.assert_array_equal(sample.arrays["states"], states(sample.key))
        assert sample.meta == {"id": sample.key, "states": len(states(sample.key))}


def test_who_has_none_is_told_apart_by_name_and_counted(finished: Path) -> None:
    data = Dataset.open(str(finished))
    why = {sample.key: sample.meta["why"] for sample in data.states if "why" in sample.meta}
    assert why == {
        "u001": "u001.npy is missing",
        "u004": "u004.npy: states of width 6, not 5",
        "u006": "u006.npy: not a version 1.0 .npy array",
        "u007": "u007.npy: float32 of shape (0, 5), not float16 or float32 of one or more states x 5",
        "u008": "u008.npy: some of its values are infinite or no numbers",
    }
    about = data.description["states"]
    assert (about["width"], about["missing"]) == (WIDTH, len(ODD))
    assert about["states"] == sum(len(states(name)) for name in WRITTEN if name not in ODD)
    assert data.description["ledger"]["written"] == len(WRITTEN), "no utterance is lost for it"


def test_tokens_and_their_description_are_those_of_a_recipe_without(
    finished: Path, corpus: Path, tmp_path: Path
) -> None:
    made(recipe(corpus, None), tmp_path / "out")
    plain, other = (Dataset.open(str(out)).description for out in (tmp_path / "out", finished))
    assert "states" not in plain
    assert "states" not in plain["recipe"]
    assert {k: v for k, v in other.items() if k not in ("states", "folders", "recipe")} == {
        k: v for k, v in plain.items() if k not in ("folders", "recipe")
    }


def test_a_second_run_has_nothing_to_do(finished: Path, corpus: Path, source: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(finished, tmp_path / "out"))
    assert made(recipe(corpus, source), out).nothing_to_do


def test_files_that_come_later_are_packed_by_the_next_run_and_their_units_alone(
    corpus: Path, source: Path, tmp_path: Path
) -> None:
    late = Path(shutil.copytree(source, tmp_path / "states"))
    made(recipe(corpus, late), tmp_path / "out")
    for name in ("u001", "u006"):
        np.save(late / f"{name}.npy", states(name))
    units = status(str(tmp_path / "out")).stages
    did = made(recipe(corpus, late), tmp_path / "out").did["states"]
    assert 0 < did <= 2 < next(stage.units for stage in units if stage.stage == "states")
    held = {sample.key: sample for sample in Dataset.open(str(tmp_path / "out")).states}
    assert "why" not in held["u001"].meta
    np.testing.assert_array_equal(held["u006"].arrays["states"], states("u006"))
    assert "why" in held["u004"].meta


def test_a_source_that_is_not_there_is_refused_before_anything_is_done(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"states\.source: nothing is at .*nowhere"):
        made(recipe(corpus, tmp_path / "nowhere"), tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} <= {".lock", "events.jsonl"}


def test_a_source_of_no_utterance_is_refused_and_may_be_mended(corpus: Path, source: Path, tmp_path: Path) -> None:
    empty = tmp_path / "states"
    empty.mkdir()
    with pytest.raises(
        RecipeError, match=r"states\.source: .* has states of none of the 10 utterances \(u\d+\.npy is missing\)"
    ):
        made(recipe(corpus, empty), tmp_path / "out")
    assert not (tmp_path / "out" / "dataset.json").exists()
    shutil.copytree(source, empty, dirs_exist_ok=True)
    made(recipe(corpus, empty), tmp_path / "out")
    assert Dataset.open(str(tmp_path / "out")).description["states"]["missing"] == len(ODD)


def test_units_are_not_emptied_because_the_source_is_gone(corpus: Path, source: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(source, tmp_path / "states"))
    out = tmp_path / "out"
    made(recipe(corpus, moved), out)
    shutil.rmtree(moved)
    assert made(recipe(corpus, moved), out).nothing_to_do
    assert verify(str(out), reencode=3).ok
    assert any("no text states were read again" in note for note in verify(str(out), reencode=3).notes)
    damage(out)
    with pytest.raises(RecipeError, match="nothing is at"):
        repair(str(out), QUIET)
    assert list(out.glob("states-*/receipts/unit-000000.json")), "nothing was removed"


def damage(out: Path) -> None:
    path = next(out.glob("states-*/shard-000000.tar"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def test_it_verifies_and_other_states_in_the_source_are_found(
    finished: Path, corpus: Path, source: Path, tmp_path: Path
) -> None:
    verdict = verify(str(finished), reencode=20)
    assert verdict.ok, [str(fault) for fault in verdict.faults]
    late = Path(shutil.copytree(source, tmp_path / "states"))
    made(recipe(corpus, late), tmp_path / "out")
    np.save(late / "u002.npy", states("u002") + 1)
    (late / "u009.npy").unlink()
    found = {fault.key: fault.what for fault in verify(str(tmp_path / "out"), reencode=20).faults}
    assert found == {
        "u002": "states.source says otherwise by now (other states)",
        "u009": "states.source says otherwise by now (u009.npy is missing)",
    }


def test_a_damaged_shard_costs_its_unit_of_states_only(finished: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(finished, tmp_path / "out"))
    tokens = {path.name: path.stat().st_ino for path in next(out.glob("tokens-*")).rglob("*")}
    damage(out)
    assert any(fault.where.startswith("states-") for fault in verify(str(out), reencode=0).faults)
    assert repair(str(out), QUIET).ok
    assert {path.name: path.stat().st_ino for path in next(out.glob("tokens-*")).rglob("*")} == tokens
    assert fingerprints(out) == fingerprints(finished)


@pytest.mark.parametrize("point", ["between-files", "before-receipt"])
def test_killed_and_resumed_it_makes_the_same_bytes(
    point: str, finished: Path, corpus: Path, source: Path, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(finished, tmp_path / "out"))
    shutil.rmtree(next(out.glob("states-*")))
    (out / "dataset.json").unlink()
    sets = {
        "name": "corpus", "plan.unit_seconds": 2, "mask": "null", "speech.codebook_size": 16, "speech.fit_seconds": 10, "speech.pca": 8,
        "speech.iterations": 2, "run.workers": 0, "states": f"{{source: {source}, width: {WIDTH}}}",
    }  # fmt: skip
    code, output = command.run(corpus, out, {"SPEECHMILL_CRASH_AT": f"{point}:{tmp_path / point}"}, **sets)
    assert code == 137, output
    assert list(out.glob("states-*")), "it died in this stage"
    code, output = command.run(corpus, out, **sets)
    assert code == 0, output
    assert fingerprints(out) == fingerprints(finished)


def test_what_there_is_of_them_is_told(finished: Path) -> None:
    value = Dataset.open(str(finished)).description
    assert stated(value).startswith(f"text states: {value['states']['states']} of width {WIDTH} for 5 utterances: ")
    assert stated(value).endswith("; 5 have none (their JSON says why)")
    stage = next(s for s in status(str(finished)).stages if s.stage == "states")
    assert stage.done == stage.units > 1
    page = io.StringIO()
    status(str(finished)).render(Console(file=page, width=200))
    assert "states-" in page.getvalue()


def test_they_are_foretold_like_other_stages(finished: Path, corpus: Path, source: Path, tmp_path: Path) -> None:
    asked = recipe(corpus, source)
    for origin, out in (("", tmp_path / "new"), (str(finished), tmp_path / "like")):
        spent = {
            row.stage: row for row in foretold(asked, out, **({"source": origin} if origin else {})).forecast.stages
        }
        assert spent["states"].measured.source == ("receipts" if origin else "probe")
        held = sum(shard["bytes"] for shard in Dataset.open(str(finished)).description["states"]["shards"])
        assert spent["states"].bytes == pytest.approx(held, rel=0.5)


def test_states_come_from_object_storage_in_order() -> None:
    store = Store("memory://states-of-a-test")
    keys = [f"k{i}" for i in range(70)]
    for i, key in enumerate(keys):
        if i % 9:
            store.publish(f"{key}.npy", npy.dump(np.full((1, WIDTH), i, np.float32)))
    found = list(read(store, keys, WIDTH))
    assert [f if isinstance(f, str) else int(f[0, 0]) for f in found] == [
        i if i % 9 else f"k{i}.npy is missing" for i in range(70)
    ]


def test_files_are_named_by_keys(tmp_path: Path) -> None:
    np.save(tmp_path / f"{key_of('a/../b.c')}.npy", np.ones((1, WIDTH), np.float32))
    assert not isinstance(read_one(Store(str(tmp_path)), WIDTH, key_of("a/../b.c")), str)
