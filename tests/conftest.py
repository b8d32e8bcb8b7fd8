"""How properties are tried: by default as CI does, without deadlines; ``--hypothesis-profile=fuzz`` for ``make fuzz``."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("fuzz", max_examples=20_000, deadline=None, suppress_health_check=list(HealthCheck))
settings.register_profile("unhurried", deadline=None)  # tests assert what is done, never how fast
settings.load_profile("unhurried")
