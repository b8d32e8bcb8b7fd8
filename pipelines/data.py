"""``speechmill data``: the stages in order, each done only where its directory does not stand yet.

speak (demo only) -> ingest -> segment (where asked for) -> plan -> copies, transcribe (where asked for) -> fit -> clean + tokenize -> features, states (likewise) -> mask -> teacher -> teach (both where asked for) -> dataset.json -> report
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

from manifests.dataset import NAME as DATASET
from manifests.fingerprint import pretty, sha256
from manifests.receipt import read_receipt
from manifests.recipe import Recipe, RecipeError
from manifests.run_file import RUN
from manifests.settings.teach import TeachSettings
from manifests.storage import Store, in_full, same_place
from pipelines.cluster import Cluster
from pipelines.engine.contract import Unit
from pipelines.engine.mapping import Mapper
from pipelines.engine.progress import Events, timed
from pipelines.engine.room import Demand
from pipelines.engine.run import Engine
from pipelines.engine.stopping import Stopping
from pipelines.folders import (
    copies_folder,
    features_folder,
    fit_folder,
    masks_folder,
    plan_folder,
    states_folder,
    teach_folder,
    tokens_folder,
    transcripts_folder,
)
from pipelines.manifesting import Manifesting, Manifests
from pipelines.output_lock import output_lock
from pipelines.stages import (
    s20_ingest,
    s30_plan,
    s35_copies,
    s38_transcribe,
    s50_fit,
    s60_tokenize,
    s68_states,
    s70_mask,
    s90_dataset,
)
from pipelines.workspace import Workspace
from tokenization.voice_activity.registry import open_detector


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

    @property
    def manifests(self) -> Manifesting:
        """Ingesting the corpus, and cutting it up where the recipe asks for it."""
        return Manifesting(self.space, self.engine, self.mapper)

    def planned(self, root: str, did: dict[str, int]) -> tuple[Manifests, str, tuple[Unit, ...]]:
        """The manifests and the plan: (manifests, plan folder, units)."""
        cuts = self.manifests(root, did)
        return cuts, *self.dealt(cuts, did)

    def dealt(self, cuts: Manifests, did: dict[str, int]) -> tuple[str, tuple[Unit, ...]]:
        """The plan of a manifest: (its folder, units)."""
        folder = plan_folder(self.space, cuts.planned.sha256)
        store = self.space.store.sub(folder)
        with timed(self.engine.events, "plan"):
            units = s30_plan.read_plan(store)
            did["plan"] = int(units is None)
            if units is None:
                units = s30_plan.write_plan(s20_ingest.cut_lines(cuts.store), self.recipe.plan, store)
        return folder, units

    def marked(self, root: str, plan: str, units: tuple[Unit, ...], did: dict[str, int]) -> dict[str, str]:
        """The folder of the plan with copies marked, by the name of its stage; none where nobody looks for copies."""
        if self.recipe.copies is None:
            return {}
        folder, did["copies"] = self.printed(root, plan, units)
        did["copies"] += self.mark(plan, folder, units)
        return {s35_copies.STAGE: folder}

    def printed(self, root: str, plan: str, units: tuple[Unit, ...]) -> tuple[str, int]:
        """Take the fingerprints of units: (the folder of the marked plan, how many were done now)."""
        folder, store = copies_folder(self.space, plan), self.space.store
        job = s35_copies.CopiesJob(store.sub(folder).root, store.sub(plan).root, root, self.space.placed, units)
        return folder, self.engine.run(job)

    def mark(self, plan: str, folder: str, units: tuple[Unit, ...]) -> bool:
        """Write the plan of units whose fingerprints are taken with copies marked, unless it stands there."""
        settings, store = self.recipe.copies, self.space.store
        assert settings is not None, "nobody looks for copies without its block"
        with timed(self.engine.events, s35_copies.STAGE):
            return s35_copies.write_marked(store.sub(plan), store.sub(folder), units, settings)

    def transcribed(self, root: str, plan: str, units: tuple[Unit, ...], did: dict[str, int]) -> dict[str, str]:
        """The folder of the transcripts, by the name of its stage; none where the recipe has nobody listen."""
        folder, store = transcripts_folder(self.space, plan), self.space.store
        if folder is None:
            return {}
        job = s38_transcribe.TranscribeJob(store.sub(folder).root, store.sub(plan).root, root, self.space.placed, units)
        did[s38_transcribe.STAGE] = self.engine.run(job)
        return {s38_transcribe.STAGE: folder}

    def fitted(
        self, root: str, plan: str, units: tuple[Unit, ...], did: dict[str, int], heard: str | None = None
    ) -> str:
        """The folder of what was fitted; ``heard`` is that of the transcripts."""
        folder, store = fit_folder(self.space, plan), self.space.store
        texts = store.sub(heard).root if heard else None
        job = s50_fit.FitJob(store.sub(folder).root, store.sub(plan).root, root, self.space.placed, units, texts)
        did["fit"] = self.engine.run(job)
        return folder

    def tokenized(
        self, root: str, plan: str, fit: str, units: tuple[Unit, ...], did: dict[str, int], heard: str | None = None
    ) -> str:
        """The folder of the token shards; ``heard`` is that of the transcripts."""
        store = self.space.store
        folder = tokens_folder(self.space, plan, read_receipt(store.sub(fit), 0))
        if heard:
            s70_mask.forget_outdated(store.sub(folder), store.sub(heard), units, fact=s38_transcribe.STAGE)
        job = s60_tokenize.TokenizeJob(
            store.sub(folder).root,
            store.sub(plan).root,
            store.sub(fit).root,
            root,
            self.space.corpus_name,
            self.space.placed,
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
        job = s65_features.FeaturesJob(places[0], places[1], places[2], root, self.space.placed, units)
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

    def stated(self, tokens: str, units: tuple[Unit, ...], did: dict[str, int]) -> dict[str, str]:
        """The folder of the text states, by the name of their stage; none where the recipe names no source. Raises ``RecipeError`` where it is not there."""
        settings, store = self.recipe.states, self.space.store
        if settings is None:
            return {}
        folder = states_folder(self.space, tokens)
        side = store.sub(folder)
        s70_mask.forget_outdated(side, store.sub(tokens), units)
        s68_states.prepare(side, settings, units)
        job = s68_states.StatesJob(
            side.root, store.sub(tokens).root, settings.model_copy(update={"source": in_full(settings.source)}), units
        )
        did[s68_states.STAGE] = self.engine.run(job)
        return {s68_states.STAGE: folder}

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
        settings = self.recipe.teach
        if settings is None:
            return {}
        from training.taught import HEAD

        folder, about = self.teach(settings, description, units, did)
        side = self.space.store.sub(folder)
        shards = s90_dataset.side_shards(side, folder, description["tokens"]["shards"])
        part = {"folder": folder, **about, "head": sha256(side.read(HEAD)), "shards": shards}
        return {"folders": {**description["folders"], "teach": folder}, "teach": part}

    def teach(
        self, settings: TeachSettings, description: dict[str, Any], units: tuple[Unit, ...], did: dict[str, int]
    ) -> tuple[str, dict[str, Any]]:
        """Let somebody teach: (the folder of the side shards, how they were made). Raises what :meth:`taught` does."""
        from pipelines.stages import s80_teach
        from training.taught import HEAD

        settings, run = self._bootstrapped(settings, description, did)
        teacher, masks = s80_teach.teacher_hash(settings, description), description["folders"]["masks"]
        folder = teach_folder(self.space, masks, teacher)
        side = self.space.store.sub(folder)
        s70_mask.forget_outdated(side, self.space.store.sub(masks), units, fact="masks")
        if not side.exists(HEAD):
            side.publish(HEAD, s80_teach.head_of(settings))
        job = s80_teach.TeachJob(side.root, self.space.root, description, settings, units)
        did["teach"] = self.engine.run(job)
        asked = settings.model_dump(mode="json", exclude={"teacher"})
        return folder, {**asked, "teacher": teacher, "run": run}

    def _bootstrapped(
        self, settings: TeachSettings, description: dict[str, Any], did: dict[str, int]
    ) -> tuple[TeachSettings, str | None]:
        """(settings that name a teacher, the folder of the one that the recipe has trained for it)."""
        from pipelines.stages.s75_teacher import Bootstrap
        from pipelines.train import run

        bootstrap = Bootstrap.of(self.space)
        if bootstrap is None:
            return settings, None
        if settings.teacher is None:
            with timed(self.engine.events, "teacher"):
                did["teacher"] = int(bootstrap.trained(description, run, self.engine.console))
        return bootstrap.taught_by(description), bootstrap.folder(description)

    def inputs(self, did: dict[str, int]) -> tuple[str, Manifests, dict[str, str], tuple[Unit, ...]]:
        """All that tokens are made of: (corpus root, manifests, folders by stage, units)."""
        self.check_teacher()
        self.check_states()
        root, out = self.corpus_root(did), self.space.store
        if not out.exists(RUN) and not out.exists(DATASET):
            self._note(root)  # whoever looks at a first run sees from the beginning what it is
        listed = self.manifests.ingested(root)
        self._note(root)
        cuts = self.manifests.cut(listed, root, did)
        plan, units = self.dealt(cuts, did)
        copies = self.marked(root, plan, units, did)
        dealt = copies.get("copies", plan)
        heard = self.transcribed(root, dealt, units, did)
        fit = self.fitted(root, dealt, units, did, heard.get(s38_transcribe.STAGE))
        return root, cuts, {"plan": plan, **copies, **heard, "fit": fit}, units

    def _note(self, root: str) -> None:
        """Write down how and from where this is made. Of an output that stands not before its corpus is listed: a mistyped place must not stand there."""
        told = {"root": root, "recipe": self.recipe.model_dump(mode="json")}
        self.space.store.publish(RUN, pretty(told))

    def __call__(self) -> Result:
        """Run what is missing and publish ``dataset.json``."""
        started, did = time.monotonic(), dict[str, int]()
        root, cuts, made_of, units = self.inputs(did)
        plan, heard = made_of.get("copies", made_of["plan"]), made_of.get(s38_transcribe.STAGE)
        tokens = self.tokenized(root, plan, made_of["fit"], units, did, heard)
        features = self.featured(root, plan, tokens, units, did)
        states = self.stated(tokens, units, did)
        masks = self.masked(tokens, units, did)
        folders = {**made_of, "tokens": tokens, **features, **states, **masks}
        with timed(self.engine.events, "dataset"):
            value = self.described(root, cuts, folders, units, cuts.planned.utterances)
        value |= self.taught(value, units, did)
        did["dataset"] = int(s90_dataset.publish(self.space.store, value))
        result = Result(value, did, time.monotonic() - started)
        self.engine.events("run_ended", took_seconds=round(result.seconds, 3), did=did)
        return result

    def described(
        self, root: str, cuts: Manifests, folders: dict[str, str], units: tuple[Unit, ...], planned: int
    ) -> dict[str, Any]:
        """What a reader must know of the dataset, but for its teacher; ``planned`` utterances must have ended. Raises ``Unbalanced``."""
        heard, parts = cuts.ingested, cuts.segments
        about = {
            "name": self.recipe.name, "recipe": self.recipe.deciding(),
            "folders": {**({"segments": parts["folder"]} if parts else {}), **folders},
            "cuts": {"sha256": heard.sha256, "utterances": heard.utterances, "seconds": heard.seconds},
            **({"segments": parts} if parts else {}), **self._tokenizers(folders["fit"]), **self._spoken(root),
            **self._heard(folders.get(s38_transcribe.STAGE), len(units)),
        }  # fmt: skip
        value = s90_dataset.describe(self.space.store.sub(folders["tokens"]), len(units), planned, about)
        value |= self._features(folders, value["tokens"]["shards"])
        value |= self._states(folders, value["tokens"]["shards"])
        return value | self._masks(folders, value["tokens"]["shards"])

    def check_teacher(self) -> None:
        """A teacher that is not there, or could not decide as asked, is refused before anything is done. Raises ``RecipeError`` and ``CheckpointError``."""
        if self.recipe.teach is not None:
            from pipelines.stages.s75_teacher import Bootstrap
            from pipelines.stages.s80_teach import require_policy, teacher_of

            require_policy(self.recipe.teach)
            if Bootstrap.of(self.space) is None or self.recipe.teach.teacher is not None:
                teacher_of(self.recipe.teach)

    def check_states(self) -> None:
        """A source of text states that is not there is refused before anything is done, unless some were packed before. Raises ``RecipeError``."""
        packed = f"{s68_states.STAGE}-"
        if self.recipe.states is not None and not any(name.startswith(packed) for name in self.space.store.list()):
            s68_states.require_source(self.recipe.states)

    def _masks(self, folders: dict[str, str], shards: list[dict[str, Any]]) -> dict[str, Any]:
        """What a reader must know of the masks."""
        settings = self.recipe.mask
        if settings is None:
            return {}
        folder = folders["masks"]
        return {"masks": s90_dataset.describe_masks(self.space.store.sub(folder), folder, settings, shards)}

    def _states(self, folders: dict[str, str], shards: list[dict[str, Any]]) -> dict[str, Any]:
        """What a reader must know of the text states. Raises ``RecipeError`` where no utterance has any."""
        settings = self.recipe.states
        if settings is None:
            return {}
        folder = folders[s68_states.STAGE]
        side = self.space.store.sub(folder)
        part = s90_dataset.states_part(side, folder, settings, shards)
        if part["missing"] and part["missing"] == sum(shard["samples"] for shard in shards):
            why = s68_states.first_fault(side, len(shards))
            raise RecipeError(
                f"states.source: {settings.source} has states of none of the {part['missing']} utterances ({why}): files are to be named "
                "by the keys of the token shards"
            )
        return {s68_states.STAGE: part}

    def _heard(self, folder: str | None, units: int) -> dict[str, Any]:
        """What a reader must know of the transcripts."""
        if folder is None:
            return {}
        return {s38_transcribe.STAGE: s90_dataset.transcript_part(self.space.store.sub(folder), folder, units)}

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

    Raises ``TokenizerError`` where the weights of the recipe's codec are not here, ``DetectorError`` where its detector of speech is not installed, before
    anything is done; ``RecipeError`` where nobody says where the corpus lies, or the output would be made in the corpus's own folder.
    """
    if recipe.corpus.layout != "demo" and not recipe.corpus.root:
        raise RecipeError("corpus.root: say where the corpus lies: --set corpus.root=FOLDER (or a URL)")
    if recipe.segment is not None:
        open_detector(recipe.segment.detector)
    space = Workspace.of(recipe, out)
    recipe = space.recipe
    if not space.is_demo and same_place(space.root, recipe.corpus.root):
        raise RecipeError(
            f"corpus.root: the corpus lies at {recipe.corpus.root}, where the output would be made: name another folder with --out"
        )
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
