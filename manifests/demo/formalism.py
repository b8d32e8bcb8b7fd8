"""A small grammar formalism: patterns of words and references, rules of alternatives, intents of paired patterns.

A *pattern* is text such as ``"<okay>, i set a timer for <count> minutes"``: words, references to rules in angle
brackets, and commas where a speaker may pause. A *rule* is a tuple of alternatives, each itself a pattern; an
alternative may be empty. An *intent* pairs query patterns with response patterns; a reference that occurs on both
sides of an intent has one value on both, which is what makes the response fit the query. ``<count:b>`` is a second,
independent use of rule ``count``.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from manifests.demo.draws import Draws

Rules = Mapping[str, tuple[str, ...]]
REFERENCE = re.compile(r"<([a-z]+(?::[a-z]+)?)>")


@dataclass(frozen=True)
class Intent:
    """One thing to ask for: its query patterns, and the response patterns that fit any of them."""

    name: str
    queries: tuple[str, ...]
    responses: tuple[str, ...]


def references(pattern: str) -> tuple[str, ...]:
    """The references of *pattern*, in order of first occurrence, without repeats."""
    return tuple(dict.fromkeys(REFERENCE.findall(pattern)))


def rule_of(reference: str) -> str:
    """The rule a reference names: ``count`` for both ``count`` and ``count:b``."""
    return reference.partition(":")[0]


def fill(pattern: str, values: Mapping[str, str]) -> str:
    """*pattern* with its references replaced, tidied: single spaces, commas only between words."""
    text = REFERENCE.sub(lambda found: values[found[1]], pattern)
    phrases = (" ".join(phrase.split()) for phrase in text.split(","))
    return ", ".join(phrase for phrase in phrases if phrase)


def words_only(sentence: str) -> str:
    """*sentence* without its pause marks: words and single spaces."""
    return " ".join(sentence.replace(",", " ").split())


def draw(pattern: str, rules: Rules, draws: Draws) -> str:
    """One expansion of *pattern*; the value of a reference depends on *draws* and its name alone."""
    values = {
        name: draw(draws.at(name).choice(rules[rule_of(name)]), rules, draws.at(name, "inner"))
        for name in references(pattern)
    }
    return fill(pattern, values)


def expansions(pattern: str, rules: Rules) -> Iterator[str]:
    """Every expansion of *pattern* (with repeats, where two derivations give the same words)."""
    names = references(pattern)
    options = [
        [text for alternative in rules[rule_of(name)] for text in expansions(alternative, rules)] for name in names
    ]
    for values in itertools.product(*options):
        yield fill(pattern, dict(zip(names, values, strict=True)))


def vocabulary(patterns: Iterator[str]) -> frozenset[str]:
    """The words of *patterns*, references and commas left out."""
    return frozenset(word for pattern in patterns for word in words_only(REFERENCE.sub(" ", pattern)).split())


def to_jsgf(public: Mapping[str, tuple[str, ...]], rules: Rules) -> str:
    """A JSGF grammar whose public rules are the *public* pattern lists, over *rules* (only those reached)."""
    used = _reached([pattern for patterns in public.values() for pattern in patterns], rules)
    lines = ["#JSGF V1.0;", "grammar speechmill;"]
    lines += [f"public <{name}> = {_alternatives(patterns)};" for name, patterns in public.items()]
    lines += [f"<{name}> = {_alternatives(rules[name])};" for name in sorted(used)]
    return "\n".join(lines) + "\n"


def _alternatives(patterns: tuple[str, ...]) -> str:
    """The alternatives, with those that begin alike joined: a decoder then follows their beginning once."""
    plain = [REFERENCE.sub(lambda found: f"<{rule_of(found[1])}>", words_only(text)) for text in patterns]
    rests: dict[str, list[str]] = {}
    for first, _, rest in (text.partition(" ") for text in plain):
        rests.setdefault(first, []).append(rest)
    return " | ".join(_joined(first, rest) for first, rest in rests.items())


def _joined(first: str, rests: list[str]) -> str:
    if len(rests) == 1:
        return f"{first} {rests[0]}".strip() or "<NULL>"
    return f"{first} ( " + " | ".join(rest or "<NULL>" for rest in rests) + " )"


def _reached(patterns: list[str], rules: Rules) -> set[str]:
    found: set[str] = set()
    pending = list(patterns)
    while pending:
        fresh = {rule_of(name) for name in references(pending.pop())} - found
        found |= fresh
        pending += [alternative for name in fresh for alternative in rules[name]]
    return found
