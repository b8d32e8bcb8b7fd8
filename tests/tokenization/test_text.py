"""Text tokens: every text comes back, the same corpus gives the same tokenizer, and loading says what is wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from manifests.fingerprint import sha256
from manifests.settings.text import TextSettings
from tokenization.text import EOS, PAD, TextError, TextTokenizer, fit_text, is_unicode, load_text, text_needs_fit

SMALL = TextSettings(vocab_size=400)
NOUNS = ("lamp", "door", "kettle", "window", "heater", "garden", "café", "straße", "窗户")
TEXTS = [f"please switch the {a} in the {b} {n} times" for n, a in enumerate(NOUNS * 9) for b in NOUNS]
DATA = fit_text(TEXTS, SMALL)
TOKENIZER = TextTokenizer(DATA)
UNICODE = st.text(st.characters(exclude_categories=["Cs"]))

FIT_AND_PRINT = """
from tests.tokenization.test_text import SMALL, TEXTS
from tokenization.text import fit_text
from manifests.fingerprint import sha256
print(sha256(fit_text(TEXTS, SMALL)))
"""


@pytest.mark.parametrize(("threads", "parallel"), [("1", "false"), ("4", "true")])
def test_another_process_with_any_number_of_threads_fits_the_same_bytes(threads: str, parallel: str) -> None:
    environment = {
        **os.environ, "RAYON_NUM_THREADS": threads, "TOKENIZERS_PARALLELISM": parallel, "PYTHONHASHSEED": threads
    }  # fmt: skip
    command = [sys.executable, "-c", FIT_AND_PRINT]
    told = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == sha256(DATA)


@settings(max_examples=300, deadline=None)
@given(UNICODE)
@example("<eos>")
@example("a<pad>b <eos> <unk>")
@example("  two  spaces\tand\r\nlines \u2028\x00\ufeff ")
@example("e\u0301 \u00e9 \u2126 ﬁ İstanbul ẞ 👩‍👩‍👧 \U0010ffff")
def test_every_text_comes_back_unchanged(text: str) -> None:
    ids = TOKENIZER.encode(text)
    assert ids.dtype == np.int32
    assert TOKENIZER.decode(ids) == text
    assert not set(ids.tolist()) & {TOKENIZER.mark(PAD), TOKENIZER.mark(EOS)}
    assert not ids.size or 0 <= ids.min() <= ids.max() < TOKENIZER.vocab_size


@settings(max_examples=50, deadline=None)
@given(UNICODE, UNICODE)
def test_tokens_of_a_text_do_not_depend_on_what_was_tokenized_before(first: str, then: str) -> None:
    alone = TextTokenizer(DATA).encode(then)
    TOKENIZER.encode(first)
    assert np.array_equal(TOKENIZER.encode(then), alone)


def test_the_marks_come_first_and_stay_out_of_decoded_text() -> None:
    assert (TOKENIZER.mark(PAD), TOKENIZER.mark(EOS)) == (0, 1)
    assert TOKENIZER.mark("<nothing>") is None
    assert TOKENIZER.decode([*TOKENIZER.encode("the lamp"), 1, 0, 0]) == "the lamp"


def test_common_words_of_the_corpus_are_few_tokens() -> None:
    assert len(TOKENIZER.encode("please switch the lamp in the garden")) <= 9
    assert TOKENIZER.vocab_size == 400


def test_few_texts_make_a_smaller_vocabulary_and_none_the_bytes_alone() -> None:
    assert 258 < TextTokenizer(fit_text(["one word or two"], SMALL)).vocab_size < 400
    bytes_only = TextTokenizer(fit_text([], SMALL))
    assert bytes_only.vocab_size == 258
    assert bytes_only.decode(bytes_only.encode("日本")) == "日本"


def test_only_the_first_fit_texts_are_read() -> None:
    few = SMALL.model_copy(update={"fit_texts": 20})
    assert fit_text(iter(TEXTS), few) == fit_text(iter(TEXTS[:20]), few)
    assert fit_text(TEXTS, few) != DATA


def test_case_and_spaces_are_kept_unless_the_recipe_asks() -> None:
    assert TOKENIZER.decode(TOKENIZER.encode("The  LAMP ")) == "The  LAMP "
    folding = TextTokenizer(fit_text(TEXTS, TextSettings(vocab_size=400, lowercase=True, squeeze=True)))
    assert folding.decode(folding.encode(" The \n LAMP ")) == "the lamp"


def test_half_a_surrogate_pair_is_refused_for_tokenizing_and_passed_over_for_fitting() -> None:
    assert not is_unicode("a\ud800")
    with pytest.raises(TextError, match="surrogate"):
        TOKENIZER.encode("a\ud800")
    assert fit_text([*TEXTS, "a\ud800"], SMALL) == DATA


@pytest.mark.parametrize("ids", [[-1], [400], [0, 10**6]])
def test_ids_outside_the_vocabulary_are_refused(ids: list[int]) -> None:
    with pytest.raises(TextError, match=r"0\.\.399"):
        TOKENIZER.decode(ids)


def test_the_bytes_are_json_and_the_checksum_is_theirs() -> None:
    assert json.loads(DATA)["model"]["type"] == "BPE"
    assert TOKENIZER.checksum == sha256(DATA)


@pytest.mark.parametrize("junk", [b"", b"{}", b"\xff\xfe", b'{"model": 3}', DATA[: len(DATA) // 2]])
def test_what_is_no_tokenizer_json_is_refused(junk: bytes) -> None:
    with pytest.raises(TextError, match=r"not a tokenizer\.json"):
        TextTokenizer(junk)


def test_a_file_is_loaded_by_path_and_held_to_its_checksum(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_bytes(DATA)
    named = TextSettings(kind="file", source=str(path), checksum=sha256(DATA))
    assert load_text(named) == DATA
    with pytest.raises(TextError, match="the recipe says"):
        load_text(named.model_copy(update={"checksum": "0" * 64}))
    path.write_bytes(b"{}")
    with pytest.raises(TextError, match="not a tokenizer"):
        load_text(named.model_copy(update={"checksum": None}))


def test_a_missing_file_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(TextError, match=r"cannot read .*nowhere\.json \(No such file"):
        load_text(TextSettings(kind="file", source=str(tmp_path / "nowhere.json")))


def test_a_tokenizer_of_the_hub_is_fetched_by_name_and_revision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    asked: list[tuple[str, str, str | None]] = []

    def download(name: str, file: str, revision: str | None = None) -> str:
        asked.append((name, file, revision))
        (tmp_path / file).write_bytes(DATA)
        return str(tmp_path / file)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    assert load_text(TextSettings(kind="hub", source="some/model", revision="abc")) == DATA
    assert asked == [("some/model", "tokenizer.json", "abc")]


def test_an_unreachable_hub_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    def download(*_: object, **__: object) -> str:
        raise ConnectionError("no route\nand a long trace")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    with pytest.raises(TextError, match=r"'some/model' from the hub \(no route\): .* kind 'file'") as caught:
        load_text(TextSettings(kind="hub", source="some/model"))
    assert "\n" not in str(caught.value)


def test_which_kinds_are_fitted() -> None:
    assert text_needs_fit(SMALL)
    assert not text_needs_fit(TextSettings(kind="file", source="x"))
    with pytest.raises(TextError, match="fitted on the corpus"):
        load_text(SMALL)


@pytest.mark.parametrize(
    "bad", [{"kind": "file"}, {"kind": "hub"}, {"source": "x"}, {"vocab_size": 257}, {"kind": "spm"}, {"pad": 1}]
)
def test_settings_that_make_no_sense_are_refused(bad: dict) -> None:
    with pytest.raises(ValidationError):
        TextSettings(**bad)
