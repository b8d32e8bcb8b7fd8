"""Small finished datasets made by hand, with codes as a test wants them: shards, masks and ``dataset.json`` in the real formats."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from manifests.fingerprint import canonical, pretty
from manifests.settings.mask import (
    BernoulliSettings,
    FullBlockSettings,
    HierarchicalSettings,
    LeftToRightSettings,
    MaskSet,
    MaskSettings,
)
from manifests.shards import npy
from manifests.shards.writer import Packed, pack
from manifests.storage import Store
from manifests.training_recipe import TrainingRecipe, parse
from pipelines.stages.s70_mask import Tally, draw_masks
from pipelines.stages.s90_dataset import mask_part

VOCAB, TEXT, BLOCK = 11, 20, 4
SETS = {
    "bernoulli": MaskSet(views=4, mix=(BernoulliSettings(),)),
    "hierarchical": MaskSet(views=4, mix=(HierarchicalSettings(replace=(0.1, 0.3)),)),
    "pairs": MaskSet(views=4, complementary=True, mix=(FullBlockSettings(), LeftToRightSettings())),
}
MASKS = MaskSettings(block=BLOCK, sets=SETS)

Sample = tuple[str, dict[str, bytes]]


def utterances(count: int, seed: int = 0, codebooks: int = 1) -> list[np.ndarray]:
    """``codes_FQ`` of 1 to 17 frames: steps of 1 or 2, so that there is something to learn."""
    random = np.random.default_rng(seed)
    lengths = random.integers(1, 18, count)
    return [random.integers(1, 3, (n, codebooks)).cumsum(0).astype(np.uint16) % VOCAB for n in lengths]


def write_dataset(
    folder: Path,
    codes: Sequence[np.ndarray],
    masks: MaskSettings | None = MASKS,
    dev: int = 4,
    each: int = 8,
    vocab: int = VOCAB,
    texts: bool = True,
    states: int | None = None,
) -> str:
    """A dataset of some utterances, ``each`` a shard, the first ``dev`` of them the dev split; returns its root. ``texts``: they have some.

    ``states``: the width of text states that all have but every seventh.
    """
    tokens: list[Sample] = []
    beside: list[Sample] = []
    given: list[Sample] = []
    tally = Tally()
    for i, codes_FQ in enumerate(codes):
        name = f"u{i:04d}"
        about = {"id": name, "text": name, "split": "dev" if i < dev else "train"}
        text_S = (np.arange((1 + i % 5) * texts) + i) % (TEXT - 2) + 2
        members = {"speech.npy": npy.dump(codes_FQ), "text.npy": npy.dump(text_S.astype(np.int32))}
        tokens.append((name, {"json": canonical(about), **members}))
        if states is not None:
            given.append((name, _states(name, i, states)))
        if masks is not None:
            beside.append((name, draw_masks(masks, name, len(codes_FQ), codes_FQ.shape[1], tally)))
    store, codebooks = Store(str(folder)), codes[0].shape[1]
    value: dict[str, Any] = {
        "format": "speechmill-dataset/1", "name": "hand-made",
        "speech": {"name": "given", "checksum": "0" * 64, "vocab_size": vocab, "codebooks": codebooks, "frame_rate": 25.0},
        "text": {"checksum": "1" * 64, "vocab_size": TEXT},
        "tokens": {"folder": "tokens-0", "shards": _shards(store.sub("tokens-0"), tokens, each)},
    }  # fmt: skip
    if masks is not None:
        value["masks"] = mask_part("masks-0", masks, _shards(store.sub("masks-0"), beside, each))
    if states is not None:
        value["states"] = {
            "folder": "states-0",
            "width": states,
            "shards": _shards(store.sub("states-0"), given, each),
        }
    store.publish("dataset.json", pretty(value))
    return str(folder)


def _states(name: str, i: int, width: int) -> dict[str, bytes]:
    """The side sample of utterance ``i``: other numbers of states than its text has tokens, in float16 and float32 by turns."""
    if i % 7 == 6:
        return {"json": canonical({"id": name, "states": 0, "why": "its file is missing"})}
    states_SW = np.random.default_rng(i).standard_normal((2 + i % 4, width)).astype((np.float16, np.float32)[i % 2])
    return {"json": canonical({"id": name, "states": len(states_SW)}), "states.npy": npy.dump(states_SW)}


def _shards(store: Store, samples: list[Sample], each: int) -> list[dict[str, Any]]:
    return [
        _shard(store, f"shard-{n:06d}", pack(samples[i : i + each])) for n, i in enumerate(range(0, len(samples), each))
    ]


def _shard(store: Store, stem: str, packed: Packed) -> dict[str, Any]:
    store.publish(f"{stem}.tar", packed.tar)
    store.publish(f"{stem}.idx", packed.index)
    return {
        "name": f"{stem}.tar",
        "samples": packed.samples,
        "sha256": packed.sha256,
        "index_sha256": packed.index_sha256,
    }


TALKER = {"layers": 2, "width": 32, "heads": 2, "ffn": 64, "block": BLOCK, "anchors": 2, "max_frames": 64}


def recipe(*stages: dict[str, Any], talker: dict[str, Any] | None = None, **train: Any) -> TrainingRecipe:
    """A recipe of a tiny talker; without stages, one of two-stream steps."""
    stages = stages or ({"layout": "two_stream", "masks": "bernoulli", "steps": 6},)
    more = {
        "batch_frames": 64,
        "log_every": 1,
        "precision": "fp32",
        "schedule": {"name": "cosine", "warmup": 2},
        **train,
    }
    more.setdefault("validation", {"every": 0})
    return parse({"name": "tiny", "talker": {**TALKER, **(talker or {})}, "train": {"stages": list(stages), **more}})
