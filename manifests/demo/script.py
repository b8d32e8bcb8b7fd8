"""Who says what, how: the demo's script, line by line, each a pure function of (seed, index, cast).

A *cast* names the speakers a screening left: query personas (a voice with a fixed way of speaking) and the assistant,
one voice whose rate, pitch and pauses vary from line to line.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from manifests.demo.draws import Draws
from manifests.demo.grammar import Dialogue, dialogue

Range = tuple[float, float]
ASSISTANT = "assistant"


@dataclass(frozen=True)
class Prosody:
    """How a sentence is spoken.

    ``rate`` and ``pitch`` are factors on the voice's own speed and pitch; ``pause`` is the silence at each comma and
    ``lead`` the silence before the first word, in seconds.
    """

    rate: float = 1.0
    pitch: float = 1.0
    pause: float = 0.15
    lead: float = 0.1


@dataclass(frozen=True)
class Persona:
    """One query speaker: a voice at a fixed rate and pitch."""

    speaker: str
    voice: str
    rate: float
    pitch: float


@dataclass(frozen=True)
class Manner:
    """The ranges from which each line's rate, pitch (factors), pause and lead (seconds) are drawn."""

    rate: Range = (1.0, 1.0)
    pitch: Range = (1.0, 1.0)
    pause: Range = (0.08, 0.3)
    lead: Range = (0.05, 0.2)

    def narrowed(self, share: float) -> Manner:
        """The same middles, with ranges ``share`` as wide."""

        def around(ends: Range) -> Range:
            middle = sum(ends) / 2
            low, high = (round(middle + share * (end - middle), 6) for end in ends)
            return low, high

        return Manner(around(self.rate), around(self.pitch), around(self.pause), around(self.lead))

    def draw(self, draws: Draws) -> Prosody:
        """One prosody, in steps of a thousandth, from *draws*."""
        return Prosody(
            rate=round(draws.at("rate").uniform(*self.rate), 3),
            pitch=round(draws.at("pitch").uniform(*self.pitch), 3),
            pause=round(draws.at("pause").uniform(*self.pause), 3),
            lead=round(draws.at("lead").uniform(*self.lead), 3),
        )


@dataclass(frozen=True)
class Cast:
    """Everybody who speaks: the engine's name, the query personas, and the assistant's voice and manner."""

    engine: str
    personas: tuple[Persona, ...]
    assistant: str
    manner: Manner


@dataclass(frozen=True)
class Line:
    """One sentence to be spoken: its text (commas mark pauses), who speaks, and how."""

    text: str
    speaker: str
    voice: str
    prosody: Prosody


@dataclass(frozen=True)
class ScriptLine:
    """One dialogue with the way both of its sentences are to be spoken."""

    dialogue: Dialogue
    query: Line
    response: Line


def script_line(seed: int, index: int, cast: Cast) -> ScriptLine:
    """Line *index* of the script: a pure function of its arguments."""
    said = dialogue(seed, index)
    draws = Draws(seed, ("script", index))
    return ScriptLine(
        dialogue=said,
        query=persona_line(said.query_marked, draws.at("persona").choice(cast.personas), draws.at("query")),
        response=assistant_line(said.response_marked, cast, draws.at("response")),
    )


def utterance_plan(seed: int, count: int, cast: Cast) -> Iterator[ScriptLine]:
    """Lines 0 to *count* - 1 of the script; a longer plan begins with a shorter one."""
    return (script_line(seed, index, cast) for index in range(count))


def persona_line(text: str, persona: Persona, draws: Draws) -> Line:
    """*text* as *persona* says it: its own rate and pitch, pauses drawn from the default manner."""
    manner = Manner(rate=(persona.rate, persona.rate), pitch=(persona.pitch, persona.pitch))
    return Line(text, persona.speaker, persona.voice, manner.draw(draws))


def assistant_line(text: str, cast: Cast, draws: Draws) -> Line:
    """*text* as the assistant says it, in its manner."""
    return Line(text, ASSISTANT, cast.assistant, cast.manner.draw(draws))
