"""Text to text tokens and back: a byte-level BPE fitted on the corpus, or a `tokenizer.json` from elsewhere.

Byte-level means that every text has tokens and comes back unchanged: there is no unknown token. Two marks have ids of
their own, ``<pad>`` (0) and ``<eos>`` (1); text that spells them out is tokenized as text.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from manifests.fingerprint import canonical, sha256
from manifests.settings.text import TextSettings

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Ids = npt.NDArray[np.int32]

PAD, EOS = "<pad>", "<eos>"
MARKS = (PAD, EOS)


class TextError(ValueError):
    """A text tokenizer cannot do what is asked of it: says what, why and what to do, in one line."""


def _normalizer(settings: TextSettings) -> object | None:
    """What the recipe asks to change in texts, or None: nothing is lost unless it asks."""
    from tokenizers import Regex, normalizers

    steps: list[normalizers.Normalizer] = []
    if settings.lowercase:
        steps.append(normalizers.Lowercase())
    if settings.squeeze:
        steps += [normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()]
    return normalizers.Sequence(steps) if steps else None


def _untrained(settings: TextSettings) -> Tokenizer:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    tokenizer = Tokenizer(models.BPE())
    normalizer = _normalizer(settings)
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def fit_text(texts: Iterable[str], settings: TextSettings) -> bytes:
    """``tokenizer.json`` bytes of a BPE trained on the first ``fit_texts`` of ``texts``, in canonical form.

    The same texts in the same order give the same bytes. With few texts the vocabulary is smaller than ``vocab_size``;
    without any it is the 256 bytes and the marks. Texts with halves of surrogate pairs are passed over (they are not
    Unicode, and :meth:`TextTokenizer.encode` refuses them).
    """
    from tokenizers import pre_tokenizers, trainers

    tokenizer = _untrained(settings)
    trainer = trainers.BpeTrainer(
        vocab_size=settings.vocab_size,
        special_tokens=list(MARKS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator((t for t in islice(texts, settings.fit_texts) if is_unicode(t)), trainer)
    return canonical(json.loads(tokenizer.to_str()))


def is_unicode(text: str) -> bool:
    """False for text with halves of surrogate pairs, which broken JSON can bring."""
    return not any("\ud800" <= c <= "\udfff" for c in text)


@dataclass(frozen=True)
class TextTokenizer:
    """A text tokenizer, from the bytes of its ``tokenizer.json``.

    Raises :class:`TextError` where they are not such a file.
    """

    data: bytes

    def __post_init__(self) -> None:
        _ = self._tokenizer

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        from tokenizers import Tokenizer

        try:
            tokenizer = Tokenizer.from_str(self.data.decode("utf-8"))
        except Exception as error:  # the library raises bare Exception
            raise TextError(f"not a tokenizer.json ({error}): fit it again, or name another file") from error
        tokenizer.encode_special_tokens = True  # a text that spells out <eos> does not end there
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer

    @cached_property
    def vocab_size(self) -> int:
        """All ids are below it."""
        return max(self._tokenizer.get_vocab(with_added_tokens=True).values()) + 1

    @cached_property
    def checksum(self) -> str:
        return sha256(self.data)

    def mark(self, name: str) -> int | None:
        """The id of a mark such as ``<eos>``, or None where this tokenizer has none of that name."""
        return self._tokenizer.token_to_id(name)

    def encode(self, text: str) -> Ids:
        """``ids`` int32, without marks. Raises :class:`TextError` for text that is not Unicode."""
        if not is_unicode(text):
            raise TextError(f"text is not Unicode, it holds half a surrogate pair: {text[:80]!a}")
        return np.asarray(self._tokenizer.encode(text, add_special_tokens=False).ids, dtype=np.int32)

    def decode(self, ids: npt.ArrayLike) -> str:
        """The text of ``ids``, marks left out. Raises :class:`TextError` for ids outside the vocabulary."""
        wanted = np.asarray(ids, dtype=np.int64).reshape(-1)
        if wanted.size and (wanted.min() < 0 or wanted.max() >= self.vocab_size):
            found = f"{wanted.min()}..{wanted.max()}"
            raise TextError(f"text ids must lie in 0..{self.vocab_size - 1}, found {found}")
        return self._tokenizer.decode(wanted.tolist(), skip_special_tokens=True)


def _from_file(settings: TextSettings) -> bytes:
    path = Path(str(settings.source))
    try:
        return path.read_bytes()
    except OSError as error:
        raise TextError(
            f"text.source: cannot read {path} ({error.strerror}): give the path of a tokenizer.json"
        ) from error


def _from_hub(settings: TextSettings) -> bytes:
    from huggingface_hub import hf_hub_download

    try:
        path = hf_hub_download(str(settings.source), "tokenizer.json", revision=settings.revision)
        return Path(path).read_bytes()
    except Exception as error:  # the library's network, cache and permission errors share no base
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise TextError(
            f"text.source: no tokenizer.json of {settings.source!r} from the hub ({reason}): "
            "check the name and the network, or download it and use kind 'file'"
        ) from error


LOADERS = {"file": _from_file, "hub": _from_hub}


def load_text(settings: TextSettings) -> bytes:
    """The ``tokenizer.json`` bytes that ``settings.source`` names.

    Raises :class:`TextError` where they cannot be read, are none, or do not have ``settings.checksum``.
    """
    if settings.kind not in LOADERS:
        raise TextError("a text tokenizer of kind 'bpe' is fitted on the corpus, not loaded: run the fit stage")
    data = LOADERS[settings.kind](settings)
    if settings.checksum and sha256(data) != settings.checksum:
        raise TextError(
            f"text.source: {settings.source} has SHA-256 {sha256(data)}, the recipe says {settings.checksum}"
        )
    return TextTokenizer(data).data


def text_needs_fit(settings: TextSettings) -> bool:
    """Whether this tokenizer is trained on the corpus, by a stage of its own."""
    return settings.kind == "bpe"
