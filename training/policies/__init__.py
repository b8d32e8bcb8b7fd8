"""Reveal policies of block decoding."""

from training.policies.noise import Key
from training.policies.policy import PRESETS, Policy, build, preset
from training.policies.prior import PriorCache, frequencies, mean_log_probs
from training.policies.stats import Stats
from training.policies.written import policy_of, teaching_policy

__all__ = [
    "PRESETS",
    "Key",
    "Policy",
    "PriorCache",
    "Stats",
    "build",
    "frequencies",
    "mean_log_probs",
    "policy_of",
    "preset",
    "teaching_policy",
]
