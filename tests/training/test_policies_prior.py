"""Scores against a prior: what is frequent everywhere must not win for that."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import cast

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from pipelines.voice.voice import Voice
from tests.training.tiny import talker
from training.layout import Noised, two_stream
from training.policies import PriorCache, frequencies, mean_log_probs, preset
from training.policies.scores import SCORES, Moment


def test_on_a_corpus_of_one_code_all_positions_rank_equal() -> None:
    """A model of a constant says the same everywhere; less its own prior, that is nothing."""
    learned = torch.tensor([9.0, 0.0, -1.0, 0.5])
    logits = learned.expand(2, 8, -1)
    policy = preset("pmi")
    found = policy.stats(logits, prior=mean_log_probs(logits))
    score = policy.allocate(found, torch.ones(2, 8, dtype=torch.bool), 1, 4)[0].score_NM
    assert torch.allclose(score, torch.zeros(2, 8), atol=1e-6)
    frequent = policy.stats(logits, prior=frequencies(torch.tensor([1000, 0, 0, 0])))
    assert torch.equal(frequent.prior_NM, frequent.prior_NM[:1, :1].expand(2, 8))


def constant_but_for(rare_C: Tensor, rows: int, seed: int) -> Tensor:
    """``codes_NLQ`` of 8 frames: the first codebook says the same always, the second as it falls."""
    drawn = torch.multinomial(rare_C, rows * 8, True, generator=torch.Generator().manual_seed(seed)).view(rows, 8)
    return torch.stack([torch.full_like(drawn, 3), drawn], -1)


def test_a_trained_talker_on_a_corpus_without_news_ranks_all_cells_equal() -> None:
    """T34: what it says is how frequent codes are, and the prior of a voice takes that away; probabilities alone prefer the constant."""
    made, none = talker(2, size=4, dtype=torch.float32).train(), torch.zeros(64, dtype=torch.long)
    rare_C = torch.tensor([0.4, 0.2, 0.2, 0.2])
    optimiser = torch.optim.Adam(made.parameters(), 1e-2)

    def logits(codes_NLQ: Tensor) -> Tensor:
        ids_NCLQ = torch.full_like(codes_NLQ, made.vocabulary.mask)[:, None]
        valid_NL = torch.ones(codes_NLQ.shape[:2], dtype=torch.bool)
        x = Noised(codes_NLQ, ids_NCLQ, torch.ones_like(ids_NCLQ, dtype=torch.bool), valid_NL, valid_NL.sum(1))
        rows = two_stream(x, made.clock, made.vocabulary)
        return made.logits(made(rows.ids_NTQ, rows.meta, none[:, None][:, :0], none, rows.wanted))

    for step in range(50):
        codes_NLQ = constant_but_for(rare_C, 64, seed=step)
        loss = cross_entropy(logits(codes_NLQ).flatten(0, 2), codes_NLQ.flatten())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    corpus_QF = constant_but_for(rare_C, 500, seed=99).flatten(0, 1).T
    counts_QC = torch.stack([torch.bincount(codes_F, minlength=made.vocabulary.classes) for codes_F in corpus_QF])
    parts = SimpleNamespace(parts=SimpleNamespace(counts_QC=counts_QC.numpy()), talker=made, block=4)
    prior = Voice.prior.func(cast("Voice", parts))
    with torch.no_grad():
        found = logits(constant_but_for(rare_C, 64, seed=98))[:, :4].flatten(1, 2)  # a block that is masked throughout
    stats = preset("pmi").stats(found, prior=prior)
    assert stats.token_NM[0].tolist() == [3, 0] * 4
    scores = [SCORES[name](stats, Moment(1, 4)) for name in ("pmi", "max_prob")]
    spread = [(score.amax(1) - score.amin(1)).amax().item() for score in scores]
    assert spread[0] < 0.2
    assert spread[1] > 0.7


def test_silence_wins_by_probability_and_not_against_its_prior() -> None:
    silence, speech = 0, 2
    probs = torch.tensor([[[0.8, 0.1, 0.1], [0.3, 0.1, 0.6], [0.75, 0.05, 0.2], [0.2, 0.3, 0.5]]])
    masked = torch.ones(1, 4, dtype=torch.bool)
    prior = torch.tensor([0.7, 0.2, 0.1]).log()
    found = preset("pmi").stats(probs.log(), prior=prior)
    assert found.token_NM.tolist() == [[silence, speech, silence, speech]]
    assert preset("even").select(found, masked, 1, 2).tolist() == [[True, False, True, False]]
    assert preset("pmi").select(found, masked, 1, 2).tolist() == [[False, True, False, True]]


def test_a_prior_may_differ_between_cells() -> None:
    logits = torch.randn(5, 3, 4)
    per_cell = mean_log_probs(logits, per_cell=True)
    assert per_cell.shape == (3, 4)
    assert torch.allclose(per_cell.exp(), logits.softmax(-1).mean(0), atol=1e-6)
    assert torch.allclose(mean_log_probs(logits).exp(), logits.softmax(-1).mean((0, 1)), atol=1e-6)
    found = preset("pmi").stats(logits, prior=per_cell)
    expected = torch.stack([per_cell[m, found.token_NM[:, m]] for m in range(3)], dim=1)
    assert torch.equal(found.prior_NM, expected)


def test_a_class_that_the_prior_never_saw_scores_within_bounds() -> None:
    logits = torch.tensor([[[0.0, 3.0]]])
    found = preset("pmi").stats(logits, prior=torch.tensor([0.0, float("-inf")]))
    score = found.chosen_NM - found.prior_NM
    assert score.isfinite().all()
    assert score.item() == pytest.approx(20 + logits.log_softmax(-1)[0, 0, 1].item())


def test_frequencies_are_smoothed_counts() -> None:
    found = frequencies(torch.tensor([6, 2, 0]), smoothing=1.0)
    assert found.tolist() == pytest.approx([math.log(7 / 11), math.log(3 / 11), math.log(1 / 11)])
    assert found.dtype == torch.float32


def test_a_cached_prior_is_made_anew_when_the_weights_change() -> None:
    model, made = nn.Linear(3, 4), []

    def compute() -> torch.Tensor:
        made.append(1)
        return mean_log_probs(model(torch.ones(1, 2, 3)).detach())

    cache = PriorCache(compute)
    first = cache.get(model)
    assert cache.get(model) is first
    assert len(made) == 1
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.1)
    model(torch.ones(1, 3)).square().sum().backward()
    optimiser.step()
    assert not torch.equal(cache.get(model), first)
    model.load_state_dict({k: v + 1 for k, v in model.state_dict().items()})
    cache.get(model)
    assert len(made) == 3
