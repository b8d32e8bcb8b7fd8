"""Transcripts that say what is said when: each format well formed and not, and the utterances that a recording becomes."""

from __future__ import annotations

import io
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.corpora.base import CorpusError
from manifests.corpora.times import READERS, BadTranscript, Phrase, Word
from manifests.corpora.times.lengths import OVERLAP, Lengths, fitted
from manifests.corpora.times.speakers import Turns, spoken_by
from manifests.utterance import Utterance
from tests.corpora import corpus
from tests.manifests.corpus_trees import read, write

SRT = "1\n00:00:01,000 --> 00:00:03,500\n<i>Good</i> {\\an8}morning\nto you\n\n2\n00:00:04,000 --> 00:00:06,000\nHow are you?\n"
VTT = """WEBVTT - a talk

NOTE nobody sees this
--

STYLE
::cue { color: red }

intro
00:01.000 --> 00:03.500 align:start position:0%
<v.loud Mary Ann>Good <b>mor<i>ning</i></b> &amp; x &lt; 3</v>

00:00:04.000 --> 00:00:06.000
How <c.yellow>are</c> you?
"""
CTM = "r 1 1.00 0.30 good 0.9\n;; a remark\nr 1 1.40 0.50 morning\nr 1 1.95 0.1 <eps>\nr 1 4.00 0.25 how\nr 1 4.30 0.20 are\nr 1 4.60 0.40 you\n"
RTTM = (
    "SPKR-INFO r 1 <NA> <NA> <NA> unknown A <NA> <NA>\n"
    "SPEAKER r 1 0.9 1.2 <NA> <NA> A <NA> <NA>\nSPEAKER r 1 3.9 2.0 <NA> <NA> B <NA> <NA>\n"
)
GRID = """File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 6
tiers? <exists>
size = 3
item []:
    item [1]:
        class = "IntervalTier"
        name = "words"
        xmin = 0
        xmax = 6
        intervals: size = 5
        intervals [1]:
            xmin = 0
            xmax = 1
            text = ""
        intervals [2]:
            xmin = 1
            xmax = 1.3
            text = "say ""good"" !"
        intervals [3]:
            xmin = 1.4
            xmax = 1.9
            text = "morning"
        intervals [4]:
            xmin = 1.9
            xmax = 4
            text = "sil"
        intervals [5]:
            xmin = 4
            xmax = 5
            text = "you"
    item [2]:
        class = "TextTier"
        name = "bell"
        xmin = 0
        xmax = 6
        points: size = 1
        points [1]:
            number = 2
            mark = "ding"
    item [3]:
        class = "IntervalTier"
        name = "phones"
        xmin = 0
        xmax = 6
        intervals: size = 1
        intervals [1]:
            xmin = 0
            xmax = 6
            text = "x"
"""
SHORT_GRID = '"ooTextFile"\n"TextGrid"\n0\n6\n<exists>\n2\n"IntervalTier"\n"Ann"\n0\n6\n1\n1\n2\n"hello\nthere"\n"IntervalTier"\n"Bob"\n0\n6\n1\n3\n4\n"hi"\n'


def said(kind: str, text: str) -> list[tuple[float, float, str | None, str | None]]:
    return [(p.start, p.end, p.text, p.speaker) for p in READERS[kind](text, f"r.{kind}", "r")]


def fault(kind: str, text: str) -> list[str]:
    """Why phrases cannot be used, or the transcript as a whole."""
    try:
        return [p.fault[1] for p in READERS[kind](text, f"r.{kind}", "r") if p.fault]
    except BadTranscript as error:
        return [str(error)]


