"""Speech decoders side by side: next-frame, several frames a pass, and block diffusion, on one talker of random weights.

    python benchmarks/decode.py [--quick] [--wide] [--streams 1 8 32] [--threads 1 2] [--device cuda] [--json FILE]

All decoders share layers, cache and conditioning; each is given the thread count and the order of weights that suit it best, and
is compared with the best of next-frame decoding of the same type of numbers, and with the best of any type. They take turns block by block, so that a busy machine is as unkind to one as
to another. Timed is ``next()`` with everything in it: choosing codes, settling blocks, the one wait for the device. EOS is made
impossible by the weights. On a machine that others use, ``--clock processor`` counts this program's seconds alone, for one
thread. The first block of a stream is the first chunk (text of one turn is read, then 16 frames for every decoder); the others
are the steady state.

Random weights agree with no guess: what verified guesses are worth depends on the talker, so that row is a lower bound.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # not this folder: its tokenize.py would hide Python's own

import argparse
import json
import os
import platform
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import product
from statistics import quantiles
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from manifests.settings.talker import TalkerSettings
from training.decoding.acceptance import Verified
from training.decoding.body import Body
from training.decoding.protocol import Decoder
from training.decoding.registry import open_decoder
from training.talker import Talker
from training.vocabulary import Vocabulary

CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}
WORDS = 64  # of the text vocabulary; what is said does not matter here
FULL = {"streams": [1, 8, 32], "steps": [1, 2, 4, 8, 16], "rounds": 3, "seconds": 2.0, "blocks": 24}
QUICK = {"streams": [1, 8], "steps": [1, 4, 16], "rounds": 1, "seconds": 0.5, "blocks": 10}
LEAST = 3  # steady blocks of a measurement, however long they take


@dataclass(frozen=True)
class Size:
    """A talker. 6561 codes are CosyVoice 2's; 1024 those of the demo."""

    name: str
    width: int
    heads: int
    codes: int


SIZES = (Size("demo", 256, 4, 1024), Size("paper", 1024, 16, 6561), Size("wide", 2048, 16, 6561))


@dataclass(frozen=True)
class Contestant:
    """A way of decoding."""

    name: str
    kind: str
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Setup:
    """How a contestant runs: ``packed`` weights are laid out for few rows."""

    threads: int
    packed: bool
    dtype: str


@dataclass
class Times:
    """Seconds of first and of later blocks."""

    first: list[float] = field(default_factory=list)
    steady: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Cost:
    """Of a steady block, all streams together: what it is made of.

    weights_mb  weights read: all of them for each pass
    operations  operations started, views not counted
    """

    forwards: float
    commits: float
    weights_mb: float
    gflop: float
    operations: int


@dataclass(frozen=True)
class Result:
    """One line of the table. ``speedup`` over next-frame decoding of the same type of numbers, ``of_best`` over the best of any."""

    size: str
    streams: int
    decoder: str
    speedup: float
    of_best: float
    frames_per_s: float
    p50_ms: float
    p95_ms: float
    first_ms: float
    frames_per_forward: float
    setup: Setup
    cost: Cost


