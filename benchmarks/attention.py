"""Ways to attend under the mask of training, side by side: forward and backward, at the shapes of the demo's batches.

    python benchmarks/attention.py [--threads 1] [--flex] [--device cuda --dtype bfloat16]

Two streams with two noisy copies make rows of three times the frames. Torch's fused attention (``sdpa``), as the trainer uses it with a boolean mask, or
with a mask that is added; products and a softmax written out (``explicit``); and flex attention, compiled from the very predicate
(``--flex``: it compiles for a minute, on a processor it cannot go backward and is timed forward). Seconds are those of this process's threads
on a processor, so that other programs matter less, and the least of several rounds in which all take turns.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # not this folder: its tokenize.py would hide Python's own

import argparse
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from training.attention import CLEAN, NOISY, allow, join
from training.decoding.body import bias_of
from training.layout import Clock, speech

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
ROWS, BLOCKS, BLOCK, ANCHORS, COPIES, HEADS, WIDTH = 7, 6, 16, 5, 2, 4, 64


def mask_of(device: str) -> Tensor:
    """``allowed_1TT`` of a clean stream and its noisy copies."""
    clock, frames = Clock(BLOCK, ANCHORS), BLOCKS * BLOCK
    parts = [speech(0, frames, clock, CLEAN, torch.device(device))]
    parts += [speech(0, frames, clock, NOISY, torch.device(device), copy) for copy in range(COPIES)]
    meta = join(*parts)
    return allow(meta, meta)


def ways(allowed_1TT: Tensor, dtype: torch.dtype, flex: bool) -> dict[str, Attend]:
    """All of them, the trainer's first."""
    mask_11TT = allowed_1TT[:, None]
    bias_11TT = bias_of(allowed_1TT, dtype)

    def explicit(q_NHTY: Tensor, k_NHTY: Tensor, v_NHTY: Tensor) -> Tensor:
        scores_NHTT = q_NHTY @ k_NHTY.transpose(-1, -2) * q_NHTY.shape[-1] ** -0.5 + bias_11TT
        return scores_NHTT.softmax(-1) @ v_NHTY

    found: dict[str, Attend] = {
        "sdpa, boolean mask": lambda q, k, v: F.scaled_dot_product_attention(q, k, v, attn_mask=mask_11TT),
        "sdpa, added mask": lambda q, k, v: F.scaled_dot_product_attention(q, k, v, attn_mask=bias_11TT),
        "explicit": explicit,
    }
    if flex:
        found["flex, compiled"] = flexible(allowed_1TT)
    return found


def flexible(allowed_1TT: Tensor) -> Attend:
    """Flex attention skips pieces of which nothing is seen."""
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    seen_TT, size = allowed_1TT[0], allowed_1TT.shape[1]
    seen = create_block_mask(lambda b, h, q, k: seen_TT[q, k], None, None, size, size, device=str(seen_TT.device))
    compiled = torch.compile(flex_attention)
    return lambda q, k, v: compiled(q, k, v, block_mask=seen)


def seconds(attend: Attend, qkv: tuple[Tensor, Tensor, Tensor], backward: bool) -> float:
    """Of one call, on this process's threads or on the device."""
    clock, device = (time.process_time if qkv[0].device.type == "cpu" else time.perf_counter), qkv[0].device.type
    if device != "cpu":
        torch.cuda.synchronize()
    start = clock()
    out_NHTY = attend(*(qkv if backward else (x_NHTY.detach() for x_NHTY in qkv)))
    if backward:
        out_NHTY.sum().backward()
    if device != "cpu":
        torch.cuda.synchronize()
    return clock() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--flex", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    dtype, allowed_1TT = getattr(torch, asked.dtype), mask_of(asked.device)
    size = allowed_1TT.shape[1]
    shape = (ROWS, HEADS, size, WIDTH)
    q, k, v = (torch.randn(shape, dtype=dtype, device=asked.device, requires_grad=True) for _ in range(3))
    print(f"{ROWS} rows of {size} positions, {HEADS} heads of {WIDTH}, {asked.dtype}, {asked.threads} threads, {allowed_1TT.float().mean():.0%} seen")  # fmt: skip
    found = ways(allowed_1TT, dtype, asked.flex)
    for backward in (False, True):
        racing = {n: a for n, a in found.items() if not (backward and "flex" in n and asked.device == "cpu")}
        least = dict.fromkeys(racing, float("inf"))
        for _ in range(asked.rounds):
            for name, attend in racing.items():
                least[name] = min(least[name], seconds(attend, (q, k, v), backward))
        first = next(iter(least.values()))
        for name, taken in least.items():
            what = "forward and backward" if backward else "forward"
            print(f"{what:<22}{name:<22}{1e3 * taken:>8.2f} ms{taken / first:>7.2f} of the trainer's")


if __name__ == "__main__":
    main()
