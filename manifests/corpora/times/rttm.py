"""RTTM, who speaks when: ``SPEAKER recording channel start length <NA> <NA> speaker ...``. Lines of other types are passed over."""

from __future__ import annotations

from manifests.corpora.times.channels import numbered, of_recording
from manifests.corpora.times.transcript import Phrase, check_span, checked, faulty, lines_of, seconds


def read_rttm(text: str, name: str, recording: str) -> list[Phrase]:
    """One phrase without text for each ``SPEAKER`` line of the recording; a line that cannot be read costs itself.

    Where a file is of several recordings, those lines are taken that name this one; raises :class:`BadTranscript` where none does.
    """
    rows = [(number, line.split()) for number, line in lines_of(text) if not line.startswith(";")]
    rows = [(number, row) for number, row in rows if row and row[0] == "SPEAKER"]
    mine = of_recording(rows, 1, name, recording)
    channel = numbered({row[2] for _, row in mine if len(row) > 2})
    return [_phrase(row, f"{name} line {number}", channel) for number, row in mine]


def _phrase(row: list[str], where: str, channel: dict[str, int | None]) -> Phrase:
    try:
        if len(row) < 8:
            raise ValueError(f"{len(row)} fields, at least 8 are needed")
        start, length = seconds(row[3]), seconds(row[4])
        end = checked(start + length)
        check_span(start, end)
        return Phrase(start, end, None, None if row[7] == "<NA>" else row[7], channel[row[2]])
    except ValueError as error:
        return faulty(where, error)
