"""The stages that are forecast, in order: one table. A stage more is a function that measures it, and a row."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from manifests.receipt import receipts
from manifests.receipt_index import Brief
from manifests.recipe import Recipe
from manifests.settings.speech import GivenSettings
from manifests.storage import Store
from pipelines.forecast import driver, parts
from pipelines.forecast.measured import Linear, Measurement, pieces_of
from pipelines.forecast.predict import Shared
from pipelines.forecast.probe import Probe
from pipelines.stages import listeners
from pipelines.stages.s50_fit import FitJob
from pipelines.stages.s60_tokenize import TokenizeJob

LOOKS = 3  # receipts that are looked for before a unit of a side stage is begun: its own twice, the one it lies beside


@dataclass(frozen=True)
class Stage:
    """A stage of the pipeline.

    name      as in ``run.stages``, in receipts and in ``status``
    asked     whether a recipe has it
    measure   times it with a probe
    units     whether its work is units of the plan, each with a receipt; ``reads_units``: whether it reads what others made of units
    shared    who may do part of its workers' work
    words     what a worker does, part by part
    """

    name: str
    measure: Callable[[Probe], Measurement]
    asked: Callable[[Recipe], bool] = lambda recipe: True
    units: bool = False
    reads_units: bool = False
    shared: Shared | None = None
    words: Mapping[str, str] = field(default_factory=dict)


def _ingest(probe: Probe) -> Measurement:
    lines = driver.lines_of(probe.real_plan, probe.units)
    real = probe.real
    found = driver.ingest(real.recipe.corpus, probe.root, real.space.cuts, probe.cuts.planned.utterances, lines)
    return found if real.recipe.run.workers != 0 else replace(found, start=0.0)  # nobody has to come up


def _plan(probe: Probe) -> Measurement:
    lines = driver.lines_of(probe.real_plan, probe.units)
    return driver.plan(probe.recipe.plan, lines, probe.store.sub("dealt"))


def _fit(probe: Probe) -> Measurement:
    """The codebook's time grows with the sample it is fitted on, the text tokenizer's with the corpus."""
    known, named = probe.fitted_before(), probe.recipe.teach is not None and probe.recipe.teach.teacher is not None
    head = FitJob("", "", probe.root, probe.recipe, probe.units).head
    units = probe.units if named and known is None else probe.units[: max(len(head), len(probe.sample("tokens")))]
    probe.bring(units)
    text = _text_seconds(probe, units)
    probe.folders["fit"] = probe.run.fitted(probe.root, probe.plan, units, {})
    receipt = next(receipts(probe.store.sub(probe.folders["fit"]), 1))
    took = float(receipt.made["seconds"]) if known is None else known
    count, heard = sum(u.count for u in units), sum(u.seconds for u in head)
    sound = max(took - text, 0.0) / heard if heard else 0.0
    timing = probe.engine.timings.get("fit")
    alone = Linear(utterance=text / max(count, 1), second=sound, many=probe.fit_sample() or heard)
    kept = Linear(fixed=sum(f.bytes for f in receipt.files))
    source = "probe" if known is None else "receipts"
    return Measurement("fit", source, alone=alone, start=timing.start if timing else driver.START, kept=kept)


def _text_seconds(probe: Probe, units: tuple) -> float:
    """Seconds of fitting the text tokenizer alone: that of a recipe whose speech tokens are given."""
    recipe = probe.recipe.model_copy(update={"speech": GivenSettings()})
    job = FitJob(
        probe.store.sub("fit-text").root, probe.store.sub(probe.plan).root, probe.root, recipe, units, stage="text"
    )
    probe.engine.run(job)
    return float(next(receipts(Store(job.folder), 1)).made["seconds"])


def _tokens(probe: Probe) -> Measurement:
    units = probe.sample("tokens")
    probe.bring(units)
    probe.folders["tokens"] = probe.run.tokenized(probe.root, probe.plan, probe.folders["fit"], units, {})
    timing = probe.engine.timings["tokens"]
    probe.done = timing.units
    assert isinstance(timing.job, TokenizeJob)
    fresh = (probe.units[len(units) : len(units) + 1] or probe.done)[
        -1
    ]  # sound that is in no cache yet, if there is any
    probe.bring((fresh,))
    shares = probe.engine.asked(timing.job, parts.of_tokens, fresh) or {}
    return replace(_of_units(probe, "tokens", looks=1), parts=shares)


def _masks(probe: Probe) -> Measurement:
    probe.folders |= probe.run.masked(probe.folders["tokens"], probe.done, {})
    probe.done = probe.engine.timings["masks"].units
    return _of_units(probe, "masks", looks=LOOKS)


def _made(store: Store, units: int) -> Iterator[Brief]:
    """What the receipts in ``store`` say, in short."""
    return (Brief.of(receipt.unit, receipt) for receipt in receipts(store, units))


def _of_units(probe: Probe, stage: str, looks: int) -> Measurement:
    """A stage of units, of the receipts that the probe has made."""
    timing, store = probe.engine.timings[stage], probe.store.sub(probe.folders[stage])
    before = Linear(unit=looks * driver.looking(store))
    pieces = tuple(
        piece for unit, piece in pieces_of(_made(store, len(probe.units)), probe.units).items() if unit in timing.done
    )
    return Measurement(stage, "probe", pieces, before=before, start=timing.start)


def _described(probe: Probe) -> None:
    """What the stages after tokens and masks must know of the dataset, of the units that have both."""
    planned = sum(unit.count for unit in probe.done)
    folders = {"plan": probe.plan, **probe.folders}
    probe.description = probe.run.described(probe.root, probe.cuts, folders, probe.done, planned)


def _teacher(probe: Probe) -> Measurement:
    from pipelines.forecast.teacher import trained

    _described(probe)
    return trained(probe)


def _teach(probe: Probe) -> Measurement:
    from pipelines.forecast.teacher import store_bytes, stores

    settings = probe.recipe.teach
    assert settings is not None, "only asked of recipes with one"
    if not probe.description:
        _described(probe)
    units = probe.done[: len(probe.sample("teach"))]
    probe.folders["teach"], _ = probe.run.teach(settings, probe.description, units, {})
    found = _of_units(probe, "teach", looks=LOOKS)
    weighed = probe.engine.asked(probe.engine.timings["teach"].job, store_bytes, units[0])
    return replace(found, stores=stores(weighed or {}, settings.store))


def _dataset(probe: Probe) -> Measurement:
    """Reading all receipts of every stage of units, one after the other."""
    made = [stage.name for stage in STAGES if stage.units and stage.name in probe.folders]
    count = len(probe.done)
    if not made:
        return Measurement("dataset", "known", before=Linear(unit=LOOKS * driver.looking(probe.store)))
    _, took = driver.timed(lambda: [list(receipts(probe.store.sub(probe.folders[name]), count)) for name in made])
    return Measurement("dataset", "probe", before=Linear(unit=took / count))


def _is_taught(recipe: Recipe) -> bool:
    return recipe.teach is not None


def _is_bootstrapped(recipe: Recipe) -> bool:
    return recipe.teach is not None and recipe.teach.teacher is None and recipe.teach.bootstrap is not None


STAGES: tuple[Stage, ...] = (
    Stage("ingest", _ingest),
    Stage("plan", _plan),
    Stage("fit", _fit),
    Stage("tokens", _tokens, units=True, shared=Shared(listeners.STAGE, parts.HEARING), words=parts.WORDS),
    Stage("masks", _masks, lambda recipe: recipe.mask is not None, units=True, reads_units=True),
    Stage("teacher", _teacher, _is_bootstrapped, reads_units=True),
    Stage("teach", _teach, _is_taught, units=True, reads_units=True),
    Stage("dataset", _dataset),
)


def asked(recipe: Recipe) -> tuple[Stage, ...]:
    """The stages of a recipe."""
    return tuple(stage for stage in STAGES if stage.asked(recipe))


def shared(stages: Sequence[Stage]) -> dict[str, Shared]:
    """Of stages whose workers may have helpers, who these are."""
    return {stage.name: stage.shared for stage in stages if stage.shared is not None}
