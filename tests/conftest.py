"""How long properties are tried: by default as CI does; ``--hypothesis-profile=fuzz`` for ``make fuzz``."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("fuzz", max_examples=20_000, deadline=None, suppress_health_check=list(HealthCheck))
