"""Sound of neural codecs block by block: that of all codes at once, but for a float32's last digits; never revised, and as early as the codec lets it be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from manifests.settings.codecs import S3Settings
from tests.tokenization import checkpoints
from tokenization.adapter import SpeechTokenizer, TokenizerError
from tokenization.codecs.layers import layer_of
from tokenization.codecs.neural import NeuralTokenizer
from tokenization.registry import open_tokenizer
from tokenization.streaming import Streaming, open_stream

CODECS = ("encodec", "encodec_48", "mimi", "dac", "dac_44", "xcodec")
BOUND = 1e-4  # of the standard deviation of the sound
FIRST = {
    "encodec": 16.0,
    "mimi": 16.0,
    "dac": 6.18,
    "dac_44": 6.71,
    "xcodec": 6.18,
    "encodec_48": 0.0,
}  # frames that sound of the first sixteen


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, SpeechTokenizer]:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("checkpoints")
    return {name: open_tokenizer(checkpoints.save(folder, name)) for name in CODECS}


def codes(tokenizer: SpeechTokenizer, frames: int, seed: int = 0) -> np.ndarray:
    shape = (frames, tokenizer.spec.codebooks)
    return np.random.default_rng(seed).integers(0, tokenizer.spec.vocab_size, shape).astype(np.uint16)


def pieces(tokenizer: SpeechTokenizer, codes_FQ: np.ndarray, sizes: list[int]) -> list[np.ndarray]:
    """What a stream gives for frames that arrive ``sizes`` at a time, the last ones in one go."""
    stream, cuts = open_stream(tokenizer), np.cumsum(sizes)
    return [*(stream.push(part_FQ) for part_FQ in np.split(codes_FQ, cuts[cuts < len(codes_FQ)])), stream.finish()]


@pytest.mark.parametrize("name", CODECS)
@settings(max_examples=8)
@given(frames=st.integers(0, 330), sizes=st.lists(st.integers(0, 40), max_size=10))
def test_streamed_sound_is_the_sound_of_all_codes_however_they_arrive(
    name: str, frames: int, sizes: list[int], tokenizers: dict[str, SpeechTokenizer]
) -> None:
    tokenizer = tokenizers[name]
    codes_FQ = codes(tokenizer, frames)
    whole_T, streamed_T = tokenizer.decode(codes_FQ), np.concatenate(pieces(tokenizer, codes_FQ, sizes))
    assert streamed_T.dtype == np.float32
    assert len(streamed_T) == len(whole_T)
    assert np.abs(streamed_T - whole_T).max(initial=0) <= BOUND * whole_T.std() if frames else not len(whole_T)


@pytest.mark.parametrize("name", CODECS)
def test_the_bound_can_tell(name: str, tokenizers: dict[str, SpeechTokenizer]) -> None:
    """The sound is neither silent nor clipped, and one other code is heard."""
    tokenizer = tokenizers[name]
    codes_FQ = codes(tokenizer, 40)
    whole_T = tokenizer.decode(codes_FQ)
    assert (np.abs(whole_T) < 0.999 * np.abs(whole_T).max()).mean() > 0.9
    codes_FQ[20, 0] = (codes_FQ[20, 0] + 7) % tokenizer.spec.vocab_size
    assert np.abs(tokenizer.decode(codes_FQ) - whole_T).max() > 100 * BOUND * whole_T.std()


@pytest.mark.parametrize("name", CODECS)
def test_what_was_given_does_not_depend_on_what_follows(name: str, tokenizers: dict[str, SpeechTokenizer]) -> None:
    tokenizer = tokenizers[name]
    given_T = []
    for seed in (1, 2):
        stream = open_stream(tokenizer)
        given_T.append(np.concatenate([stream.push(codes(tokenizer, 170)), stream.push(codes(tokenizer, 160, seed))]))
    sure = len(open_stream(tokenizer).push(codes(tokenizer, 170)))
    assert sure > 0
    assert np.array_equal(given_T[0][:sure], given_T[1][:sure])
    assert not np.array_equal(*given_T)


@pytest.mark.parametrize("name", CODECS)
def test_the_first_block_sounds_as_far_as_the_codec_lets_it(name: str, tokenizers: dict[str, SpeechTokenizer]) -> None:
    """All of a causal one; of DAC's what hears nothing of the next; of segments none before the next begins."""
    tokenizer = tokenizers[name]
    first_T = open_stream(tokenizer).push(codes(tokenizer, 16))
    assert len(first_T) / tokenizer.spec.sample_rate * tokenizer.spec.frame_rate == pytest.approx(FIRST[name], abs=0.01)


def test_a_segment_that_is_shorter_than_the_fade_into_it_has_sound(tokenizers: dict[str, SpeechTokenizer]) -> None:
    """47,840 samples are 150 frames, and one more that lies within the fade: the library's own way of adding them fails there."""
    tokenizer = tokenizers["encodec_48"]
    wave_T = checkpoints.sounds(1.0, 48_000)[0][:47_840]
    [codes_FQ] = tokenizer.encode([wave_T])
    assert len(codes_FQ) == 151
    assert len(tokenizer.decode(codes_FQ)) == len(wave_T)


@pytest.mark.parametrize("seconds", [0.5, 2.4])
def test_segments_are_added_as_the_library_does(seconds: float, tokenizers: dict[str, SpeechTokenizer]) -> None:
    tokenizer = tokenizers["encodec_48"]
    assert isinstance(tokenizer, NeuralTokenizer)
    model = tokenizer.network.model  # type: ignore[attr-defined]
    [codes_FQ] = tokenizer.encode(checkpoints.sounds(seconds, 48_000))
    parts = torch.from_numpy(codes_FQ.astype(np.int64)).split(150)
    with torch.inference_mode():
        segments = [model._decode_frame(part.T[None], torch.full((1, 1), 0.08)) for part in parts]
        theirs_T = model._linear_overlap_add(segments, 47_520)[0].mean(dim=0).numpy()
    assert np.array_equal(tokenizer.decode(codes_FQ), theirs_T)


@pytest.mark.parametrize("name", CODECS)
def test_codes_of_others_are_refused_before_anything_is_taken_in(
    name: str, tokenizers: dict[str, SpeechTokenizer]
) -> None:
    tokenizer = tokenizers[name]
    stream = open_stream(tokenizer)
    with pytest.raises(TokenizerError, match="must lie in"):
        stream.push(np.full((3, tokenizer.spec.codebooks), tokenizer.spec.vocab_size, np.uint16))
    assert len(stream.finish()) == 0


def test_a_codec_without_a_decoder_of_its_own_says_that_it_cannot_stream(tmp_path: Path) -> None:
    torch.save(checkpoints.s3(), tmp_path / "s3.pt")
    tokenizer = open_tokenizer(S3Settings(weights=str(tmp_path / "s3.pt")))
    assert isinstance(tokenizer, Streaming)
    with pytest.raises(TokenizerError, match="'s3tokenizer' tokenizer cannot make sound block by block"):
        open_stream(tokenizer)


def test_layers_that_hear_the_whole_or_are_not_known_are_refused() -> None:
    model = checkpoints.encodec(48_000)
    with pytest.raises(TokenizerError, match="hear the whole utterance: leave out --stream"):
        layer_of(model.decoder.layers[0])
    with pytest.raises(TokenizerError, match="of kind BatchNorm1d cannot be fed piece by piece"):
        layer_of(torch.nn.BatchNorm1d(3))
