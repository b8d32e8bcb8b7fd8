"""Features of queries without side shards: made while they are read."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from manifests.keys import key_of
from manifests.receipt import read_receipt
from manifests.settings.features import FeaturesSettings
from pipelines.subject import Subject


def query_features(root: str, settings: FeaturesSettings | None = None) -> Iterator[tuple[str, np.ndarray | None]]:
    """(key, features_FD) of every sample of the finished dataset under ``root``, in order, made on the fly from the corpus: the arrays that side shards hold.

    ``settings`` are those of its recipe where None is given; features are None where a query has no sound. Raises ``DatasetError``,
    ``Unreachable`` where the corpus is not there, and what opening the weights raises.
    """
    subject = Subject.open(root)
    worker = subject.encoder(settings)
    for unit in subject.units:
        receipt = read_receipt(subject.store("tokens"), unit.index)
        for _, outcome, one in worker.written(unit.index, receipt.outcomes if receipt else ()):
            made = worker.features(one)
            yield key_of(outcome.id), made if isinstance(made, np.ndarray) else None
