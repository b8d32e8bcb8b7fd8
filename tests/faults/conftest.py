"""One small Ray cluster for the tests of a file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from manifests.settings.run import RunSettings
from pipelines.cluster import Cluster


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Two CPUs on this machine."""
    found = Cluster(RunSettings(workers=2))
    found.start()
    yield found
    found.stop()
