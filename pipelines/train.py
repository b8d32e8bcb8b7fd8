"""``speechmill train``: the trainer in this process, in several that are started here, under torchrun, or on a Ray cluster."""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

import torch
from rich.console import Console

from manifests.dataset import DatasetError
from manifests.recipe_file import RecipeError
from manifests.shards.reader import ShardError
from manifests.storage import Store
from pipelines.engine.contract import RunFailed
from pipelines.engine.stopping import Interrupted, Stopping
from pipelines.output_lock import output_lock
from pipelines.train_rank import as_rank
from training.distributed import by_environment, device_of, joined
from training.errors import RowsError
from training.run import Job, check
from training.trainer import Outcome

MOST = (
    4  # processes on a machine without GPUs, unless asked for more: each holds a talker and reads its share of a batch
)
LOOK_EVERY = 0.2  # seconds between looks at the signals
LAST_WORDS = 10.0  # seconds for a rank to say why it went, once another has missed it


def run(job: Job, processes: int | None, address: str | None, console: Console) -> Outcome:
    """Check and train; returns where the run came to.

    Raises the refusals of ``training.run.check``, ``Diverged``, ``Interrupted`` (after a checkpoint), ``RunFailed``.
    """
    given = by_environment()
    try:
        if given is not None:
            return _ended(_under_torchrun(job, *given, console))
        with output_lock(Store(job.run)):
            total = len(check(job).course)
            _keep_voice(job, console)
            return _ended(_carried_out(job, total, processes or default_processes(), address, console))
    except (ShardError, FileNotFoundError) as error:
        raise RowsError(f"{error}; `speechmill verify {job.data}` lists all that is damaged") from error
    except OSError as error:  # a full disk, storage that does not answer
        raise RunFailed(f"{error}; the same command goes on from the last checkpoint") from error


def _carried_out(job: Job, total: int, count: int, address: str | None, console: Console) -> Outcome:
    if address is not None:
        from pipelines.train_ray import train_on_ray

        return train_on_ray(job, total, count, address, console)
    return _alone(job, console) if count == 1 else _together(job, count)


def default_processes() -> int:
    """A process for each GPU; without one, for each core up to :data:`MOST`.

    Processes of one thread wait for each other once a step, threads of one process in every layer. On two cores shared with other
    work the demo's talker learned 1,016 and 475 positions a second with two processes, 668 and 754 with one, and 139 and 117
    with two threads.
    """
    return torch.cuda.device_count() or min(len(os.sched_getaffinity(0)), MOST)


def _keep_voice(job: Job, console: Console) -> None:
    """Put beside the weights what the talker needs to speak. A dataset without its tokenizers is trained on all the same."""
    from pipelines.voice.parts import save_parts

    try:
        save_parts(job.run, job.data, job.recipe.talker.block)
    except (DatasetError, RecipeError, FileNotFoundError) as error:
        console.print(
            f"note: the talker will train, but not speak, for its tokenizers cannot be kept: {error}", soft_wrap=True
        )


def _ended(outcome: Outcome) -> Outcome:
    if not outcome.finished:
        raise Interrupted(
            f"stopped at step {outcome.step} of {outcome.total}, all of it in {outcome.checkpoint}; the same command goes on"
        )
    return outcome


def _under_torchrun(job: Job, rank: int, size: int, local_rank: int, console: Console) -> Outcome:
    """One rank among others that someone else started."""
    lock = output_lock(Store(job.run)) if rank == 0 else nullcontext()
    with lock, Stopping(0) as stopping, joined(rank, size, local_rank) as ranks:
        if ranks.first:
            _keep_voice(job, console)
        return as_rank(job, ranks, lambda: stopping.draining, console)


def _alone(job: Job, console: Console) -> Outcome:
    with Stopping(0) as stopping, joined(0, 1, 0) as ranks:
        return as_rank(job, ranks, lambda: stopping.draining, console)


# Several processes of our own


class Died(RunFailed):
    """A rank that ended without a word."""


