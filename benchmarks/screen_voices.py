"""How well an independent recogniser understands the demo's speech: by voice, by persona, and over the corpus.

    python benchmarks/screen_voices.py --engine flite --utterances 400

First the screening the pipeline does, then fresh dialogues by the cast it leaves, with the prosody of the corpus.
Prints word error rates with 95 % bootstrap intervals, and speeds in CPU seconds of this process and its children.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # not this folder: its tokenize.py would hide Python's own

import argparse
import os
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from manifests.demo.grammar import SIDES, SPLITS, Side, dialogues, sentences, words, words_only
from manifests.demo.script import ScriptLine, utterance_plan
from manifests.settings.demo import DemoSettings
from tokenization.recognisers.base import Recogniser, heard_words
from tokenization.recognisers.pocketsphinx import PocketsphinxRecogniser
from tokenization.recognisers.score import wer
from tokenization.voices import choose_engine
from tokenization.voices.base import Engine, Voice
from tokenization.voices.cast import cast_of
from tokenization.voices.perform import Performance, perform
from tokenization.voices.screen import Screened, prompts, recognisers, screen

T = TypeVar("T")
FRESH_SEED = 990_001
Heard = tuple[str, str, str]  # speaker, said, heard


def main() -> None:
    """Screen, then verify; print both."""
    arguments = parse()
    engine = choose_engine(arguments.engine)
    print(f"engine {engine.name} {engine.versions()}")
    print(
        f"grammar: {len(words())} words, " + ", ".join(f"{sum(1 for _ in sentences(s))} {s} sentences" for s in SIDES)
    )
    show_splits(DemoSettings())
    judges = recognisers()
    if arguments.scan:
        scan(engine, judges, arguments.sentences)
        return
    kept = screening(engine, judges, arguments.sentences, arguments.max_wer)
    verify(engine, kept, judges, arguments.utterances // 2, open_too=arguments.open)


def parse() -> argparse.Namespace:
    """The command line; its defaults are the demo's."""
    defaults = DemoSettings()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--engine", choices=["auto", "flite", "espeak"], default=defaults.engine)
    parser.add_argument("--sentences", type=int, default=defaults.screening_sentences, help="for each voice")
    parser.add_argument("--max-wer", type=float, default=defaults.max_wer)
    parser.add_argument("--utterances", type=int, default=400, help="fresh ones, half queries, half responses")
    parser.add_argument("--open", action="store_true", help="listen without the grammar too")
    parser.add_argument("--scan", action="store_true", help="only screen every en-us variant espeak-ng has")
    return parser.parse_args()


def show_splits(demo: DemoSettings) -> None:
    """What the default demo holds of each split."""
    said = list(dialogues(demo.seed, demo.dialogues))
    for split in SPLITS:
        here = [one for one in said if one.split == split]
        queries, responses = {one.query for one in here}, {one.response for one in here}
        print(f"  {split}: {len(here)} dialogues, {len(queries)} distinct queries, {len(responses)} distinct responses")


def scan(engine: Engine, judges: dict[Side, Recogniser], count: int) -> None:
    """Screen every espeak-ng variant and print them in order of their rates."""
    import espeakng_loader

    folder = Path(str(espeakng_loader.get_data_path())) / "voices" / "!v"
    model = engine.candidates[0]
    variants = sorted(f"en-us+{file.name}" for file in folder.iterdir())
    voices = [Voice(name, engine.name, model.rates, model.pitches) for name in ["en-us", *variants]]
    found = screen(engine, voices, prompts(count), judges, DemoSettings().max_wer)
    show(sorted(found, key=lambda one: one.wer))


def screening(engine: Engine, judges: dict[Side, Recogniser], count: int, max_wer: float) -> list[Voice]:
    """Screen the engine's candidates as the pipeline does; the voices it keeps."""
    found, seconds = timed(lambda: screen(engine, engine.candidates, prompts(count), judges, max_wer))
    show(found)
    print(f"screening: {len(found)} voices, {count} sentences each, {seconds:.1f} CPU s")
    return [one.voice for one in found if one.kept]


