"""Corpora that are folders: LibriSpeech, LJSpeech, Common Voice, AISHELL, sidecars, plain folders."""

from __future__ import annotations

import os
from pathlib import Path

import fsspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manifests.corpora import CorpusError
from tests.corpora import corpus
from tests.manifests.corpus_trees import by_id, faults, read, write

LIBRI = {
    "LibriSpeech/SPEAKERS.TXT": ";ID  |SEX| SUBSET\n84   | F | dev-clean | 8.02 | Christie\n",
    "LibriSpeech/dev-clean/84/121/84-121-0000.flac": "",
    "LibriSpeech/dev-clean/84/121/84-121-0001.flac": "",
    "LibriSpeech/dev-clean/84/121/84-121.trans.txt": "84-121-0000 GO\n84-121-0001 DO YOU\n",
    "LibriSpeech/train-other-500/20/205/20-205-0000.flac": "",
    "LibriSpeech/train-other-500/20/205/20-205.trans.txt": "20-205-0000 STAY\n",
}


class TestLibriSpeech:
    def test_mini_librispeech_is_read_whole(self) -> None:
        found = by_id(read("librispeech", corpus("librispeech_mini")))
        assert len(found) == 26
        u = found["118-47824-0001"]
        assert u.text is not None
        assert u.text.startswith("I MUST DECIDE WHAT TO DO")
        assert (u.speaker, u.language, u.split, u.fault) == ("118", "en", "train", None)
        assert u.extra == {"subset": "train-clean-5", "gender": "M"}
        assert u.audio is not None
        assert u.audio.path == "LibriSpeech/train-clean-5/118/47824/118-47824-0001.flac"

    def test_all_three_roots_give_the_same_ids(self) -> None:
        top = corpus("librispeech_mini")
        roots = (top, top / "LibriSpeech", top / "LibriSpeech" / "train-clean-5")
        ids = [[(u.id, u.split, u.text) for u in read("librispeech", r)] for r in roots]
        assert ids[0] == ids[1] == ids[2]

    def test_empty_files_are_listed_all_the_same(self) -> None:
        found = read("librispeech", corpus("zero_byte_librispeech") / "librispeech")
        assert [u.split for u in found].count("dev") == 6
        assert len(found) == 12

    def test_subsets_can_be_chosen(self, tmp_path: Path) -> None:
        write(tmp_path, LIBRI)
        assert [u.id for u in read("librispeech", tmp_path, subsets=["train-other-500"])] == ["20-205-0000"]
        with pytest.raises(CorpusError, match="dev-clean, train-other-500"):
            read("librispeech", tmp_path, subsets=["train-clean-100"])

    def test_sound_without_text_is_kept_and_text_without_sound_is_faulty(self, tmp_path: Path) -> None:
        write(tmp_path, LIBRI | {"LibriSpeech/dev-clean/84/121/84-121.trans.txt": "84-121-0001 DO\n84-121-0009 LOST\n"})
        found = by_id(read("librispeech", tmp_path, subsets=["dev-clean"]))
        assert found["84-121-0000"].text is None
        assert found["84-121-0000"].fault is None
        assert faults(found.values()) == {"84-121-0009": "missing_audio"}
        assert found["84-121-0009"].text == "LOST"

    @pytest.mark.parametrize(
        ("lines", "reason"),
        [
            (b"84-121-0000 GO\n84-121-0000 GO\n84-121-0001 A\n", None),
            (b"84-121-0000 GO\n84-121-0000 COME\n84-121-0001 A\n", "ambiguous_line"),
            (b"84-121-0000 caf\xe9\n84-121-0001 A\n", "bad_encoding"),
            (b"\xef\xbb\xbf84-121-0000 GO\r\n\r\n84-121-0001 A\r\n", None),
        ],
        ids=["same line twice", "two texts", "latin-1", "BOM and CRLF"],
    )
    def test_a_bad_line_costs_itself_only(self, tmp_path: Path, lines: bytes, reason: str | None) -> None:
        write(tmp_path, LIBRI | {"LibriSpeech/dev-clean/84/121/84-121.trans.txt": lines})
        found = by_id(read("librispeech", tmp_path, subsets=["dev-clean"]))
        assert faults(found.values()).get("84-121-0000") == reason
        assert (found["84-121-0001"].text, found["84-121-0001"].fault) == ("A", None)

    def test_a_folder_that_is_no_librispeech_is_refused_in_one_line(self, tmp_path: Path) -> None:
        with pytest.raises(CorpusError, match=r"set corpus\.root") as error:
            read("librispeech", tmp_path)
        assert "\n" not in str(error.value)


