"""The trainer on a Ray cluster: Ray Train starts the ranks and lets them meet; the rest is the same as everywhere."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from manifests.settings.run import RunSettings
from manifests.storage import in_full
from manifests.training_recipe import TrainingRecipe
from pipelines.cluster import Cluster
from pipelines.engine.contract import RunFailed
from pipelines.engine.stopping import Interrupted, Stopping
from training import checkpoint
from training.distributed import joined
from training.logs import LOG
from training.run import Job
from training.trainer import Outcome

LOOK_EVERY = 2.0  # seconds between looks at the log
ASK_EVERY = 0.2  # seconds between looks at the signals
STOP = "stop"  # a file in the run folder: where rank 0 finds it, all ranks end with the step they are at


def train_on_ray(job: Job, total: int, processes: int, address: str, console: Console) -> Outcome:
    """Train ``total`` steps with ``processes`` ranks on the cluster at ``address`` (``local``: one started here).

    Dataset and run folder must be seen by all nodes. Told to stop, it ends with the step it is at, and a checkpoint; told twice, at once. Raises
    what a rank raised, ``Interrupted`` where it ended at once, and :class:`RunFailed` where Ray cannot go on.
    """
    cluster = Cluster(RunSettings(address=None if address == "local" else address, workers=processes))
    stop = job.folder / STOP
    with Stopping(0) as stopping:
        stop.unlink(missing_ok=True)  # one that a killed run left behind
        cluster.start()
        try:
            with _followed(job.folder / LOG, console):
                _ended(_begun(job, processes), stopping, stop)
        finally:
            stop.unlink(missing_ok=True)
            cluster.stop()
    found = checkpoint.find(job.folder)
    return Outcome(found.step, total, found.facts["figures"], found.path)


def _begun(job: Job, processes: int) -> Future[None]:
    """Ray Train at work. In the main thread it would take Ctrl-C for itself, and drop what is not in a checkpoint."""
    ended = Future[None]()

    def fit() -> None:
        try:
            _fit(job, processes)
        except BaseException as error:  # noqa: BLE001 - the main thread raises it again
            ended.set_exception(error)
        else:
            ended.set_result(None)

    threading.Thread(target=fit, daemon=True).start()
    return ended


def _ended(work: Future[None], stopping: Stopping, stop: Path) -> None:
    """Wait for the end, and ask for it in the run folder, which all nodes see, once a signal asks for it here."""
    while not wait([work], ASK_EVERY).done:
        if stopping.asked > 1:
            raise Interrupted("stopped at once; the same command goes on from the last checkpoint")
        if stopping.draining:
            stop.touch()
    work.result()


def _fit(job: Job, processes: int) -> None:
    import ray
    from ray.train import RunConfig, ScalingConfig, TrainingFailedError
    from ray.train.torch import TorchTrainer

    recipe = job.recipe.model_dump(mode="json")
    trainer = TorchTrainer(
        _rank, train_loop_config={"recipe": recipe, "data": in_full(job.data), "run": str(job.folder.absolute()), "base": os.getcwd()},
        scaling_config=ScalingConfig(num_workers=processes, use_gpu=ray.cluster_resources().get("GPU", 0) >= processes),
        run_config=RunConfig(name="ray", storage_path=str(job.folder.absolute())),
    )  # fmt: skip
    try:
        trainer.fit()
    except TrainingFailedError as error:
        raise _cause(error) from error


def _rank(config: dict[str, Any]) -> None:
    """What every worker of Ray Train runs. Its process group stands already."""
    from ray.train import get_context

    from pipelines.train_rank import as_rank

    context = get_context()
    job = Job(TrainingRecipe.model_validate(config["recipe"]), config["data"], config["run"], config["base"])
    stop = job.folder / STOP
    with joined(context.get_world_rank(), context.get_world_size(), context.get_local_rank()) as ranks:
        as_rank(job, ranks, lambda: ranks.first and stop.exists(), Console(stderr=True, highlight=False))


def _cause(error: BaseException) -> Exception:
    """What the first rank to fail raised, out of Ray's wrappings."""
    failures = getattr(error, "worker_failures", {})
    inner = next((failures[rank] for rank in sorted(failures)), error)
    while isinstance(deeper := getattr(inner, "_base_exc", None) or getattr(inner, "cause", None), BaseException):
        inner = deeper
    if isinstance(inner, Exception) and type(inner).__module__.startswith(("training.", "manifests.")):
        return inner
    return RunFailed(
        f"{type(inner).__name__}: {' '.join(str(inner).split())[:400]}; the same command goes on from the last checkpoint"
    )


@contextmanager
def _followed(log: Path, console: Console) -> Iterator[None]:
    """Show what is written to the log meanwhile: the output of workers does not come here."""
    done = threading.Event()
    start = log.stat().st_size if log.is_file() else 0

    def follow() -> None:
        place = start
        while not done.wait(LOOK_EVERY):
            place = _show(log, place, console)
        _show(log, place, console)

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _show(log: Path, place: int, console: Console) -> int:
    """Print the whole lines behind ``place``; returns where the next begins."""
    if not log.is_file():
        return place
    with log.open("rb") as file:
        file.seek(min(place, log.stat().st_size))
        new = file.read()
    whole = new[: new.rfind(b"\n") + 1]
    for line in whole.splitlines():
        facts = {k: v for k, v in json.loads(line).items() if k != "time"}
        console.print(
            ", ".join(f"{k} {v:.6g}" if isinstance(v, float) else f"{k} {v}" for k, v in facts.items()), soft_wrap=True
        )
    return place + len(whole)
