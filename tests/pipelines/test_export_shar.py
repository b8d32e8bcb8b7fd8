"""What Lhotse finds in an export is what the dataset holds, to the last code and sample."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lhotse import CutSet
from lhotse.cut import Cut

from manifests.corpora.lhotse import Lhotse
from manifests.fingerprint import content_hash
from manifests.keys import key_of
from manifests.shards.reader import Sample
from manifests.storage import Store
from pipelines.export.items import Item
from pipelines.export.shar import cut_id
from tests.pipelines.exported import IDS, exported, make_dialogues, samples
from tests.pipelines.finished import RATE, do_units, finish, make_until_tokens, small_recipe, speechlike

FOLDERS = {"train": "train", "dev": "dev", "held_out_1": "held.out-1"}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_dialogues(tmp_path_factory.mktemp("dialogues"), codebooks=2)


@pytest.fixture(scope="module")
def dest(root: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported(root, "shar", tmp_path_factory.mktemp("shar") / "export")


def cuts(dest: Path) -> dict[str, Cut]:
    """Every cut of every split, by the id of its utterance."""
    found = [(word, cut) for word in FOLDERS for cut in CutSet.from_shar(in_dir=dest / word)]
    assert all(cut.custom["split"] == FOLDERS[word] for word, cut in found)
    return {cut.supervisions[0].id: cut for _, cut in found}


def pcm_hash(wave_1T: np.ndarray) -> str:
    return content_hash(np.rint(wave_1T[0] * 32768).astype(np.int16).tobytes())


def test_every_cut_comes_back_with_its_text_codes_and_sounds(root: str, dest: Path) -> None:
    wanted, found = samples(root), cuts(dest)
    assert set(found) == set(wanted) == set(IDS)
    for name, sample in wanted.items():
        cut, meta, query = found[name], sample.meta, sample.meta.get("query")
        said = cut.supervisions[0]
        assert (said.text, said.speaker, said.language) == (meta["text"], meta["speaker"], meta["language"])
        assert cut.duration == said.duration == pytest.approx(meta["duration"], abs=1e-6)
        assert np.array_equal(cut.load_speech(), sample.arrays["speech"])
        assert cut.load_speech().dtype == np.uint16
        assert cut.custom["text_ids"] == sample.arrays["text"].tolist()
        assert pcm_hash(cut.load_audio()) == meta["audio"]["pcm_hash"]
        assert (cut.custom["source_recording"], cut.custom["source_start"]) == (meta["recording"], meta["start"])
        if query is None:
            assert not any(key.startswith("query") for key in cut.custom)
            continue
        assert np.array_equal(cut.load_query_speech(), sample.arrays["query"])
        assert pcm_hash(cut.load_query_recording()) == query["audio"]["pcm_hash"]
        assert cut.custom["query_text_ids"] == sample.arrays["query_text"].tolist()
        assert (cut.custom["query_text"], cut.custom["query_speaker"]) == (query["text"], query["speaker"])


def test_cuts_are_named_by_ids_where_lhotse_can_and_by_keys_elsewhere(dest: Path) -> None:
    named = {name: cut.id for name, cut in cuts(dest).items()}
    assert len(set(named.values())) == len(IDS)
    assert {name for name, cut in named.items() if cut != name} == {
        "a//b",
        "../up",
        "/rooted",
        "tab\there",
        "100%",
        "a%2F%2Fb",
    }
    assert all(named[name] == key_of(name) for name in ("a//b", "../up", "/rooted", "100%"))


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12), unique=True, max_size=6))
def test_no_two_ids_give_one_cut(names: list[str]) -> None:
    items = [Item(Sample(key_of(name), {"id": name}, {})) for name in names]
    assert len({cut_id(item) for item in items}) == len(names)


def test_the_number_of_cuts_is_known_without_reading_them(dest: Path) -> None:
    assert sum(len(CutSet.from_shar(in_dir=dest / word)) for word in FOLDERS) == len(IDS)


def test_without_sound_cuts_have_codes_and_no_recording(root: str, tmp_path: Path) -> None:
    found, wanted = cuts(exported(root, "shar", tmp_path / "to", sound=False)), samples(root)
    assert not any(cut.has_recording for cut in found.values())
    assert all(np.array_equal(found[name].load_speech(), sample.arrays["speech"]) for name, sample in wanted.items())


def test_codes_of_a_length_that_is_no_whole_number_of_frames_lose_none(tmp_path: Path) -> None:
    (tmp_path / "corpus" / "sp").mkdir(parents=True)
    for n in range(9):
        with wave.open(str(tmp_path / "corpus" / "sp" / f"u{n}.wav"), "wb") as file:
            file.setparams((1, 2, RATE, 0, "NONE", ""))
            file.writeframes((speechlike(n, 1 + 0.005 * n) * 32767).astype("<i2").tobytes())
        (tmp_path / "corpus" / "sp" / f"u{n}.txt").write_text("words")
    out = str(tmp_path / "out")
    job = make_until_tokens(out, small_recipe(tmp_path / "corpus"))
    do_units(job)
    finish(out, job)
    to = exported(out, "shar", tmp_path / "to")
    found = {c.id: c for word in samples_folders(to) for c in CutSet.from_shar(in_dir=to / word)}
    frames = {name: len(sample.arrays["speech"]) for name, sample in samples(out).items()}
    assert {name: len(cut.load_speech()) for name, cut in found.items()} == frames
    assert any(round(cut.duration * 25) < frames[name] for name, cut in found.items()), (
        "a temporal array would have done"
    )


def samples_folders(dest: Path) -> list[str]:
    return sorted(path.name for path in dest.iterdir() if path.is_dir())


def test_the_projects_own_lhotse_layout_reads_it_again(root: str, dest: Path) -> None:
    layout = Lhotse(layout="lhotse", root=str(dest), shar="train")
    read = {u.id: u for u in layout.utterances(Store(str(dest)))}
    assert not any(u.fault for u in read.values())
    assert {u.text for u in read.values()} == {
        s.meta["text"] for s in samples(root).values() if s.meta["split"] == "train"
    }
