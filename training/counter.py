"""Random numbers without a generator: each is a hash of the coordinates it belongs to.

The hash of a tuple of whole numbers takes them in one by one, each with a step of SplitMix64 (Steele, Lea and Flood 2014; the
finaliser is its variant 13 by Stafford). What is drawn for an utterance, a view and a position is therefore the same in any
batch, on any rank, after any resume, and whatever else was drawn before it.

numpy (uint64) and torch (int64, the same 64 bits read as a signed number) give the very same bits, on any device. torch is
needed by the functions that are named after it only.

Coordinates are whole numbers or arrays of them, and broadcast against each other; negative ones count modulo 2^64.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from manifests.fingerprint import draw

if TYPE_CHECKING:
    from torch import Tensor

Coordinate = int | npt.NDArray[Any]

MASK = 2**64 - 1
STEP = 0x9E3779B97F4A7C15
FIRST, SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
SHIFTS = (30, 27, 31)
UNIT = 2.0**-53  # a uniform number has 53 bits, as many as float64 holds
BELOW_ONE = 1 - 2.0**-24  # the largest float32 under 1


def hash_key(utterance_id: str) -> int:
    """The 64-bit number that stands for an utterance among the coordinates (BLAKE2b of its id)."""
    return draw(utterance_id)


def signed(value: int) -> int:
    """A 64-bit number as torch holds it: the same bits, read as a signed number."""
    value &= MASK
    return value - 2**64 if value >> 63 else value


def _mixed(state: int) -> int:
    """The finaliser of SplitMix64 on Python's whole numbers."""
    state = (state ^ state >> SHIFTS[0]) * FIRST & MASK
    state = (state ^ state >> SHIFTS[1]) * SECOND & MASK
    return state ^ state >> SHIFTS[2]


def _taken(state: int, coordinate: int) -> int:
    """The state after one more coordinate. For a given state no two coordinates lead to the same one."""
    return _mixed(state + STEP * (coordinate + 1) & MASK)


def _taken_numpy(state: int | npt.NDArray[np.uint64], coordinate: Coordinate) -> npt.NDArray[np.uint64]:
    start = np.uint64(state) if isinstance(state, int) else state
    step = np.uint64(coordinate & MASK) if isinstance(coordinate, int) else coordinate.astype(np.uint64)
    x = np.asarray(start + np.uint64(STEP) * (step + np.uint64(1)))
    x ^= x >> np.uint64(SHIFTS[0])
    x *= np.uint64(FIRST)
    x ^= x >> np.uint64(SHIFTS[1])
    x *= np.uint64(SECOND)
    x ^= x >> np.uint64(SHIFTS[2])
    return x


def bits(seed: int, key: Coordinate, *coordinates: Coordinate) -> npt.NDArray[np.uint64]:
    """64 random bits for each place, as uint64 of the coordinates' common shape.

    >>> hex(int(bits(0, hash_key("u1"), 3, 14)))
    '0x4259233eaa0c8c00'
    """
    state: int | npt.NDArray[np.uint64] = 0
    with np.errstate(over="ignore"):  # to wrap around is the point
        for coordinate in (seed, key, *coordinates):
            if isinstance(state, int) and isinstance(coordinate, int):
                state = _taken(state, coordinate)
            else:
                state = _taken_numpy(state, coordinate)
    return np.asarray(state, np.uint64)


def uniform(seed: int, key: Coordinate, *coordinates: Coordinate) -> npt.NDArray[np.float64]:
    """Uniform numbers in [0, 1), float64, of the top 53 bits of :func:`bits`."""
    return (bits(seed, key, *coordinates) >> np.uint64(11)).astype(np.float64) * UNIT


def _shifted(x: Tensor, count: int) -> Tensor:
    """A shift to the right that fills with zeros: torch's own copies the sign."""
    return (x >> count) & (MASK >> count)


def _taken_torch(state: int | Tensor, coordinate: int | Tensor) -> Tensor:
    start = signed(state) if isinstance(state, int) else state
    step = signed(coordinate) if isinstance(coordinate, int) else coordinate
    moved = signed(STEP * (step + 1)) if isinstance(step, int) else (step + 1) * signed(STEP)
    x = start + moved
    assert not isinstance(x, int), "one of the two is a tensor"
    x = (x ^ _shifted(x, SHIFTS[0])) * signed(FIRST)
    x = (x ^ _shifted(x, SHIFTS[1])) * signed(SECOND)
    return x ^ _shifted(x, SHIFTS[2])


def bits_torch(seed: int, key: int | Tensor, *coordinates: int | Tensor) -> Tensor:
    """:func:`bits` of int64 tensors (and whole numbers between them), on the device that the tensors are on.

    A hash of an utterance enters a tensor by :func:`signed`. Raises TypeError where no coordinate is a tensor, for there would
    be no device to put the result on.
    """
    state: int | Tensor = 0
    for coordinate in (seed, key, *coordinates):
        if isinstance(state, int) and isinstance(coordinate, int):
            state = _taken(state, coordinate)
        else:
            state = _taken_torch(state, coordinate)
    if isinstance(state, int):
        raise TypeError("one coordinate has to be a tensor")
    return state


def uniform_torch(seed: int, key: int | Tensor, *coordinates: int | Tensor) -> Tensor:
    """:func:`uniform` of tensors: float64 in [0, 1), equal to numpy's to the last bit."""
    return _shifted(bits_torch(seed, key, *coordinates), 11).double() * UNIT


def gumbel_torch(seed: int, key: int | Tensor, *coordinates: int | Tensor) -> Tensor:
    """Standard Gumbel noise, float32: ``argmax(logits + noise)`` is a sample of the logits' softmax.

    It is ``-log(-log1p(-v))`` of a uniform v: small v make large noise, and float32 is fine near 0, so the upper tail, the one
    that wins, reaches to 22.9 (with ``-log(-log(u))`` it would end at 16.6). v is never 0 nor 1, and the noise always finite.
    """
    v = ((_shifted(bits_torch(seed, key, *coordinates), 32).float() + 0.5) * 2.0**-32).clamp(max=BELOW_ONE)
    return -(-(-v).log1p()).log()