class TestReaders:
    def test_srt(self) -> None:
        assert said("srt", SRT) == [(1.0, 3.5, "Good morning to you", None), (4.0, 6.0, "How are you?", None)]
        assert said("srt", "\n\n" + SRT.replace("\n", "\r\n") + "\r\n3\r\n") == said("srt", SRT)
        assert said("srt", "00:00:01.5 --> 00:00:02,25 X1:0\n2\n") == [(1.5, 2.25, "2", None)]

    def test_vtt(self) -> None:
        wanted = [(1.0, 3.5, "Good morning & x < 3", "Mary Ann"), (4.0, 6.0, "How are you?", None)]
        assert said("vtt", VTT) == wanted
        assert said("vtt", VTT.replace("\n", "\r")) == wanted
        assert said("vtt", "WEBVTT\n00:01.000 --> 00:02.000\nat once") == [(1.0, 2.0, "at once", None)]

    def test_times_inside_a_vtt_cue_are_those_of_its_words(self) -> None:
        [phrase] = READERS["vtt"]("WEBVTT\n\n00:01.000 --> 00:03.000\none<00:01.500><c> two</c><00:02.000>", "x", "x")
        assert phrase.words == (Word(1.0, 1.5, "one"), Word(1.5, 2.0, "two"))

    def test_captions_that_roll_up_the_screen_say_every_line_once(self) -> None:
        text = (
            "WEBVTT\nKind: captions\n\n00:00:00.160 --> 00:00:02.389 align:start position:0%\n \nhello<00:00:00.480><c> all</c>\n\n"
            "00:00:02.389 --> 00:00:02.399 align:start position:0%\nhello all\n \n\n"
            "00:00:02.399 --> 00:00:04.870 align:start position:0%\nhello all\nto<00:00:02.560><c> the</c><00:00:03.000><c> talk</c>\n\n"
            "00:00:04.870 --> 00:00:04.880 align:start position:0%\nto the talk\n \n"
        )
        first, second = READERS["vtt"](text, "x", "x")
        assert (first.start, first.end, first.text) == (0.16, 2.389, "hello all")
        assert (second.start, second.text) == (2.399, "to the talk")
        assert second.words == (Word(2.399, 2.56, "to"), Word(2.56, 3.0, "the"), Word(3.0, 4.87, "talk"))

    def test_a_line_that_somebody_says_twice_is_said_twice(self) -> None:
        text = "1\n00:00:01,000 --> 00:00:02,000\nNo.\n\n2\n00:00:02,000 --> 00:00:03,000\nNo.\n\n3\n00:00:03,000 --> 00:00:05,000\nNo.\nReally.\n"
        assert [t for _, _, t, _ in said("srt", text)] == ["No.", "No.", "No. Really."]

    def test_two_voices_in_a_cue_are_no_one_speaker(self) -> None:
        text = "WEBVTT\n\n00:01.000 --> 00:03.000\n<v Ann>yes</v>\n<v Bob>no</v>"
        assert said("vtt", text) == [(1.0, 3.0, "yes no", None)]

    def test_ctm(self) -> None:
        [phrase] = READERS["ctm"](CTM, "r.ctm", "r")
        assert (phrase.start, phrase.end, phrase.text, phrase.channel) == (1.0, 5.0, "good morning how are you", None)
        assert phrase.words[1] == Word(1.4, 1.9, "morning")

    def test_channels_are_counted_where_there_are_several(self) -> None:
        for a, b in (("1", "2"), ("A", "B"), ("0", "1")):
            text = f"r {a} 0 1 one\nr {b} 0.5 1 two\n"
            assert [(p.channel, p.text) for p in READERS["ctm"](text, "r.ctm", "r")] == [(0, "one"), (1, "two")]
        assert [p.channel for p in READERS["rttm"]("SPEAKER r 2 0 1 <NA> <NA> A <NA> <NA>", "r", "r")] == [1]

    def test_of_a_file_of_several_recordings_those_lines_count_that_name_this_one(self) -> None:
        assert said("ctm", CTM + "other 1 0 1 nothing\n") == said("ctm", CTM)
        assert said("ctm", CTM.replace("r 1", "any 1")) == said("ctm", CTM)
        assert fault("ctm", "a 1 0 1 x\nb 1 0 1 y\n") == ["r.ctm is of 2 recordings, and none of them is r"]

    def test_rttm(self) -> None:
        assert said("rttm", RTTM) == [(0.9, 2.1, None, "A"), (3.9, 5.9, None, "B")]

    def test_textgrid_long_and_short(self) -> None:
        assert said("textgrid", GRID) == [(1.0, 5.0, 'say "good" ! morning you', None)]
        assert said("textgrid", SHORT_GRID) == [(1.0, 2.0, "hello there", "Ann"), (3.0, 4.0, "hi", "Bob")]
        assert said("textgrid", GRID.replace('"words"', '"Ann - words"'))[0][3] == "Ann"

    def test_lhotse_reads_the_same_ctm(self) -> None:
        text = (corpus("lhotse_fixtures") / "test" / "fixtures" / "supervision.ctm").read_text()
        mine = {w.text for p in READERS["ctm"](text, "supervision.ctm", "recording-1") for w in p.words}
        rows = [line.split() for line in io.StringIO(text) if line.split()[:1] == ["recording-1"]]
        assert mine == {row[4] for row in rows}


