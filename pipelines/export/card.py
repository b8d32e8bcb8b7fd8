"""The card of a Hugging Face dataset: a header that ``load_dataset`` reads, a page for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import yaml

from manifests.filters.columns import COLUMNS as SCORES
from pipelines.export.about import About

if TYPE_CHECKING:
    from datasets import Features

COLUMNS = {
    "id": "id of the utterance in its corpus",
    "text": "what is said",
    "speaker": "who says it, where the corpus tells",
    "language": "its language, where known",
    "corpus": "name of the corpus",
    "recording": "id of the recording it is a part of",
    "start": "where in the recording it begins, seconds",
    "duration": "seconds of sound after cleaning",
    "audio": "the cleaned sound that the codes were made of, FLAC, mono",
    "speech": "speech codes, frames x codebooks",
    "text_ids": "text token ids",
    "query_text": "what it answers, in dialogues",
    "query_speaker": "who asked",
    "query_duration": "seconds of the query",
    "query_audio": "the query's cleaned sound",
    "query_speech": "the query's speech codes, frames x codebooks",
    "query_text_ids": "the query's text token ids",
    "extra": "what else the corpus says of it, JSON",
}
SIZES = (("n<1K", 1_000), ("1K<n<10K", 10_000), ("10K<n<100K", 100_000), ("100K<n<1M", 1_000_000),
         ("1M<n<10M", 10_000_000), ("10M<n<100M", 100_000_000))  # fmt: skip
LICENCE = (
    "Tokens, texts and sound derive from the corpus named below and stay under its licence, which this card does not know: "
    "replace `license: other` by it before you pass the dataset on."
)


def card(about: About, features: Features, sums: Mapping[str, Mapping[str, int]]) -> bytes:
    """``README.md``. ``sums`` holds ``rows``, ``bytes`` (in memory) and ``stored`` of every split."""
    head = yaml.safe_dump(_header(about, features, sums), sort_keys=False, allow_unicode=True)
    return f"---\n{head}---\n\n{_page(about, features, sums)}".encode()


def _header(about: About, features: Features, sums: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
    rows = sum(s["rows"] for s in sums.values())
    splits = [{"name": about.folders[s], "num_bytes": n["bytes"], "num_examples": n["rows"]} for s, n in sums.items()]
    files = [{"split": word, "path": f"data/{word}-*.parquet"} for word in about.folders.values()]
    return {
        "license": "other",
        "pretty_name": about.name,
        "task_categories": ["text-to-speech", "automatic-speech-recognition"],
        "size_categories": [next((name for name, end in SIZES if rows < end), "n>100M")],
        "configs": [{"config_name": "default", "data_files": files}],
        "dataset_info": {
            "features": features._to_yaml_list(),  # the form that cards have; the library offers no public name for it
            "splits": splits,
            "download_size": sum(s["stored"] for s in sums.values()),
            "dataset_size": sum(s["bytes"] for s in sums.values()),
        },
    }


def _page(about: About, features: Features, sums: Mapping[str, Mapping[str, int]]) -> str:
    speech, text = about.description["speech"], about.description["text"]
    amounts = about.description["splits"]
    lines = [
        f"# {about.name}",
        "",
        f"Speech tokens and text, made with Speechmill from {_number(sum(s['rows'] for s in sums.values()))} utterances.",
        "",
        "| split | utterances | hours | query hours | frames | text tokens |",
        "|---|---|---|---|---|---|",
        *(_row(about.folders[split], sums[split]["rows"], amounts[split]) for split in about.folders),
        "",
        "| column | what |",
        "|---|---|",
        *(f"| `{name}` | {_meaning(name)} |" for name in features),
        "",
        _tokenizer(speech),
        f"- Text tokenizer: {text['vocab_size']} tokens, SHA-256 of its `tokenizer.json` {text['checksum']}.",
        f"- Recipe: SHA-256 {about.recipe} of the settings that decided the tokens.",
        f"- Left out of the dataset: {_left_out(about.description['ledger'])}.",
        f"- Licence: {LICENCE}",
    ]
    return "\n".join(lines) + "\n"


def _meaning(name: str) -> str:
    if name in COLUMNS:
        return COLUMNS[name]
    score = SCORES[name]
    return f"{score.what}, {score.unit}"


def _tokenizer(speech: Mapping[str, Any]) -> str:
    return (
        f"- Speech tokenizer: {speech['name']} version {speech['version']}, {speech['frame_rate']:g} frames a second, "
        f"{speech['codebooks']} codebooks of {speech['vocab_size']} codes, sound at {speech['sample_rate']} Hz, "
        f"SHA-256 of its weights {speech['checksum'] or 'none'}."
    )


def _row(word: str, rows: int, amounts: Mapping[str, float]) -> str:
    hours, query = amounts["seconds"] / 3600, amounts.get("query_seconds", 0) / 3600
    frames, tokens = int(amounts["frames"]), int(amounts["text_tokens"])
    return f"| {word} | {_number(rows)} | {hours:.3f} | {query:.3f} | {_number(frames)} | {_number(tokens)} |"


def _left_out(ledger: Mapping[str, Any]) -> str:
    counts = [f"{n} {kind} ({reason})" for kind in ("filtered", "quarantined") for reason, n in ledger[kind].items()]
    return ", ".join(counts) or "nothing"


def _number(count: int) -> str:
    return f"{count:,}"
