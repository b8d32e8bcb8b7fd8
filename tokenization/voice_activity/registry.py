"""The detectors of speech, by the settings that ask for them."""

from __future__ import annotations

from manifests.settings.segment import DetectorSettings, EnergySettings, SileroSettings
from tokenization.voice_activity.contract import Detector
from tokenization.voice_activity.energy import open_energy
from tokenization.voice_activity.silero import open_silero

DETECTORS = {EnergySettings: open_energy, SileroSettings: open_silero}


def open_detector(settings: DetectorSettings) -> Detector:
    """The detector that ``settings`` ask for. Raises ``DetectorError`` where it is not installed."""
    return DETECTORS[type(settings)](settings)  # pyright: ignore[reportArgumentType]