@pytest.mark.parametrize(
    ("kind", "text", "why"),
    [
        ("srt", "1\n00:00:-1,000 --> 00:00:02,000\nx\n", "r.srt line 2: '00:00:-1,000' is no time such as"),
        ("srt", "1\n00:00:03,000 --> 00:00:02,000\nx\n", "r.srt line 2: it ends at 2 s and begins at 3 s"),
        ("srt", "1\n00:00:75,000 --> 00:01:02,000\nx\n", "is no time such as"),
        ("srt", "1\n00:00:01,000 -->\nx\n", "'' is no time such as"),
        ("srt", "1\n00:00:01,000 --> 00:00:02,000\nx\n2\n00:00:03,000 --> 00:00:04,000\ny\n", "two captions without an empty line"),
        ("srt", "\nstray words\n\n", "r.srt line 2: text without times"),
        ("vtt", SRT, "r.vtt does not begin with WEBVTT; is it an .srt?"),
        ("vtt", "", "does not begin with WEBVTT"),
        ("vtt", "WEBVTT\n\nname\nwords\n", "r.vtt line 4: text without times"),
        ("vtt", "WEBVTT\n\n00:01.000 --> 00:03.000\na<00:09.000>b", "the times inside the text are not in order"),
        ("ctm", "r 1 0.5 word\n", "r.ctm line 1 has 4 fields, at least 5 are needed"),
        ("ctm", "r 1 -0.5 0.1 word\n", "r.ctm line 1: a time is negative (-0.5 s)"),
        ("ctm", "r 1 0.5 nan word\n", "r.ctm line 1: a time is no number"),
        ("ctm", "r 1 0.5 soon word\n", "r.ctm line 1: 'soon' is no number of seconds"),
        ("ctm", "r 1 0.5 1e300 word\n", "r.ctm line 1: a time of 1e+300 s"),
        ("ctm", "r 1 0.5 0.2 <ALT_BEGIN>\n", "begins alternatives"),
        ("rttm", "SPEAKER r 1 0.9 1.2 A\n", "r.rttm line 1: 6 fields, at least 8 are needed"),
        ("rttm", "SPEAKER r 1 0.9 0 <NA> <NA> A <NA> <NA>\n", "it ends at 0.9 s and begins at 0.9 s"),
        ("textgrid", "ooBinaryFile\x08TextGrid", "is a binary TextGrid; save it as text in Praat"),
        ("textgrid", "words, words", "r.textgrid is no TextGrid in text form"),
        ("textgrid", GRID[:600], "r.textgrid breaks off in the middle of a tier"),
        ("textgrid", GRID.replace("xmin = 1.4", "xmin = 1.1"), "tier 'words', interval 3 from 1.1 s to 1.9 s is not behind the one before it"),
        ("textgrid", GRID.replace("xmin = 1.4", "xmin = -1.4"), "a time is negative (-1.4 s)"),
        ("textgrid", GRID.replace('text = "morning"', "text = 5"), "a text was expected, and 5 came"),
        ("textgrid", GRID.replace("size = 3", "size = 2.5"), "a number of intervals was expected, and 2.5 came"),
        ("textgrid", GRID.replace('"TextTier"', '"Tear"'), "a tier is a 'Tear'"),
    ],
)  # fmt: skip
def test_what_cannot_be_believed_is_said_with_its_line(kind: str, text: str, why: str) -> None:
    assert any(why in one for one in fault(kind, text)), fault(kind, text)


