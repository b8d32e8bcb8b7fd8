"""Ingest: list the corpus, look at each file's header, write ``cuts/cuts.jsonl.gz`` (a Lhotse manifest).

Listing is one stream; headers are read in parallel, chunk by chunk, in order. Only headers and a hash of the encoded bytes
are taken here; the sound is decoded once, later. ``cuts/cuts.json`` is written last.
"""

from __future__ import annotations

import gzip
import hashlib
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any

import orjson

from manifests.corpora.base import Corpus, CorpusError
from manifests.fetch import Fetcher, lost
from manifests.fingerprint import fingerprint, pretty, sha256
from manifests.receipt import damaged
from manifests.storage import Store, in_full
from manifests.utterance import AudioRef, Header, Utterance, to_cut
from pipelines.engine.commit import crash_point
from pipelines.engine.mapping import Mapper
from pipelines.engine.progress import Events

VERSION = 2  # 2: what is wrong with a sound is said without where the corpus lies
CHUNK = 200
MANIFEST, RECEIPT = "cuts.jsonl.gz", "cuts.json"


@dataclass(frozen=True)
class Cuts:
    """What is known of a written manifest.

    listing   digest of the corpus as it was listed for it
    corpus    digest of the settings by which it was
    """

    sha256: str
    utterances: int
    seconds: float
    listing: str
    corpus: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def fetcher(corpus: Corpus, root: str) -> Fetcher:
    """The fetcher of a corpus whose files lie under ``root``."""
    return Fetcher(Store(root), corpus.audio_roots)


def for_workers(corpus: Corpus) -> Corpus:
    """The settings of a corpus for processes with other working directories. Digests and names are taken of those that were written."""
    return corpus.model_copy(update={"audio_roots": tuple(in_full(root) for root in corpus.audio_roots)})


def listed(corpus: Corpus, root: str) -> Iterator[Utterance]:
    """The corpus's utterances, as far as ``corpus.limit`` lets. Raises ``CorpusError`` where there are none, whatever the layout."""
    utterances = islice(corpus.utterances(Store(root)), corpus.limit)
    first = next(utterances, None)
    if first is None:
        raise CorpusError(
            f"nothing is listed in {root}: no utterance as corpus.layout = {corpus.layout} lists them; check corpus.root, and whether its lists are whole"
        )
    yield first
    yield from utterances


def _settings(corpus: Corpus) -> list[Any]:
    return [VERSION, corpus.model_dump(mode="json", exclude={"root"})]


def settings_digest(corpus: Corpus) -> str:
    """By what settings a corpus is listed, wherever it lies."""
    return sha256(orjson.dumps(_settings(corpus)))


def listing_digest(corpus: Corpus, root: str) -> str:
    """A cheap identity of the corpus: every line, and each file's size and time of change. Decides only whether to look again.

    Two digests: of the lines (:class:`_Lines`), and of the files.
    """
    fetch, digest, lines = fetcher(corpus, root), hashlib.sha256(), _Lines(corpus)
    for utterance in lines.of(listed(corpus, root)):
        refs = [utterance.audio, utterance.units, utterance.query.audio if utterance.query else None]
        digest.update(orjson.dumps([fetch.snapshot(ref) for ref in refs if ref is not None]))
    return f"{lines.hexdigest}-{digest.hexdigest()}"


class _Lines:
    """The digest of what a corpus lists, taken as it is listed."""

    def __init__(self, corpus: Corpus) -> None:
        self._digest = hashlib.sha256(orjson.dumps(_settings(corpus)))

    def of(self, utterances: Iterable[Utterance]) -> Iterator[Utterance]:
        for utterance in utterances:
            self._digest.update(orjson.dumps(to_cut(utterance, Header())))
            yield utterance

    @property
    def hexdigest(self) -> str:
        return self._digest.hexdigest()


@dataclass(frozen=True)
class HeaderReader:
    """Reads the headers of a chunk of utterances; runs in a worker."""

    corpus: Corpus
    root: str

    def __call__(self, chunk: list[Utterance]) -> list[dict[str, Any]]:
        fetch = fetcher(self.corpus, self.root)
        return [to_cut(u, fetch.scan(u.audio) if u.audio and not u.fault else Header()) for u in chunk]

    def poisoned(self, chunk: list[Utterance]) -> list[dict[str, Any]]:
        """What is booked for an utterance whose header kills the process that reads it."""
        fault = ("worker_died", "reading its header kills the process that reads it")
        return [to_cut(u, Header(fault=fault)) for u in chunk]


def _chunks(utterances: Iterable[Utterance]) -> Iterator[list[Utterance]]:
    utterances = iter(utterances)
    while chunk := list(islice(utterances, CHUNK)):
        yield chunk


