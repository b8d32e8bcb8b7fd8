"""What a report is made of, in one pass over the samples and one over the receipts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from manifests.dataset import Dataset
from manifests.receipt import Receipt
from manifests.settings.teach import STAGE as TEACH
from pipelines.report.endings import Endings
from pipelines.report.example import Example
from pipelines.report.masks import MaskView, mask_view
from pipelines.report.survey import Survey, survey
from pipelines.report.teach import TeachView, teach_view
from pipelines.stages.s70_mask import STAGE as MASKS
from pipelines.stages.s70_mask import Tally


@dataclass(frozen=True)
class ReportInput:
    """What the page is made of.

    reasons   what each reason code means
    extras    ``voices`` (voice, wer, kept, why), ``recognised`` ({original, resynthesised}: {wer, words, empty}) and
              ``stages`` (stage, seconds, units, audio_seconds): shown where present
    """

    description: Mapping[str, Any]
    survey: Survey
    endings: Endings
    examples: Sequence[Example] = ()
    reasons: Mapping[str, str] = field(default_factory=dict)
    extras: Mapping[str, Any] = field(default_factory=dict)
    masks: MaskView | None = None
    teach: TeachView | None = None


def collect(
    dataset: Dataset, receipts: Iterable[Receipt], examples: Sequence[Example] = (),
    reasons: Mapping[str, str] | None = None, extras: Mapping[str, Any] | None = None,
) -> ReportInput:  # fmt: skip
    """One pass over the samples and one over the receipts. Raises ``ShardError`` for a damaged shard."""
    ended, tally, taught = Endings(), Tally(), list[Mapping[str, Any]]()
    for receipt in receipts:
        ended.add(receipt)
        if receipt.stage == MASKS:
            tally.add(receipt.facts)
        elif receipt.stage == TEACH:
            taught.append(receipt.facts)
    found, masks, teach = survey(dataset), mask_view(dataset, tally), teach_view(dataset, taught)
    return ReportInput(dataset.description, found, ended, examples, reasons or {}, extras or {}, masks, teach)