class Operations(TorchDispatchMode):
    """Counts operations that do work: what returns a view of its input does none."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        views = any(r.alias_info is not None and not r.alias_info.is_write for r in func._schema.returns)
        self.count += not views
        return func(*args, **(kwargs or {}))


def contestants(steps: Sequence[int]) -> list[Contestant]:
    """Everybody: next-frame decoding first."""
    multi = [
        Contestant("mtp unverified", "multi_token"),
        Contestant("mtp verified", "multi_token", {"accept": Verified()}),
    ]
    blocks = [
        Contestant(f"block k={k}{'' if fused else ' unfused'}", "block", {"steps": k, "fused": fused})
        for fused, k in product((True, False), steps)
    ]
    return [Contestant("ar", "autoregressive"), *multi, *blocks]


def talker(size: Size, device: str, dtype: torch.dtype) -> Talker:
    """Random weights that never say EOS."""
    torch.manual_seed(0)
    settings = TalkerSettings(width=size.width, heads=size.heads, ffn=4 * size.width)
    made = Talker(settings, Vocabulary(size.codes), WORDS)
    with torch.no_grad():
        made.head.bias[made.vocabulary.eos] = -1e4
    return made.to(device).in_numbers(dtype).eval()


def opened(made: Talker, who: Contestant, streams: int, blocks: int, body: Body) -> Decoder:
    return open_decoder(made, who.kind, streams, max_frames=blocks * made.settings.block, body=body, **who.settings)


def feed(decoder: Decoder, made: Talker, streams: int, count: int) -> None:
    decoder.feed(torch.zeros(streams, count, dtype=torch.long, device=made.place.weight.device))


@dataclass
class Lap:
    """A contestant on its way: its decoder, and the seconds it has used in this round."""

    decoder: Decoder
    times: Times
    spent: float = 0.0

    def goes_on(self, seconds: float) -> bool:
        return not self.decoder.finished and (len(self.times.steady) < LEAST or self.spent < seconds)


def lap(laps: Sequence[Lap], made: Talker, streams: int, args: argparse.Namespace) -> None:
    """A first block of everybody, from the arrival of its text on, then others in turn, for as long as there is time."""
    clock = CLOCKS[args.clock]
    for one in laps:
        start = clock()
        feed(one.decoder, made, streams, made.settings.anchors)
        one.decoder.next()
        one.times.first.append(clock() - start)
        feed(one.decoder, made, streams, made.settings.anchors * args.blocks)
    while going := [one for one in laps if one.goes_on(args.seconds)]:
        for one in going:
            start = clock()
            one.decoder.next()
            one.times.steady.append(clock() - start)
            one.spent += one.times.steady[-1]


def cost(made: Talker, who: Contestant, streams: int) -> Cost:
    """Counted over two steady blocks."""
    decoder = opened(made, who, streams, 4, Body(made))
    feed(decoder, made, streams, 64)
    decoder.next()
    forwards, commits = decoder.work.forwards, decoder.work.commits
    with FlopCounterMode(display=False) as flops, Operations() as operations:
        decoder.next()
        decoder.next()
    forwards, commits = (decoder.work.forwards - forwards) / 2, (decoder.work.commits - commits) / 2
    weights = sum(p.numel() * p.element_size() for part in (made.body, made.head) for p in part.parameters())
    return Cost(forwards, commits, forwards * weights / 1e6, flops.get_total_flops() / 2e9, operations.count // 2)


def percentile(times: Sequence[float], percent: int) -> float:
    """In milliseconds."""
    return 1e3 * (quantiles(times, n=100, method="inclusive")[percent - 1] if len(times) > 1 else times[0])


def setups(args: argparse.Namespace) -> list[Setup]:
    if args.device != "cpu":
        return [Setup(torch.get_num_threads(), False, dtype) for dtype in args.dtypes]
    return [Setup(*setup) for setup in product(args.threads, (False, True), args.dtypes)]


Talkers = dict[str, Talker]
"""One talker in each type of numbers."""

Race = dict[tuple[str, Setup], Times]


def race(made: Talkers, args: argparse.Namespace, streams: int) -> Race:
    """Times of every contestant in every setup. The first round only warms up."""
    bodies = {(packed, dtype): Body(one, packed) for packed in (False, True) for dtype, one in made.items()}
    times = {(who.name, setup): Times() for who, setup in product(contestants(args.steps), setups(args))}
    for turn, setup in product(range(args.rounds + 1), setups(args)):
        torch.set_num_threads(setup.threads)
        blocks, body, one = args.blocks if turn else 2, bodies[setup.packed, setup.dtype], made[setup.dtype]
        lap(
            [
                Lap(opened(one, who, streams, blocks, body), times[who.name, setup] if turn else Times())
                for who in contestants(args.steps)
            ],
            one, streams, args,
        )  # fmt: skip
    return times


def best(times: Race, args: argparse.Namespace, name: str, dtypes: Sequence[str]) -> Setup:
    """The setup that suits a contestant best."""
    allowed = [setup for setup in setups(args) if setup.dtype in dtypes]
    return min(allowed, key=lambda setup: percentile(times[name, setup].steady, 50))


def results(made: Talkers, size: Size, args: argparse.Namespace, streams: int) -> Iterator[Result]:
    """Every contestant in the setup that suits it best, of each type of numbers, against next-frame decoding in its own."""
    times = race(made, args, streams)

    def median_of(name: str, dtypes: Sequence[str]) -> float:
        return percentile(times[name, best(times, args, name, dtypes)].steady, 50)

    for dtype, who in product(args.dtypes, contestants(args.steps)):
        setup = best(times, args, who.name, [dtype])
        found, counted = times[who.name, setup], cost(made[dtype], who, streams)
        p50, block = percentile(found.steady, 50), made[dtype].settings.block
        yield Result(
            size.name, streams, who.name, median_of("ar", [dtype]) / p50, median_of("ar", args.dtypes) / p50,
            1e3 * streams * block / p50, p50, percentile(found.steady, 95), percentile(found.first, 50),
            block / counted.forwards, setup, counted,
        )  # fmt: skip


HEAD = (
    f"{'decoder':<20}{'speed-up':>9}{'of best':>9}{'frames/s':>10}{'p50 ms':>9}{'p95 ms':>9}{'1st ms':>8}{'passes':>8}{'fr/pass':>8}"
    f"{'read MB':>9}{'GFLOP':>8}{'ops':>6}{'GB/s':>7}{'GFLOP/s':>9}  numbers, threads, weights"
)


def line(r: Result) -> str:
    """Rates are what the median block achieves: the one that is near the machine's limit says what bounds the decoder."""
    c, seconds = r.cost, r.p50_ms / 1e3
    return (
        f"{r.decoder:<20}{r.speedup:>8.2f}x{r.of_best:>8.2f}x{r.frames_per_s:>10.0f}{r.p50_ms:>9.2f}{r.p95_ms:>9.2f}{r.first_ms:>8.1f}"
        f"{c.forwards:>8.2f}{r.frames_per_forward:>8.2f}{c.weights_mb:>9.0f}{c.gflop:>8.2f}{c.operations:>6}"
        f"{c.weights_mb / 1e3 / seconds:>7.1f}{c.gflop / seconds:>9.1f}  {r.setup.dtype}, "
        f"{r.setup.threads}, {'packed' if r.setup.packed else 'plain'}"
    )


