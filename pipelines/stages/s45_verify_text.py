"""What transcripts do to the utterances of the plan: give them texts, and hold the texts they have against what was heard.

A rule is a small function that returns nothing, or why an utterance is filtered: a code of ``s40_clean.REASONS``, and a sentence with the score. They are applied in
the one place where a unit's cuts are read (:func:`said_cuts`), so that fit, tokens and ``verify`` see the same texts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from manifests.keys import key_of
from manifests.receipt import read_receipt, shard_stem
from manifests.recipe import Recipe
from manifests.settings.transcribe import VerifyTextSettings
from manifests.shards.reader import Shard
from manifests.storage import Store
from pipelines.stages.s30_plan import unit_cuts
from pipelines.stages.s40_clean import Dropped
from tokenization.recognisers.base import Transcript
from tokenization.recognisers.normalise import Difference, difference, language_code, normaliser, repeats

VERSION = 2  # 2: spaces that the normaliser puts between signs are no characters that were heard
QUOTED = 60  # characters of a text in a sentence


class TextsMissing(RuntimeError):
    """Transcripts that should be there are not: no utterance's fault."""


@dataclass(frozen=True)
class Said:
    """One sound, what the corpus says is said in it, and what was heard.

    text       of the corpus; None where it has none
    language   as the corpus states it
    known      the only language that the recogniser knows, where it has one
    seconds    of the cleaned sound
    """

    text: str | None
    language: str | None
    heard: Transcript
    seconds: float
    known: str | None
    settings: VerifyTextSettings

    @cached_property
    def code(self) -> str | None:
        """The language that both texts are taken to be in."""
        return language_code(self.language) or language_code(self.heard.language) or self.known

    @cached_property
    def words(self) -> list[str]:
        """The heard words, normalised."""
        return normaliser(self.settings.normaliser, self.code)(self.heard.text).split()

    @cached_property
    def difference(self) -> Difference | None:
        """None where there is no text of the corpus."""
        if not (self.text and self.text.strip()):
            return None
        said = normaliser(self.settings.normaliser, self.code)(self.text)
        return difference(said, " ".join(self.words), self.code)

    @property
    def agrees(self) -> bool:
        """Whether corpus and recogniser say the same, as far as the recipe asks."""
        s = self.settings
        compared = self.difference is not None and (s.max_wer is not None or s.max_cer is not None)
        return compared and _too_different(self) is None


def _wrong_language(x: Said) -> Dropped | None:
    stated, heard = language_code(x.language), language_code(x.heard.language)
    probability = x.heard.probability or 0.0
    if not x.settings.language or not stated or not heard or stated == heard:
        return None
    if probability < x.settings.min_language_probability:
        return None
    return Dropped(
        "filtered", "wrong_language", f"the corpus says {x.language}, {heard} is heard (p = {probability:.2f})"
    )


def _nothing(x: Said) -> Dropped | None:
    if x.difference is not None or any(map(str.isalnum, x.heard.text)):
        return None
    return Dropped(
        "filtered", "heard_nothing", f"no words are heard in {x.seconds:.2f} s, and the corpus has no text for it"
    )


def _loop(x: Said) -> Dropped | None:
    s, ratio = x.settings, x.heard.compression or 0.0
    if s.max_compression_ratio is not None and ratio > s.max_compression_ratio:
        return Dropped(
            "filtered", "heard_loop", f"compression ratio {ratio:.2f} over {s.max_compression_ratio:g}: {_heard(x)}"
        )
    times, words = repeats(x.words)
    if s.max_repeats is not None and times > s.max_repeats:
        return Dropped(
            "filtered",
            "heard_loop",
            f"{_quoted(words)} is heard {times} times in a row, over {s.max_repeats}: {_heard(x)}",
        )
    return None


def _no_speech(x: Said) -> Dropped | None:
    s, silent, mean = x.settings, x.heard.no_speech, x.heard.avg_logprob
    likely = s.min_avg_logprob is not None and mean is not None and mean >= s.min_avg_logprob
    if s.max_no_speech is None or silent is None or silent <= s.max_no_speech or likely:
        return None
    return Dropped(
        "filtered", "heard_no_speech", f"no-speech probability {silent:.2f} over {s.max_no_speech:g}: {_heard(x)}"
    )


