"""The embedded speech tokenizer, measured: bits, times, and what an independent recogniser still understands.

    python benchmarks/codec.py [--codes 1024 2048 4096] [--books 1 4] [--human FOLDER]

Codebooks are fitted on about 24 minutes of synthetic speech in four voices: the demo's training sentences, and random
words that the test sentences do not have. Tests are held-out sentences of the demo (recognised with its grammar:
"closed") and everyday English sentences (recognised with a general language model: "open"). ``--human`` tries
recordings in LibriSpeech's layout instead: every third file is tested, the others join the fit. Times
are processor seconds, so that other programs do not count; with ``OMP_NUM_THREADS=1`` they are those of one thread.

Arrays: ``wave_T`` is mono float32 at 16 kHz; S spectra, W bins.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # not this folder: its tokenize.py would hide Python's own

import argparse
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from manifests.demo.grammar import dialogues, jsgf
from manifests.demo.script import Prosody
from manifests.fingerprint import draw
from manifests.settings.speech import PatchesSettings
from tokenization.patches import PatchesTokenizer, fit
from tokenization.recognisers.base import Recogniser, heard_words
from tokenization.recognisers.pocketsphinx import PocketsphinxRecogniser
from tokenization.recognisers.score import WordErrors, wer
from tokenization.voices import choose_engine

RATE = 16_000
VOICES = ("slt", "rms", "awb", "kal16")
SENTENCES = Path(__file__).with_name("codec_sentences.txt")
FIT_SENTENCES, FIT_WORDS, CLOSED = 260, 180, 80

Wave = np.ndarray
Result = TypeVar("Result")


@dataclass(frozen=True)
class Spoken:
    """What was said, and its sound."""

    text: str
    wave_T: Wave


@dataclass(frozen=True)
class Trial:
    """A set of utterances and who listens to them."""

    name: str
    said: Sequence[Spoken]
    recogniser: Recogniser


@dataclass(frozen=True)
class Speech:
    """What codebooks are fitted on, and what they are tried on."""

    fitted: Sequence[Wave]
    trials: Sequence[Trial]


def shuffled(texts: Sequence[str], seed: int) -> list[str]:
    """The distinct ``texts`` in an order of their own, the same each time."""
    return sorted(set(texts), key=lambda text: draw("codec", seed, text))


def demo_sentences(split: str, count: int) -> list[str]:
    """Sentences of both sides of one split of the demo."""
    found = [text for line in dialogues(0, 3_000) if line.split == split for text in (line.query, line.response)]
    return shuffled(found, 0)[:count]


def random_words(without: Sequence[str], count: int) -> list[str]:
    """Seven words at a time from the recogniser's dictionary, none of which is in ``without``."""
    from pocketsphinx import get_model_path

    known = {word for text in without for word in text.split()}
    lines = Path(get_model_path("en-us/cmudict-en-us.dict")).read_text(encoding="utf-8").splitlines()
    words = shuffled([line.split()[0] for line in lines if re.match(r"[a-z]{3,10} ", line)], 1)
    words = [word for word in words if word not in known]
    return [" ".join(words[7 * i : 7 * i + 7]) for i in range(count)]


def speak(texts: Sequence[str], turns: int = 1) -> list[Spoken]:
    """Every text ``turns`` times, each time by the next of four voices."""
    engine = choose_engine("flite")
    speaker = engine.speaker()
    said = []
    for number, text in enumerate(texts):
        for turn in range(turns):
            wave_T, rate = speaker.say(text, VOICES[(number + turn) % len(VOICES)], Prosody())
            if rate != RATE:
                raise ValueError(f"voice {VOICES[(number + turn) % len(VOICES)]} speaks at {rate} Hz, not {RATE}")
            said.append(Spoken(text, wave_T.astype(np.float32) / 32_768))
    speaker.close()
    return said


def synthetic() -> Speech:
    """The demo's domain and everyday sentences, spoken by four voices."""
    everyday = SENTENCES.read_text(encoding="utf-8").split("\n")
    everyday = [text for text in everyday if text]
    texts = shuffled(demo_sentences("train", FIT_SENTENCES) + random_words(everyday, FIT_WORDS), 2)
    closed = Trial("closed", speak(demo_sentences("test", CLOSED)), PocketsphinxRecogniser(jsgf()))
    opened = Trial("open", speak(everyday, turns=2), PocketsphinxRecogniser())
    return Speech([s.wave_T for s in speak(texts)], [closed, opened])


