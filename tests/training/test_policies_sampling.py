"""What is drawn follows the distribution it is drawn from, and depends on nothing but where it is drawn."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from training.policies import Key, Policy
from training.policies.noise import cell_uniform, gumbel
from training.policies.stats import nucleus, stats


def keys(n: int, seed: int = 0, block: int = 0) -> Key:
    return Key(seed, torch.arange(n) * 7919 + 12345, block)


def limit(freedom: int) -> float:
    """A chi-square that one in ten thousand exceeds (Wilson and Hilferty)."""
    return freedom * (1 - 2 / (9 * freedom) + 3.719 * math.sqrt(2 / (9 * freedom))) ** 3


def chi_square(drawn: Tensor, probs: Tensor, least: float = 5.0) -> tuple[float, int]:
    """The statistic and its degrees of freedom; classes too rare to count alone are one class."""
    seen, expected = torch.bincount(drawn.flatten(), minlength=len(probs)).double(), probs.double() * drawn.numel()
    rare = expected < least
    if rare.any():
        seen = torch.cat([seen[~rare], seen[rare].sum()[None]])
        expected = torch.cat([expected[~rare], expected[rare].sum()[None]])
    return float(((seen - expected) ** 2 / expected).sum()), len(seen) - 1


def draws(logits_C: Tensor, rows: int, cells: int, temperature: float = 1.0, top_p: float = 1.0) -> Tensor:
    logits = logits_C.expand(rows, cells, -1)
    return stats(logits, temperature=temperature, top_p=top_p, key=keys(rows), step=2).token_NM


def test_of_classes_that_are_as_likely_the_first_is_taken() -> None:
    logits_NMC = torch.tensor([[[1.0, 3.0, 3.0, 2.0], [5.0, 5.0, 5.0, 5.0], [0.0, -math.inf, 0.0, 7.0]]])
    assert stats(logits_NMC).token_NM.tolist() == [[1, 0, 3]]


def test_draws_of_eleven_classes_follow_their_probabilities() -> None:
    logits = torch.tensor([0.0, 1.0, -1.0, 2.0, 0.5, -3.0, 0.1, 0.2, 1.5, -0.5, -2.0])
    drawn = draws(logits, 400, 50)
    statistic, freedom = chi_square(drawn, logits.softmax(-1))
    assert freedom == 10
    assert statistic < limit(freedom)
    assert chi_square(drawn, (logits * 1.1).softmax(-1))[0] > limit(10), "a wrong temperature is seen"


def test_draws_of_a_peaked_speech_vocabulary_follow_their_probabilities() -> None:
    logits = torch.randn(6561, generator=torch.Generator().manual_seed(3)) * 4
    probs = logits.softmax(-1)
    assert probs.max() > 0.1
    drawn = torch.cat([draws(logits, 50, 20), draws(logits.flip(0), 50, 20).mul(-1).add(6560)])
    statistic, freedom = chi_square(drawn, probs)
    assert freedom > 20
    assert statistic < limit(freedom)


@pytest.mark.parametrize("temperature", [1e-39, 1e-30, 9e-5])
def test_a_temperature_next_to_nothing_takes_the_likeliest_class(temperature: float) -> None:
    """Logits over it would be infinite, and infinity equals itself."""
    logits = torch.randn(9, 30, generator=torch.Generator().manual_seed(0)) * 20
    assert torch.equal(draws(logits, 4, 9, temperature=temperature), logits.argmax(-1).expand(4, 9))


def test_temperature_and_nucleus_shape_what_is_drawn() -> None:
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0])
    drawn = draws(logits, 100, 50, temperature=0.5)
    statistic, freedom = chi_square(drawn, (logits / 0.5).softmax(-1))
    assert statistic < limit(freedom)
    cut = draws(logits, 100, 50, top_p=0.8)  # .644 + .237 reach .8
    assert set(cut.flatten().tolist()) == {0, 1}
    assert chi_square(cut, torch.tensor([2.0, 1.0]).softmax(-1))[0] < limit(1)


@pytest.mark.parametrize("top_p", [0.05, 0.5, 0.9, 0.999])
def test_the_nucleus_is_the_smallest_set_that_holds_its_mass(top_p: float) -> None:
    logits = torch.randn(3, 5, 9, generator=torch.Generator().manual_seed(1)) * 2
    kept = nucleus(logits, top_p) > float("-inf")
    probs = logits.softmax(-1)
    for p, k in zip(probs.view(-1, 9), kept.view(-1, 9), strict=True):
        mass, expected = 0.0, set()
        for i in p.argsort(descending=True).tolist():
            if mass < top_p:
                expected.add(i)
            mass += float(p[i])
        assert set(k.nonzero().flatten().tolist()) == expected


def test_the_tails_of_the_noise_are_those_of_gumbel() -> None:
    noise = torch.cat([gumbel(keys(100, seed), 1, 16, 650).flatten() for seed in range(2)]).double()
    for bar in (2.0, 5.0, 8.0, 10.0):  # P(G > x) = 1 - exp(-exp(-x)), small: so by expm1
        expected = -math.expm1(-math.exp(-bar)) * len(noise)
        assert abs(int((noise > bar).sum()) - expected) < 4.5 * math.sqrt(expected), bar
    for bar in (-1.0, -1.5, -2.0):
        expected = math.exp(-math.exp(-bar)) * len(noise)
        assert abs(int((noise < bar).sum()) - expected) < 4.5 * math.sqrt(expected), bar
    assert noise.mean() == pytest.approx(0.57722, abs=0.004)
    assert noise.isfinite().all()


def test_the_upper_tail_is_not_cut_where_float32_uniforms_end() -> None:
    """Noise of the large kind is as fine as its float64 reference, -log(-log1p(-v)), of the same 32 bits."""
    v = torch.tensor([0.5, 1.5, 1000.5, 2.0**31]).double() * 2.0**-32
    reference = -(-(-v).log1p()).log()
    assert torch.allclose(-(-(-v.float()).log1p()).log().double(), reference, rtol=1e-6)
    assert reference[0] > 22


def test_noise_of_different_places_is_uncorrelated() -> None:
    cells, classes = 64, 128
    base = gumbel(keys(1), 1, cells, classes)[0]
    others = [
        gumbel(keys(2), 1, cells, classes)[1],  # utterance
        gumbel(keys(1, block=1), 1, cells, classes)[0],
        gumbel(keys(1), 2, cells, classes)[0],  # step
        gumbel(keys(1, seed=1), 1, cells, classes)[0],
        base.roll(1, 0),  # position
        base.roll(1, 1),  # class
    ]
    for other in others:
        assert not torch.equal(base, other)
        correlation = torch.corrcoef(torch.stack([base.flatten(), other.flatten()]))[0, 1]
        assert abs(float(correlation)) < 4 / math.sqrt(cells * classes)


def test_noise_of_a_place_is_the_same_in_any_batch() -> None:
    alone = Key(3, torch.tensor([99]), torch.tensor([4]))
    batch = Key(3, torch.tensor([5, 99, 7]), torch.tensor([0, 4, 9]))
    assert torch.equal(gumbel(alone, 2, 4, 6)[0], gumbel(batch, 2, 4, 6)[1])
    assert torch.equal(gumbel(alone, 2, 4, 6)[0], gumbel(batch, 2, 7, 9)[1, :4, :6])
    assert torch.equal(cell_uniform(alone, 2, 4)[0], cell_uniform(batch, 2, 4)[1])
    assert gumbel(alone, 2, 4, 6).dtype == cell_uniform(alone, 2, 4).dtype == torch.float32


def test_confidence_is_that_of_the_model_before_temperature_and_nucleus() -> None:
    logits = torch.randn(2, 6, 9)
    policy = Policy(temperature=0.2, top_p=0.5)
    found = policy.stats(logits, 1, keys(2))
    expected = logits.log_softmax(-1)
    assert torch.allclose(found.chosen_NM, expected.gather(-1, found.token_NM[..., None])[..., 0], atol=1e-6)
    assert torch.allclose(found.best_NM, expected.amax(-1), atol=1e-6)


def test_confidence_is_after_them_where_the_policy_asks() -> None:
    logits = torch.randn(2, 6, 9)
    found = Policy(temperature=0.2, top_p=0.5, tempered=True).stats(logits, 1, keys(2))
    expected = nucleus(logits / 0.2, 0.5).log_softmax(-1)
    assert torch.allclose(found.chosen_NM, expected.gather(-1, found.token_NM[..., None])[..., 0], atol=1e-5)
    assert found.entropy_NM.isfinite().all()


def test_without_temperature_the_likeliest_class_is_taken_and_no_key_is_needed() -> None:
    logits = torch.tensor([[[0.0, 2.0, 2.0], [5.0, 1.0, 0.0]]], dtype=torch.bfloat16)
    found = Policy().stats(logits)
    assert found.token_NM.tolist() == [[1, 0]]
    assert found.logits_NMC.dtype == torch.float32


def test_what_cannot_be_drawn_is_refused() -> None:
    logits = torch.zeros(1, 2, 3)
    with pytest.raises(ValueError, match="needs a key"):
        stats(logits, temperature=1.0)
    with pytest.raises(ValueError, match="top_p 0"):
        stats(logits, top_p=0.0)
    with pytest.raises(ValueError, match="temperature -1"):
        stats(logits, temperature=-1.0)