@pytest.mark.parametrize("kind", sorted(READERS))
@given(st.data())
def test_whatever_bytes_come_phrases_are_well_formed_or_faulty(kind: str, data: st.DataObject) -> None:
    whole = {"srt": SRT, "vtt": VTT, "ctm": CTM, "rttm": RTTM, "textgrid": GRID}[kind]
    at = data.draw(st.integers(0, len(whole)))
    text = (
        whole[:at]
        + data.draw(st.text(max_size=12) | st.sampled_from(["-", "-->", "\n\n", '"', "<", "1e9", "nan"]))
        + whole[at + data.draw(st.integers(0, 9)) :]
    )
    try:
        phrases = READERS[kind](text, "x", "r")
    except BadTranscript as error:
        said = str(error)
        assert said == " ".join(said.split())
        return
    for phrase in phrases:
        assert phrase.fault or 0 <= phrase.start < phrase.end
        assert phrase.fault or phrase.text != ""
        assert all(phrase.start <= w.start <= w.end <= phrase.end for w in phrase.words)


LENGTHS = Lengths(shortest=1.0, longest=6.0, pause=0.6, pad=0.1)


@st.composite
def spoken(draw: st.DrawFn) -> list[Phrase]:
    """Words of two speakers, each speaker's one behind the other."""
    phrases = []
    for speaker in ("A", "B"):
        at, words = draw(st.floats(0, 2)), list[Word]()
        for n in range(draw(st.integers(0, 25))):
            start = at + draw(st.sampled_from([0.0, 0.05, 0.3, 0.7, 2.0]))
            at = start + draw(st.sampled_from([0.05, 0.3, 0.9]))
            words.append(Word(round(start, 6), round(at, 6), f"{speaker}{n}"))
        if words:
            phrases.append(
                Phrase(words[0].start, words[-1].end, " ".join(w.text for w in words), speaker, None, tuple(words))
            )
    return phrases


class TestLengths:
    @given(spoken())
    def test_words_are_all_there_once_in_order_and_in_bounds(self, phrases: list[Phrase]) -> None:
        got = fitted(phrases, LENGTHS)
        for phrase in phrases:
            mine = [p for p in got if p.speaker == phrase.speaker]
            assert [w for p in mine for w in p.words] == list(phrase.words)
            assert " ".join(str(p.text) for p in mine) == phrase.text
            for p in mine:
                assert p.start <= p.words[0].start < p.words[-1].end <= p.end
                assert p.end - p.start <= LENGTHS.longest + 1e-6
            for before, after in pairwise(mine):
                assert before.end <= after.start + 1e-6
                gap = after.words[0].start - before.words[-1].end
                short = min(p.words[-1].end - p.words[0].start for p in (before, after)) < LENGTHS.shortest
                together = after.words[-1].end - before.words[0].start
                assert not (
                    short and gap < LENGTHS.pause - 1e-6 and together <= LENGTHS.longest - 2 * LENGTHS.pad - 1e-6
                )

    def test_words_that_go_on_are_parted_at_the_longest_pause(self) -> None:
        starts = [0.0, 1.0, 2.0, 3.0, 4.4, 5.4, 6.4]
        words = tuple(Word(s, s + 0.9, f"w{i}") for i, s in enumerate(starts))
        got = fitted([Phrase(0.0, 7.3, "", None, None, words)], LENGTHS)
        assert [p.text for p in got] == ["w0 w1 w2 w3", "w4 w5 w6"]
        assert (got[0].end, got[1].start) == (4.0, 4.3)

    def test_short_captions_are_joined_with_near_ones_of_the_same_speaker_only(self) -> None:
        captions = [
            Phrase(0, 0.5, "a", "X"),
            Phrase(0.6, 2.0, "b", "X"),
            Phrase(2.1, 2.4, "c", "Y"),
            Phrase(5.0, 5.4, "d", "Y"),
        ]
        got = [(p.start, p.end, p.text, p.speaker) for p in fitted(captions, LENGTHS)]
        assert got == [(0, 2.0, "a b", "X"), (2.1, 2.4, "c", "Y"), (5.0, 5.4, "d", "Y")]

    def test_a_caption_that_is_too_long_stays_whole(self) -> None:
        long = Phrase(0.0, 90.0, "who knows what is said when")
        assert fitted([long], LENGTHS) == [long]

    def test_captions_of_one_speaker_that_overlap_are_both_set_aside(self) -> None:
        a, b, c = Phrase(0, 4, "a"), Phrase(3, 7, "b"), Phrase(7 - OVERLAP / 2, 9, "c")
        got = fitted([a, b, c], LENGTHS)
        assert [p.fault and p.fault[0] for p in got] == ["overlap", "overlap", None]
        assert "0 to 4 s and 3 to 7 s" in str(got[0].fault)
        assert all(p.fault is None for p in fitted([a, Phrase(3, 7, "b", "somebody else")], LENGTHS))

    def test_a_little_overlap_is_taken_off_the_earlier_one(self) -> None:
        got = fitted([Phrase(0, 4.05, "a"), Phrase(4.0, 7, "b")], LENGTHS)
        assert [(p.start, p.end) for p in got] == [(0, 4.0), (4.0, 7)]

    def test_words_that_overlap_set_their_phrase_aside(self) -> None:
        words = (Word(0, 1, "one"), Word(0.2, 1.2, "two"))
        [phrase] = fitted([Phrase(0, 1.2, "one two", None, None, words)], LENGTHS)
        assert phrase.fault == ("overlap", "the words 'one' and 'two' overlap at 0.2 s")

    def test_turns_of_one_speaker_that_overlap_become_one(self) -> None:
        got = fitted([Phrase(0, 10, None, "A"), Phrase(2, 5, None, "A"), Phrase(9, 12, None, "A")], LENGTHS)
        assert [(p.start, p.end) for p in got] == [(0, 12)]


