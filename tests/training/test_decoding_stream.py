"""Streaming: text in pieces, rows that end each in its time, interruptions. The same for every kind of decoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from tests.training.tiny import silence_eos, talker, words
from tests.training.waiting import waits
from training.decoding import conditioning as conditionings
from training.decoding.acceptance import Confident, Verified
from training.decoding.protocol import Chunk, Decoder, Outcome, decode_all, joined, stream
from training.decoding.registry import DECODERS, open_decoder
from training.policies.policy import preset
from training.talker import Talker

KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "block": ("block", {"steps": 3}),
    "block threshold": ("block", {"steps": 4, "policy": preset("threshold")}),
    "block ending": ("block", {"steps": 3, "policy": preset("ending")}),
    "block sampled": ("block", {"steps": 2, "policy": preset("even", temperature=0.8)}),
    "block unfused": ("block", {"steps": 3, "fused": False}),
    "autoregressive": ("autoregressive", {"temperature": 0.5}),
    "multi_token": ("multi_token", {}),
    "multi_token confident": ("multi_token", {"accept": Confident(tau=0.3)}),
    "multi_token verified": ("multi_token", {"accept": Verified()}),
}
every_kind = pytest.mark.parametrize("kind", sorted(KINDS))
every_conditioning = pytest.mark.parametrize("conditioning", ["anchors", "prefix", "both", "paced"])


def opened(made: Talker, kind: str, rows: int, **settings: Any) -> Decoder:
    name, fixed = KINDS[kind]
    return open_decoder(made, name, rows, **{"max_frames": 24, **fixed, **settings})


def same(left: Sequence[Tensor], right: Sequence[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


def in_pieces(decoder: Decoder, text_NS: Tensor, counts_N: Sequence[int], sizes: Sequence[int]) -> list[Chunk]:
    """Feed text piece by piece, and take what comes as soon as it comes."""
    chunks, first = list(stream(decoder)), 0
    assert not chunks
    for size in sizes:
        piece = text_NS[:, first : first + size]
        decoder.feed(piece, [min(max(count - first, 0), size) for count in counts_N])
        first += size
        chunks += stream(decoder)
    decoder.feed(text_NS[:, :0], ended=True)
    return chunks + list(stream(decoder))


@every_kind
@every_conditioning
@pytest.mark.parametrize("sizes", [[1] * 9, [2, 0, 3, 4], [9]])
def test_a_stream_says_what_the_whole_text_says(kind: str, conditioning: str, sizes: list[int]) -> None:
    """T22: any cut of the text; nothing that was sent is revised."""
    made, text_NS, counts = talker(conditioning=conditioning), words(3, 9), [9, 4, 0]
    whole = decode_all(opened(made, kind, 3), text_NS, counts)
    chunks = in_pieces(opened(made, kind, 3), text_NS, counts, sizes)
    assert same(joined(chunks, 3), whole)
    assert [c.first for c in chunks] == [4 * i for i in range(len(chunks))]


@pytest.mark.parametrize("sizes", [[1] * 150, [60, 5, 85], [150]])
def test_room_for_text_grows_with_the_text_and_the_states_are_those_of_room_for_all(
    sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, text_NS = talker(text_layers=2, max_frames=4096, dtype=torch.float32), words(3, 150)
    found = []
    for room in (conditionings.ROOM, 4096):
        monkeypatch.setattr(conditionings, "ROOM", room)
        one = conditionings.Conditioning.empty(made, 3, 4)
        for piece_NS in text_NS.split(sizes, 1):
            one.feed(piece_NS, None, False)
        found.append(one)
    grown, whole = found
    assert torch.equal(grown.states_NSD, whole.states_NSD)
    assert grown.cache.capacity <= 300
    assert whole.cache.capacity == 4096


@every_kind
@every_conditioning
def test_a_block_waits_for_its_turn_and_knows_no_later_one(kind: str, conditioning: str) -> None:
    """T22, the rule of the prefix: block b comes out as soon as turn b is there, whatever text comes after it."""
    made = silence_eos(talker(conditioning=conditioning))
    text_NS = words(2, 9)
    other_NS = torch.cat([text_NS[:, :4], (text_NS[:, 4:] + 1) % 7], 1)
    decoders = [opened(made, kind, 2) for _ in range(3)]
    sent = [[] for _ in decoders]
    for decoder, chunks, text in zip(decoders, sent, (text_NS[:, :4], text_NS, other_NS), strict=True):
        decoder.feed(text)
        chunks += stream(decoder)
    assert [len(chunks) for chunks in sent] == [2, 4, 4]
    for early, whole, changed in zip(*sent, strict=False):
        assert torch.equal(early.codes_NTQ, whole.codes_NTQ)
        assert torch.equal(changed.codes_NTQ, whole.codes_NTQ)
    assert not same(joined(sent[1], 2), joined(sent[2], 2))


ENDING = {
    "anchors": 2.5,
    "prefix": -0.5,
    "both": -2.0,
    "paced": 2.0,
}  # added to EOS, so that some rows end in two blocks


@every_kind
@every_conditioning
@pytest.mark.parametrize("after", [1, 2])
def test_an_interrupted_decoder_goes_on_as_if_nothing_had_happened(kind: str, conditioning: str, after: int) -> None:
    """T23: a copy after a block, when some rows have ended; both go on in turns, with texts of their own, and say what these say."""
    made, text_NS, counts = talker(conditioning=conditioning), words(8, 9, seed=4), [9, 5] * 4
    with torch.no_grad():
        made.head.bias[-1] += ENDING[conditioning]
    texts = [text_NS, torch.cat([text_NS[:, :5], (text_NS[:, 5:] + 1) % 7], 1)]
    straight = [opened(made, kind, 8) for _ in texts]
    wholes = [decode_all(one, text, counts) for one, text in zip(straight, texts, strict=True)]
    decoder = opened(made, kind, 8)
    decoder.feed(text_NS[:, :5])
    chunks = [c for _ in range(after) if (c := decoder.next())]
    assert Outcome.OPEN in decoder.outcomes
    assert Outcome.ENDED in decoder.outcomes or after == 1
    both, sent = [decoder, decoder.copy()], [list(chunks), list(chunks)]
    for one, text in zip(both, texts, strict=True):
        one.feed(text[:, 5:], [4, 0] * 4, ended=True)
    while not all(one.finished for one in both):
        for one, ours in zip(both, sent, strict=True):
            ours += [c for c in [one.next()] if c]
    for one, ours, expected, whole in zip(both, sent, straight, wholes, strict=True):
        assert same(joined(ours, 8), whole)
        assert one.work == expected.work
        assert one.outcomes == expected.outcomes


class Touched(TorchDispatchMode):
    """Counts elements written into keys and values, and keeps the names of operations on them that neither write nor look."""

    def __init__(self, held: Sequence[Tensor]) -> None:
        super().__init__()
        self.held = {kv.untyped_storage().data_ptr() for kv in held}
        self.written, self.other = 0, set[str]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)]
        if any(x.untyped_storage().data_ptr() in self.held for x in tensors):
            name = func.overloadpacket.__name__
            if name in ("copy_", "scatter_"):
                self.written += args[0 if name == "copy_" else 2].numel()
            elif name not in ("slice", "select", "alias", "scaled_dot_product_attention"):
                self.other.add(name)
        return func(*args, **kwargs)


@every_kind
@every_conditioning
def test_keys_and_values_are_written_once_for_each_position_fed(kind: str, conditioning: str) -> None:
    """T10: a pass writes what it feeds, whatever is settled before it; nothing is ever joined, copied or moved."""
    made = silence_eos(talker(conditioning=conditioning))
    decoder: Any = opened(made, kind, 3)
    decoder.feed(words(3, 9), [9, 4, 0], ended=True)
    places = [kv.data_ptr() for kv in decoder.keys.kv_layers]
    with Touched(decoder.keys.kv_layers) as touched:
        while decoder.next() is not None:
            assert touched.written == 2 * 2 * 32 * decoder.work.rows  # layers, keys and values, width
    assert not touched.other
    assert places == [kv.data_ptr() for kv in decoder.keys.kv_layers]
    work, text = decoder.work, 9 if made.prefix else 0
    fed = {
        "block": 4 * (sum(work.steps) + len(work.steps) - 1),
        "autoregressive": work.forwards,
        "multi_token": work.forwards * (4 + 3 * getattr(decoder, "windows", 0)),
    }
    assert work.rows == 3 * (fed[KINDS[kind][0]] + text)


@pytest.mark.parametrize("kind", ["block", "block sampled", "block unfused", "autoregressive", "multi_token"])
@every_conditioning
@pytest.mark.parametrize("codebooks", [1, 3])
def test_no_wait_for_the_device_inside_a_chunk(kind: str, conditioning: str, codebooks: int) -> None:
    """T31: where counts are fixed, or every guess is kept, one result is asked for, at the end of a chunk: where rows end."""
    made = silence_eos(talker(codebooks, conditioning=conditioning))
    decoder = opened(made, kind, 3)
    decoder.feed(words(3, 9), [9, 4, 0], ended=True)
    for _ in range(3):
        assert waits(decoder.next) == ["tolist"]


def test_a_policy_that_tests_confidences_asks_once_a_step() -> None:
    decoder = opened(silence_eos(talker()), "block threshold", 3)
    decoder.feed(words(3, 9), [9, 4, 0], ended=True)
    asked = waits(decoder.next)
    assert asked.count("__int__") == decoder.work.steps[0] > 1


@every_kind
def test_rows_do_not_influence_each_other(kind: str) -> None:
    """T15, T16: alone, in a batch, in another order, beside rows that end earlier or later, with more padding behind."""
    made, text_NS, counts = talker(), words(5, 9, seed=4), [9, 4, 0, 7, 2]
    with torch.no_grad():
        made.head.bias[-1] += 2.0  # so that rows end at different times
    names = [f"utterance {row}" for row in range(5)]
    together = decode_all(opened(made, kind, 5, utterances=names), text_NS, counts)
    assert len({len(codes) for codes in together}) > 1
    order = [3, 1, 4, 0, 2]
    mixed = opened(made, kind, 5, utterances=[names[row] for row in order])
    padded_NS = torch.cat([text_NS, words(5, 6)], 1)
    assert same(decode_all(mixed, padded_NS[order], [counts[row] for row in order]), [together[row] for row in order])
    for row in range(5):
        alone = opened(made, kind, 1, utterances=[names[row]])
        assert same(decode_all(alone, text_NS[row : row + 1], [counts[row]]), [together[row]])


@every_kind
@pytest.mark.parametrize("bias", [-1.0, 1.0, 3.0])
def test_rows_end_at_their_first_eos(kind: str, bias: float) -> None:
    """T14: what is sent stops before the first EOS, holds codes only, and a row that has ended sends nothing more."""
    made, text_NS = talker(2), words(6, 9, seed=1)
    with torch.no_grad():
        made.head.bias.view(2, 12)[:, -1] += bias
    decoder = opened(made, kind, 6)
    decoder.feed(text_NS, [9, 7, 5, 3, 1, 0], ended=True)
    chunks = list(stream(decoder))
    for row, outcome in enumerate(decoder.outcomes):
        valid = [chunk.valid_N[row] for chunk in chunks]
        assert (sum(valid) < 24) == (outcome is Outcome.ENDED)
        ended = next((i for i, v in enumerate(valid) if v < 4), len(valid))
        assert valid[:ended] == [4] * ended
        assert not any(valid[ended + 1 :])
        for chunk in chunks:
            v = chunk.valid_N[row]
            assert (chunk.codes_NTQ[row, :v] < 11).all()
            assert (chunk.codes_NTQ[row, v:] == 11).all()
    assert decoder.finished
    assert decoder.next() is None


@every_kind
def test_rows_end_inside_a_block(kind: str) -> None:
    """T14: speech that really ends between the ends of a block, and is that of any longer room to speak in."""
    inside = 0
    for seed in range(6):
        made, text_NS = talker(seed=seed), words(4, 9, seed=seed)
        with torch.no_grad():
            made.head.bias[-1] += 1.0
        decoder = opened(made, kind, 4)
        decoder.feed(text_NS, ended=True)
        chunks = list(stream(decoder))
        longer = decode_all(opened(made, kind, 4, max_frames=40), text_NS)
        for row, outcome in enumerate(decoder.outcomes):
            if outcome is Outcome.ENDED:
                assert torch.equal(joined(chunks, 4)[row], longer[row])
                inside += any(0 < chunk.valid_N[row] < made.settings.block for chunk in chunks)
    assert inside


@every_kind
def test_nothing_is_said_by_a_talker_that_ends_at_once(kind: str) -> None:
    """T14: an utterance of no frames; one block is enough to know, and shorter than a block is a length like any other."""
    made = silence_eos(talker(), bias=99.0)
    decoder = opened(made, kind, 2)
    codes = decode_all(decoder, words(2, 3))
    assert [len(c) for c in codes] == [0, 0]
    assert list(decoder.outcomes) == [Outcome.ENDED] * 2
    assert len(decoder.work.steps) == 1


@every_kind
@pytest.mark.parametrize("limit", [1, 4, 6, 8])
def test_the_most_frames_allowed_is_a_named_outcome(kind: str, limit: int) -> None:
    made = silence_eos(talker())
    decoder = opened(made, kind, 2, max_frames=limit)
    codes = decode_all(decoder, words(2, 3))
    assert [len(c) for c in codes] == [limit] * 2
    assert list(decoder.outcomes) == [Outcome.LIMIT] * 2
    longer = decode_all(opened(made, kind, 2, max_frames=limit + 8), words(2, 3))
    assert same(codes, [c[:limit] for c in longer])


@every_kind
def test_the_longest_utterance_is_what_the_talker_has_positions_for(kind: str) -> None:
    made = silence_eos(talker(max_frames=18))
    codes = decode_all(opened(made, kind, 1, max_frames=None), words(1, 3))
    assert len(codes[0]) == 16


@every_kind
@every_conditioning
def test_no_text_at_all(kind: str, conditioning: str) -> None:
    """A row of zero states, and a batch of them, decode like the network is trained: with the vectors that stand for none."""
    made = silence_eos(talker(conditioning=conditioning))
    nothing = decode_all(opened(made, kind, 1), words(1, 0))
    padded = decode_all(opened(made, kind, 1), words(1, 3), [0])
    assert same(nothing, padded)
    assert len(nothing[0]) == 24


def test_text_that_cannot_be_is_refused() -> None:
    decoder = open_decoder(talker(), "block", 2)
    decoder.feed(words(2, 3), [3, 1])
    with pytest.raises(ValueError, match=r"rows \[1\]"):
        decoder.feed(words(2, 1), [1, 1])
    with pytest.raises(ValueError, match="3 rows"):
        decoder.feed(words(3, 1))
    with pytest.raises(ValueError, match="counts"):
        decoder.feed(words(2, 1), [2, 0])
    with pytest.raises(ValueError, match="max_frames"):
        decoder.feed(words(2, 70), [70, 0])
    decoder.feed(words(2, 1), [1, 0], ended=True)
    with pytest.raises(ValueError, match=r"rows \[0\]"):
        decoder.feed(words(2, 1), [1, 0])
    decoder.feed(words(2, 2), [0, 0])


def test_given_text_states() -> None:
    """A talker that reads the states of a language model takes them as they are."""
    made = silence_eos(talker(text_width=6))
    states_NSW = torch.randn(2, 5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    whole = decode_all(open_decoder(made, "block", 2, max_frames=12), states_NSW)
    decoder = open_decoder(made, "block", 2, max_frames=12)
    decoder.feed(states_NSW[:, :3])
    chunks = list(stream(decoder))
    decoder.feed(states_NSW[:, 3:], ended=True)
    assert same(joined(chunks + list(stream(decoder)), 2), whole)


def test_decoders_by_name() -> None:
    assert set(DECODERS) == {"block", "autoregressive", "multi_token"}
    with pytest.raises(ValueError, match="no decoder 'other'"):
        open_decoder(talker(), "other", 1)
