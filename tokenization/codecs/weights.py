"""Where weights of one's own lie, a codec's or a recogniser's: a file, a folder, or a repository of the Hugging Face hub; and what their SHA-256 is.

The checksum is that of the one file that holds the weights: what ``sha256sum`` prints and the hub shows.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from manifests.settings.weights import WeightsSettings
from tokenization.adapter import TokenizerError

CONFIG, SAFETENSORS = "config.json", "model.safetensors"
S = TypeVar("S", bound=WeightsSettings)
REPOSITORY = re.compile(r"^\w[\w.-]*/\w[\w.-]*$")


@dataclass(frozen=True)
class Found:
    """The weights on this machine; ``config`` is None where they are a single file."""

    weights: Path
    config: Path | None
    checksum: str

    @property
    def folder(self) -> Path:
        return self.weights.parent


def find(
    settings: WeightsSettings,
    name: str,
    files: tuple[str, ...] = (CONFIG, SAFETENSORS),
    block: str = "speech",
    also: tuple[str, ...] = (),
) -> Found:
    """The weights that ``settings`` name; ``files`` are wanted of a folder or repository, the weights last.

    block   of the recipe, where the settings stand
    also    patterns of files that are taken from a repository where it has them

    The hub is asked only for what is not in its cache, and not at all under ``HF_HUB_OFFLINE=1``. Raises
    :class:`TokenizerError` where they are not there, or have another checksum than the recipe says.
    """
    place = settings.weights
    if not place:
        raise TokenizerError(
            f"{block}.weights: where are the weights of {name!r}? give a file or folder, or a repository of the hub"
        )
    path = Path(place).expanduser()
    if path.is_file():
        found = Found(path, None, sha256_of(path))
    elif path.is_dir():
        found = _of_folder(path, files, place, block)
    elif REPOSITORY.match(place):
        found = _of_folder(_downloaded(settings, [*files, *also], block), files, place, block)
    else:
        raise TokenizerError(
            f"{block}.weights: {place} is no file or folder here, nor the name of a repository (org/name)"
        )
    if settings.checksum not in (None, found.checksum):
        raise TokenizerError(
            f"{block}.weights: {found.weights} has SHA-256 {found.checksum}, the recipe ({block}.checksum) says "
            f"{settings.checksum}: other weights give other {'codes' if block == 'speech' else 'words'}"
        )
    return found


def at_checksum(settings: S, checksum: str) -> S:
    """``settings`` that say exactly which weights: by their checksum, and as a place that every process finds."""
    local = Path(settings.weights).expanduser()
    place = str(local.resolve()) if local.exists() else settings.weights
    return settings.model_copy(update={"checksum": checksum, "weights": place})


def _of_folder(folder: Path, files: tuple[str, ...], place: str, block: str) -> Found:
    missing = [file for file in files if not (folder / file).is_file()]
    if missing:
        raise TokenizerError(f"{block}.weights: {place} has no {' and no '.join(missing)}")
    weights = folder / files[-1]
    return Found(weights, folder / CONFIG if CONFIG in files else None, sha256_of(weights))


def _downloaded(settings: WeightsSettings, files: Sequence[str], block: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(settings.weights, revision=settings.revision, allow_patterns=list(files)))
    except Exception as error:  # the library's network, cache and permission errors share no base
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise TokenizerError(
            f"{block}.weights: {settings.weights} is no file or folder here, and the hub does not give it ({reason}): "
            "check the name and the network, or download it and give its folder"
        ) from error


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
