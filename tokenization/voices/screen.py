"""Which voices a recogniser understands: every candidate says the same sentences, the way it will in the corpus."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from manifests.demo.draws import Draws
from manifests.demo.grammar import SIDES, Side, dialogue, jsgf, words_only
from manifests.demo.script import Line, Manner, persona_line
from tokenization.recognisers.base import Recogniser, heard_words
from tokenization.recognisers.pocketsphinx import PocketsphinxRecogniser
from tokenization.recognisers.score import WordErrors, wer
from tokenization.voices.base import Engine, Speaker, Voice
from tokenization.voices.cast import personas_of

SEED = 20_407  # of the sentences and of their prosody: every screening says the same


@dataclass(frozen=True)
class Prompt:
    """One sentence to screen with (commas mark pauses), and the side of a dialogue it is of."""

    text: str
    side: Side


@dataclass(frozen=True)
class Screened:
    """What a screening found about one voice; ``why`` says in words why it was kept or dropped."""

    voice: Voice
    wer: float
    empty: int
    sentences: int
    kept: bool
    why: str


def prompts(count: int) -> list[Prompt]:
    """*count* sentences, queries and responses in turn, always the same; a longer list begins with a shorter one."""
    said = [dialogue(SEED, index) for index in range((count + 1) // 2)]
    pairs = ((Prompt(one.query_marked, "query"), Prompt(one.response_marked, "response")) for one in said)
    return [prompt for pair in pairs for prompt in pair][:count]


def recognisers() -> dict[Side, Recogniser]:
    """A recogniser for each side, listening for that side's sentences only (twice as fast as one for both)."""
    return {side: PocketsphinxRecogniser(jsgf(side)) for side in SIDES}


def screen(
    engine: Engine,
    voices: Sequence[Voice],
    sentences: Sequence[Prompt],
    recognisers: Mapping[Side, Recogniser],
    max_wer: float,
) -> list[Screened]:
    """Every voice's word error rate over *sentences*, and whether it is at most *max_wer*.

    Queries are said by the voice's personas in turn, responses in the assistant's manner, so a kept voice is
    understood in either part. Deterministic, voice by voice: screening voices apart finds the same.
    :class:`VoiceError` where the engine fails.
    """
    if not sentences:
        raise ValueError("screen: no sentences to screen with; give at least one")
    speaker = engine.speaker()
    try:
        return [_screened(speaker, engine.manner, voice, sentences, recognisers, max_wer) for voice in voices]
    finally:
        speaker.close()


def rehearsal(voice: Voice, manner: Manner, sentences: Sequence[Prompt]) -> list[Line]:
    """*sentences* as *voice* is to say them in a screening."""
    personas = personas_of(voice)
    lines = []
    for index, prompt in enumerate(sentences):
        draws = Draws(SEED, ("rehearsal", voice.name, index))
        if prompt.side == "query":
            lines.append(persona_line(prompt.text, personas[index // 2 % len(personas)], draws))
        else:
            lines.append(Line(prompt.text, voice.name, voice.name, manner.draw(draws)))
    return lines


def _screened(
    speaker: Speaker,
    manner: Manner,
    voice: Voice,
    sentences: Sequence[Prompt],
    recognisers: Mapping[Side, Recogniser],
    max_wer: float,
) -> Screened:
    heard = []
    for prompt, line in zip(sentences, rehearsal(voice, manner, sentences), strict=True):
        heard.append(heard_words(recognisers[prompt.side], *speaker.say(line.text, line.voice, line.prosody)))
    found = wer([words_only(prompt.text) for prompt in sentences], heard)
    kept = found.rate <= max_wer
    return Screened(voice, found.rate, found.empty, len(sentences), kept, _why(found, max_wer, kept))


def _why(found: WordErrors, max_wer: float, kept: bool) -> str:
    verdict = "at most" if kept else "over"
    rate = f"{found.errors} of {found.words} words wrong ({found.rate:.2%}), {verdict} {max_wer:.2%}"
    return f"{rate}; {found.empty} sentences not understood at all" if found.empty else rate
