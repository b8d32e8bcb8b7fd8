"""What other users of Ray leave on a machine is no business of a run that starts its own."""

from __future__ import annotations

from pathlib import Path

import pytest
import ray
import ray._private.utils

from manifests.settings.run import RunSettings
from pipelines.cluster import Cluster


def test_a_cluster_that_another_program_started_here_is_not_joined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray notes the last cluster of a machine in a file, and joins it where it is told nothing else."""
    note = tmp_path / "ray_current_cluster"
    note.write_text("192.0.2.1:6379")
    monkeypatch.setattr(ray._private.utils, "get_ray_address_file", lambda temp_dir=None: str(note))
    cluster = Cluster(RunSettings(workers=1))
    cluster.start()
    try:
        assert ray.cluster_resources()["CPU"] == 1
    finally:
        cluster.stop()
