"""Starting or joining Ray, once."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass

from manifests.settings.run import RunSettings

THREADS = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1"}


@dataclass
class Cluster:
    """Ray as this run uses it. Workers are given one thread each: more workers, not more threads, and one thread setting."""

    settings: RunSettings
    _started: bool = False
    _ours: bool = False

    def start(self) -> None:
        """Join the cluster at ``run.address``, or start one on this machine; the second call does nothing."""
        if self._started:
            return
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        import ray

        self._started = True
        if ray.is_initialized():
            return
        options = {"logging_level": logging.ERROR, "log_to_driver": False, "runtime_env": {"env_vars": THREADS}}
        if self.settings.address:
            ray.init(address=self.settings.address, **options)
        else:
            workers = self.settings.workers or os.cpu_count() or 1
            ray.init(
                num_cpus=max(1, round(workers * self.settings.cpus_per_worker)), include_dashboard=False, **options
            )
        self._ours = True

    def stop(self) -> None:
        """Let go of the cluster; end it if it was started here."""
        if self._ours:
            import ray

            ray.shutdown()
            self._ours = self._started = False