def ingest(corpus: Corpus, root: str, cuts: Store, mapper: Mapper, events: Events, relist: bool = True) -> Cuts:
    """Write the manifest, unless the corpus has not changed since it was written.

    Without ``relist`` nobody looks whether it has: a manifest that was written by the same settings is gone by.
    """
    known, listing = unchanged(corpus, root, cuts, relist)
    if known is not None:
        return known
    with tempfile.NamedTemporaryFile(prefix="speechmill-cuts-") as packed:
        result = read_corpus(corpus, root, listing, mapper, packed)
        packed.flush()
        cuts.publish_file(MANIFEST, Path(packed.name))
    crash_point("between-manifest-and-receipt")
    cuts.publish(RECEIPT, pretty(result.to_json()))
    events(
        "ingested",
        utterances=result.utterances,
        audio_seconds=round(result.seconds, 1),
        manifest=fingerprint(result.sha256),
    )
    return result


def unchanged(corpus: Corpus, root: str, cuts: Store, relist: bool = True) -> tuple[Cuts | None, str]:
    """(the manifest that stands in ``cuts``, where the corpus has not changed since; the digest of the corpus as it is listed)."""
    known = read_cuts(cuts)
    if known is not None and not relist and known.corpus == settings_digest(corpus):
        return known, known.listing
    listing = listing_digest(corpus, root)
    return (known if known is not None and known.listing == listing else None), listing


def read_corpus(corpus: Corpus, root: str, listing: str, mapper: Mapper, packed: IO[bytes]) -> Cuts:
    """Write the manifest into the file ``packed``; what is to be known of it. ``listing`` is the digest of the corpus as it is now.

    Raises ``FetchFailed`` where storage does not answer, or the corpus changes while it is read.
    """
    absent, lines = list[AudioRef](), _Lines(corpus)
    chunks = mapper.map(HeaderReader(for_workers(corpus), root), _chunks(lines.of(listed(corpus, root))), "ingest")
    cuts = write_manifest(_noting(chunks, absent), packed, listing, settings_digest(corpus))
    if not listing.startswith(lines.hexdigest):
        raise lost("it lists other utterances than a moment ago")
    if absent:
        _check_absent(corpus, root, listing, absent)
    return cuts


def _noting(chunks: Iterable[list[dict[str, Any]]], absent: list[AudioRef]) -> Iterator[dict[str, Any]]:
    """The cuts of ``chunks``; files that were not there go to ``absent``."""
    for cut in (cut for chunk in chunks for cut in chunk):
        custom = cut["custom"]
        if custom.get("fault", ("",))[0] == "missing_audio" and "audio" in custom and "row" not in custom["audio"]:
            absent.append(AudioRef.from_json(custom["audio"]))
        yield cut


def _check_absent(corpus: Corpus, root: str, listing: str, absent: list[AudioRef]) -> None:
    """Raises ``FetchFailed`` where files that were not there had been before, or are there again: a mount that dropped, if for a moment."""
    fetch = fetcher(corpus, root)
    back = next((ref for ref in absent if fetch.snapshot(ref)), None)
    try:
        changed = back is not None or listing_digest(corpus, root) != listing
    except (CorpusError, OSError) as error:
        raise lost(error) from error
    if changed:
        raise lost(f"there was no file {(back or absent[0]).path}")


def write_manifest(cuts: Iterable[dict[str, Any]], packed: IO[bytes], listing: str, corpus: str = "") -> Cuts:
    """Write cuts into the file ``packed``, as a manifest: one line of JSON each, packed. Holds none of them."""
    digest, count, seconds = hashlib.sha256(), 0, 0.0
    with gzip.GzipFile(filename="", fileobj=packed, mode="wb", mtime=0, compresslevel=6) as file:
        for cut in cuts:
            line = orjson.dumps(cut) + b"\n"
            digest.update(line)
            file.write(line)
            count, seconds = count + 1, seconds + cut["duration"]
    return Cuts(digest.hexdigest(), count, round(seconds, 6), listing, corpus)


def read_cuts(cuts: Store) -> Cuts | None:
    """What ``cuts/cuts.json`` says, or None where there is none. Raises ``ReceiptError`` for a damaged one."""
    try:
        return Cuts(**orjson.loads(cuts.read(RECEIPT)))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise damaged(f"{cuts.root}/{RECEIPT}", error) from None


def cut_lines(cuts: Store) -> Iterator[bytes]:
    """The lines of the manifest, streamed."""
    with cuts.open(MANIFEST) as raw, gzip.GzipFile(fileobj=raw) as file:
        for line in file:
            yield line.rstrip(b"\n")
