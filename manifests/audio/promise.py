"""How long a file says it is: only what the file promises, never a library's estimate.

libsndfile quietly takes what is there for what was promised: of a WAV cut in half it reports half the length. The promise is
read from its log and from the file itself, so that a truncated file can be told from a short one.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from manifests.audio.source import Source

if TYPE_CHECKING:
    import soundfile

NO_PROMISE = 0x7FFF0000  # chunk sizes from here on are what a writer puts that cannot go back: "until the end"
ENDLESS = 1 << 50  # frames; libsndfile gives 2^63 - 1 where the header gives none
CHUNK_LOG = re.compile(r"^\s*(?:data|SSND|Data Size)\s*:\s*(\d+) \(should be (\d+)\)", re.MULTILINE)
FORM_LOG = re.compile(r"^\s*(?:riff|Riff size|FORM|RIFF)\s*:\s*(\d+) \(should be (\d+)\)", re.MULTILINE)
SPHERE_COUNT = re.compile(rb"^sample_count -i (\d+)", re.MULTILINE)
MPEG_TAGS = (b"Xing", b"Info", b"VBRI")
TAIL = 1 << 17  # an Ogg page has at most 65,307 bytes
PAGE = re.compile(rb"OggS\0(.)", re.DOTALL)
FIRST_PAGE = 2  # the bit of a page's flags: here a stream begins
BLOCK = 1 << 20
ID3V1_BYTES, APE_BYTES = 128, 32  # a whole tag; the footer, or the header, of one
SAMPLE_BYTES = {
    "PCM_U8": 1,
    "PCM_S8": 1,
    "PCM_16": 2,
    "PCM_24": 3,
    "PCM_32": 4,
    "FLOAT": 4,
    "DOUBLE": 8,
    "ULAW": 1,
    "ALAW": 1,
}


def promised_frames(sound: soundfile.SoundFile, file: Source) -> int | None:
    """Frames the opened file promises; None where it promises none (streamed WAV, MP3 without a Xing, Info or VBRI tag)."""
    if not 0 < sound.frames < ENDLESS:
        return None
    if sound.format == "MP3":
        return sound.frames if _has_mpeg_tag(file) else None
    if sound.format == "NIST" and (found := SPHERE_COUNT.search(file.peek(0, 1024))):
        return int(found[1])
    return sound.frames - (
        -_missing_bytes(sound.extra_info) // _frame_bytes(sound, file)
    )  # rounded up: half a frame is missing, too


def _missing_bytes(log: str) -> int:
    """Bytes that chunk sizes promise beyond the end of the file."""
    for pattern in (CHUNK_LOG, FORM_LOG):
        sizes = [(int(said), int(held)) for said, held in pattern.findall(log)]
        if sizes:
            return max((said - held for said, held in sizes if held < said < NO_PROMISE), default=0)
    return 0


def _frame_bytes(sound: soundfile.SoundFile, file: Source) -> int:
    width = SAMPLE_BYTES.get(sound.subtype)
    return width * sound.channels if width else max(file.size // sound.frames, 1)


def _has_mpeg_tag(file: Source) -> bool:
    """Whether the first MPEG frame, after an ID3v2 tag, tells the length."""
    head, start = file.peek(0, 10), 0
    if head[:3] == b"ID3" and len(head) == 10:
        start = 10 + sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
    first = file.peek(start, 4096)
    return any(tag in first for tag in MPEG_TAGS)


def ends_inside_a_page(file: Source) -> bool:
    """Whether an Ogg file breaks off in the middle of a page: Ogg promises no length, but every page its own.

    A stream cut exactly between two pages is not noticed; a missing end mark is no proof, recorders often leave it out.
    """
    if file.peek(0, 4) != b"OggS":
        return False
    tail = file.peek(max(file.size - TAIL, 0), TAIL)
    start = tail.rfind(b"OggS")
    if start < 0:
        return False
    page = tail[start:]
    if len(page) < 27 or len(page) < 27 + page[26]:
        return True
    end = 27 + page[26] + sum(page[27 : 27 + page[26]])
    rest = page[end:]
    return len(page) < end or (bool(rest) and b"OggS".startswith(rest))


def streams_follow(file: Source) -> bool:
    """Whether an Ogg file holds streams one after the other, as joined files do: one begins where another has gone on.

    All pages are looked at: after seeking, how far a library has read tells nothing, and joined copies have one serial number.
    """
    under_way = False
    for at in range(0, file.size, BLOCK):
        for page in PAGE.finditer(file.peek(at, BLOCK + 5)):  # 5: a page's mark may lie across two blocks
            begins = bool(page[1][0] & FIRST_PAGE)
            if begins and under_way:
                return True
            under_way = under_way or not begins
    return False


def end_of_mpeg(file: Source) -> int:
    """Where an MP3's sound ends: before the ID3v1 and APE tags at the end of the file."""
    end = file.size
    if end >= ID3V1_BYTES and file.peek(end - ID3V1_BYTES, 3) == b"TAG":
        end -= ID3V1_BYTES
    footer = file.peek(max(end - APE_BYTES, 0), APE_BYTES)
    if footer.startswith(b"APETAGEX") and len(footer) == APE_BYTES:
        size, flags = (int.from_bytes(footer[at : at + 4], "little") for at in (12, 20))
        end -= size + APE_BYTES * (flags >> 31)  # the size counts the footer, but not the header
    return max(end, 0)
