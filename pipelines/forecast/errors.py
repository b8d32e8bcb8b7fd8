"""What forecasting refuses."""

from __future__ import annotations


class ForecastError(ValueError):
    """A forecast that cannot be made, one line a fault: says what is missing or wrong, where, and what to do."""
