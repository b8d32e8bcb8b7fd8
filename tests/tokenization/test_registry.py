"""The registry: settings to adapter, and nothing imported before it is needed."""

from __future__ import annotations

import subprocess
import sys

import pytest
from pydantic import TypeAdapter, ValidationError

from manifests.fingerprint import sha256
from manifests.settings.base import Settings
from manifests.settings.speech import GivenSettings, PatchesSettings, SpeechSettings
from tests.tokenization.test_codebook import BOOK, SMALL
from tokenization.adapter import TokenizerError
from tokenization.patches import save
from tokenization.registry import needs_fit, open_tokenizer

PARSE = TypeAdapter(SpeechSettings)


def test_the_codebook_is_fitted_and_given_tokens_are_not() -> None:
    assert needs_fit(PatchesSettings())
    assert not needs_fit(GivenSettings())


def test_a_codebooks_bytes_open_as_the_embedded_tokenizer() -> None:
    data = save(BOOK)
    tokenizer = open_tokenizer(SMALL, data)
    assert tokenizer.spec.name == "patches"
    assert tokenizer.spec.checksum == sha256(data)
    assert tokenizer.can_encode
    assert tokenizer.can_decode


def test_the_embedded_tokenizer_without_its_codebook_says_what_to_do() -> None:
    with pytest.raises(TokenizerError, match="run the fit stage first"):
        open_tokenizer(SMALL)


def test_given_tokens_open_without_weights_and_refuse_some() -> None:
    assert open_tokenizer(GivenSettings()).spec.vocab_size == 6561
    with pytest.raises(TokenizerError, match="no weights"):
        open_tokenizer(GivenSettings(), b"x")


def test_settings_of_no_tokenizer_are_refused() -> None:
    with pytest.raises(TokenizerError, match="no speech tokenizer"):
        open_tokenizer(Settings())


def test_importing_the_registry_imports_no_codec() -> None:
    heavy = "{'torch', 'faiss', 'lhotse', 'ray', 'tokenization.patches', 'tokenization.given'}"
    code = f"import sys, tokenization.registry; print(sorted({heavy} & set(sys.modules)))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


def test_recipes_name_the_tokenizer() -> None:
    assert PARSE.validate_python({"name": "patches", "codebook_size": 4096}) == PatchesSettings(codebook_size=4096)
    assert PARSE.validate_python({"name": "given"}) == GivenSettings()


@pytest.mark.parametrize(
    "bad",
    [{}, {"name": "mimi", "codebooks": 0}, {"name": "patches", "codebok_size": 9}, {"name": "patches", "codebook_size": 70_000},
     {"name": "patches", "sample_rate": 22_050}, {"name": "given", "vocab_size": 1}],
)  # fmt: skip
def test_recipes_that_make_no_sense_are_refused(bad: dict) -> None:
    with pytest.raises(ValidationError):
        PARSE.validate_python(bad)


@pytest.mark.parametrize("rate", [8_000, 24_000, 48_000])
def test_other_sample_rates_keep_the_clock(rate: int) -> None:
    import numpy as np

    from tokenization.patches import PatchesTokenizer, fit

    recipe = PatchesSettings(sample_rate=rate, mels=40, codebook_size=8, iterations=2, pca=4)
    waves = [np.random.default_rng(0).standard_normal(rate).astype(np.float32) * 0.1]
    tokenizer = PatchesTokenizer(fit(waves, recipe), recipe)
    codes = tokenizer.encode(waves)[0]
    assert codes.shape == (25, 1)
    assert tokenizer.spec.frame_rate == 25.0
    assert len(tokenizer.decode(codes)) == rate