def human(folder: Path, besides: Sequence[Wave]) -> Speech:
    """Recordings in LibriSpeech's layout: every third is tried, the others join ``besides``."""
    import soundfile

    texts = {}
    for path in sorted(folder.rglob("*.trans.txt")):
        texts |= dict(line.split(" ", 1) for line in path.read_text(encoding="utf-8").splitlines() if " " in line)
    files = [path for path in sorted(folder.rglob("*.flac")) if path.stem in texts]
    if not files:
        raise SystemExit(f"--human: no .flac files with .trans.txt lines under {folder}")
    waves = [soundfile.read(path, dtype="float32")[0] for path in files]
    said = [Spoken(texts[path.stem].lower(), wave_T) for path, wave_T in zip(files, waves, strict=True)]
    return Speech(
        [*besides, *(s.wave_T for i, s in enumerate(said) if i % 3)],
        [Trial("human, open", said[::3], PocketsphinxRecogniser())],
    )


def log_spectrum(wave_T: Wave) -> Wave:
    """``decibels_SW`` of 32 ms windows every 10 ms; -40 dB of one sample's full scale is the least."""
    windows_ST = np.lib.stride_tricks.sliding_window_view(wave_T, 512)[::160]
    return 10 * np.log10(np.abs(np.fft.rfft(windows_ST * np.hanning(512))) ** 2 + 1e-4)


def distance(original_T: Wave, again_T: Wave) -> float:
    """Log-spectral distance in dB, over windows within 45 dB of the loudest."""
    size = min(len(original_T), len(again_T))
    one_SW, other_SW = log_spectrum(original_T[:size]), log_spectrum(again_T[:size])
    active_S = one_SW.max(axis=1) > one_SW.max() - 45
    return float(np.sqrt(((one_SW - other_SW) ** 2).mean(axis=1))[active_S].mean())


def heard(trial: Trial, waves: Sequence[Wave]) -> WordErrors:
    """The word errors when ``waves`` stand for what was said."""
    return wer([s.text for s in trial.said], [heard_words(trial.recogniser, wave_T, RATE) for wave_T in waves])


def rate_of(errors: WordErrors) -> str:
    low, high = errors.interval()
    return f"{errors.rate:.3f} [{low:.3f}, {high:.3f}]"


def seconds_of(waves: Sequence[Wave]) -> float:
    return sum(map(len, waves)) / RATE


def timed(work: Callable[[], Result]) -> tuple[Result, float]:
    """What ``work`` gives, and the processor seconds it took."""
    start = time.process_time()
    return work(), time.process_time() - start


def measured(settings: PatchesSettings, speech: Speech) -> Iterator[str]:
    """One row of the table: what one codebook costs and keeps."""
    book, fit_seconds = timed(lambda: fit(speech.fitted, settings))
    tokenizer = PatchesTokenizer(book, settings)
    _, encode_seconds = timed(lambda: tokenizer.encode(speech.fitted))
    yield f"{settings.codebook_size} x {settings.codebooks}"
    yield f"{tokenizer.spec.bits_per_second:.0f}"
    yield " / ".join(f"{p / settings.codebook_size:.2f}" for p in book.facts["perplexity"])
    yield f"{fit_seconds:.1f}"
    yield f"{seconds_of(speech.fitted) / encode_seconds:.0f}"
    for trial in speech.trials:
        codes = tokenizer.encode([s.wave_T for s in trial.said])
        again, decode_seconds = timed(lambda codes=codes: [tokenizer.decode(c) for c in codes])
        yield f"{seconds_of(again) / decode_seconds:.0f}"
        yield rate_of(heard(trial, again))
        yield f"{np.mean([distance(s.wave_T, w) for s, w in zip(trial.said, again, strict=True)]):.2f}"


def show(cells: Sequence[str]) -> None:
    print("| " + " | ".join(cells) + " |", flush=True)


def table(speech: Speech, recipes: Sequence[PatchesSettings]) -> None:
    """The Markdown table of one set of speech."""
    minutes = " ".join(f"{t.name}: {len(t.said)} utterances;" for t in speech.trials)
    print(f"\nfitted on {seconds_of(speech.fitted) / 60:.1f} minutes; {minutes} WER with its 95 % interval\n")
    heads = [head for t in speech.trials for head in (f"decode xRT ({t.name})", f"WER {t.name}", f"LSD dB ({t.name})")]
    show(["codes", "bit/s", "perplexity / size", "fit s", "encode xRT", *heads])
    show(["---"] * (5 + len(heads)))
    original = [c for t in speech.trials for c in ("", rate_of(heard(t, [s.wave_T for s in t.said])), "0")]
    show(["original", "", "", "", "", *original])
    for settings in recipes:
        show(list(measured(settings, speech)))


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description="Measure the embedded speech tokenizer.")
    parser.add_argument("--codes", type=int, nargs="+", default=[1024, 2048, 4096])
    parser.add_argument("--books", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--human", type=Path, help="folder in LibriSpeech's layout")
    asked = parser.parse_args(arguments)
    recipes = [PatchesSettings(codebook_size=c, codebooks=b) for b in asked.books for c in asked.codes]
    speech = synthetic()
    table(human(asked.human, speech.fitted) if asked.human else speech, recipes)


if __name__ == "__main__":
    main(sys.argv[1:])