class TestLJSpeech:
    def test_the_normalised_text_is_taken_by_default(self) -> None:
        found = by_id(read("ljspeech", corpus("ljspeech")))
        assert len(found) == 8
        assert found["LJ001-0002"].text == "in being comparatively modern."
        assert '"lower-case"' in str(found["LJ001-0020"].text)  # quotes are literal
        assert found["LJ001-0002"].audio is not None
        assert found["LJ001-0002"].audio.path == "LJSpeech-1.1/wavs/LJ001-0002.wav"

    def test_every_line_and_every_file_ends_as_something(self, tmp_path: Path) -> None:
        listed = 'A|Dr. "X|Doctor "X\nB|two columns\nC|no|sound\nA|again|again\nbad\n|empty|id\n'
        write(tmp_path, {"metadata.csv": listed, "wavs/A.wav": "", "wavs/B.wav": "", "wavs/D.wav": ""})
        found = by_id(read("ljspeech", tmp_path))
        assert found["A"].text == 'Doctor "X'
        assert found["B"].text == "two columns"
        assert (found["D"].text, found["D"].fault) == (None, None)
        assert faults(found.values()) == {
            "C": "missing_audio", "A~2": "duplicate_id", "bad": "bad_line", "line-6": "bad_line",
        }  # fmt: skip
        assert by_id(read("ljspeech", tmp_path, text="raw"))["A"].text == 'Dr. "X'

    def test_without_its_list_it_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(CorpusError, match=r"no metadata\.csv"):
            read("ljspeech", tmp_path)


class TestCommonVoice:
    def test_a_new_release_is_read(self) -> None:
        found = by_id(read("common_voice", corpus("commonvoice_tw") / "tw"))
        assert len(found) == 15
        u = found["common_voice_tw_34745954"]
        assert (u.text, u.language, u.split) == ("Dabi, ɛnte saa", "tw", "test")
        assert u.extra["listed_seconds"] == 5.58
        assert u.speaker is not None
        assert len(u.speaker) == 128

    def test_other_tables_can_be_read_and_repeat_nothing(self) -> None:
        root = corpus("commonvoice_tw") / "tw"
        assert len(read("common_voice", root, tables=["other"])) == 4
        found = read("common_voice", root, tables=["validated", "train", "other"])
        assert len(by_id(found)) == 19
        assert not faults(found)

    def test_an_old_release_with_several_languages_is_read(self) -> None:
        found = read("common_voice", corpus("commonvoice_6_1"))
        assert [len([u for u in found if u.language == lang]) for lang in ("ar", "de", "en", "zh-CN")] == [6, 6, 6, 6]
        german = read("common_voice", corpus("commonvoice_6_1"), languages=["de"])
        assert by_id(german)["common_voice_de_18415389"].text == "Dieses Fahrrad gehört nicht mir."
        assert by_id(german)["common_voice_de_18415389"].extra == {
            "age": "twenties",
            "gender": "male",
            "accent": "germany",
        }

    def test_quotes_are_literal_and_bad_rows_cost_themselves(self, tmp_path: Path) -> None:
        rows = 'client_id\tpath\tsentence\ns\ta\t"Hi\ns\tb.mp3\tok"\ns\tshort\ns\t\tno clip\ns\tb.mp3\tagain\n'
        found = by_id(read("common_voice", write(tmp_path / "xx", {"validated.tsv": rows})))
        assert found["a"].text == '"Hi'
        assert found["a"].audio is not None
        assert found["a"].audio.path == "clips/a.mp3"  # early releases leave the suffix away
        assert found["b"].text == 'ok"'
        assert faults(found.values()) == {"short": "bad_line", "validated.tsv:5": "bad_line", "b~2": "duplicate_id"}

    def test_a_table_without_its_columns_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(CorpusError, match="no column 'path'"):
            read("common_voice", write(tmp_path, {"validated.tsv": "a\tb\n1\t2\n"}))
        with pytest.raises(CorpusError, match=r"no train\.tsv"):
            read("common_voice", tmp_path, tables=["train"])


