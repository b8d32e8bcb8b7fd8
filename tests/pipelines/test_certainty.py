"""Mean entropy of predictions: the frames that are said and their end, whatever the decoder."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pipelines.evaluation.certainty import _spoken, predictive_entropy
from pipelines.evaluation.speaking import spoken
from pipelines.evaluation.systems import System
from pipelines.voice.manner import Manner
from pipelines.voice.voice import Voice
from tests.pipelines.tiny_run import make_run, make_tested_dataset
from training.decoding.protocol import Outcome, stream
from training.policies import PRESETS, Policy, Stats

TEXTS = ["speaker 3 says line 1", "speaker 3 says line 3", "speaker 2 says line 0"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.set_num_threads(1)
    return make_tested_dataset(tmp_path_factory.mktemp("data"))


def by_hand(system: System, texts: Sequence[str]) -> tuple[float, float]:
    """(mean over what is said and its end, mean over all cells) in bits, of one codebook."""
    said, everything = list[float](), list[float]()

    class Kept(Policy):
        def select(self, stats: Stats, masked_NM: Tensor, *rest: object, **more: object) -> Tensor:
            reveal_NM = super().select(stats, masked_NM, *rest, **more)  # type: ignore[arg-type]
            for cell in reveal_NM[0].nonzero().flatten().tolist():
                block[cell] = float(stats.entropy_NM[0, cell]) / math.log(2)
            return reveal_NM

    policy = PRESETS[str(system.manner.policy)]
    for text in texts:
        block: dict[int, float] = {}
        decoder, (text_NS, counts) = (
            system.voice.decoder(
                system.manner, [text], policy=Kept(**{f.name: getattr(policy, f.name) for f in fields(Policy)})
            ),
            system.voice.batch([text]),
        )
        decoder.feed(text_NS, counts, ended=True)
        for chunk in stream(decoder):
            ended = decoder.outcomes[0] is Outcome.ENDED
            said += [block[cell] for cell in range(chunk.valid_N[0] + ended)]
            everything += block.values()
            block.clear()
    return sum(said) / len(said), sum(everything) / len(everything)


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("max_seconds", [30.0, 0.4])
def test_what_fills_a_block_behind_its_end_does_not_count(
    data: str, tmp_path: Path, steps: int, max_seconds: float
) -> None:
    voice = Voice.load(make_run(tmp_path / "run", data))
    system = System("x", "block", voice, Manner("block", steps, "even", max_seconds=max_seconds))
    said, everything = by_hand(system, TEXTS)
    assert predictive_entropy(system, TEXTS, spoken(system, TEXTS, 3).codes) == pytest.approx(said, rel=1e-5)
    assert said != pytest.approx(everything, rel=1e-3)


def test_what_is_decided_with_an_end_is_no_prediction(data: str, tmp_path: Path) -> None:
    """Cells behind the end that the policy ``ending`` decides with it were not asked for: there is nothing to leave out."""
    system = System("x", "block", Voice.load(make_run(tmp_path / "run", data)), Manner("block", 3, "ending"))
    said, everything = by_hand(system, TEXTS)
    assert predictive_entropy(system, TEXTS, spoken(system, TEXTS, 3).codes) == pytest.approx(said, rel=1e-5)
    assert said == pytest.approx(everything)


def test_of_several_codebooks_the_first_one_decides_the_end() -> None:
    values_LQ = torch.arange(8.0).reshape(4, 2)
    assert _spoken(values_LQ, 2, ended=True).tolist() == [0, 1, 2, 3, 4]
    assert _spoken(values_LQ, 4, ended=False).tolist() == list(range(8))
    assert _spoken(values_LQ, 0, ended=True).tolist() == [0]
