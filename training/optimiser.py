"""Optimisers, chosen by name from :data:`OPTIMISERS`, and their state as named tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from manifests.settings.train import AdamWSettings, MuonSettings
from training.distributed import Ranks
from training.muon import Muon
from training.talker import Talker
from training.transformer import Attention


def _matrices(talker: Talker) -> set[int]:
    """Weights of linear layers, by identity: what decays. Embeddings, norms and biases do not."""
    return {id(m.weight) for m in talker.modules() if isinstance(m, nn.Linear)}


def _hidden(talker: Talker) -> set[int]:
    """Matrices that lead from states to states: the layers', without what reads ids and speaks classes."""
    inner = (talker.body, talker.reader.layers)
    return {id(m.weight) for part in inner for m in part.modules() if isinstance(m, nn.Linear)}


def _adamw(talker: Talker, settings: AdamWSettings, left_out: set[int]) -> AdamW:
    rest, decaying = [p for p in talker.parameters() if id(p) not in left_out], _matrices(talker)
    groups = [
        {"params": [p for p in rest if id(p) in decaying], "weight_decay": settings.weight_decay},
        {"params": [p for p in rest if id(p) not in decaying], "weight_decay": 0.0},
    ]
    return AdamW(groups, lr=settings.lr, betas=settings.betas, eps=settings.eps)


def adamw(talker: Talker, settings: AdamWSettings, ranks: Ranks, numbers: torch.dtype) -> list[Optimizer]:
    """AdamW for all weights."""
    return [_adamw(talker, settings, set())]


def muon(talker: Talker, settings: MuonSettings, ranks: Ranks, numbers: torch.dtype) -> list[Optimizer]:
    """Muon for the matrices of hidden layers, its steps brought to the size of AdamW's; AdamW for the rest."""
    hidden = _hidden(talker)
    stacked = {id(m.qkv.weight): 3 for m in talker.modules() if isinstance(m, Attention)}
    matrices = Muon(
        [p for p in talker.parameters() if id(p) in hidden], stacked, lr=settings.matrix_lr or settings.lr,
        momentum=settings.momentum, weight_decay=settings.weight_decay, ranks=ranks, numbers=numbers,
    )  # fmt: skip
    return [matrices, _adamw(talker, settings, hidden)]


OPTIMISERS: dict[str, Callable[[Talker, Any, Ranks, torch.dtype], list[Optimizer]]] = {"adamw": adamw, "muon": muon}


class Optimisers:
    """The optimisers of a run as one. ``numbers`` in which they multiply matrices, if they do; what they keep is float32."""

    def __init__(
        self, talker: Talker, settings: AdamWSettings | MuonSettings, ranks: Ranks, numbers: torch.dtype = torch.float32
    ) -> None:
        self.all = OPTIMISERS[settings.name](talker, settings, ranks, numbers)
        self._peaks = [[float(group["lr"]) for group in optimiser.param_groups] for optimiser in self.all]

    def step(self, factor: float) -> float:
        """Move the weights, at ``factor`` of the peak rates; returns the rate of the last group."""
        for optimiser, peaks in zip(self.all, self._peaks, strict=True):
            for group, peak in zip(optimiser.param_groups, peaks, strict=True):
                group["lr"] = peak * factor
            optimiser.step()
        return self._peaks[-1][-1] * factor

    def tensors(self) -> dict[str, Tensor]:
        """The state as named tensors: optimiser, number of the weight, name."""
        found = {}
        for i, optimiser in enumerate(self.all):
            for number, state in optimiser.state_dict()["state"].items():
                found.update({f"{i}.{number}.{name}": torch.as_tensor(value) for name, value in state.items()})
        return found

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """The inverse of :meth:`tensors`."""
        for i, optimiser in enumerate(self.all):
            state: dict[int, dict[str, Tensor]] = {}
            for number, name, value in _of(tensors, i):
                state.setdefault(number, {})[name] = value
            optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})


def _of(tensors: Mapping[str, Tensor], optimiser: int) -> Iterable[tuple[int, str, Tensor]]:
    for name, value in tensors.items():
        i, number, rest = name.split(".", 2)
        if int(i) == optimiser:
            yield int(number), rest, value
