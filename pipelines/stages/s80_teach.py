"""Teach: a frozen teacher decides every masked cell of every utterance, and what it thought of it is kept beside the tokens.

One unit to one side shard, as masks are: same keys, same order. A sample holds, over views V, positions L of whole blocks and codebooks Q:

    KEY.step.npy    uint8 (V, L, Q)    the iteration at which a cell was decided, from 1; 0 where it was not masked
    KEY.token.npy   uint16 (V, L, Q)   the code that was written there; where it was given, what was shown
    KEY.sure.npy    float16 (V, L, Q)  log probability of that code, nats

and of the P cells that were masked, in the order of (V, L, Q), what the store keeps:

    topk     KEY.ids.npy uint16 (P, K), KEY.logp.npy float16 (P, K): likeliest classes, at the temperature of the settings
    hidden   KEY.hidden.npy float16 (P, D): final states, which the frozen head beside the shards (``head.safetensors``) turns to logits

What it is a function of: tokens, masks, settings, and the teacher's weights, whose hash names the folder. Floats are those of one kind of processor.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from manifests.dataset import Dataset
from manifests.fingerprint import canonical
from manifests.keys import key_of
from manifests.receipt import read_receipt, shard_stem
from manifests.recipe_file import RecipeError
from manifests.settings.teach import STAGE, TeachSettings
from manifests.shards import npy
from manifests.shards.writer import pack
from manifests.storage import Store
from pipelines.engine.contract import Beat, Made, Task, Unit
from training.batches import Batch, collate, cuts
from training.checkpoint import Checkpoint, find
from training.course import vocabulary_of
from training.distributed import device_of
from training.errors import RowsError
from training.loading import load_talker, require_same_tokens, weights_hash
from training.losses import top_k
from training.policies import teaching_policy
from training.rows import Reader, Row, stored_masks
from training.talker import Talker
from training.trajectory import Teacher, Trace

VERSION = 2  # 2: what fills texts up in a batch takes no time

AHEAD = 2  # batches that are made ready while a GPU works

T = TypeVar("T")
Arrays = dict[str, np.ndarray]


class TeachError(RuntimeError):
    """A teacher that cannot teach: no utterance's fault."""


@dataclass(frozen=True)
class TeachJob:
    """Record a teacher over the shards that ``description``, of a dataset yet to be published under ``root``, lists."""

    folder: str
    root: str
    description: Mapping[str, Any]
    settings: TeachSettings
    units: tuple[Unit, ...]
    stage: str = STAGE

    def open(self) -> TeachWorker:
        return TeachWorker(self)


def require_policy(settings: TeachSettings) -> None:
    """Raise ``RecipeError`` for a policy that there is not, or that a teacher cannot follow."""
    try:
        teaching_policy(settings.policy)
    except ValueError as error:
        raise RecipeError(f"teach.policy: {error}") from None


def teacher_of(settings: TeachSettings) -> Checkpoint:
    """Who teaches. Raises ``RecipeError`` where nobody is named, or a talker of given states; ``CheckpointError`` where nobody is there."""
    if settings.teacher is None:
        raise RecipeError("teach.teacher names nobody: set it to a run of `speechmill train` on these tokens")
    found = find(settings.teacher)
    if found.facts["recipe"]["talker"].get("text_width") is not None:
        raise RecipeError(
            f"teach.teacher: {settings.teacher} reads given text states (talker.text_width), and is not recorded ahead: let it teach beside "
            "its student (loss: distillation, without stored)"
        )
    return found


def teacher_hash(settings: TeachSettings, description: Mapping[str, Any]) -> str:
    """SHA-256 of the teacher's weights.

    Raises what :func:`teacher_of` does, and ``CheckpointError`` and ``RowsError`` where they can teach no dataset of this description.
    """
    found = teacher_of(settings)
    require_same_tokens(found, description)
    theirs, ours = found.facts["recipe"]["talker"]["block"], description["masks"]["block"]
    if theirs != ours:
        raise RowsError(
            f"{found.path}: a teacher of blocks of {theirs} cannot fill in masks of blocks of {ours} (mask.block)"
        )
    return weights_hash(found)


def head_of(settings: TeachSettings) -> bytes:
    """The frozen head, as safetensors: what turns kept states to logits."""
    talker = _loaded(settings, "cpu")
    return save({"weight": talker.head.weight.detach().clone(), "bias": talker.head.bias.detach().clone()})


def _loaded(settings: TeachSettings, device: torch.device | str) -> Talker:
    assert settings.teacher is not None, "the driver has seen to that"
    return load_talker(settings.teacher, device=device)[0].requires_grad_(False)


