"""A run of ``speechmill train`` in small: an untrained talker, its checkpoint, and the parts it speaks with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from manifests.dataset import Dataset
from manifests.splits import SplitSettings
from manifests.training_recipe import parse
from pipelines.voice.parts import save_parts
from tests.pipelines.finished import do_units, finish, make_until_tokens, small_recipe, write_corpus
from training.checkpoint import save
from training.course import identity
from training.loading import built
from training.talker import Talker

LAYOUTS = {
    "block": {"layout": "two_stream", "masks": "bernoulli"},
    "ar": {"layout": "autoregressive"},
    "mtp": {"layout": "anchored"},
}
ENDS = {"block": 4.0, "ar": 2.0, "mtp": 2.0}  # how much each likes to end, so that it says some frames
SMALL = {"layers": 1, "width": 16, "heads": 2, "ffn": 32, "block": 4, "anchors": 2, "max_frames": 80}


def make_tested_dataset(folder: Path, codes: int = 16) -> str:
    """A small finished dataset with a test split; returns its root."""
    write_corpus(folder / "corpus")
    out, recipe = str(folder / "out"), small_recipe(folder / "corpus")
    speech = recipe.speech.model_copy(update={"codebook_size": codes})
    job = make_until_tokens(
        out, recipe.model_copy(update={"split": SplitSettings(by="speaker", dev=0.0, test=0.5), "speech": speech})
    )
    do_units(job)
    finish(out, job)
    return out


def make_run(folder: Path, data: str, kind: str = "block", end: float | None = None, **stage: Any) -> Path:
    """A run over the dataset under ``data``. ``end`` is how much it likes to end."""
    only = {**LAYOUTS[kind], "name": "only", "steps": 1, **stage}
    recipe = parse({"name": kind, "talker": SMALL, "train": {"stages": [only]}})
    about = identity(Dataset.open(data))
    torch.manual_seed(0)
    talker = _talkative(built(recipe.talker, about), ENDS[kind] if end is None else end)
    facts = {"recipe": recipe.model_dump(mode="json"), "dataset": about}
    weights = talker.state_dict()
    save(folder, 1, {"talker": weights, "average": weights}, facts, keep=1)
    save_parts(folder, data, recipe.talker.block)
    return folder


def _talkative(talker: Talker, end: float) -> Talker:
    """Weights that say something different at each place, and now and then the end."""
    with torch.no_grad():
        talker.head.weight.normal_(std=1.0)
        talker.place.weight.normal_(std=2.0)
        talker.head.bias.zero_()
        talker.head.bias[talker.vocabulary.eos :: talker.vocabulary.classes] = end
    return talker