def _unlikely(x: Said) -> Dropped | None:
    limit, mean = x.settings.min_avg_logprob, x.heard.avg_logprob
    if limit is None or mean is None or mean >= limit:
        return None
    return Dropped("filtered", "heard_unlikely", f"mean log probability {mean:.2f} under {limit:g}: {_heard(x)}")


def _too_fast(x: Said) -> Dropped | None:
    limit, letters = x.settings.max_chars_per_second, sum(map(str.isalnum, x.heard.text))
    rate = letters / max(x.seconds, 0.01)
    if limit is None or rate <= limit:
        return None
    return Dropped("filtered", "heard_too_fast", f"{rate:.0f} characters a second over {limit:g}: {_heard(x)}")


def _too_different(x: Said) -> Dropped | None:
    s, found = x.settings, x.difference
    if found is None:
        return None
    for name, value, limit in (("WER", found.wer, s.max_wer), ("CER", found.cer, s.max_cer)):
        if limit is not None and value > limit:
            return Dropped("filtered", "text_mismatch", f"{name} {value:.2f} over {limit:g}: {_heard(x)}")
    return None


def _heard(x: Said) -> str:
    return f"heard {_quoted(x.heard.text)}"


def _quoted(text: str) -> str:
    short = " ".join(text.split())
    return repr(short if len(short) <= QUOTED else f"{short[: QUOTED - 1]}…")


RULES: tuple[Callable[[Said], Dropped | None], ...] = (
    _no_speech, _wrong_language, _nothing, _loop, _unlikely, _too_fast, _too_different,
)  # fmt: skip


def judge(x: Said) -> Dropped | None:
    """The first rule that does not hold. Where corpus and recogniser agree, there is nothing to doubt but the language."""
    rules = (_wrong_language,) if x.agrees else RULES
    return next((dropped for rule in rules if (dropped := rule(x)) is not None), None)


def said_cuts(plan: Store, transcripts: Store | None, recipe: Recipe, unit: int) -> Iterator[dict[str, Any]]:
    """The cuts of a unit, in plan order, with what the transcripts say of them; as they are, where there are none.

    ``transcripts`` are side shards of ``s38_transcribe``. Raises :class:`TextsMissing`, and ``ShardError`` for damaged ones.
    """
    if transcripts is None or recipe.transcribe is None:
        yield from unit_cuts(plan, unit)
        return
    receipt = read_receipt(transcripts, unit)
    if receipt is None:
        raise TextsMissing(f"unit {unit} has no transcripts")
    shard, known = Shard(transcripts, shard_stem(unit)), receipt.facts["recogniser"]["language"]
    for cut, outcome in zip(unit_cuts(plan, unit), receipt.outcomes, strict=True):
        if outcome.status != "written":
            cut["custom"]["ended"] = [outcome.status, outcome.reason, outcome.error]
            yield cut
            continue
        place = shard.position(key_of(outcome.id))
        if place is None:
            raise TextsMissing(
                f"{shard.name} has no {key_of(outcome.id)}, which its receipt calls written; run `speechmill verify`"
            )
        yield said(cut, shard[place].meta, recipe, known)


def said(cut: dict[str, Any], meta: dict[str, Any], recipe: Recipe, known: str | None) -> dict[str, Any]:
    """One cut with what was heard of it: its texts, its scores, and its end where a rule does not hold.

    ``meta`` is the entry of the side shard. What a corpus has no text for gets the heard one, where ``transcribe.use`` says so.
    """
    custom, supervision = cut["custom"], cut["supervisions"][0]
    holders = {"response": supervision, "query": custom.get("query")}
    for side, holder in holders.items():
        value = meta.get(side)
        if value is None or holder is None:
            continue
        heard, stated = Transcript.from_json(value), supervision.get("language") or recipe.corpus.language
        text = holder.get("text")
        found = heard.to_json()
        if recipe.verify_text is not None:
            x = Said(text, stated, heard, float(value["seconds"]), known, recipe.verify_text)
            if x.difference is not None:
                found |= {"wer": x.difference.wer, "cer": x.difference.cer}
            dropped = judge(x)
            if dropped is not None and "ended" not in custom:
                reason = dropped.reason if side == "response" else f"query_{dropped.reason}"
                detail = dropped.detail if side == "response" else f"its query: {dropped.detail}"
                custom["ended"] = [dropped.status, reason, detail]
        if not (text and text.strip()) and heard.text:
            holder["text"] = heard.text
            found["is_text"] = True
        custom.setdefault("heard", {})[side] = found
    return cut