class TestAishell:
    def test_the_sample_is_read(self) -> None:
        found = by_id(read("aishell", corpus("aishell_sample")))
        assert len(found) == 10
        u = found["BAC009S0150W0121"]
        assert (u.text, u.speaker, u.language) == ("其中有两个是内因的指标", "S0150", "zh")

    def test_the_full_layout_is_read(self, tmp_path: Path) -> None:
        name = "data_aishell/wav/{}/S0002/BAC009S0002W012{}.wav"
        write(tmp_path, {
            name.format("train", 2): "", name.format("dev", 3): "", name.format("test", 4): "",
            "data_aishell/transcript/aishell_transcript_v0.8.txt": "BAC009S0002W0122 而 对\nBAC009S0002W0123 楼市\nBAC009S0009W0001 无 声\n",
            "resource_aishell/speaker.info": "0002 F\n",
        })  # fmt: skip
        found = by_id(read("aishell", tmp_path))
        assert found["BAC009S0002W0122"].text == "而对"
        assert found["BAC009S0002W0122"].extra == {"gender": "F"}
        assert {u.split for u in found.values()} == {"train", "dev", "test", None}
        assert found["BAC009S0002W0124"].text is None
        assert faults(found.values()) == {"BAC009S0009W0001": "missing_audio"}
        assert by_id(read("aishell", tmp_path, words=True))["BAC009S0002W0122"].text == "而 对"

    def test_packed_speakers_are_pointed_out(self, tmp_path: Path) -> None:
        write(tmp_path, {"wav/S0002.tar.gz": "", "transcript/t.txt": "BAC009S0002W0122 而\n"})
        with pytest.raises(CorpusError, match="unpack"):
            read("aishell", tmp_path)


class TestSidecar:
    def test_a_parallel_folder_is_read(self) -> None:
        root = corpus("mfa_wav_lab") / "tests" / "data"
        found = by_id(read("sidecar", root, audio="wav", transcripts="lab", language="en"))
        assert len(found) == 6
        assert found["common_voice_en_22058266"].text == "Fire fox"
        assert found["13697_11991_000000"].audio is not None
        assert found["13697_11991_000000"].audio.path == "wav/13697_11991_000000.opus"

    def test_transcripts_beside_the_sound_are_read(self) -> None:
        found = by_id(read("sidecar", corpus("aishell_sample"), speaker_pattern=r"(S\d{4})W"))
        u = found["AISHELL_Sample_data/BAC009S0150W0126"]
        assert (u.text, u.speaker) == ("一点五倍以上是安全的", "S0150")

    def test_the_preferred_ending_wins_and_lines_are_joined(self, tmp_path: Path) -> None:
        write(
            tmp_path,
            {"s/a.wav": "", "s/a.normalized.txt": " two\r\n lines\n", "s/a.original.txt": "2", "s/a.txt": "no"},
        )
        assert [(u.id, u.text) for u in read("sidecar", tmp_path)] == [("s/a", "two lines")]

    def test_transcripts_without_sound_are_faulty_but_a_readme_is_none(self, tmp_path: Path) -> None:
        tree = {"x/a.wav": "", "x/b.lab": "lost", "x/README.txt": "hello", "x/c.wav": "", "x/c.txt": b"\xff"}
        found = read("sidecar", write(tmp_path, tree))
        assert faults(found) == {"x/b": "missing_audio", "x/c": "bad_encoding"}
        assert by_id(found)["x/a"].text is None
        moved = {"wav/p/a.wav": "", "lab/p/a.lab": "A", "lab/q/b.lab": "B"}
        parallel = read("sidecar", write(tmp_path / "p", moved), audio="wav", transcripts="lab")
        assert [(u.id, u.text) for u in parallel] == [("p/a", "A"), ("q/b", "B")]
        assert faults(parallel) == {"q/b": "missing_audio"}


