"""Corpora inside other files: Hugging Face datasets, tars, Lhotse manifests and Shar, VocalNet's JSON."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from manifests.corpora import CorpusError
from manifests.corpora.members import BrokenTar, members
from manifests.corpora.safe_npy import read_units
from manifests.fetch import Fetcher
from manifests.storage import Store
from manifests.utterance import Header, to_cut
from tests.corpora import corpus
from tests.manifests.corpus_trees import by_id, faults, read, tar, wav, write


def parquet(path: Path, columns: dict[str, Any], rows_per_group: int = 2) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, row_group_size=rows_per_group)


class TestHuggingFace:
    def test_parquet_files_are_read(self) -> None:
        found = read("hf", corpus("hf_parquet_fsdd"), columns={"text": "label"})
        assert len(by_id(found)) == 50
        assert {u.split for u in found} == {"train"}
        assert (found[49].id, found[49].text) == ("data/train-00000-of-00001/0000049", "9")
        assert found[49].audio is not None
        assert (found[49].audio.row, found[49].audio.column) == (49, "audio")
        assert found[49].extra == {"file": "9_theo_4.wav"}

    def test_its_cells_are_the_sounds(self) -> None:
        root = corpus("hf_parquet_fsdd")
        with Fetcher(Store(str(root))) as fetcher:
            for u in (u for u in read("hf", root) if u.extra["file"] == "9_theo_4.wav"):
                assert u.audio is not None
                assert fetcher.fetch(u.audio).startswith(b"RIFF")

    def test_class_labels_ids_and_splits_are_understood(self, tmp_path: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        note = {
            "info": {"features": {"clip": {"_type": "Audio"}, "word": {"_type": "ClassLabel", "names": ["no", "yes"]}}}
        }
        table = pa.table({"clip": [{"bytes": b"x", "path": None}] * 3, "word": [1, 0, None], "id": ["a", "b", "a"]})
        pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps(note)}), tmp_path / "test.parquet")
        found = by_id(read("hf", tmp_path, columns={"text": "word"}))
        assert [(u.id, u.text, u.split) for u in found.values()] == [
            ("a", "yes", "test"),
            ("b", "no", "test"),
            ("a~2", None, "test"),
        ]
        assert faults(found.values()) == {"a~2": "duplicate_id"}

    def test_a_saved_dataset_is_read_and_fetched(self, tmp_path: Path) -> None:
        import datasets

        sounds = [wav(0.1), wav(0.2), wav(0.3)]
        rows = {"audio": [{"bytes": s, "path": f"{i}.wav"} for i, s in enumerate(sounds)], "text": ["a", "b", "c"]}
        whole = datasets.Dataset.from_dict(rows).cast_column("audio", datasets.Audio(decode=False))
        datasets.DatasetDict({"train": whole, "test": whole.select([2])}).save_to_disk(
            str(tmp_path / "d"), num_shards={"train": 2, "test": 1}
        )
        found = read("hf", tmp_path / "d")
        assert [(u.id, u.text, u.split) for u in found] == [
            ("test/0000000", "c", "test"),
            ("train/0000000", "a", "train"),
            ("train/0000001", "b", "train"),
            ("train/0000002", "c", "train"),
        ]
        with Fetcher(Store(str(tmp_path / "d"))) as fetcher:
            assert [fetcher.fetch(u.audio) for u in found if u.audio] == [sounds[2], *sounds]
        assert [u.split for u in read("hf", tmp_path / "d", splits=["test"])] == ["test"]

    def test_cells_that_hold_a_path_lead_to_the_file(self, tmp_path: Path) -> None:
        parquet(tmp_path / "t.parquet", {"audio": ["a.wav", "gone.wav"], "text": ["a", "b"]})
        write(tmp_path, {"a.wav": wav()})
        found = read("hf", tmp_path)
        with Fetcher(Store(str(tmp_path))) as fetcher:
            headers = [fetcher.scan(u.audio) for u in found if u.audio]
        assert headers[0].frames == 1600
        assert headers[1].fault is not None
        assert headers[1].fault[0] == "missing_audio"

    def test_a_damaged_file_costs_itself_only(self, tmp_path: Path) -> None:
        parquet(tmp_path / "b.parquet", {"audio": [b"x"], "text": ["a"]})
        write(tmp_path, {"a.parquet": b"PAR1 no"})
        found = read("hf", tmp_path)
        assert faults(found) == {"a.parquet:rest": "broken_table"}
        assert len(found) == 2

    def test_what_is_no_dataset_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(CorpusError, match="no parquet file"):
            read("hf", tmp_path)
        parquet(tmp_path / "t.parquet", {"x": [1]})
        with pytest.raises(CorpusError, match=r"no audio column; it has x; set corpus\.columns"):
            read("hf", tmp_path)

    def test_a_hub_name_is_read_over_hf_and_says_so_when_it_cannot(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from manifests.corpora.hf import HuggingFace

        made = HuggingFace(hub="owner/name", revision="refs/convert/parquet")
        assert made.root == "hf://datasets/owner/name@refs%2Fconvert%2Fparquet"
        with pytest.raises(ValueError, match="owner/name"):
            HuggingFace(hub="../../etc")

        def unreachable(*_: object, **__: object) -> list[str]:
            raise ConnectionError("no route to the hub\nand more")

        monkeypatch.setattr(Store, "walk", unreachable)
        with pytest.raises(
            CorpusError, match=r"cannot list hf://datasets/owner/name.*no route to the hub\); check the name"
        ):
            list(made.utterances(Store(made.root)))


class TestTars:
    def test_a_wenet_shard_is_read_by_position(self) -> None:
        root = corpus("wenet_shards")
        found = read("tars", root)
        assert [str(u.text)[:6] for u in found] == ["广州市房地产", "IT WAS"]
        original = (root / "test" / "resources" / "aishell-BAC009S0724W0121.wav").read_bytes()
        with Fetcher(Store(str(root))) as fetcher:
            assert found[0].audio is not None
            assert fetcher.fetch(found[0].audio) == original

    def test_packed_tars_and_samples_without_sound_are_faulty(self) -> None:
        found = read("tars", corpus("webdataset_testdata"))
        assert sorted(faults(found).values()) == ["missing_audio"] * 3 + ["packed_tar"]

    def test_json_text_and_queries_beside_the_sound_are_read(self, tmp_path: Path) -> None:
        sample = json.dumps(
            {"text": "from json", "speaker": "s", "language": "en", "duration": 3, "id": "ignored"}
        ).encode()
        shard = tar([
            ("a.answer.wav", b"A"), ("a.json", sample), ("a.question.wav", b"Q"),
            ("b.flac", b"B"), ("b.txt", b"from text\n"), ("b.json", b"{broken"),
            ("a.wav", b"again"),
        ])  # fmt: skip
        write(tmp_path, {"x/train.tar": shard})
        found = by_id(read("tars", tmp_path, query="question.wav"))
        u = found["x/train/a"]
        assert (u.text, u.speaker, u.language, u.split, u.extra) == (
            "from json",
            "s",
            "en",
            "train",
            {"listed_seconds": 3.0},
        )
        assert u.query is not None
        with Fetcher(Store(str(tmp_path))) as fetcher:
            assert u.audio is not None
            assert u.query.audio is not None
            assert (fetcher.fetch(u.audio), fetcher.fetch(u.query.audio)) == (b"A", b"Q")
        assert found["x/train/b"].text == "from text"
        assert faults(found.values()) == {"x/train/b": "bad_line"}
        assert "x/train/a~2" in found

    @pytest.mark.parametrize("keep", [0, 100, 512, 600, 1024, 1600, 2100, 2560])
    def test_a_tar_that_breaks_off_never_ends_silently(self, tmp_path: Path, keep: int) -> None:
        whole = tar([("a.wav", b"A" * 600), ("b.wav", b"B" * 600)])  # headers at 0 and 1536, contents at 512 and 2048
        write(tmp_path, {"t.tar": whole[:keep]})
        assert "broken_tar" in faults(read("tars", tmp_path)).values()

    def test_a_tar_damaged_in_the_middle_says_so(self, tmp_path: Path) -> None:
        whole = bytearray(tar([("a.wav", b"A"), ("b.wav", b"B"), ("c.wav", b"C")]))
        whole[1024:1100] = b"\xff" * 76
        found = read("tars", write(tmp_path, {"t.tar": bytes(whole)}))
        assert faults(found) == {"t.tar:rest": "broken_tar"}
        assert found[0].id == "t/a"
        with pytest.raises(BrokenTar, match="byte 1024"):
            list(members(io.BytesIO(bytes(whole)), "t.tar"))

    def test_a_tar_without_its_end_marker_is_whole(self, tmp_path: Path) -> None:
        assert not faults(read("tars", write(tmp_path, {"t.tar": tar([("a.wav", b"A" * 512)])[:1024]})))

    def test_links_and_devices_in_a_tar_are_faulty_and_never_followed(self, tmp_path: Path) -> None:
        import tarfile

        with tarfile.open(tmp_path / "t.tar", "w") as file:
            for name, kind in (("a.wav", tarfile.SYMTYPE), ("b.wav", tarfile.CHRTYPE), ("c.wav", tarfile.LNKTYPE)):
                info = tarfile.TarInfo(name)
                info.type, info.linkname = kind, "/etc/passwd"
                file.addfile(info)
        found = read("tars", tmp_path)
        assert faults(found) == dict.fromkeys(("t/a", "t/b", "t/c"), "not_a_file")
        assert all(u.audio is None for u in found)

    def test_a_folder_without_tars_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(CorpusError, match=r"no \.tar file"):
            read("tars", tmp_path)


FIXTURES = "test/fixtures/"


class TestLhotse:
    def test_cuts_are_read(self) -> None:
        (u,) = read("lhotse", corpus("lhotse_fixtures"), cuts=FIXTURES + "libri/cuts.json")
        assert (u.text, u.speaker, u.start, u.seconds) == ("EXAMPLE OF TEXT", "libri-spk1", 0.0, 10.0)
        found = read("lhotse", corpus("lhotse_fixtures"), cuts=FIXTURES + "ljspeech/cuts.json")
        assert [(u.text, u.seconds, u.recording) for u in found] == [
            ("IN EIGHTEEN THIRTEEN", None, "LJ002-0020"),
            ("EIGHT THE PRESS YARD", None, "LJ002-0035"),
        ]

    def test_recordings_and_supervisions_are_read(self) -> None:
        names = {"recordings": FIXTURES + "audio.json", "supervisions": FIXTURES + "supervision.json"}
        found = by_id(read("lhotse", corpus("lhotse_fixtures"), **names))
        u = found["segment-1"]
        assert (u.start, u.seconds, u.speaker, u.recording) == (0.1, 0.3, "Norman Dyhrentfurth", "recording-1")
        assert found["recording-4"].text is None  # nobody says what is in it, but it is there

    @pytest.mark.parametrize("form", ["lhotse", "lhotse-b"])
    def test_audio_that_is_a_shell_command_is_refused(self, form: str) -> None:
        folder = f"{FIXTURES}mini_librispeech/{form}/"
        names = {"recordings": folder + "recordings.jsonl.gz", "supervisions": folder + "supervisions.jsonl.gz"}
        found = read("lhotse", corpus("lhotse_fixtures"), **names)
        assert len(by_id(found)) == 38
        assert set(faults(found).values()) == {"pipe_refused"}

    def test_a_shell_command_is_never_run(self, tmp_path: Path) -> None:
        marker = tmp_path / "marker"
        source = {"type": "command", "channels": [0], "source": f"touch {marker}"}
        recording = {"id": "r", "sources": [source], "sampling_rate": 16000, "num_samples": 16000, "duration": 1.0}
        cut = {
            "id": "c",
            "start": 0,
            "duration": 1,
            "channel": 0,
            "supervisions": [],
            "recording": recording,
            "type": "MonoCut",
        }
        write(tmp_path, {"cuts.jsonl": json.dumps(cut)})
        found = read("lhotse", tmp_path)
        assert faults(found) == {"c": "pipe_refused"}
        assert found[0].audio is None
        assert not marker.exists()

    def test_mixed_cuts_and_bad_lines_cost_themselves(self, tmp_path: Path) -> None:
        found = read("lhotse", corpus("lhotse_fixtures"), cuts=FIXTURES + "mix_cut_test/overlayed_cut_manifest.json")
        assert faults(found) == {"mixed-cut-id": "unsupported_cut"}
        good = {
            "id": "ok",
            "start": 0,
            "duration": 1,
            "recording": {"id": "r", "sources": [{"type": "file", "channels": [0], "source": "a.wav"}]},
        }
        lines = [
            "{",
            json.dumps(good),
            json.dumps({"id": "x"}),
            json.dumps(good | {"id": "t", "start": -2}),
            "null",
            json.dumps(good),
        ]
        found = read("lhotse", write(tmp_path, {"cuts.jsonl": "\n".join(lines)}))
        assert faults(by_id(found).values()) == {
            "cuts.jsonl:line:1": "bad_line", "x": "missing_audio", "t": "bad_line", "cuts.jsonl:line:5": "bad_line",
            "ok~2": "duplicate_id",
        }  # fmt: skip

    @pytest.mark.parametrize("place", ["cut", "supervision", "recording"])
    def test_absurd_times_cost_their_own_cut(self, tmp_path: Path, place: str) -> None:
        long = {"start": 0.0, "duration": 1e300}
        recording = {
            "id": "r",
            "sources": [{"type": "file", "channels": [0], "source": "a.wav"}],
            **(long if place == "recording" else {}),
        }
        heard = [{"id": "s", **long}] if place == "supervision" else []
        cut = {
            "id": "x",
            "start": 0.0,
            "duration": 2.0,
            **(long if place == "cut" else {}),
            "recording": recording,
            "supervisions": heard,
        }
        found = read("lhotse", write(tmp_path, {"cuts.jsonl": json.dumps(cut)}))
        assert faults(found) == {"x": "bad_line"}

    def test_each_supervision_of_a_long_cut_is_an_utterance_and_channels_find_their_file(self, tmp_path: Path) -> None:
        sources = [
            {"type": "file", "channels": [0, 1], "source": "ab.wav"},
            {"type": "file", "channels": [2], "source": "c.wav"},
        ]
        sups = [
            {"id": "s1", "start": -1, "duration": 3, "channel": 1, "text": "one"},
            {"id": "s2", "start": 2, "duration": 99, "channel": 2, "text": "two"},
        ]
        cut = {
            "id": "c", "start": 10, "duration": 5, "channel": [0, 1, 2], "supervisions": sups, "type": "MultiCut",
            "recording": {"id": "r", "sources": sources, "duration": 60},
        }  # fmt: skip
        one, two = read("lhotse", write(tmp_path, {"cuts.jsonl": json.dumps(cut)}))
        assert (one.id, one.start, one.seconds, one.channel) == ("s1", 10.0, 2.0, 1)
        assert (two.id, two.start, two.seconds, two.channel) == ("s2", 12.0, 3.0, None)
        assert [u.audio.path for u in (one, two) if u.audio] == ["ab.wav", "c.wav"]

    def test_shar_is_read_by_position(self, tmp_path: Path) -> None:
        from lhotse import CutSet, Recording
        from lhotse.shar import SharWriter

        write(tmp_path, {f"in/{i}.wav": wav(0.5 + i / 10) for i in range(5)})
        cuts = CutSet.from_cuts(
            Recording.from_file(tmp_path / "in" / f"{i}.wav", recording_id=f"r.{i}").to_cut() for i in range(5)
        )
        (tmp_path / "shar").mkdir()
        with SharWriter(str(tmp_path / "shar"), fields={"recording": "wav"}, shard_size=2) as writer:
            for cut in cuts:
                writer.write(cut)
        found = read("lhotse", tmp_path / "shar")
        assert [u.recording for u in found] == [f"r.{i}" for i in range(5)]
        with Fetcher(Store(str(tmp_path / "shar"))) as fetcher:
            frames = [fetcher.scan(u.audio).frames for u in found if u.audio]
        assert frames == [8000, 9600, 11200, 12800, 14400]

    def test_shar_without_sound_says_so(self) -> None:
        found = read("lhotse", corpus("lhotse_fixtures"), shar=FIXTURES + "lsmix")
        assert len(found) == 2
        assert set(faults(found).values()) == {"missing_audio"}

    def test_other_formats_are_refused_by_name(self, tmp_path: Path) -> None:
        write(tmp_path, {"cuts.pkl": b"\x80\x04cos\nsystem\n", "a": ""})
        for chosen in ({}, {"cuts": "cuts.pkl"}, {"shar": "a"}):
            with pytest.raises(CorpusError):
                read("lhotse", tmp_path, **chosen)

    def test_lhotse_reads_our_cuts_of_a_file_based_corpus(self, tmp_path: Path) -> None:
        from lhotse import CutSet

        root = corpus("librispeech_mini")
        found = read("librispeech", root)
        with Fetcher(Store(str(root))) as fetcher:
            lines = [json.dumps(to_cut(u, fetcher.scan(u.audio))) for u in found if u.audio]
        write(tmp_path, {"cuts.jsonl": "\n".join(lines) + "\n"})
        cuts = CutSet.from_jsonl_lazy(tmp_path / "cuts.jsonl").with_recording_path_prefix(str(root))
        for cut, u in zip(cuts, found, strict=True):
            assert (cut.id, cut.supervisions[0].text) == (u.id, u.text)
        assert cut.load_audio().shape == (1, cut.num_samples)


class TestVocalNet:
    def test_answers_come_with_their_questions_and_tokens(self, tmp_path: Path) -> None:
        items = [
            {"id": "d1", "speech": "q/1.wav", "units": "1.npy",
             "conversations": [{"from": "human", "value": "<speech>"}, {"from": "gpt", "value": "Hello."}]},
            {"id": "d2", "speech": "q/2.wav", "conversations": [{"from": "human", "value": "Why?\n<speech>"}, {"from": "gpt", "value": "So."}]},
            {"id": "d3", "units": "3.npy", "conversations": []}, "what", {"id": "d1", "units": "1.npy", "conversations": None},
        ]  # fmt: skip
        units = io.BytesIO()
        np.save(units, np.array({"speech_token": np.arange(7)[None], "speech_token_len": np.array([5])}, dtype=object))
        write(tmp_path, {"train.json": json.dumps(items), "cosyvoice2_tokens/1.npy": units.getvalue()})
        found = by_id(read("vocalnet", tmp_path))
        u = found["d1"]
        assert (u.text, u.audio) == ("Hello.", None)
        assert u.query is not None
        assert u.query.audio is not None
        assert (u.query.text, u.query.audio.path) == (None, "audios/q/1.wav")
        assert u.units is not None
        assert read_units(Fetcher(Store(str(tmp_path))).fetch(u.units)).tolist() == [0, 1, 2, 3, 4]
        query = found["d2"].query
        assert query is not None
        assert query.text == "Why?"
        assert faults(found.values()) == {
            "d2": "missing_units", "d3": "bad_line", "train.json:3": "bad_line", "d1~2": "bad_line",
        }  # fmt: skip
        assert to_cut(u, Header())["custom"]["units"] == {"path": "cosyvoice2_tokens/1.npy"}

    def test_an_unclear_list_is_asked_for(self, tmp_path: Path) -> None:
        with pytest.raises(CorpusError, match=r"set corpus\.list"):
            read("vocalnet", write(tmp_path, {"a.json": "[]", "b.json": "[]"}))
        assert read("vocalnet", tmp_path, list="a.json") == []
