"""Texts made comparable: Whisper's own normalisers, errors by words and characters, words that repeat themselves."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokenization.recognisers.base import Transcript, compression
from tokenization.recognisers.normalise import difference, language_code, normaliser, plain, repeats

WRITTEN = [
    "Mr. O'Brien can't pay £20 million, he'd said", "The colour of twenty-first century theatres (laughs)",
    "um, in nineteen ninety nine we were fifty-five", "ROME AS IS WELL KNOWN", "$3.50 for 2nd-hand books…",
]  # fmt: skip
word_lists = st.lists(st.sampled_from("abc"), max_size=24)


def test_english_is_written_one_way() -> None:
    english = normaliser("auto", "en")
    assert english("Twenty-five colours, can't you?") == english("25 colors can not you")
    assert normaliser("basic", "en")("Twenty-five!") == "twenty five "


@pytest.mark.parametrize("text", WRITTEN)
def test_it_is_what_openais_package_makes_of_it(text: str) -> None:
    normalizers = pytest.importorskip("whisper.normalizers")
    assert normaliser("english", None)(text) == normalizers.EnglishTextNormalizer()(text)
    assert normaliser("basic", "de")(text) == normalizers.BasicTextNormalizer()(text)


def test_without_a_language_nothing_english_is_done() -> None:
    assert normaliser("auto", None)("can't") == normaliser("basic", None)("can't")


def test_plain_words_have_no_case_and_no_punctuation_and_keep_their_apostrophes() -> None:
    assert plain("Okay, I’ve set it -- for 7 o'clock!") == "okay i've set it for 7 o'clock"
    assert plain("'twenty-one' …") == "twenty one"


def test_languages_without_spaces_are_compared_sign_by_sign() -> None:
    signs = normaliser("auto", "zh")
    found = difference(signs("今天天气很好。"), signs("今天天氣很好"))
    assert found.wer == pytest.approx(1 / 6, abs=1e-4)


@pytest.mark.parametrize(
    ("language", "said", "heard", "cer"),
    [
        ("zh", "今天天气很好。", "今天天汽很坏", 2 / 6),
        ("ja", "明日は雨が降る。", "明日は雪が振る", 2 / 7),
        ("th", "มากกวา", "มากขวก", 2 / 6),
        ("de", "das ist gut", "das ist rot", 2 / 11),
        ("en", "this is good", "this is wood", 1 / 12),
        ("ko", "비가 온다", "비가 간다", 1 / 5),
    ],
)
def test_spaces_are_characters_only_where_a_language_writes_them(
    language: str, said: str, heard: str, cer: float
) -> None:
    signs = normaliser("auto", language)
    assert difference(signs(said), signs(heard), language).cer == pytest.approx(cer, abs=1e-4)


@pytest.mark.parametrize(
    ("said", "heard", "wer", "cer"),
    [
        ("a b c d", "a b c d", 0, 0),
        ("now with red light", "now with red night", 0.25, 0.0556),
        ("one two", "", 1, 1),
        ("", "one two", 2, 7),
        ("", "", 0, 0),
    ],
)
def test_errors_over_what_was_said(said: str, heard: str, wer: float, cer: float) -> None:
    found = difference(said, heard)
    assert (found.wer, found.cer) == (wer, cer)


@given(word_lists, word_lists)
def test_a_text_differs_from_itself_by_nothing_and_from_others_by_no_less(one: list[str], other: list[str]) -> None:
    assert difference(" ".join(one), " ".join(one)).wer == 0
    found = difference(" ".join(one), " ".join(other))
    assert found.wer >= 0
    assert (found.wer == 0) == (one == other)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", (0, "")),
        ("a b c", (1, "a")),
        ("no no no", (3, "no")),
        ("so thank you thank you thank you all", (3, "thank you")),
        ("la " * 7, (7, "la")),
    ],
)
def test_repeated_words_are_counted(text: str, found: tuple[int, str]) -> None:
    assert repeats(text.split()) == found


@given(
    st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=4, unique=True),
    st.integers(2, 6),
    st.sampled_from(["", "x"]),
)
def test_whatever_stands_in_a_row_is_found(loop: list[str], times: int, rest: str) -> None:
    count, words = repeats([*rest, *(loop * times), *rest])
    assert count == times
    assert sorted(words.split()) == sorted(loop)


@pytest.mark.parametrize(
    ("said", "code"),
    [("en", "en"), ("en-US", "en"), ("zh_CN", "zh"), ("cmn", "zh"), ("English", "en"), ("German ", "de"), (None, None), ("", None),
     ("klingon", None), ("x1", None)],
)  # fmt: skip
def test_languages_go_by_two_letters(said: str | None, code: str | None) -> None:
    assert language_code(said) == code


floats = st.none() | st.floats(-5, 5).map(lambda x: round(x, 4))


@given(st.builds(Transcript, st.text(), st.none() | st.just("en"), floats, floats, floats, floats, floats))
def test_a_transcript_is_kept_as_json(transcript: Transcript) -> None:
    assert Transcript.from_json(transcript.to_json()) == transcript


def test_compression_is_high_where_a_text_repeats_itself() -> None:
    assert compression("") == 0
    assert compression("the quick brown fox") < 1
    assert compression("thank you very much " * 12) > 2.4


PROSE = {
    "hi": "कल शाम मेरी बहन बाज़ार से ताज़ी सब्ज़ियाँ लेकर आई और रसोई में माँ के साथ खाना बनाने लगी। बाहर आँगन में दादाजी अख़बार पढ़ रहे थे, तभी "
    "पड़ोस का एक लड़का दौड़ता हुआ आया और बोला कि नदी किनारे मेला लगा है। हम सबने झटपट जूते पहने, छाता उठाया और कच्ची सड़क से होते हुए वहाँ पहुँचे। "
    "झूले, खिलौने, गरम जलेबी तथा ढोल की आवाज़ ने बच्चों का मन मोह लिया। लौटते समय आकाश में बादल गरजे और हल्की बूँदें गिरने लगीं, फिर भी किसी ने चाल तेज़ नहीं की।",
    "ta": "நேற்று காலை என் தம்பி பள்ளிக்குச் செல்லும் வழியில் ஒரு சிறிய நாய்க்குட்டியைக் கண்டான். மழையில் நனைந்து நடுங்கிய அதை வீட்டுக்கு எடுத்து வந்து "
    "பால் கொடுத்தான். பாட்டி முதலில் கோபப்பட்டாலும் பிறகு பழைய போர்வையை விரித்துப் படுக்க வைத்தாள். மாலையில் கடற்கரைக்கு நடந்தபோது மீனவர்கள் வலைகளை உலர்த்திக் "
    "கொண்டிருந்தார்கள்; தூரத்தில் கப்பல் விளக்குகள் மின்னின. அப்பா சுண்டல் வாங்கித் தர, நாங்கள் கதைகள் பேசியபடி இரவு எட்டு மணிக்குத் திரும்பினோம்.",
    "ru": "Осенью дед чинил старую лодку за сараем, а я подавал ему гвозди и слушал рассказы про северные реки. Бабушка сушила грибы на печке, и весь дом "
    "пах лесом. К ужину пришёл сосед, принёс мёд в глиняном горшке и долго спорил о погоде. Ночью поднялся ветер, хлопала калитка, лаяла чья-то собака, но "
    "под тёплым одеялом было спокойно. Утром мы вытащили сети: две щуки, окунь да мелкая плотва. Этого хватило бы на уху, если бы кот не успел раньше всех.",
    "zh": "清晨的雾还没有散去，渔夫已经把小船推进湖里。他的女儿坐在船头，手里捧着一本旧书，偶尔抬头看看远处的山。岸边卖豆浆的老人吆喝着，几个学生骑车经过，铃声清脆。",
}  # fmt: skip
LOOPS = {"hi": "बहुत बहुत धन्यवाद ", "ta": "மிக்க நன்றி வணக்கம் ", "ru": "Продолжение следует. ", "zh": "谢谢大家的观看。"}


@pytest.mark.parametrize("language", PROSE)
def test_prose_of_any_script_is_no_loop_and_a_loop_of_it_is_one(language: str) -> None:
    prose, loop = PROSE[language], LOOPS[language]
    assert compression(prose) < 2.0
    assert compression(loop * 12) > 2.4
    assert compression(prose[:60] + loop * 20) > 2.4


@given(st.text(st.characters(max_codepoint=127), min_size=1))
def test_of_ascii_compression_is_whispers_own(text: str) -> None:
    assert compression(text) == len(text.encode()) / len(zlib.compress(text.encode()))


@given(st.text(st.characters(min_codepoint=0x400, max_codepoint=0x4FF), min_size=1), st.integers(0x500, 0xD600))
def test_compression_does_not_depend_on_the_script(text: str, script: int) -> None:
    assert compression(text) == compression("".join(chr(ord(sign) - 0x400 + script) for sign in text))


@given(st.text(st.characters(codec=None), max_size=40), st.integers(0, 600))
def test_any_text_has_a_compression(text: str, kinds: int) -> None:
    assert compression(text + "".join(map(chr, range(0x4E00, 0x4E00 + kinds)))) >= 0
    assert compression("\ud800" + text) > 0