class TestFolder:
    def test_every_format_is_listed_and_a_shared_stem_keeps_its_suffix(self) -> None:
        found = by_id(read("folder", corpus("sonnets_formats")))
        assert "res/audioformats/p001.mp4" in found
        assert "res/container/job/assets/p001" in found
        assert len(found) == 8

    def test_the_speaker_can_come_from_the_name(self) -> None:
        found = read("folder", corpus("fsdd"), speaker_pattern=r"_(\w+)_")
        assert len(found) == 80
        assert {u.speaker for u in found} == {"jackson", "theo"}

    def test_a_folder_without_sound_is_refused(self, tmp_path: Path) -> None:
        for layout in ("folder", "sidecar", "aishell"):
            with pytest.raises(CorpusError, match=r"no sound files in .*check corpus\.root"):
                read(layout, tmp_path / "mistyped")

    def test_a_bad_pattern_is_refused_with_the_recipe(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"no.*regular expression"):
            read("folder", tmp_path, speaker_pattern="(")

    def test_linked_folders_are_followed_and_circles_are_not(self, tmp_path: Path) -> None:
        write(tmp_path, {"elsewhere/b.wav": "", "root/a.wav": "", "root/deep/c.wav": ""})
        (tmp_path / "root" / "linked").symlink_to(tmp_path / "elsewhere")
        (tmp_path / "root" / "deep" / "up").symlink_to(tmp_path / "root")
        (tmp_path / "elsewhere" / "self").symlink_to(tmp_path / "elsewhere")
        (tmp_path / "root" / "gone.wav").symlink_to(tmp_path / "nowhere")
        assert [u.id for u in read("folder", tmp_path / "root")] == ["a", "gone", "deep/c", "linked/b"]

    def test_a_folder_that_may_not_be_read_is_no_empty_one(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write(tmp_path, {"a.wav": "", "closed/b.wav": ""})
        scandir = os.scandir

        def guarded(path: str) -> object:
            if str(path).endswith("closed"):
                raise PermissionError(path)
            return scandir(path)

        monkeypatch.setattr(os, "scandir", guarded)
        with pytest.raises(CorpusError, match="closed may not be read"):
            read("folder", tmp_path)

    def test_names_that_are_no_unicode_are_faulty_not_fatal(self, tmp_path: Path) -> None:
        with open(os.path.join(os.fsencode(tmp_path), b"caf\xe9.wav"), "wb"):
            pass
        (u,) = read("folder", tmp_path)
        assert faults([u]) == {u.id: "bad_encoding"}
        u.id.encode("utf-8")

    def test_unreadable_transcripts_cost_only_what_they_say(self, tmp_path: Path) -> None:
        write(tmp_path / "s", {"a.wav": "", "b.wav": "", "c.wav": "", "c.txt": "C"})
        (tmp_path / "s" / "a.txt").symlink_to(tmp_path / "nowhere")
        os.mkfifo(tmp_path / "s" / "b.txt")
        assert faults(read("sidecar", tmp_path / "s")) == {"a": "unreadable_text", "b": "unreadable_text"}
        write(tmp_path / "l", LIBRI)
        listed = tmp_path / "l" / "LibriSpeech/train-other-500/20/205/20-205.trans.txt"
        listed.unlink()
        os.mkfifo(listed)
        assert faults(read("librispeech", tmp_path / "l")) == {"20-205-0000": "unreadable_text"}
        os.mkfifo(tmp_path / "metadata.csv")
        with pytest.raises(CorpusError, match="no regular file"):
            read("ljspeech", tmp_path)
        os.mkfifo(tmp_path / "t.tar")
        assert faults(read("tars", tmp_path)) == {"t.tar:rest": "broken_tar"}

    def test_what_macos_leaves_is_no_sound(self, tmp_path: Path) -> None:
        assert [u.id for u in read("folder", write(tmp_path, {"._a.wav": "", "a.wav": "", ".wav": ""}))] == ["a"]


names = st.text(alphabet="ab.-_ é声", min_size=1, max_size=4).filter(lambda n: n.strip(". ") != "")
paths = st.lists(names, min_size=1, max_size=3).map("/".join)


@settings(max_examples=60, deadline=None)
@given(wanted=st.sets(paths, min_size=1, max_size=8), data=st.data())
def test_the_order_does_not_depend_on_the_file_system(
    tmp_path_factory: pytest.TempPathFactory, wanted: set[str], data: st.DataObject
) -> None:
    tree = {f"{p}.d/{i}.wav": b"" for i, p in enumerate(sorted(wanted))}
    tree |= {f"{p}.d/{i}.txt": b"text" for i, p in enumerate(sorted(wanted)) if i % 2}
    local = write(tmp_path_factory.mktemp("tree"), tree)
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    memory.pseudo_dirs[:] = [""]
    for name in data.draw(st.permutations(sorted(tree))):
        memory.pipe_file(f"/corpus/{name}", tree[name])
    for layout in ("folder", "sidecar"):
        here = read(layout, local)
        assert here == read(layout, "memory://corpus")
        assert len(by_id(here)) == len(wanted)