def show(found: Sequence[Screened]) -> None:
    """One line for each voice."""
    for one in found:
        print(f"  {one.voice.name:<20} {'kept' if one.kept else 'dropped':<8} {one.why}", flush=True)


def verify(
    engine: Engine, kept: Sequence[Voice], judges: dict[Side, Recogniser], count: int, *, open_too: bool
) -> None:
    """*count* fresh dialogues by the cast of the *kept* voices: rates and speeds."""
    cast = cast_of(engine, kept)
    script = list(utterance_plan(FRESH_SEED, count, cast))
    said, making = timed(lambda: speak(engine, script))
    seconds = sum(len(one.query_wave_T) + len(one.response_wave_T) for one in said) / 16_000
    heard, hearing = timed(lambda: listen(script, said, judges))
    print(f"assistant {cast.assistant}, {len(cast.personas)} query personas")
    print(f"{2 * count} fresh utterances, {seconds:.0f} s ({seconds / count:.2f} s a dialogue)")
    for side, lengths in zip(SIDES, durations(said), strict=True):
        print(f"  {side}: {min(lengths):.1f}-{max(lengths):.1f} s, mean {sum(lengths) / count:.1f}")
    print(f"synthesis {seconds / making:.0f} x real time, recognition {seconds / hearing:.0f} x, one core")
    by_speaker(heard)
    if open_too:
        free: dict[Side, Recogniser] = dict.fromkeys(SIDES, PocketsphinxRecogniser())
        table("without the grammar", listen(script, said, free))


def speak(engine: Engine, script: Sequence[ScriptLine]) -> list[Performance]:
    """The script, performed."""
    speaker = engine.speaker()
    try:
        return [perform(speaker, line) for line in script]
    finally:
        speaker.close()


def durations(said: Sequence[Performance]) -> tuple[list[float], list[float]]:
    """Seconds of every query and of every response."""
    queries = [len(one.query_wave_T) / one.sample_rate for one in said]
    return queries, [len(one.response_wave_T) / one.sample_rate for one in said]


def listen(script: Sequence[ScriptLine], said: Sequence[Performance], judges: dict[Side, Recogniser]) -> list[Heard]:
    """What the *judges* heard."""
    heard: list[Heard] = []
    for line, one in zip(script, said, strict=True):
        query = heard_words(judges["query"], one.query_wave_T, one.sample_rate)
        response = heard_words(judges["response"], one.response_wave_T, one.sample_rate)
        heard.append((line.query.speaker, words_only(line.query.text), query))
        heard.append((line.response.speaker, words_only(line.response.text), response))
    return heard


def by_speaker(heard: list[Heard]) -> None:
    """Rates over all, over queries, over responses, by voice, and of the personas that were misheard."""
    table("all", heard)
    table("responses", [one for one in heard if one[0] == "assistant"])
    queries = [one for one in heard if one[0] != "assistant"]
    table("queries", queries)
    for voice in sorted({one[0].rpartition("-")[0] for one in queries}):
        table(f"  queries by {voice}", [one for one in queries if one[0].rpartition("-")[0] == voice])
    for speaker, said, got in heard:
        if said != got:
            print(f"    misheard {speaker}: {said!r} as {got!r}")


def table(name: str, heard: list[Heard]) -> None:
    """One line: rate, interval, counts."""
    found = wer([one[1] for one in heard], [one[2] for one in heard])
    low, high = found.interval()
    print(
        f"{name:<28} {found.rate:7.2%} [{low:.2%}, {high:.2%}]  {found.errors}/{found.words} words, "
        f"{len(heard)} sentences, {found.empty} empty",
        flush=True,
    )


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """The result, and the CPU seconds of this process and its finished children."""
    before = sum(os.times()[:4])
    start = time.monotonic()
    result = work()
    spent = sum(os.times()[:4]) - before
    print(f"  ({time.monotonic() - start:.1f} s by the clock)")
    return result, spent


if __name__ == "__main__":
    main()
