"""Speech tokens that came with the corpus (such as VocalNet's units): checked, never made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy.typing as npt

from manifests.settings.speech import GivenSettings
from tokenization.adapter import Codes, TokenizerError, TokenizerSpec, Vectors, Wave, checked_codes


@dataclass(frozen=True)
class GivenTokenizer:
    """The adapter of tokens whose codec is not here."""

    settings: GivenSettings
    can_encode = False
    can_decode = False

    @property
    def spec(self) -> TokenizerSpec:
        s = self.settings
        return TokenizerSpec(s.name, "1", s.frame_rate, s.codebooks, s.vocab_size, s.sample_rate, "")

    def frames(self, samples: int) -> int:
        """Frames that cover ``samples``, were the audio encoded at this rate."""
        hop = self.settings.sample_rate / self.settings.frame_rate
        return int(-(-samples // hop))

    def validate(self, codes_FQ: npt.ArrayLike) -> Codes:
        """The given tokens as uint16 (F, codebooks); one codebook may come as a vector.

        Raises :class:`TokenizerError` for other types, shapes and ranges, and for none at all.
        """
        codes = checked_codes(codes_FQ, self.spec)
        if not len(codes):
            raise TokenizerError("the utterance's tokens are empty: the corpus lists it without speech")
        return codes

    def encode(self, waves: Sequence[Wave]) -> list[Codes]:
        raise TokenizerError(
            f"speech.name is 'given', so the corpus must bring its tokens, but {len(waves)} utterance(s) have only "
            "sound: choose another tokenizer, such as 'patches', or a corpus with tokens"
        )

    def vectors(self) -> Vectors | None:
        """None: what the codes stand for is not known here."""
        return None

    def decode(self, codes_FQ: Codes) -> Wave:
        raise TokenizerError(
            "tokens that came with the corpus cannot be turned to sound here: their codec is not installed"
        )
