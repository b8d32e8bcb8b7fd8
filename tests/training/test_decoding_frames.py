"""Decoders that speak frame by frame: autoregressive, and several frames a pass by masks behind the row."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from tests.training.tiny import silence_eos, talker, words
from tests.training.uncached import RecordedDrawing, Told, decode_frames
from training.decoding.acceptance import ACCEPTANCES, Confident, Said, Unverified, Verified, acceptance_of
from training.decoding.autoregressive import ARDecoder
from training.decoding.multi_token import MTPDecoder
from training.decoding.protocol import decode_all
from training.layout import Anchored, Noised, Rows, autoregressive, in_blocks, single_stream, two_stream
from training.policies.stats import stats
from training.talker import Talker

COUNTS = [7, 3, 0]
CONDITIONINGS = ["anchors", "prefix", "both", "paced"]


def said(decoder: ARDecoder | MTPDecoder, told: Told) -> Tensor:
    """``codes_NLQ`` of rows that all speak to the limit."""
    return torch.stack(decode_all(decoder, told.text_NS, told.counts_N))


@pytest.mark.parametrize("conditioning", CONDITIONINGS)
@pytest.mark.parametrize("codebooks", [1, 3])
@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_cached_is_uncached(conditioning: str, codebooks: int, temperature: float) -> None:
    """T06 for next-frame prediction: the same codes and logits as from whole rows of training, up to where each row ends."""
    made = talker(codebooks, conditioning=conditioning)
    with torch.no_grad():
        made.head.bias.view(codebooks, -1)[0, -1] += float(codebooks > 1)  # so that rows end at different times
    told, drawing = Told(made, words(5, 7), [7, 3, 0, 5, 1]), RecordedDrawing(temperature, 0.9)
    expected = decode_frames(told, 14, drawing, seed=3)
    drawing.seen.clear()
    found = ARDecoder(made, 5, max_frames=14, seed=3)
    found.drawing = drawing
    rows = decode_all(found, told.text_NS, told.counts_N)
    for n, codes_FQ in enumerate(rows):
        assert torch.equal(codes_FQ, expected.codes_NLQ[n, : len(codes_FQ)])
        assert len(codes_FQ) == 14 or expected.codes_NLQ[n, len(codes_FQ), 0] == made.vocabulary.eos
        for ours_NTQC, [(theirs_NQC, _)] in zip(drawing.seen[: len(codes_FQ) + 1], expected.said, strict=False):
            torch.testing.assert_close(ours_NTQC[n, 0], theirs_NQC[n], rtol=0, atol=1e-12)
    assert len({len(codes_FQ) for codes_FQ in rows}) > 1
    assert found.work.forwards == len(drawing.seen) == min(max(map(len, rows)) // 4 * 4 + 4, 14)


@pytest.mark.parametrize("chunk", [1, 3, 5, 14])
def test_chunks_of_any_size_join_to_the_same(chunk: int) -> None:
    made = silence_eos(talker())
    told = Told(made, words(3, 7), COUNTS)
    whole = said(ARDecoder(made, 3, max_frames=14), told)
    assert torch.equal(said(ARDecoder(made, 3, max_frames=14, chunk=chunk), told), whole)


def all_masked(codes_NLQ: Tensor, mask: int) -> Noised:
    valid_NL = torch.ones(codes_NLQ.shape[:2], dtype=torch.bool)
    ids_NCLQ = torch.full_like(codes_NLQ, mask)[:, None]
    return Noised(codes_NLQ, ids_NCLQ, ids_NCLQ == mask, valid_NL, valid_NL.sum(1))


@pytest.mark.parametrize("conditioning", CONDITIONINGS)
@pytest.mark.parametrize("codebooks", [1, 2])
def test_next_frame_prediction_is_block_diffusion_in_blocks_of_one(conditioning: str, codebooks: int) -> None:
    """T29 with shared weights. Shifted (frame i - 1 in, frame i out) they are one model; in place (a mask in) another one."""
    made = silence_eos(talker(codebooks, conditioning=conditioning))
    told, v = Told(made, words(3, 7), COUNTS), made.vocabulary
    codes_NLQ = said(ARDecoder(made, 3, max_frames=12), told)
    x = all_masked(codes_NLQ, v.mask)
    shown_NLQ = torch.cat([torch.full_like(codes_NLQ[:, :1], v.start), codes_NLQ[:, :-1]], 1)
    behind = in_blocks(single_stream(replace(x, ids_NCLQ=shown_NLQ[:, None]), made.clock, v), 1)
    in_place = in_blocks(two_stream(x, made.clock, v), 1)

    def logits(rows: Rows) -> Tensor:
        hidden = made(rows.ids_NTQ, rows.meta, told.text_NS, torch.tensor(told.counts_N), rows.wanted)
        return told.limited(made.logits(hidden))

    shifted_NLQC = logits(behind)
    torch.testing.assert_close(shifted_NLQC, logits(autoregressive(x, made.clock, v)), rtol=0, atol=1e-12)
    assert torch.equal(shifted_NLQC.argmax(-1), codes_NLQ), "what the decoder said frame by frame"
    nll = [cross_entropy(one.flatten(0, 2), codes_NLQ.flatten()) for one in (shifted_NLQC, logits(in_place))]
    assert nll[0] < nll[1] - 0.1, "the codes are the greedy ones of the shifted model alone"


@pytest.mark.parametrize("causal", [True, False])
def test_the_first_prediction_of_anchored_rows_is_the_autoregressive_one(causal: bool) -> None:
    """T29: clean positions see no masks, so head 0 is the autoregressive model, to the last bit but rounding."""
    made, codes_NLQ = talker(), torch.randint(0, 11, (2, 12, 1), generator=torch.Generator().manual_seed(1))
    valid_NL = torch.ones(2, 12, dtype=torch.bool)
    noised = Noised(codes_NLQ, codes_NLQ[:, None], codes_NLQ[:, None] == -1, valid_NL, valid_NL.sum(1))
    counts_N, text_NS = torch.tensor([5, 2]), words(2, 5)
    rows = [layout(noised, made.clock, made.vocabulary) for layout in (autoregressive, Anchored(3, 2, causal))]
    plain, anchored = (made.logits(made(r.ids_NTQ, r.meta, text_NS, counts_N)) for r in rows)
    assert anchored.shape[1] > plain.shape[1]
    torch.testing.assert_close(anchored[:, :12], plain, rtol=0, atol=1e-12)


@pytest.mark.parametrize("conditioning", CONDITIONINGS)
@pytest.mark.parametrize("codebooks", [1, 2])
@pytest.mark.parametrize("temperature", [0.0, 0.7])
def test_verified_guesses_give_autoregressive_frames(conditioning: str, codebooks: int, temperature: float) -> None:
    """T29: exactly the same codes, in fewer passes. Two codes only, so that guesses are often right."""
    made = silence_eos(talker(codebooks, size=2, conditioning=conditioning))
    told, drawing = Told(made, words(3, 7), COUNTS), {"temperature": temperature, "seed": 2}
    expected = said(ARDecoder(made, 3, max_frames=40, **drawing), told)
    found = MTPDecoder(made, 3, accept=Verified(), ahead=2, max_frames=40, **drawing)
    assert torch.equal(said(found, told), expected)
    assert found.work.forwards < 40


@pytest.mark.parametrize("block", [1, 2, 16])
@pytest.mark.parametrize("ahead", [1, 3, 5])
def test_verified_guesses_for_every_block_size_and_window(block: int, ahead: int) -> None:
    made = silence_eos(talker(size=2, block=block, anchors=1))
    told = Told(made, words(3, 7), COUNTS)
    expected = said(ARDecoder(made, 3, max_frames=32), told)
    assert torch.equal(said(MTPDecoder(made, 3, accept=Verified(), ahead=ahead, max_frames=32), told), expected)


def anchored_guesses(told: Told, codes_NLQ: Tensor, ahead: int) -> Tensor:
    """``logits_NGC`` of the window behind the last position, whose own frame is not known: from a row of training."""
    talker, n, length = told.talker, len(codes_NLQ), codes_NLQ.shape[1] + ahead
    padded = torch.cat([codes_NLQ, codes_NLQ.new_zeros(n, ahead, codes_NLQ.shape[2])], 1)
    valid_NL = torch.ones(n, length, dtype=torch.bool)
    noised = Noised(padded, padded[:, None], padded[:, None] == -1, valid_NL, valid_NL.sum(1))
    rows = Anchored(ahead, 1)(noised, talker.clock, talker.vocabulary)
    hidden = talker(rows.ids_NTQ, rows.meta, told.text_NS, torch.tensor(told.counts_N))
    return told.limited(talker.logits(hidden))[:, -ahead:, 0]


@pytest.mark.parametrize("conditioning", CONDITIONINGS)
@pytest.mark.parametrize("tau", [None, 0.35])
def test_guesses_are_those_of_anchored_rows(conditioning: str, tau: float | None) -> None:
    """Unverified and confident decoding, one row, against whole rows of the layout that it is trained in."""
    made, ahead, length = silence_eos(talker(conditioning=conditioning)), 3, 16
    told = Told(made, words(1, 7), [7])
    accept = Unverified() if tau is None else Confident(tau=tau)
    found = said(MTPDecoder(made, 1, accept=accept, ahead=ahead, max_frames=length), told)
    codes_NLQ = torch.zeros(1, 0, 1, dtype=torch.long)
    while codes_NLQ.shape[1] < length:
        row = torch.cat([codes_NLQ, torch.zeros(1, 1, 1, dtype=torch.long)], 1)
        first = told.next_logits(row)[:, -1].argmax(-1)[:, None]
        guess_NGC = anchored_guesses(told, row, ahead)
        left = (codes_NLQ.shape[1] // 4 + 1) * 4 - codes_NLQ.shape[1] - 1
        sure = guess_NGC.float().log_softmax(-1).amax(-1)[0] > (-torch.inf if tau is None else torch.tensor(tau).log())
        kept = min(int(sure.long().cumprod(0).sum()), left)
        codes_NLQ = torch.cat([codes_NLQ, first, guess_NGC.argmax(-1)[:, :kept, None]], 1)
    assert torch.equal(found, codes_NLQ)


def test_passes_of_unverified_decoding() -> None:
    """All guesses are kept: a block of 16 costs 4 passes with 3 masks, and no wait for the device."""
    made = silence_eos(talker(block=16, anchors=4))
    found = MTPDecoder(made, 3, max_frames=64)
    decode_all(found, words(3, 7), COUNTS)
    assert found.work.steps == [4] * 4
    assert found.work.forwards == 16


def test_acceptances_are_named_with_their_number() -> None:
    assert acceptance_of("confident:0.6") == acceptance_of("confident:tau=0.6") == Confident(0.6)
    assert [acceptance_of(name) for name in ("unverified", "confident", "verified")] == [
        Unverified(),
        Confident(0.9),
        Verified(),
    ]
    for text, said in {
        "sure": "no way 'sure' to accept guesses; there are confident, unverified, verified",
        "confident:0": "confident:0: tau is a probability above 0",
        "confident:high": "'high' is not a number",
        "verified:0.5": "verified takes no numbers",
        "confident:certain=1": r"confident takes 1 number \(tau\)",
    }.items():
        with pytest.raises(ValueError, match=said):
            acceptance_of(text)


@pytest.mark.parametrize("name", sorted(ACCEPTANCES))
def test_a_row_does_not_depend_on_those_beside_it(name: str) -> None:
    """T16 where rows advance at their own pace."""
    made = silence_eos(talker(size=3))
    text_NS = words(3, 7)
    settings: dict[str, Any] = {"accept": ACCEPTANCES[name](), "max_frames": 32}
    together = decode_all(MTPDecoder(made, 3, **settings), text_NS, COUNTS)
    for row, count in enumerate(COUNTS):
        alone = MTPDecoder(made, 1, utterances=[str(row)], **settings)
        assert torch.equal(decode_all(alone, text_NS[row : row + 1], [count])[0], together[row])


def test_what_verification_accepts() -> None:
    """Guesses count up to the first that the pass itself does not say; what follows a wrong one never counts."""
    fed = torch.tensor([[5, 1, 2, 3], [5, 1, 9, 3], [0, 0, 5, 3]])[:, :, None]
    heads = torch.tensor([[1, 2, 3, 4], [1, 2, 3, 4], [7, 7, 3, 4]])[:, :, None]
    first_N = torch.tensor([0, 0, 2])  # the last row has two slots in use
    guess = torch.zeros(3, 4, 3, 1, dtype=torch.long)
    found = Said(fed, first_N, heads, guess, stats(torch.zeros(3, 1, 2)))
    assert Verified().anchor(found).tolist() == [3, 1, 3]


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one mask"):
        MTPDecoder(talker(), 1, ahead=0)
    with pytest.raises(ValueError, match="at least one frame"):
        ARDecoder(talker(), 1, chunk=0)


def test_masks_are_never_settled() -> None:
    """T10 for windows: after a pass, places of the row hold what an autoregressive pass over its frames puts there."""
    made: Talker = silence_eos(talker(size=3))
    told = Told(made, words(1, 7), [7])
    multi, single = MTPDecoder(made, 1, accept=Verified(), max_frames=16), ARDecoder(made, 1, max_frames=16)
    assert torch.equal(said(multi, told), said(single, told))
    settled = 13  # places of the last block are fed again only if another block follows
    for ours, theirs in zip(multi.keys.kv_layers, single.keys.kv_layers, strict=True):
        torch.testing.assert_close(ours[:, :, :, : settled - 1], theirs[:, :, :, : settled - 1], rtol=0, atol=1e-12)
