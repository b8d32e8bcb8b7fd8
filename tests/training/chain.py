"""A Markov chain of which everything is known: its entropy, and what frames cost that are said apart from each other.

Legend: S states.
"""

from __future__ import annotations

import numpy as np


def chain(states: int = 4, sharpness: float = 2.0) -> tuple[np.ndarray, np.ndarray, float]:
    """(transitions, stationary distribution, entropy rate in nats) of a Markov chain."""
    random = np.random.default_rng(5)
    move_SS = np.exp(sharpness * random.standard_normal((states, states)))
    move_SS /= move_SS.sum(1, keepdims=True)
    still_S = np.linalg.matrix_power(move_SS, 200)[0]
    return move_SS, still_S, float(-(still_S[:, None] * move_SS * np.log(move_SS)).sum())


def walk(move_SS: np.ndarray, still_S: np.ndarray, frames: int, random: np.random.Generator) -> list[int]:
    path = [int(random.choice(len(still_S), p=still_S))]
    while len(path) < frames:
        path.append(int(random.choice(len(still_S), p=move_SS[path[-1]])))
    return path


def left_open(move_SS: np.ndarray, still_S: np.ndarray, paths: list[list[int]], at_once: int) -> float:
    """Nats a frame where ``at_once`` frames are said apart from each other: the i-th of them knows the state i moves ago."""
    moves = [np.linalg.matrix_power(move_SS, i) for i in range(at_once + 1)]

    def chance(path: list[int], i: int) -> float:
        place = i % at_once
        return still_S[path[i]] if i < at_once else moves[place + 1][path[i - place - 1], path[i]]

    return float(-np.mean([[np.log(chance(path, i)) for i in range(len(path))] for path in paths]))
