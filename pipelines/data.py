"""``speechmill data``: the stages in order, each done only where its directory does not stand yet.

speak (demo only) -> ingest -> plan -> transcribe (where asked for) -> fit -> clean + tokenize -> features (likewise) -> mask -> teacher -> teach (both where asked for) -> dataset.json -> report
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson
from rich.console import Console

from manifests.fingerprint import pretty, sha256
from manifests.receipt import read_receipt
from manifests.recipe import Recipe
from manifests.settings.teach import TeachSettings
from manifests.storage import Store
from pipelines.cluster import Cluster
from pipelines.engine.contract import Unit
from pipelines.engine.mapping import Mapper
from pipelines.engine.progress import Events
from pipelines.engine.room import Demand
from pipelines.engine.run import Engine
from pipelines.engine.stopping import Stopping
from pipelines.folders import (
    features_folder,
    fit_folder,
    masks_folder,
    plan_folder,
    teach_folder,
    tokens_folder,
    transcripts_folder,
)
from pipelines.output_lock import output_lock
from pipelines.stages import s20_ingest, s30_plan, s35_transcribe, s50_fit, s60_tokenize, s70_mask, s90_dataset
from pipelines.workspace import Workspace

RUN = "run.json"  # how and from where the output was made: not part of the dataset


@dataclass(frozen=True)
class Result:
    """What a run of ``speechmill data`` ends with."""

    description: dict[str, Any]
    did: dict[str, int]
    seconds: float

    @property
    def nothing_to_do(self) -> bool:
        return not any(self.did.values())


@dataclass
class DataRun:
    """One run of the pipeline over one output root."""

    space: Workspace
    engine: Engine
    mapper: Mapper

    @property
    def recipe(self) -> Recipe:
        return self.space.recipe

    def corpus_root(self, did: dict[str, int]) -> str:
        """Where the corpus lies; the demo corpus is spoken first."""
        if not self.space.is_demo:
            return self.recipe.corpus.root
        from pipelines.stages.s10_speak import speak

        folder, did["speak"] = speak(self.space, self.engine)
        return folder

    def planned(self, root: str, did: dict[str, int]) -> tuple[s20_ingest.Cuts, str, tuple[Unit, ...]]:
        """The manifest and the plan: (cuts, plan folder, units)."""
        cuts = s20_ingest.ingest(self.recipe.corpus, root, self.space.cuts, self.mapper, self.engine.events)
        folder = plan_folder(self.space, cuts.sha256)
        store = self.space.store.sub(folder)
        did["plan"] = int(s30_plan.read_plan(store) is None)
        units = s30_plan.read_plan(store) or s30_plan.write_plan(
            list(s20_ingest.cut_lines(self.space.cuts)), self.recipe.plan, store
        )
        return cuts, folder, units

    def transcribed(self, root: str, plan: str, units: tuple[Unit, ...], did: dict[str, int]) -> dict[str, str]:
        """The folder of the transcripts, by the name of its stage; none where the recipe has nobody listen."""
        folder, store = transcripts_folder(self.space, plan), self.space.store
        if folder is None:
            return {}
        job = s35_transcribe.TranscribeJob(store.sub(folder).root, store.sub(plan).root, root, self.recipe, units)
        did[s35_transcribe.STAGE] = self.engine.run(job)
        return {s35_transcribe.STAGE: folder}

    def fitted(
        self, root: str, plan: str, units: tuple[Unit, ...], did: dict[str, int], heard: str | None = None
    ) -> str:
        """The folder of what was fitted; ``heard`` is that of the transcripts."""
        folder, store = fit_folder(self.space, plan), self.space.store
        texts = store.sub(heard).root if heard else None
        job = s50_fit.FitJob(store.sub(folder).root, store.sub(plan).root, root, self.recipe, units, texts)
        did["fit"] = self.engine.run(job)
        return folder

    def tokenized(
        self, root: str, plan: str, fit: str, units: tuple[Unit, ...], did: dict[str, int], heard: str | None = None
    ) -> str:
        """The folder of the token shards; ``heard`` is that of the transcripts."""
        store = self.space.store
        folder = tokens_folder(self.space, plan, read_receipt(store.sub(fit), 0))
        if heard:
            s70_mask.forget_outdated(store.sub(folder), store.sub(heard), units, fact=s35_transcribe.STAGE)
        job = s60_tokenize.TokenizeJob(
            store.sub(folder).root,
            store.sub(plan).root,
            store.sub(fit).root,
            root,
            self.space.corpus_name,
            self.recipe,
            units,
            store.sub(heard).root if heard else None,
        )
        did["tokens"] = self.engine.run(job)
        return folder

    def featured(
        self, root: str, plan: str, tokens: str, units: tuple[Unit, ...], did: dict[str, int]
    ) -> dict[str, str]:
        """The folder of the queries' features, by the name of its stage; none where the recipe asks for none."""
        if self.recipe.features is None:
            return {}
        from pipelines.stages import s65_features

        store, folder = self.space.store, features_folder(self.space, tokens)
        s70_mask.forget_outdated(store.sub(folder), store.sub(tokens), units)
        places = store.sub(folder).root, store.sub(plan).root, store.sub(tokens).root
        job = s65_features.FeaturesJob(places[0], places[1], places[2], root, self.recipe, units)
        did[s65_features.STAGE] = self.engine.run(job)
        return {s65_features.STAGE: folder}

    def _features(self, folders: dict[str, str], shards: list[dict[str, Any]]) -> dict[str, Any]:
        """What a reader must know of the features."""
        if self.recipe.features is None:
            return {}
        from pipelines.stages.s65_features import FRAMES_A_SECOND, STAGE, described

        made = s90_dataset.side_shards(self.space.store.sub(folders[STAGE]), folders[STAGE], shards)
        about = {"folder": folders[STAGE], "frame_rate": FRAMES_A_SECOND, **described(self.recipe.features)}
        return {STAGE: {**about, "shards": made}}

    def masked(self, tokens: str, units: tuple[Unit, ...], did: dict[str, int]) -> dict[str, str]:
        """The folder of the mask shards, by the name of its stage; none where the recipe asks for no masks."""
        settings, store = self.recipe.mask, self.space.store
        if settings is None:
            return {}
        folder = masks_folder(self.space, tokens)
        s70_mask.forget_outdated(store.sub(folder), store.sub(tokens), units)
        job = s70_mask.MaskJob(store.sub(folder).root, store.sub(tokens).root, settings, units)
        did["masks"] = self.engine.run(job)
        return {"masks": folder}

    def taught(self, description: dict[str, Any], units: tuple[Unit, ...], did: dict[str, int]) -> dict[str, Any]:
        """What a reader must know of the teacher's shards; nothing where the recipe asks for none.

        ``description`` is that of the dataset so far. Where nobody is named to teach, somebody is trained first, if the recipe says how.
        Raises ``RecipeError``, ``CheckpointError`` and ``RowsError`` for nobody, or for who cannot teach it; what training raises.
        """
        settings, store = self.recipe.teach, self.space.store
        if settings is None:
            return {}
        from pipelines.stages import s80_teach
        from training.taught import HEAD

        settings, run = self._bootstrapped(settings, description, did)
        teacher, masks = s80_teach.teacher_hash(settings, description), description["folders"]["masks"]
        folder = teach_folder(self.space, masks, teacher)
        side = store.sub(folder)
        s70_mask.forget_outdated(side, store.sub(masks), units, fact="masks")
        if not side.exists(HEAD):
            side.publish(HEAD, s80_teach.head_of(settings))
        job = s80_teach.TeachJob(side.root, self.space.root, description, settings, units)
        did["teach"] = self.engine.run(job)
        asked = settings.model_dump(mode="json", exclude={"teacher"})
        about = {**asked, "context": "clean", "teacher": teacher, "run": run}
        shards = s90_dataset.side_shards(side, folder, description["tokens"]["shards"])
        part = {"folder": folder, **about, "head": sha256(side.read(HEAD)), "shards": shards}
        return {"folders": {**description["folders"], "teach": folder}, "teach": part}

    def _bootstrapped(
        self, settings: TeachSettings, description: dict[str, Any], did: dict[str, int]
    ) -> tuple[TeachSettings, str | None]:
        """(settings that name a teacher, the folder of the one that the recipe has trained for it)."""
        from pipelines.stages.s75_teacher import Bootstrap

        bootstrap = Bootstrap.of(self.space)
        if bootstrap is None:
            return settings, None
        if settings.teacher is None:
            did["teacher"] = int(bootstrap.trained(description, self.engine.console))
        return bootstrap.taught_by(description), bootstrap.folder(description)

    def inputs(self, did: dict[str, int]) -> tuple[str, s20_ingest.Cuts, tuple[Unit, ...], dict[str, str]]:
        """All that tokens are made of: (corpus root, manifest, units, folders of plan, transcripts where there are any, and fit)."""
        self.check_teacher()
        root = self.corpus_root(did)
        self.space.store.publish(RUN, pretty({"root": root, "recipe": self.recipe.model_dump(mode="json")}))
        cuts, plan, units = self.planned(root, did)
        heard = self.transcribed(root, plan, units, did)
        fit = self.fitted(root, plan, units, did, heard.get(s35_transcribe.STAGE))
        return root, cuts, units, {"plan": plan, **heard, "fit": fit}

    def __call__(self) -> Result:
        """Run what is missing and publish ``dataset.json``."""
        started, did = time.monotonic(), dict[str, int]()
        root, cuts, units, made_of = self.inputs(did)
        heard = made_of.get(s35_transcribe.STAGE)
        tokens = self.tokenized(root, made_of["plan"], made_of["fit"], units, did, heard)
        features = self.featured(root, made_of["plan"], tokens, units, did)
        masks = self.masked(tokens, units, did)
        folders = {**made_of, "tokens": tokens, **features, **masks}
        about = {
            "name": self.recipe.name, "recipe": self.recipe.deciding(), "folders": folders,
            "cuts": {"sha256": cuts.sha256, "utterances": cuts.utterances, "seconds": cuts.seconds},
            **self._tokenizers(made_of["fit"]), **self._spoken(root), **self._heard(heard, len(units)),
        }  # fmt: skip
        value = s90_dataset.describe(self.space.store.sub(tokens), len(units), cuts.utterances, about)
        value |= self._features(features, value["tokens"]["shards"])
        value |= self._masks(masks, value["tokens"]["shards"])
        value |= self.taught(value, units, did)
        did["dataset"] = int(s90_dataset.publish(self.space.store, value))
        return Result(value, did, time.monotonic() - started)

    def check_teacher(self) -> None:
        """A teacher that is not there is refused before anything is done. Raises ``RecipeError`` and ``CheckpointError``."""
        if self.recipe.teach is not None:
            from pipelines.stages.s75_teacher import Bootstrap
            from pipelines.stages.s80_teach import teacher_of

            if Bootstrap.of(self.space) is None or self.recipe.teach.teacher is not None:
                teacher_of(self.recipe.teach)

    def _masks(self, folders: dict[str, str], shards: list[dict[str, Any]]) -> dict[str, Any]:
        """What a reader must know of the masks."""
        settings = self.recipe.mask
        if settings is None:
            return {}
        folder = folders["masks"]
        return {"masks": s90_dataset.describe_masks(self.space.store.sub(folder), folder, settings, shards)}

    def _heard(self, folder: str | None, units: int) -> dict[str, Any]:
        """What a reader must know of the transcripts."""
        if folder is None:
            return {}
        return {s35_transcribe.STAGE: s90_dataset.transcript_part(self.space.store.sub(folder), folder, units)}

    def _spoken(self, root: str) -> dict[str, Any]:
        """Which engine and voices spoke the demo corpus, and which voices the recogniser did not understand."""
        if not self.space.is_demo:
            return {}
        from pipelines.stages.s10_speak import VOICES

        return {"spoken": orjson.loads(Store(root).read(VOICES))}

    def _tokenizers(self, fit: str) -> dict[str, Any]:
        """What a reader must know of the speech and text tokenizers."""
        from tokenization.registry import needs_fit, open_tokenizer
        from tokenization.text import TextTokenizer

        store = self.space.store.sub(fit)
        weights = store.read(s50_fit.CODEBOOK) if needs_fit(self.recipe.speech) else None
        text = TextTokenizer(store.read(s50_fit.TEXT))
        return {
            "speech": open_tokenizer(self.recipe.speech, weights, device="cpu").spec.to_json(),
            "text": {"vocab_size": text.vocab_size, "checksum": text.checksum},
        }


@contextmanager
def opened(recipe: Recipe, out: str, console: Console) -> Iterator[DataRun]:
    """A run over ``out``, holding its lock, with Ray stopped at the end.

    Raises ``TokenizerError`` where the weights of the recipe's codec are not here, before anything is done.
    """
    space = Workspace.of(recipe, out)
    recipe = space.recipe
    cluster = Cluster(recipe.run)
    with output_lock(space.store), Stopping(recipe.run.drain_seconds) as stopping:
        engine = Engine(recipe.run, console, Events(space.store.local("events.jsonl")), stopping, cluster.start)
        try:
            demand = Demand.of(recipe.run.of("ingest"))
            yield DataRun(
                space, engine, Mapper(partial(engine.workers, "ingest"), cluster.start, stopping, demand, console)
            )
        finally:
            cluster.stop()
