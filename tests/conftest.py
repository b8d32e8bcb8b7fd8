"""How properties are tried: by default as CI does, without deadlines; ``--hypothesis-profile=fuzz`` for ``make fuzz``."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("fuzz", max_examples=1_000, deadline=None, suppress_health_check=list(HealthCheck))
# Tests assert what is done, never how fast; and the same commit has the same examples, so that what was green stays green.
# New examples are looked for by ``make fuzz``.
settings.register_profile("same", deadline=None, derandomize=True)
settings.load_profile("same")