@dataclass(frozen=True)
class Member:
    """One of the processes."""

    process: BaseProcess
    pipe: Connection


def _together(job: Job, count: int) -> Outcome:
    """Start the ranks, each with its share of the cores; the first error ends them all."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["training.run", "torch._dynamo"])  # read once for all ranks: torch takes seconds
    stop = context.Event()
    with tempfile.TemporaryDirectory() as folder, Stopping(0) as stopping:
        members = [_start(context, job, rank, count, f"file://{folder}/meeting", stop) for rank in range(count)]
        try:
            return _outcome(members, stopping, stop.set)
        finally:
            for member in members:
                member.process.kill()  # nothing of it is needed any more, and it does not listen
                member.process.join()


def _start(context: Any, job: Job, rank: int, size: int, meeting: str, stop: Any) -> Member:
    mine, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_rank, args=(job, rank, size, meeting, stop, theirs), daemon=True)
    process.start()
    theirs.close()
    return Member(process, mine)


def _outcome(members: list[Member], stopping: Stopping, ask: Callable[[], None]) -> Outcome:
    """What rank 0 ends with. Raises what the first rank to fail raised."""
    open_pipes, outcomes = {m.pipe: rank for rank, m in enumerate(members)}, dict[int, Outcome]()
    while open_pipes:
        if stopping.draining:
            ask()
        if stopping.asked > 1:
            raise Interrupted("stopped at once; the same command goes on from the last checkpoint")
        for pipe in wait(list(open_pipes), LOOK_EVERY):
            rank = open_pipes.pop(pipe)  # pyright: ignore[reportArgumentType]
            said = _said(pipe, rank)  # pyright: ignore[reportArgumentType]
            if isinstance(said, Died) and stopping.draining:
                raise Interrupted("stopped; the same command goes on from the last checkpoint")
            if isinstance(said, BaseException):
                raise _cause(said, open_pipes)
            outcomes[rank] = said
    return outcomes[0]


def _cause(said: BaseException, others: dict[Connection, int]) -> BaseException:
    """What went wrong first: a rank that lost its peer is often heard before the peer that says why it went."""
    deadline = time.monotonic() + LAST_WORDS
    while _missed_a_peer(said) and others:
        ready = wait(list(others), max(deadline - time.monotonic(), 0))
        if not ready:
            break
        for pipe in ready:
            other = _said(pipe, others.pop(pipe))  # pyright: ignore[reportArgumentType]
            said = other if isinstance(other, BaseException) else said
    return said


def _missed_a_peer(error: BaseException) -> bool:
    """Gloo has no type of its own for that."""
    return type(error) is RuntimeError or isinstance(error, torch.distributed.DistError)


def _said(pipe: Connection, rank: int) -> Outcome | BaseException:
    try:
        return pipe.recv()
    except EOFError:
        return Died(
            f"rank {rank} died (crash in native code, or killed for memory); the same command goes on from the last checkpoint"
        )


def _rank(job: Job, rank: int, size: int, meeting: str, stop: Any, pipe: Connection) -> None:
    """The main function of a rank: it is told to stop by ``stop``, for signals (Ctrl-C, ``timeout``, Slurm) may reach all processes of a group."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    if device_of(rank).type == "cpu":
        torch.set_num_threads(max((os.cpu_count() or 1) // size, 1))
    try:
        with joined(rank, size, rank, meeting) as ranks:
            said: Any = as_rank(job, ranks, lambda: stop.is_set() or _orphaned(), Console(stderr=True, highlight=False))
    except Exception as error:  # noqa: BLE001 - the parent raises it again
        said = error
    _send(pipe, said)


def _orphaned() -> bool:
    """Whether the process that started this one is gone: nobody would tell it to stop any more."""
    parent = multiprocessing.parent_process()
    return parent is not None and not parent.is_alive()


def _send(pipe: Connection, said: Any) -> None:
    try:
        pipe.send(said)
    except (TypeError, AttributeError, ValueError):  # an exception that cannot travel
        pipe.send(RunFailed(f"{type(said).__name__}: {' '.join(str(said).split())}"))
