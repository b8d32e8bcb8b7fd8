"""CTM, which word is said when: ``recording channel start length word [confidence]``."""

from __future__ import annotations

from manifests.corpora.times.channels import numbered, of_recording
from manifests.corpora.times.transcript import SILENCES, BadTranscript, Phrase, Word, checked, lines_of, seconds


def read_ctm(text: str, name: str, recording: str) -> list[Phrase]:
    """One phrase for each channel, made of all its words in the order of their times.

    Where a file is of several recordings, those lines are taken that name this one. A word that cannot be placed would leave a hole in what is said:
    raises :class:`BadTranscript`.
    """
    rows = [
        (f"{name} line {n}", line.split()) for n, line in lines_of(text) if line.strip() and not line.startswith(";;")
    ]
    mine = of_recording(rows, 0, name, recording)
    names = numbered({row[1] for _, row in mine if len(row) > 1})
    by_channel: dict[int | None, list[Word]] = {}
    for where, row in mine:
        word = _word(row, where)
        if word.text not in SILENCES:
            by_channel.setdefault(names[row[1]], []).append(word)
    return [_phrase(words, channel) for channel, words in sorted(by_channel.items(), key=lambda pair: pair[0] or 0)]


def _word(row: list[str], where: str) -> Word:
    if len(row) < 5:
        raise BadTranscript(
            f"{where} has {len(row)} fields, at least 5 are needed: recording channel start length word"
        )
    if row[4].startswith("<ALT"):
        raise BadTranscript(f"{where} begins alternatives (<ALT>); keep one of them")
    try:
        start = seconds(row[2])
        return Word(start, checked(start + seconds(row[3])), row[4])
    except ValueError as error:
        raise BadTranscript(f"{where}: {error}") from None


def _phrase(words: list[Word], channel: int | None) -> Phrase:
    words = sorted(words, key=lambda word: (word.start, word.end))
    text = " ".join(word.text for word in words)
    return Phrase(words[0].start, max(w.end for w in words), text, None, channel, tuple(words))
