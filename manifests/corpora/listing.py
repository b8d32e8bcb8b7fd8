"""What the layouts share about folders and names: walking them in order, ids from paths, faults, repeated ids.

Everything here works on names alone; no sound file is opened, and on local disk none is even ``stat``-ed.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import groupby
from typing import Annotated

from pydantic import AfterValidator

from manifests.corpora.base import CorpusError
from manifests.run_file import is_output
from manifests.storage import Store
from manifests.utterance import AudioRef, Utterance

Fault = tuple[str, str]  # (reason code, sentence for a person)

AUDIO_SUFFIXES = frozenset(
    [
        ".wav",
        ".flac",
        ".mp3",
        ".ogg",
        ".oga",
        ".opus",
        ".m4a",
        ".mp4",
        ".aac",
        ".webm",
        ".mka",
        ".wma",
        ".aiff",
        ".aif",
        ".aifc",
        ".au",
        ".caf",
        ".w64",
        ".sph",
        ".amr",
    ]
)
SPLITS = {
    "train": "train", "training": "train", "dev": "dev", "valid": "dev", "val": "dev", "validation": "dev",
    "test": "test", "testing": "test", "eval": "test",
}  # fmt: skip


def split_name(name: str) -> tuple[str, str]:
    """``("a.b", ".wav")`` for ``a.b.wav``; the suffix in lower case, empty for a name that only starts with a dot."""
    dot = name.rfind(".")
    return (name, "") if dot <= 0 else (name[:dot], name[dot:].lower())


def is_audio(name: str) -> bool:
    """True where the suffix is one of :data:`AUDIO_SUFFIXES`; files that macOS leaves (``._x.wav``) are none."""
    return split_name(name)[1] in AUDIO_SUFFIXES and not name.startswith("._")


def join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def folders(files: Store, top: str = "") -> Iterator[tuple[str, list[str]]]:
    """Every folder at or below ``top`` with the names of its files, both in the order of code points, parents first.

    A folder's name is relative to the root of ``files``. The order does not depend on the file system. Links to files
    and folders are followed; a link to one of its own parents is not. Whatever is no folder counts as a file here: what
    it really is shows when it is fetched. Below the top, outputs of ours are passed over: what is made of a corpus may lie in
    it. A folder that is not there has nothing in it; one that may not be read, or goes away meanwhile, raises
    :class:`CorpusError`.
    """
    local = files.local(top)
    if local is not None:
        yield from _local_folders(str(local), top.strip("/"), frozenset(), top.strip("/"))
        return
    try:
        names = list(files.walk(top))
    except FileNotFoundError:
        return
    found = ((posixpath.dirname(n), posixpath.basename(n)) for n in names)
    grouped = [(folder, sorted(n for _, n in group)) for folder, group in groupby(found, lambda pair: pair[0])]
    yield from sorted(grouped, key=lambda pair: pair[0].split("/"))


def _local_folders(path: str, name: str, parents: frozenset[str], top: str) -> Iterator[tuple[str, list[str]]]:
    try:
        with os.scandir(path) as found:
            entries = sorted((e.name, e.is_dir(), e.is_symlink()) for e in found)
    except (FileNotFoundError, NotADirectoryError):
        if name == top:
            return
        raise CorpusError(f"the folder {path} went away while the corpus was listed; run again") from None
    except PermissionError:  # leaving it out would lose what is in it without a word
        raise CorpusError(
            f"the folder {path} may not be read by this user; change its rights, or move it away"
        ) from None
    yield name, [n for n, is_folder, _ in entries if not is_folder]
    links = [n for n, is_folder, is_link in entries if is_folder and is_link]
    # Only a link can close a circle, so the costly resolving is left to folders that have one (or came through one).
    here = parents | {os.path.realpath(path)} if links or parents else parents
    for child, is_folder, is_link in entries:
        if not is_folder:
            continue
        below = os.path.join(path, child)
        if (is_link and _closes_a_circle(below, here)) or is_output(below):
            continue
        yield from _local_folders(below, join(name, child), here if is_link or parents else frozenset(), top)


def _closes_a_circle(link: str, parents: frozenset[str]) -> bool:
    target = os.path.realpath(link)
    return target in parents or any(p.startswith(target.rstrip("/") + "/") for p in parents)


def subfolders(files: Store, name: str = "") -> list[str]:
    """The names of the folders directly in ``name``, sorted."""
    local = files.local(name)
    if local is not None:
        try:
            with os.scandir(local) as found:
                return sorted(e.name for e in found if e.is_dir())
        except (FileNotFoundError, NotADirectoryError):
            return []
    inside = (n for n in files.list(name) if not is_audio(n))
    return [n for n in inside if files.list(join(name, n))]


def stems(names: Iterable[str]) -> list[tuple[str, str]]:
    """(id part, file name) of the sound files among ``names``, in order.

    The id part is the name without suffix, or the whole name where several sound files share a stem (``p.wav``, ``p.mp3``).
    """
    audio = [(split_name(n)[0], n) for n in names if is_audio(n)]
    shared = {s for s, count in Counter(s for s, _ in audio).items() if count > 1}
    return [(name if stem in shared else stem, name) for stem, name in audio]


def split_of_folder(name: str) -> str | None:
    """``train``, ``dev`` or ``test`` for ``train-clean-100``, ``Training``, ``dev_other``, ``validation``, ``test``; else None."""
    word = re.split(r"[^a-z]", name.lower(), maxsplit=1)[0]
    return SPLITS.get(word)


def place(files: Store, path: str, prefix: str = "") -> str:
    """``path`` as a manifest writes it, as the path of an :class:`AudioRef`.

    Relative paths are meant from ``prefix`` (a folder of the corpus). Absolute ones and ``..`` become relative where they
    end inside the root, and absolute otherwise: fetching decides whether that is allowed. URLs stay as they are.
    """
    if "://" in path and not path.startswith("file://"):
        return path
    path = path.removeprefix("file://")
    if path.startswith("/"):
        return _inside(files, path) or path
    joined = join(prefix.strip("/"), path)
    if ".." not in joined and "./" not in joined and "//" not in joined:
        return joined
    clean = posixpath.normpath(joined)
    if not clean.startswith("..") or not files.is_local:
        return clean
    outside = posixpath.normpath(posixpath.join(files.path(""), clean))
    return _inside(files, outside) or outside


def _inside(files: Store, path: str) -> str | None:
    if not files.is_local:
        return None
    clean, root = posixpath.normpath(path), files.path("").rstrip("/")
    for top in (root, os.path.realpath(root)):
        if clean.startswith(f"{top}/"):
            return clean[len(top) + 1 :]
    return None


def legible(utterance: Utterance) -> Utterance:
    """The utterance, or a faulty one with escapes where something in it is not valid Unicode.

    File names may hold any bytes and JSON may hold half a surrogate pair; neither can be written as UTF-8 again.
    """
    u = utterance
    whole = f"{u.id}{u.text}{u.speaker}{u.language}{u.recording}{u.split}{u.audio.path if u.audio else ''}"
    if u.extra or u.query or u.units or u.fault:
        whole += _rest(u)
    if whole.isascii() or escaped(whole) == whole:
        return u
    fault = u.fault or ("bad_encoding", f"{u.id}: its name or text is not valid Unicode; rename or re-encode it")
    extra = {escaped(k): escaped(v) if isinstance(v, str) else v for k, v in u.extra.items()}
    return Utterance(
        escaped(u.id), None, _escaped(u.text), _escaped(u.speaker), _escaped(u.language), _escaped(u.recording),
        u.start, u.seconds, u.channel, _escaped(u.split), fault=(fault[0], escaped(fault[1])), extra=extra,
    )  # fmt: skip


def _rest(u: Utterance) -> str:
    """The strings of an utterance that most utterances have none of."""
    query = (u.query.text, u.query.speaker, u.query.audio.path if u.query.audio else None) if u.query else ()
    parts = (*query, *u.extra, *u.extra.values(), *(u.fault or ()), u.units.path if u.units else None)
    return "".join([part for part in parts if isinstance(part, str)])


def escaped(text: str) -> str:
    """``text`` with everything that UTF-8 cannot write as backslash escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _escaped(text: str | None) -> str | None:
    return None if text is None else escaped(text)


