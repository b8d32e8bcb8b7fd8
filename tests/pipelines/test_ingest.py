"""The manifest: the same packed bytes whatever its length, and written again only where the corpus has changed, or is not asked."""

from __future__ import annotations

import gzip
import hashlib
import io
import shutil
from pathlib import Path

import pytest

from manifests.corpora.base import Corpus, CorpusError
from manifests.recipe import parse
from manifests.storage import Store
from pipelines.engine.mapping import Mapper
from pipelines.engine.progress import Events
from pipelines.engine.stopping import Stopping
from pipelines.stages.s20_ingest import MANIFEST, Cuts, cut_lines, ingest, write_manifest
from tests.manifests.corpus_trees import write
from tests.small_corpus import write_corpus


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    root = write_corpus(tmp_path / "corpus", 8)
    return parse({"name": "small", "corpus": {"layout": "table", "root": str(root)}}).corpus


def again(corpus: Corpus, out: Path, relist: bool = True) -> Cuts:
    mapper = Mapper(lambda: 0, lambda: None, Stopping(0.0))
    return ingest(corpus, corpus.root, Store(str(out / "cuts")), mapper, Events(None), relist)


def one_more(corpus: Corpus) -> None:
    with (Path(corpus.root) / "list.tsv").open("a") as file:
        file.write("u900\tu000.wav\tone more\ts1\n")


def test_a_manifest_is_packed_without_name_or_time_and_told_by_the_hash_of_its_lines() -> None:
    cuts, packed = [{"id": f"u{n}", "duration": 1.5} for n in range(1000)], io.BytesIO()
    packed.name = "a-temporary-name"
    known = write_manifest(iter(cuts), packed, "listing")
    lines = gzip.decompress(packed.getvalue())
    assert packed.getvalue()[:10] == b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
    assert (known.sha256, known.utterances, known.seconds) == (hashlib.sha256(lines).hexdigest(), 1000, 1500.0)


def test_a_changed_corpus_is_read_again(corpus: Corpus, tmp_path: Path) -> None:
    first = again(corpus, tmp_path)
    assert again(corpus, tmp_path) == first
    one_more(corpus)
    assert again(corpus, tmp_path).utterances == first.utterances + 1 == 9
    assert len(list(cut_lines(Store(str(tmp_path / "cuts"))))) == 9


def test_a_corpus_with_broken_rows_gives_the_same_manifest_wherever_it_lies(corpus: Corpus, tmp_path: Path) -> None:
    with (Path(corpus.root) / "list.tsv").open("a") as file:
        file.write("u901\tgone.wav\tgone\ts1\nu902\t/etc/elsewhere.wav\toutside\ts1\nu903\tsub\ta folder\ts1\n")
    (Path(corpus.root) / "sub").mkdir()
    moved = corpus.model_copy(update={"root": str(shutil.copytree(corpus.root, tmp_path / "moved" / "far" / "away"))})
    assert again(corpus, tmp_path / "one").sha256 == again(moved, tmp_path / "other").sha256


@pytest.mark.parametrize(
    ("layout", "files"),
    [
        ("kaldi", {"wav.scp": ""}), ("lhotse", {"cuts.jsonl": ""}), ("ljspeech", {"metadata.csv": ""}), ("table", {"l.tsv": "path\ttext\n"}),
        ("tars", {"t.tar": bytes(10240)}), ("common_voice", {"train.tsv": "path\tsentence\n"}), ("folder", {"notes.txt": "a"}),
        ("vocalnet", {"l.json": "[]"}),
    ],
)  # fmt: skip
def test_a_corpus_that_lists_nothing_is_refused_whatever_its_layout(
    layout: str, files: dict[str, str | bytes], tmp_path: Path
) -> None:
    root = write(tmp_path / "corpus", files)
    with pytest.raises(CorpusError, match=str(root)) as refused:
        again(parse({"corpus": {"layout": layout, "root": str(root)}}).corpus, tmp_path)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "cuts").exists()


def test_without_relist_the_manifest_that_stands_is_gone_by(corpus: Corpus, tmp_path: Path) -> None:
    first = again(corpus, tmp_path, relist=False)
    one_more(corpus)
    before = (tmp_path / "cuts" / MANIFEST).stat().st_mtime_ns
    assert again(corpus, tmp_path, relist=False) == first
    assert (tmp_path / "cuts" / MANIFEST).stat().st_mtime_ns == before


def test_without_relist_other_settings_are_listed_all_the_same(corpus: Corpus, tmp_path: Path) -> None:
    again(corpus, tmp_path, relist=False)
    assert again(corpus.model_copy(update={"limit": 3}), tmp_path, relist=False).utterances == 3
