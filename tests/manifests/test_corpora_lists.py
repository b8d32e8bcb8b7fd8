"""Corpora that are lists: Kaldi data directories, and TSV, CSV, JSONL and JSON tables."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manifests.corpora import CorpusError
from manifests.corpora.lines import MAX_LINE, read_json_items, read_lines
from manifests.corpora.listing import place
from manifests.storage import Store
from tests.corpora import corpus
from tests.manifests.corpus_trees import by_id, faults, read, write


class TestKaldi:
    def test_a_data_directory_is_read(self) -> None:
        found = by_id(read("kaldi", corpus("wenet_shards"), data="test/resources/dataset"))
        u = found["test/resources/dataset/aishell-BAC009S0724W0121"]
        assert u.text == "广州市房地产中介协会分析"
        assert u.audio is not None
        assert u.audio.path == "test/resources/dataset/aishell-BAC009S0724W0121.wav"

    def test_shell_commands_are_refused_each_by_its_line(self) -> None:
        found = read("kaldi", corpus("lhotse_fixtures"), data="test/fixtures/mini_librispeech")
        assert len(by_id(found)) == 38
        assert set(faults(found).values()) == {"pipe_refused"}
        assert found[0].extra == {"gender": "m"}
        assert all(u.text and u.audio is None for u in found)

    def test_absurd_times_cost_their_own_segment(self, tmp_path: Path) -> None:
        write(
            tmp_path,
            {
                "wav.scp": "r1 a.wav\n",
                "segments": "u1 r1 0 1e300\nu2 r1 1e300 2e300\nu3 r1 0 1\n",
                "reco2dur": "r1 1e300\n",
            },
        )
        assert faults(read("kaldi", tmp_path)) == {"u1": "bad_line", "u2": "bad_line"}

    @pytest.mark.parametrize("command", ["touch {} |", "|touch {}", "cat a.wav | tee {} |"])
    def test_a_shell_command_is_never_run(self, tmp_path: Path, command: str) -> None:
        marker = tmp_path / "marker"
        write(tmp_path, {"wav.scp": f"u1 {command.format(marker)}\nu2 b.wav\n"})
        found = read("kaldi", tmp_path)
        assert faults(found) == {"u1": "pipe_refused"}
        assert not marker.exists()

    def test_segments_give_times_channels_and_recordings(self, tmp_path: Path) -> None:
        write(tmp_path, {
            "wav.scp": "r1 a.wav\nr2 /elsewhere/b.wav\n",
            "segments": "u1 r1 0.5 2.25\nu2 r1 3 -1\nu3 r2 0 1 1\nu4 r9 0 1\nu5 r1 2 1\nu6 r1 0\nu7 r1 11 12\nu8 r1 x 1\n",
            "text": "u1 hello there\nu9 nobody\nu3\n", "utt2spk": "u1 s1\n", "reco2dur": "r1 10.0\n",
        })  # fmt: skip
        found = by_id(read("kaldi", tmp_path))
        u = found["u1"]
        assert (u.text, u.speaker, u.recording, u.start, u.seconds) == ("hello there", "s1", "r1", 0.5, 1.75)
        assert (found["u2"].start, found["u2"].seconds) == (3.0, None)
        assert (found["u3"].channel, found["u3"].text) == (1, "")
        assert found["u3"].audio is not None
        assert found["u3"].audio.path == "/elsewhere/b.wav"  # fetching decides whether it may be read
        assert faults(found.values()) == {
            "u4": "missing_audio", "u5": "bad_line", "u6": "bad_line", "u7": "bad_line", "u8": "bad_line",
            "u9": "missing_audio",
        }  # fmt: skip

    def test_archives_and_standard_input_are_refused(self, tmp_path: Path) -> None:
        write(tmp_path, {"wav.scp": "u1 wav.ark:1234\nu2 -\nu3\nu4 a.wav\nu4 other.wav\n"})
        reasons = {"u1": "archive_refused", "u2": "missing_audio", "u3": "missing_audio", "u4": "ambiguous_line"}
        assert faults(read("kaldi", tmp_path)) == reasons

    def test_without_its_list_it_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(CorpusError, match=r"no wav\.scp"):
            read("kaldi", tmp_path)


class TestTable:
    def test_a_wenet_list_is_read(self) -> None:
        found = by_id(read("table", corpus("wenet_shards"), lists=["test/resources/dataset/data.list"]))
        u = found["test/resources/dataset/librispeech-1995-1837-0001"]
        assert str(u.text).startswith("IT WAS THE FIRST GREAT SORROW")

    def test_columns_are_found_by_their_usual_names(self) -> None:
        (u,) = read("table", corpus("jfk"), keep=["gender"])
        assert str(u.text).startswith("And so my fellow Americans")
        assert (u.speaker, u.language, u.extra["gender"]) == ("jfk", "en", "M")

    def test_an_object_of_files_is_read(self) -> None:
        root = corpus("voice_queries") / "picovoice_barista" / "data"
        found = read(
            "table", root, lists=["label/label.json"], audio="speech/clean", columns={"text": "slots.coffeeDrink"}
        )  # fmt: skip
        assert len(found) == 8
        assert by_id(found)["speech/clean/165bced7-3ecc-41f3-acf8-e584141f0379"].text == "coffee"

    def test_a_nemo_manifest_is_read(self, tmp_path: Path) -> None:
        lines = [
            {"audio_filepath": "a.wav", "duration": 3.1, "text": "whole"},
            {"audio_filepath": "b.wav", "duration": 2, "offset": 1.5, "text": "part"},
            {"audio_filepath": "b.wav", "duration": 2, "offset": 1.5, "text": "again"},
        ]
        found = read("table", write(tmp_path, {"train.jsonl": "\n".join(map(json.dumps, lines))}))
        assert [u.id for u in found] == ["a", "b@1.500-3.500", "b@1.500-3.500~2"]
        assert (found[0].start, found[0].seconds, found[0].extra) == (0.0, None, {"listed_seconds": 3.1})
        assert (found[1].start, found[1].seconds, found[1].recording) == (1.5, 2.0, "b.wav")
        assert {u.split for u in found} == {"train"}
        assert not faults(found)

    @pytest.mark.parametrize("name", ["l.jsonl", "l.json"])
    def test_json_rows_may_lack_columns_that_later_ones_have(self, tmp_path: Path, name: str) -> None:
        rows: list[dict[str, str]] = [{"audio": "a.wav"}, {"key": "k"}, {"key": "b", "audio": "b.wav", "spk": "Ann"}]
        text = json.dumps(rows) if name.endswith(".json") else "\n".join(map(json.dumps, rows))
        found = read("table", write(tmp_path, {name: text}), columns={"speaker": "spk"})
        assert [(u.id, u.speaker) for u in found] == [("a", None), ("k", None), ("b", "Ann")]
        assert faults(found) == {"k": "missing_audio"}
        with pytest.raises(CorpusError, match="no column 'nobody'; it has audio, key, spk"):
            read("table", tmp_path, columns={"speaker": "nobody"})

    def test_splits_are_understood_by_what_people_call_them(self, tmp_path: Path) -> None:
        said = {
            "training": "train",
            "Testing": "test",
            "train": "train",
            "validation": "dev",
            "eval_2": "test",
            "own": "own",
        }
        rows = [{"audio": f"{i}.wav", "split": name} for i, name in enumerate(said)]
        write(tmp_path, {"l.jsonl": "\n".join(map(json.dumps, rows)), "training.tsv": "path\nx.wav\n"})
        assert [u.split for u in read("table", tmp_path)] == [*said.values(), "train"]

    def test_bad_lines_cost_themselves(self, tmp_path: Path) -> None:
        good = '{"id": "%s", "audio": "%s.wav"}'
        lines = [
            good % ("a", "a"), "{oops", "[1]", '{"id": "no sound"}', good % ("a", "b"), '{"audio": "c.wav", "start": -1}',
            '{"audio": "d.wav", "start": 1, "end": 1}', '{"audio": "e.wav", "start": "NaN"}', '{"audio": "f\\ud800.wav"}',
            '{"audio": "g.wav", "channel": 1.5}', good % ("z", "z"),
        ]  # fmt: skip
        found = read("table", write(tmp_path, {"l.jsonl": "\n".join(lines)}))
        reasons = [u.fault[0] if u.fault else None for u in by_id(found).values()]
        assert reasons == [
            None, "bad_line", "bad_line", "missing_audio", "duplicate_id", "bad_line", "bad_line", "bad_line",
            "bad_encoding", "bad_line", None,
        ]  # fmt: skip

    @pytest.mark.parametrize(
        "times", [{"start": 0, "end": 1e300}, {"start": "1e9"}, {"duration": 10**400}, {"duration": 2e8}]
    )
    def test_absurd_times_cost_their_own_line(self, tmp_path: Path, times: dict[str, object]) -> None:
        rows = [{"audio": "a.wav", **times}, {"audio": "b.wav", "start": 0, "end": 9e5}]
        found = read("table", write(tmp_path, {"l.jsonl": "\n".join(map(json.dumps, rows))}))
        assert faults(found) == {"a": "bad_line"}
        assert found[0].fault is not None
        assert "as a number of seconds" in found[0].fault[1]

    def test_tsv_quotes_are_literal_and_csv_quotes_enclose(self, tmp_path: Path) -> None:
        write(tmp_path, {"a.tsv": 'path\ttext\n1.wav\t"hi\n', "b.csv": 'path,text\r\n2.wav,"a, ""b""\r\nc"\r\n'})
        assert [u.text for u in read("table", tmp_path)] == ['"hi', 'a, "b"\nc']

    def test_a_quote_that_never_ends_costs_one_line(self, tmp_path: Path) -> None:
        rows = "".join(f"{i}.wav,text\n" for i in range(200))
        found = read("table", write(tmp_path, {"a.csv": f'path,text\nx.wav,"open\n{rows}'}))
        assert len(found) == 201
        assert faults(found) == {"x": "bad_line"}

    def test_a_long_quoted_field_is_read(self, tmp_path: Path) -> None:
        said = "so it goes on, " * 20_000
        found = read("table", write(tmp_path, {"a.csv": f'path,text\na.wav,"{said}"\nb.wav,"{said}\n{said}"\n'}))
        assert [u.text for u in found] == [said, f"{said}\n{said}"]
        assert not faults(found)

    def test_a_folder_called_like_a_list_is_none(self, tmp_path: Path) -> None:
        write(tmp_path, {"l.json": '[{"audio": "a.wav"}]', "old.json/x.json": "[]", "old.tsv/x": ""})
        assert [u.id for u in read("table", tmp_path)] == ["a"]
        with pytest.raises(CorpusError, match=r"old\.json is no regular file"):
            read("table", tmp_path, lists=("old.json",))

    def test_rows_of_the_wrong_length_are_faulty(self, tmp_path: Path) -> None:
        found = read("table", write(tmp_path, {"a.tsv": "path\ttext\na.wav\nb.wav\tx\ty\nc.wav\tok\n"}))
        assert faults(found) == {"a": "bad_line", "b": "bad_line"}

    def test_a_table_without_header_has_numbered_columns(self, tmp_path: Path) -> None:
        write(tmp_path, {"a.csv": "a.wav|hello|Ann\n"})
        (u,) = read("table", tmp_path, header=False, columns={"audio": "0", "text": "1", "speaker": "2"})
        assert (u.id, u.text, u.speaker) == ("a", "hello", "Ann")

    def test_dialogues_have_a_query(self, tmp_path: Path) -> None:
        write(tmp_path, {"a.jsonl": '{"audio": "r.wav", "text": "fine", "query_audio": "q.wav", "question": "how?"}'})
        (u,) = read("table", tmp_path)
        assert u.query is not None
        assert u.query.audio is not None
        assert (u.query.text, u.query.audio.path) == ("how?", "q.wav")

    def test_a_table_that_cannot_be_understood_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(CorpusError, match="no list"):
            read("table", tmp_path)
        write(tmp_path, {"a.tsv": "x\ty\n1\t2\n"})
        with pytest.raises(CorpusError, match=r"no column that is known.*it has x, y; set corpus\.columns"):
            read("table", tmp_path)
        with pytest.raises(CorpusError, match="no column 'z'"):
            read("table", tmp_path, columns={"audio": "z"})
        for name, empty in (("a.tsv", ""), ("b.csv", "path,text\n"), ("c.jsonl", "\n"), ("d.json", "[]")):
            with pytest.raises(CorpusError, match=f"no row in {name} of .*{name[0]}-empty.*fetch it again"):
                read("table", write(tmp_path / f"{name[0]}-empty", {name: empty}))
        with pytest.raises(CorpusError, match="UTF-16"):
            read("table", write(tmp_path / "16", {"a.tsv": "path\n".encode("utf-16")}))


fields = st.text(st.characters(codec="utf-8", exclude_characters="\n\r\0"), max_size=8).filter(lambda t: t.strip() == t)


@settings(max_examples=100, deadline=None)
@given(texts=st.lists(fields, min_size=1, max_size=6))
def test_any_text_survives_every_kind_of_list(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    rows = [(f"{i}.wav", text) for i, text in enumerate(texts)]
    out = io.StringIO()
    csv.writer(out, quoting=csv.QUOTE_ALL).writerows([("path", "text"), *rows])
    objects = [{"path": p, "text": t} for p, t in rows]
    plain = [(p, t.replace("\t", " ")) for p, t in rows]
    kinds = {
        "csv/a.csv": (out.getvalue().encode(), rows),
        "jsonl/a.jsonl.gz": (gzip.compress("\n".join(map(json.dumps, objects)).encode()), rows),
        "json/a.json": (json.dumps(objects, ensure_ascii=False).encode(), rows),
        "tsv/a.tsv": ("\r\n".join(["\ufeffpath\ttext", *("\t".join(r) for r in plain), ""]).encode(), plain),
    }
    root = write(tmp_path_factory.mktemp("lists"), {name: data for name, (data, _) in kinds.items()})
    for name, (_, wanted) in kinds.items():
        found = read("table", root / name.split("/")[0])
        assert [(u.audio.path if u.audio else "", u.text or "", u.fault) for u in found] == [(*r, None) for r in wanted]


class TestLines:
    def test_only_line_feeds_end_a_line(self, tmp_path: Path) -> None:
        files = Store(str(write(tmp_path, {"t": "a\u2028b\x0cc\n\n \nd"})))
        assert [(line.number, line.text) for line in read_lines(files, "t")] == [(1, "a\u2028b\x0cc"), (4, "d")]

    @pytest.mark.parametrize(
        "text", ["path\ttext\ra.wav\thello\rb.wav\tyou\r", "path\ttext\ra.wav\thello\nb.wav\tyou\n"]
    )
    def test_the_line_ends_of_old_macs_are_refused(self, tmp_path: Path, text: str) -> None:
        for name, how in (("l.tsv", {}), ("l.csv", {"delimiter": "\t"}), ("l.list", {"delimiter": "\t"})):
            folder = write(tmp_path / name, {name: text})
            with pytest.raises(CorpusError, match=r"line 1 holds a carriage return, .*convert"):
                read("table", folder, lists=(name,), **how)

    def test_a_line_that_holds_the_end_of_another_one_is_faulty(self, tmp_path: Path) -> None:
        found = read("table", write(tmp_path, {"l.tsv": "path\ttext\r\na.wav\thello\rb.wav\tyou\r\nc.wav\tme\r\n"}))
        assert faults(found) == {"a": "bad_line"}
        write(tmp_path / "k", {"wav.scp": "u1 a.wav\nu2 b.wav\n", "text": "u1 hello\nu2 you\ru3 me\n"})
        assert faults(read("kaldi", tmp_path / "k")) == {"u2": "bad_line"}

    def test_a_line_without_end_and_a_broken_gzip_are_refused(self, tmp_path: Path) -> None:
        files = Store(str(write(tmp_path, {"t": b"x" * (MAX_LINE + 1), "g.gz": gzip.compress(b"a\n" * 9999)[:-9]})))
        for name in ("t", "g.gz"):
            with pytest.raises(CorpusError, match=name):
                list(read_lines(files, name))

    @pytest.mark.parametrize("text", ["", "3", "[1, 2", "[1 2]", '{"a" 1}', "[" * 100_000, "[nope]"])
    def test_broken_json_is_refused_in_one_line(self, tmp_path: Path, text: str) -> None:
        with pytest.raises(CorpusError, match=r"^t\.json"):
            list(read_json_items(Store(str(write(tmp_path, {"t.json": text}))), "t.json"))

    def test_json_items_are_read_one_by_one_beyond_the_window(self, tmp_path: Path) -> None:
        items = [{"text": "é" * 500_000}, 1, [], 12345678, {"a": {"b": None}}, "x" * 3_000_000, -1.5e3]
        files = Store(
            str(write(tmp_path, {"l.json": json.dumps(items, ensure_ascii=False), "o.json": '\ufeff{"a": 1}'}))
        )
        assert list(read_json_items(files, "l.json")) == items
        assert list(read_json_items(files, "o.json")) == [("a", 1)]


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("a/b.wav", "a/b.wav"), ("./a//b.wav", "a/b.wav"), ("{root}/a.wav", "a.wav"), ("file://{root}/a.wav", "a.wav"),
        ("x/../a.wav", "a.wav"), ("/data/a.wav", "/data/a.wav"), ("../other/a.wav", "{up}/other/a.wav"),
        ("../{name}/a.wav", "a.wav"), ("{root}2/a.wav", "{root}2/a.wav"), ("s3://b/a.wav", "s3://b/a.wav"),
    ],
)  # fmt: skip
def test_paths_in_manifests_become_relative_where_they_lie_inside(tmp_path: Path, path: str, wanted: str) -> None:
    known = {"root": str(tmp_path), "up": str(tmp_path.parent), "name": tmp_path.name}
    assert place(Store(str(tmp_path)), path.format(**known)) == wanted.format(**known)
