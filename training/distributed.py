"""Several processes as one: each holds the whole talker and a share of every batch; gradients are summed, never averaged."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Ranks:
    """This process among ``size``; rank 0 writes and speaks."""

    rank: int = 0
    size: int = 1
    device: torch.device = CPU

    @property
    def first(self) -> bool:
        return self.rank == 0

    def add(self, tensor: Tensor) -> Tensor:
        """The sum over ranks, in place and the same bits everywhere."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def wait(self) -> None:
        """Until all ranks are here."""
        if self.size > 1:
            self.add(torch.zeros(1, device=self.device))


def by_environment() -> tuple[int, int, int] | None:
    """(rank, size, rank on this machine) as torchrun and its like set them; None where nothing is set."""
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        return None
    rank = int(os.environ["RANK"])
    return rank, int(os.environ["WORLD_SIZE"]), int(os.environ.get("LOCAL_RANK", rank))


def device_of(local_rank: int) -> torch.device:
    """The GPU of a rank, where there are any."""
    count = torch.cuda.device_count()
    return torch.device("cuda", local_rank % count) if count else torch.device("cpu")


@contextmanager
def joined(rank: int, size: int, local_rank: int, meeting: str = "env://") -> Iterator[Ranks]:
    """Join the other ranks at ``meeting`` (a URL that torch.distributed knows) and leave them at the end.

    A group that stands already (Ray Train makes one) is used and left standing.
    """
    device = device_of(local_rank)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    mine = size > 1 and not dist.is_initialized()
    if mine:
        backend = "nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, init_method=meeting, rank=rank, world_size=size)
    try:
        yield Ranks(rank, size, device)
    finally:
        if mine:
            dist.destroy_process_group()
