"""The embedded speech tokenizer: patches of log-mel, quantized at 25 Hz by a codebook fitted on the corpus."""

from tokenization.patches.codebook import PatchesCodebook
from tokenization.patches.files import CodebookDamaged, CodebookMismatch, load, save
from tokenization.patches.fitting import fit
from tokenization.patches.tokenizer import PatchesTokenizer

__all__ = ["CodebookDamaged", "CodebookMismatch", "PatchesCodebook", "PatchesTokenizer", "fit", "load", "save"]
