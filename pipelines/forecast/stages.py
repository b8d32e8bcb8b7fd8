"""The stages that are forecast, in order: one table. A stage more is a function that measures it, and a row."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from manifests.receipt import receipts
from manifests.receipt_index import Brief
from manifests.recipe import Recipe
from manifests.settings.speech import GivenSettings
from manifests.storage import Store
from pipelines.forecast import cutting, driver, optional, parts
from pipelines.forecast.left import LOOK, left_of_tokens
from pipelines.forecast.measured import Linear, Measurement, Piece
from pipelines.forecast.predict import Shared
from pipelines.forecast.probe import Probe
from pipelines.forecast.units import SIDE, of_units
from pipelines.stages import listeners
from pipelines.stages.order import SHARDS
from pipelines.stages.s50_fit import FitJob
from pipelines.stages.s60_tokenize import TokenizeJob

Before = Mapping[str, Measurement]
"""The stages before one, by name."""


@dataclass(frozen=True)
class Stage:
    """A stage of the pipeline.

    name      as in ``run.stages``, in receipts and in ``status``
    asked     whether a recipe has it
    measure   times it with a probe
    units     whether its work is units, each with a receipt
    looks     receipts that are looked for before a unit of it is begun
    needs     stages whose output it cannot do without
    reach     where its rate is given: seconds of audio that it works on for each second of the plan, by what was measured before
    weight    likewise, bytes that it makes of each second of the plan; 0 where nobody knows
    shared    who may do part of its workers' work
    words     what a worker does, part by part
    """

    name: str
    measure: Callable[[Probe], Measurement]
    asked: Callable[[Recipe], bool] = lambda recipe: True
    units: bool = False
    looks: int = 1
    needs: tuple[str, ...] = ()
    reach: Callable[[Probe, Before], float] = lambda probe, before: 1.0
    weight: Callable[[Probe, Before], float] = lambda probe, before: 0.0
    shared: Shared | None = None
    words: Mapping[str, str] = field(default_factory=dict)


def _ingest(probe: Probe) -> Measurement:
    listed, real = probe.basis.listed, probe.real
    lines = driver.lines_of(listed.store, listed.units)
    found = driver.ingest(real.recipe.corpus, probe.root, real.space.cuts, probe.basis.ingested.utterances, lines)
    found = replace(found, listed=True)
    return found if probe.settings.workers != 0 else replace(found, start=0.0)  # nobody has to come up


def _plan(probe: Probe) -> Measurement:
    lines = driver.lines_of(probe.source, probe.units)
    return driver.plan(probe.recipe.plan, lines, probe.store.sub("dealt"))


def _fit(probe: Probe) -> Measurement:
    """The codebook's time grows with the sample it is fitted on, the text tokenizer's with the corpus."""
    known, named = probe.fitted_before(), probe.recipe.teach is not None and probe.recipe.teach.teacher is not None
    head = FitJob("", "", probe.root, probe.recipe, probe.units).head
    units = probe.units if named and known is None else probe.units[: max(len(head), len(probe.sample("tokens")))]
    probe.bring(units)
    text = _text_seconds(probe, units)
    probe.folders["fit"] = probe.run.fitted(probe.root, probe.plan, units, {}, probe.folders.get("transcripts"))
    receipt = next(receipts(probe.store.sub(probe.folders["fit"]), 1))
    took = Piece.of(Brief.of(0, receipt), 0.0, 1.0).seconds if known is None else known
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
    folder, plan, heard = probe.store.sub("fit-text").root, probe.store.sub(probe.plan).root, _heard(probe)
    job = FitJob(folder, plan, probe.root, recipe, units, heard, stage="text")
    probe.engine.run(job)
    return Piece.of(Brief.of(0, next(receipts(Store(job.folder), 1))), 0.0, 1.0).seconds


def _heard(probe: Probe) -> str | None:
    """Where the transcripts lie, if there are any."""
    folder = probe.folders.get("transcripts")
    return probe.store.sub(folder).root if folder else None


def _tokens(probe: Probe) -> Measurement:
    units, heard = probe.sample("tokens"), probe.folders.get("transcripts")
    probe.bring(units)
    probe.folders["tokens"] = probe.run.tokenized(probe.root, probe.plan, probe.folders["fit"], units, {}, heard)
    timing = probe.engine.timings["tokens"]
    probe.done = timing.units
    assert isinstance(timing.job, TokenizeJob)
    fresh = (probe.units[len(units) : len(units) + 1] or probe.done)[
        -1
    ]  # sound that is in no cache yet, if there is any
    probe.bring((fresh,))
    shares = probe.engine.asked(timing.job, parts.of_tokens, fresh) or {}
    lengths = {unit.index: unit.seconds for unit in probe.done}
    made = list(receipts(probe.store.sub(probe.folders["tokens"]), min(len(probe.done), LOOK)))
    found = of_units(probe, "tokens", SIDE if heard else 1)
    return replace(found, parts=shares, left=left_of_tokens(made, lengths))


def _masks(probe: Probe) -> Measurement:
    probe.folders |= probe.run.masked(probe.folders["tokens"], probe.done, {})
    probe.done = probe.engine.timings["masks"].units
    return of_units(probe, "masks", SIDE)


def _described(probe: Probe) -> None:
    """What the stages after tokens and masks must know of the dataset, of the units that have both. Features and text states are none of their business."""
    assert probe.cuts is not None, "there is a plan by now"
    planned = sum(unit.count for unit in probe.done)
    folders = {name: folder for name, folder in probe.folders.items() if name not in ("features", "states")}
    space = replace(probe.run.space, recipe=probe.recipe.model_copy(update={"features": None, "states": None}))
    run = replace(probe.run, space=space)
    probe.description = run.described(probe.root, probe.cuts, folders, probe.done, planned)


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
    found = of_units(probe, "teach", SIDE)
    weighed = probe.engine.asked(probe.engine.timings["teach"].job, store_bytes, units[0])
    return replace(found, stores=stores(weighed or {}, settings.store))


def _dataset(probe: Probe) -> Measurement:
    """Reading all receipts of every stage that it tells of, one after the other."""
    made = [name for name in SHARDS if name in probe.folders]
    count = len(probe.done)
    if not made or not count:
        return Measurement("dataset", "known", before=Linear(unit=SIDE * driver.looking(probe.store)))
    stores = [probe.store.sub(probe.folders[name]) for name in made]
    _, took = driver.timed(lambda: [sum(1 for _ in receipts(store, count)) for store in stores])
    return Measurement("dataset", "probe", before=Linear(unit=took / count))


def _written(probe: Probe, before: Before) -> float:
    """What the token stage lets pass."""
    left = before["tokens"].left
    return left.share if left else 1.0


def _asked(probe: Probe, before: Before) -> float:
    """Queries that come with it."""
    left = before["tokens"].left
    return left.queries if left and left.queries else 1.0


def _features_weight(probe: Probe, before: Before) -> float:
    left = before["tokens"].left
    return left.queries * optional.features_bytes(probe.recipe) if left and probe.recipe.features else 0.0


def _to_hear(probe: Probe, before: Before) -> float:
    return optional.heard_share(probe) if probe.recipe.transcribe else 1.0


def _is_taught(recipe: Recipe) -> bool:
    return recipe.teach is not None


def _is_bootstrapped(recipe: Recipe) -> bool:
    return recipe.teach is not None and recipe.teach.teacher is None and recipe.teach.bootstrap is not None


HELPED = Shared(listeners.STAGE, parts.HEARING)
STAGES: tuple[Stage, ...] = (
    Stage("ingest", _ingest),
    Stage("segments", cutting.of_probe, lambda recipe: recipe.segment is not None, units=True),
    Stage("plan", _plan, needs=("segments",)),
    Stage("copies", optional.copies, lambda recipe: recipe.copies is not None, units=True, needs=("segments",)),
    Stage(
        "transcripts", optional.transcripts, lambda recipe: recipe.transcribe is not None, units=True, needs=("segments",),
        reach=_to_hear, shared=HELPED, words=parts.RECOGNISING,
    ),
    Stage("fit", _fit, needs=("segments",)),
    Stage("tokens", _tokens, units=True, needs=("segments",), shared=HELPED, words=parts.WORDS),
    Stage(
        "features", optional.features, lambda recipe: recipe.features is not None, units=True, looks=SIDE, needs=("tokens",),
        reach=_asked, weight=_features_weight,
    ),
    Stage(
        "states", optional.states, lambda recipe: recipe.states is not None, units=True, looks=SIDE, needs=("tokens",), reach=_written,
    ),
    Stage("masks", _masks, lambda recipe: recipe.mask is not None, units=True, looks=SIDE, needs=("tokens",), reach=_written),
    Stage("teacher", _teacher, _is_bootstrapped, needs=("tokens", "masks")),
    Stage("teach", _teach, _is_taught, units=True, looks=SIDE, needs=("tokens", "masks"), reach=_written),
    Stage("dataset", _dataset),
)  # fmt: skip


def asked(recipe: Recipe) -> tuple[Stage, ...]:
    """The stages of a recipe."""
    return tuple(stage for stage in STAGES if stage.asked(recipe))


def shared(stages: Sequence[Stage]) -> dict[str, Shared]:
    """Of stages whose workers may have helpers, who these are."""
    return {stage.name: stage.shared for stage in stages if stage.shared is not None}