class TestSpeakers:
    def test_words_go_to_whoever_speaks_and_a_phrase_is_parted_between_two(self) -> None:
        turns = Turns.of(READERS["rttm"](RTTM, "r.rttm", "r"))
        got = list(spoken_by(READERS["ctm"](CTM, "r.ctm", "r"), turns))
        assert [(p.speaker, p.text) for p in got] == [("A", "good morning"), ("B", "how are you")]

    def test_a_caption_goes_to_whoever_speaks_most_of_it(self) -> None:
        turns = Turns.of([Phrase(0, 2, None, "A"), Phrase(1.5, 9, None, "B"), Phrase(30, 31, None, "C")])
        got = [
            p.speaker
            for p in spoken_by(
                [Phrase(1, 4, "x"), Phrase(0, 1.7, "y"), Phrase(20, 21, "z"), Phrase(30, 31, "w", "Z")], turns
            )
        ]
        assert got == ["B", "A", None, "Z"]


def listed(root: Path, **settings: object) -> list[tuple[str, str | None, str | None, str | None]]:
    return [(u.id, u.text, u.speaker, u.fault[0] if u.fault else None) for u in read("timed", root, **settings)]


class TestLayout:
    def test_an_utterance_is_a_caption_and_points_to_its_place(self, tmp_path: Path) -> None:
        write(tmp_path, {"talks/r.mp3": "", "talks/r.srt": SRT})
        first, second = read("timed", tmp_path, language="en")
        assert first == Utterance(
            "talks/r-00001000-00003500", first.audio, "Good morning to you", None, "en", "talks/r", 1.0, 2.5
        )
        assert first.audio is not None
        assert first.audio.path == "talks/r.mp3"
        assert second.id == "talks/r-00004000-00006000"

    def test_of_several_transcripts_the_first_format_counts_and_rttm_tells_speakers(self, tmp_path: Path) -> None:
        write(tmp_path, {"r.wav": "", "r.srt": SRT, "r.CTM": CTM, "r.rttm": RTTM})
        assert [(t, s) for _, t, s, _ in listed(tmp_path)] == [("good morning", "r/A"), ("how are you", "r/B")]
        by_caption = listed(tmp_path, formats=["srt", "ctm"], speakers="global")
        assert [(t, s) for _, t, s, _ in by_caption] == [("Good morning to you", "A"), ("How are you?", "B")]

    def test_speakers_alone_are_utterances_without_text(self, tmp_path: Path) -> None:
        write(tmp_path, {"r.wav": "", "r.rttm": RTTM})
        assert [(u.start, u.seconds, u.text, u.speaker) for u in read("timed", tmp_path)] == [
            (0.9, 1.2, None, "r/A"), (3.9, 2.0, None, "r/B"),
        ]  # fmt: skip

    def test_a_recording_without_a_transcript_is_one_utterance_and_a_transcript_without_sound_is_faulty(
        self, tmp_path: Path
    ) -> None:
        write(
            tmp_path,
            {"ann/r.wav": "", "ann/gone.srt": SRT, "ann/notes.txt": "", "ann/empty.wav": "", "ann/empty.srt": "\n\n"},
        )
        assert listed(tmp_path, speaker_pattern="^([^/]+)/") == [
            ("ann/empty", None, "ann", None), ("ann/r", None, "ann", None), ("ann/gone.srt", None, None, "missing_audio"),
        ]  # fmt: skip
        with pytest.raises(CorpusError, match="no sound files"):
            read("timed", tmp_path / "nowhere")

    @pytest.mark.parametrize(
        ("data", "settings", "wanted"),
        [
            ("1\n00:00:01,000 --> 00:00:03,000\nпривет\n".encode("utf-8-sig"), {}, "привет"),
            ("1\n00:00:01,000 --> 00:00:03,000\nпривет\n".encode("utf-16"), {}, "привет"),
            ("1\r\n00:00:01,000 --> 00:00:03,000\r\nпривет\r\n".encode("cp1251"), {"encoding": "cp1251"}, "привет"),
            ("1\n00:00:01,000 --> 00:00:03,000\nпривет\n".encode("cp1251"), {}, None),
        ],
    )
    def test_encodings_are_known_by_their_mark_or_said(
        self, data: bytes, settings: dict, wanted: str | None, tmp_path: Path
    ) -> None:
        write(tmp_path, {"r.wav": "", "r.srt": data})
        [(name, text, _, why)] = listed(tmp_path, **settings)
        assert text == wanted
        assert (name, why) == (("r", "bad_encoding") if wanted is None else ("r-00001000-00003000", None))

    def test_languages_of_captions_are_chosen_by_that_of_the_corpus(self, tmp_path: Path) -> None:
        write(tmp_path, {"r.wav": "", "r.en.vtt": VTT, "r.pt-BR.vtt": VTT.replace("How", "Como")})
        assert listed(tmp_path, language="pt-BR")[1][1] == "Como are you?"
        [(name, _, _, why)] = listed(tmp_path)
        assert (name, why) == ("r", "bad_transcript")

    def test_transcripts_may_lie_in_a_parallel_folder(self, tmp_path: Path) -> None:
        write(tmp_path, {"wav/a/r.wav": "", "srt/a/r.srt": SRT, "srt/a/lost.srt": SRT})
        got = listed(tmp_path, audio="wav", transcripts="srt")
        assert [(name, why) for name, _, _, why in got] == [
            ("a/r-00001000-00003500", None), ("a/r-00004000-00006000", None), ("srt/a/lost.srt", "missing_audio"),
        ]  # fmt: skip

    def test_a_bad_transcript_costs_its_recording_and_a_bad_caption_itself(self, tmp_path: Path) -> None:
        write(
            tmp_path,
            {"a.wav": "", "a.ctm": "a 1 x 1 word\n", "b.wav": "", "b.srt": SRT.replace("00:00:04,000", "soon")},
        )
        got = [(name, why) for name, _, _, why in listed(tmp_path)]
        assert got == [("a", "bad_transcript"), ("b-00000000-00000000", "bad_line"), ("b-00001000-00003500", None)]

    def test_settings_that_make_no_sense_are_refused(self, tmp_path: Path) -> None:
        for wrong in ({"encoding": "klingon"}, {"max_seconds": 1.0}, {"formats": ["doc"]}):
            with pytest.raises(ValueError, match=r"klingon|twice|Input should be"):
                read("timed", tmp_path, **wrong)