@dataclass
class Tally:
    """What a shard's trajectories add up to: cells by the iteration that decided them (0: given), and the sum of their log probabilities."""

    cells_I: np.ndarray
    sure_I: np.ndarray

    @classmethod
    def empty(cls, iterations: int) -> Tally:
        return cls(np.zeros(iterations + 1, np.int64), np.zeros(iterations + 1))

    def take(self, arrays: Arrays) -> None:
        step = arrays["step"].ravel()
        self.cells_I += np.bincount(step, minlength=len(self.cells_I))
        self.sure_I += np.bincount(step, arrays["sure"].ravel().astype(np.float64), minlength=len(self.sure_I))

    def to_json(self) -> dict[str, Any]:
        return {"cells": self.cells_I.tolist(), "sure": [round(x, 3) for x in self.sure_I.tolist()]}


@dataclass
class TeachWorker:
    """Holds the teacher, on the GPU of its process where there is one."""

    job: TeachJob
    device: torch.device = field(default_factory=lambda: device_of(0))

    @cached_property
    def teacher(self) -> Teacher:
        """One thread on a processor, however it was started: with more of them sums differ in the last bit."""
        s = self.job.settings
        if self.device.type == "cpu":
            torch.set_num_threads(1)
        return Teacher(_loaded(s, self.device), teaching_policy(s.policy), s.iterations, s.forced, s.context)

    @cached_property
    def dataset(self) -> Dataset:
        return Dataset(Store(self.job.root), self.job.description)

    @cached_property
    def reader(self) -> Reader:
        return Reader(self.dataset, vocabulary_of(self.dataset), self.teacher.talker.settings.block)

    def process(self, task: Task, beat: Beat) -> Made:
        """The side shard of a unit; its outcomes are those of the token stage.

        Raises :class:`TeachError` where an utterance would have to be left out: a side shard without it would lie beside other samples.
        """
        folders, unit = self.job.description["folders"], task.unit.index
        tokens, masks = (read_receipt(self.dataset.store.sub(folders[stage]), unit) for stage in ("tokens", "masks"))
        if tokens is None or masks is None:
            raise TeachError(f"unit {unit} has no tokens, or no masks")
        for position, (reason, error) in task.skip.items():
            raise TeachError(f"teaching {tokens.outcomes[position].id!r} fails ({reason}: {error})")
        first, end = task.only or (0, len(tokens.outcomes))
        wanted = [outcome.id for outcome in tokens.outcomes[first:end] if outcome.status == "written"]
        tally, samples = Tally.empty(self.job.settings.iterations), dict[str, dict[str, bytes]]()
        for utterance_id, arrays in self._taught(unit, wanted, beat):
            tally.take(arrays)
            about = {"id": utterance_id, "views": len(arrays["step"]), "positions": arrays["step"].shape[1]}
            members = {f"{name}.npy": npy.dump(array) for name, array in arrays.items()}
            samples[utterance_id] = {"json": canonical(about), **members}
        beat(end - first - len(wanted))
        packed, stem = pack([(key_of(i), samples[i]) for i in wanted]), shard_stem(unit)
        facts = {"beside": tokens.files[0].sha256, "masks": masks.files[0].sha256, **tally.to_json()}
        return Made({f"{stem}.tar": packed.tar, f"{stem}.idx": packed.index}, tokens.outcomes[first:end], facts)

    def _taught(self, unit: int, wanted: list[str], beat: Beat) -> Iterator[tuple[str, Arrays]]:
        """Id and arrays of each wanted utterance of a unit, in the order in which they are taught."""
        rows = self._rows(unit, wanted)
        for utterance_id, row in rows:
            if not self._fits(row):
                yield utterance_id, self._untaught(row)
                beat(1)
        for ids, batch in ahead(self._batches(rows), AHEAD if self.device.type != "cpu" else 0):
            yield from zip(ids, self._arrays(batch), strict=True)
            beat(len(ids))

    def batches(self, unit: int) -> Iterator[tuple[list[str], Batch]]:
        """What the teacher is shown of a whole unit: ids, and their masked copies."""
        receipt = read_receipt(self.dataset.tokens, unit)
        assert receipt is not None, "a finished dataset has all receipts"
        return self._batches(self._rows(unit, [o.id for o in receipt.outcomes if o.status == "written"]))

    def _rows(self, unit: int, wanted: list[str]) -> list[tuple[str, Row]]:
        """The wanted utterances of a shard with their first views."""
        s, shard, rows = self.job.settings, self.dataset.shard(unit), []
        masks = stored_masks(self.dataset, s.masks, self.reader.block)
        base = sum(entry["samples"] for entry in self.dataset.samples.shards[:unit])
        for utterance_id in wanted:
            place = shard.position(key_of(utterance_id))
            if place is None:
                raise TeachError(f"{shard.name} has no {key_of(utterance_id)}, which its receipt calls written")
            rows.append((utterance_id, self.reader.noisy(base + place, masks, range(s.views))))
        return rows

    def _batches(self, rows: list[tuple[str, Row]]) -> Iterator[tuple[list[str], Batch]]:
        """Rows of like length together, as far as the teacher has positions for them."""
        fitting = sorted((pair for pair in rows if self._fits(pair[1])), key=lambda pair: len(pair[1].codes_LQ))
        lengths = np.array([len(row.codes_LQ) for _, row in fitting], np.int64)
        most = max(self.job.settings.batch_frames // self.job.settings.views, 1)
        for start, end in pairwise(cuts(lengths, most).tolist()):
            part = fitting[start:end]
            batch = collate([row for _, row in part], self.reader.vocabulary, self.reader.block)
            yield [utterance_id for utterance_id, _ in part], batch.to(self.device)

    def _fits(self, row: Row) -> bool:
        return max(len(row.codes_LQ), len(row.text_S)) <= self.teacher.talker.settings.max_frames

    def _arrays(self, batch: Batch) -> Iterator[Arrays]:
        """The arrays of each row of a batch. What all rows have leaves the device at once."""
        x, store = batch.noised, self.job.settings.store
        trace = self.teacher.trace(x, batch.text_NS, batch.states_N, hidden=store != "states")
        masked_NVLQ = x.masked_NCLQ & x.valid_NL[:, None, :, None]
        kept = {"states": self._nothing, "topk": self._topk, "hidden": self._hidden}[store](trace, masked_NVLQ)
        step_NVLQ, token_NVLQ = _numpy(trace.step_NCLQ), _numpy(trace.token_NCLQ).astype(np.uint16)
        sure_NVLQ = _numpy(trace.sure_NCLQ.half())
        for row, (length, more) in enumerate(zip(x.valid_NL.sum(1).tolist(), kept, strict=True)):
            core = {"step": step_NVLQ, "token": token_NVLQ, "sure": sure_NVLQ}
            yield {name: values[row, :, :length] for name, values in core.items()} | more

    def _nothing(self, trace: Trace, masked_NVLQ: Tensor) -> Iterator[Arrays]:
        return ({} for _ in masked_NVLQ)

    def _hidden(self, trace: Trace, masked_NVLQ: Tensor) -> Iterator[Arrays]:
        """Final states of the masked cells of each row."""
        assert trace.hidden_NCLQD is not None
        hidden_PD = _numpy(trace.hidden_NCLQD[masked_NVLQ].half())
        ends_N = masked_NVLQ.flatten(1).sum(1).cumsum(0).tolist()
        return ({"hidden": part_PD} for part_PD in np.split(hidden_PD, ends_N[:-1]))

    def _topk(self, trace: Trace, masked_NVLQ: Tensor) -> Iterator[Arrays]:
        """Likeliest classes of the masked cells of each row: row by row, since the logits of all may be more than fits."""
        assert trace.hidden_NCLQD is not None
        s, talker = self.job.settings, self.teacher.talker
        for hidden_VLQD, masked_VLQ in zip(trace.hidden_NCLQD, masked_NVLQ, strict=True):
            books_P = masked_VLQ.nonzero()[:, 2]
            logits_PQC = talker.logits(hidden_VLQD[masked_VLQ])
            said_PC = logits_PQC[torch.arange(len(books_P), device=books_P.device), books_P]
            ids_PK, logp_PK = top_k(said_PC, min(s.k, logits_PQC.shape[-1]), s.tau)
            yield {"ids": _numpy(ids_PK).astype(np.uint16), "logp": _numpy(logp_PK.half())}

    def _untaught(self, row: Row) -> Arrays:
        """Of an utterance that the teacher has no positions for: no positions."""
        s, d = self.job.settings, self.teacher.talker.settings.width
        shape = (s.views, 0, row.codes_LQ.shape[1])
        core = {
            "step": np.zeros(shape, np.uint8),
            "token": np.zeros(shape, np.uint16),
            "sure": np.zeros(shape, np.float16),
        }
        k = min(s.k, self.reader.vocabulary.classes)
        more: dict[str, Arrays] = {
            "states": {},
            "topk": {"ids": np.zeros((0, k), np.uint16), "logp": np.zeros((0, k), np.float16)},
            "hidden": {"hidden": np.zeros((0, d), np.float16)},
        }
        return core | more[s.store]


def ahead(items: Iterator[T], count: int) -> Iterator[T]:
    """The same items in the same order, of which a thread makes so many ready while those before them are used.

    What making one raises is raised in its place.
    """
    if not count:
        yield from items
        return
    with ThreadPoolExecutor(1) as maker:
        waiting = deque(maker.submit(next, items, None) for _ in range(count))
        while (item := waiting.popleft().result()) is not None:
            waiting.append(maker.submit(next, items, None))
            yield item


def _numpy(x: Tensor) -> np.ndarray:
    return x.cpu().numpy()