class Names:
    """The ids given so far by one file or folder, so that each utterance gets one of its own."""

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._seen

    def given(self) -> Iterator[str]:
        return iter(self._seen)

    def apart(self, utterance: Utterance) -> Utterance:
        """For ids derived from paths: a repeated one gets ``~2``, ``~3``, ... and stays usable."""
        count = self._seen.get(utterance.id, 0) + 1
        self._seen[utterance.id] = count
        if count == 1:
            return utterance
        return self.apart(utterance.renamed(f"{utterance.id}~{count}"))

    def once(self, utterance: Utterance, where: str) -> Utterance:
        """For ids that the corpus states: a repeated one is told apart, and faulty."""
        if utterance.id not in self._seen:
            self._seen[utterance.id] = 1
            return utterance
        fault = ("duplicate_id", f"{where} repeats the id {utterance.id}; only its first line is used")
        return self.apart(replace(utterance, fault=utterance.fault or fault))


def at_least_one(utterances: Iterator[Utterance], files: Store) -> Iterator[Utterance]:
    """The same utterances. Raises :class:`CorpusError` where there are none: a mistyped root has no sound files either."""
    first = next(utterances, None)
    if first is None:
        raise CorpusError(f"no sound files in {files.root}; check corpus.root and corpus.layout")
    yield first
    yield from utterances


def missing_audio(name: str, text: str | None, where: str) -> Utterance:
    """A transcript whose sound file is not there."""
    return Utterance(
        name, text=text, fault=("missing_audio", f"{where} has a transcript for {name}, but no sound file")
    )


def _check_pattern(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{pattern!r} is not a regular expression ({error})") from None
    return pattern


Pattern = Annotated[str, AfterValidator(_check_pattern)]


def pattern_reader(pattern: str | None) -> Callable[[str], str | None]:
    """A function from a path to the first group (or the whole match) of ``pattern`` in it; None where it does not match."""
    if pattern is None:
        return lambda path: None
    compiled = re.compile(pattern)

    def read(path: str) -> str | None:
        match = compiled.search(path)
        return None if match is None else match[1 if compiled.groups else 0]

    return read


def audio_ref(folder: str, name: str) -> AudioRef:
    return AudioRef(join(folder, name))
