"""A stage of units, measured by the receipts that a probe has made."""

from __future__ import annotations

from collections.abc import Iterator

from manifests.receipt import receipts
from manifests.receipt_index import Brief
from manifests.settings.run import RunSettings
from manifests.storage import Store
from pipelines.engine.room import Demand
from pipelines.forecast import driver
from pipelines.forecast.measured import Linear, Measurement, pieces_of
from pipelines.forecast.probe import Probe

SIDE = 3  # receipts that are looked for before a unit of a side stage is begun: its own twice, the one it lies beside


def cpus_of(run: RunSettings, stage: str) -> float:
    """Cores that a worker of a stage is given; those in this process have it to themselves."""
    return 1.0 if run.workers == 0 else Demand.of(run.of(stage)).amounts.get("CPU", 0.0)


def made_in(store: Store, units: int) -> Iterator[Brief]:
    """What the receipts in ``store`` say, in short."""
    return (Brief.of(receipt.unit, receipt) for receipt in receipts(store, units))


def of_units(probe: Probe, stage: str, looks: int = 1) -> Measurement:
    """The units of a stage that the probe has done; ``looks`` at receipts come before each of them."""
    timing, store = probe.engine.timings[stage], probe.store.sub(probe.folders[stage])
    made = made_in(store, len(timing.job.units))
    pieces = pieces_of(made, timing.job.units, cpus_of(probe.settings, stage))
    return Measurement(
        stage,
        "probe",
        tuple(piece for unit, piece in pieces.items() if unit in timing.done),
        before=Linear(unit=looks * driver.looking(store)),
        start=timing.start,
    )