def machine(args: argparse.Namespace) -> dict[str, Any]:
    """What the figures are figures of."""
    device = torch.cuda.get_device_name() if args.device == "cuda" else platform.processor() or platform.machine()
    return {
        "device": device, "cores": os.cpu_count(), "load": [round(x, 2) for x in os.getloadavg()], "torch": torch.__version__,
        "dtypes": args.dtypes, "clock": args.clock, "capability": torch.backends.cpu.get_cpu_capability(),
    }  # fmt: skip


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", choices=[s.name for s in SIZES], help="talkers (default: demo and paper)")
    parser.add_argument("--wide", action="store_true", help="also a talker of width 2048")
    parser.add_argument("--streams", nargs="+", type=int)
    parser.add_argument("--steps", nargs="+", type=int)
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2], help="counts to try on a processor")
    parser.add_argument(
        "--clock", choices=sorted(CLOCKS), default="wall", help="processor: seconds of one thread alone"
    )
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float, help="of steady blocks in each measurement")
    parser.add_argument("--blocks", type=int, help="most blocks of a stream")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument(
        "--dtypes", nargs="+", choices=["float32", "bfloat16", "float16"], default=["float32", "bfloat16"]
    )
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    parser.add_argument(
        "--quick", action="store_true", help="one round of few blocks, 1 and 8 streams, 1, 4 and 16 steps"
    )
    args = parser.parse_args()
    for name, value in (QUICK if args.quick else FULL).items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    if args.clock == "processor":
        if args.device != "cpu":
            parser.error("--clock processor does not see another device")
        args.threads = [1]
    args.sizes = args.sizes or ["demo", "paper"]
    args.sizes += ["wide"] * (args.wide and "wide" not in args.sizes)
    return args


def main() -> None:
    args, found = arguments(), []
    print(json.dumps(machine(args)))
    for size in (s for s in SIZES if s.name in args.sizes):
        made = {dtype: talker(size, args.device, getattr(torch, dtype)) for dtype in args.dtypes}
        one = made[args.dtypes[0]]
        shape = f"{one.settings.layers} layers x {size.width}, {size.codes} codes, {one.parameters_count / 1e6:.1f} M"
        for streams in args.streams:
            print(f"\n{size.name}: {shape}; {streams} streams\n{HEAD}")
            for result in results(made, size, args, streams):
                print(line(result), flush=True)
                found.append(result)
    if args.json:
        report = {"machine": machine(args), "results": [asdict(result) for result in found]}
        args.json.write_text(json.dumps(report, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
