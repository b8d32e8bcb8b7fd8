"""Checks of what a dataset was made of: its description, the manifest, the plan, the fitted files."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from manifests.dataset import NAME
from manifests.fingerprint import pretty, sha256
from manifests.receipt import Receipt, receipt_name
from manifests.recipe import parse
from manifests.run_file import RUN
from manifests.settings.plan import PlanSettings
from manifests.storage import Store
from pipelines.stages.s20_ingest import MANIFEST, RECEIPT, cut_lines, read_cuts
from pipelines.stages.s30_plan import RECEIPT as PLAN
from pipelines.stages.s30_plan import plan_file, planned, unit_name
from pipelines.stages.s50_fit import CODEBOOK, TEXT
from pipelines.subject import Subject
from pipelines.verify.findings import REMAKE, RERUN, Findings
from tokenization.registry import needs_fit

CUTS = "cuts"
PARTS = ("format", "name", "recipe", "speech", "text", "folders", "cuts", "ledger", "splits", "parity", "tokens")
GZIP_HEAD = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"  # no name, no time, no machine: as ingest writes it
READ_AT_ONCE = 1 << 20
RESTORE = f"delete {NAME} and run the recipe again: it is folded anew from the receipts"
REPLAN = "delete the plan's folder and run the recipe again"


def check_description(subject: Subject, found: Findings) -> bool:
    """``dataset.json`` is whole, and agrees with its own recipe and with ``run.json``. False where it is of no use."""
    description = dict(subject.description)
    missing = [part for part in PARTS if part not in description]
    if not found.require(not missing, NAME, f"damaged: no {', '.join(missing)}", RESTORE):
        return False
    found.require(
        subject.out.read(NAME) == pretty(description), NAME, "its bytes are not those that were written", RESTORE
    )
    found.require(subject.recipe.deciding() == description["recipe"], NAME, "its recipe is not a whole one", RESTORE)
    found.require(subject.recipe.name == description["name"], NAME, "its name is not its recipe's", RESTORE)
    found.require(_folders_agree(description), NAME, "a folder is named in two ways", RESTORE)
    with found.guard(RUN, RERUN):
        run = subject.run()
        if run is None:
            found.notes.append(f"no {RUN}: where the corpus lies is not known")
        elif parse(run["recipe"], RUN).deciding() != description["recipe"]:
            found.apart(NAME, RUN, "the recipe", RERUN)
    return True


def _folders_agree(description: dict[str, Any]) -> bool:
    """Tokens, and segments, transcripts, features, masks and teaching where there are any, lie where ``folders`` says."""
    parts = {
        "tokens": description["tokens"],
        **{name: description.get(name) or {} for name in ("segments", "transcripts", "features", "masks", "teach")},
    }
    return all(part.get("folder") == description["folders"].get(stage) for stage, part in parts.items())


def check_cuts(subject: Subject, found: Findings) -> bool:
    """The manifest hashes to what ``cuts.json`` and ``dataset.json`` say. False where it is damaged."""
    return check_manifest(subject.out.sub(CUTS), CUTS, subject.description["cuts"], found)


def check_manifest(cuts: Store, folder: str, said: Mapping[str, Any], found: Findings) -> bool:
    """The manifest in ``folder`` is the one that its own receipt and ``said`` tell of. False where it is damaged."""
    manifest, receipt = f"{folder}/{MANIFEST}", f"{folder}/{RECEIPT}"
    with found.guard(receipt, RERUN):
        read_cuts(cuts)
        value = orjson.loads(cuts.read(RECEIPT))
        found.require(cuts.read(RECEIPT) == pretty(value), receipt, "its bytes are not those that were written", RERUN)
        if any(value[k] != said.get(k) for k in ("sha256", "utterances", "seconds")):
            found.apart(NAME, receipt, "the manifest's hash or size", RERUN)
    with found.guard(manifest, RERUN):
        head, digest = manifest_digest(cuts)
        found.require(head == GZIP_HEAD, manifest, "its head is not the one that was written", RERUN)
        return found.require(digest == said["sha256"], manifest, f"is not the manifest that {NAME} names", RERUN)
    return False


def manifest_digest(cuts: Store) -> tuple[bytes, str]:
    """(the first bytes of the packed manifest, the SHA-256 of the unpacked one). Raises what opening a damaged file raises."""
    digest = hashlib.sha256()
    with cuts.open(MANIFEST) as raw, gzip.GzipFile(fileobj=raw) as file:
        head = raw.read(len(GZIP_HEAD))
        raw.seek(0)
        while part := file.read(READ_AT_ONCE):
            digest.update(part)
    return head, digest.hexdigest()


def check_plan(subject: Subject, whole: bool, found: Findings) -> bool:
    """The plan is what the manifest and the recipe give: made again and compared, where the manifest is ``whole``. Returns whether it can be gone by."""
    store, folder, before = subject.store("plan"), subject.folder("plan"), len(found.faults)
    if whole:
        manifest = subject.out.sub(CUTS) if subject.recipe.segment is None else subject.store("segments")
        return check_dealt(store, folder, cut_lines(manifest), subject.recipe.plan, found)
    with found.guard(f"{folder}/{PLAN}", REPLAN):
        for k, (_, _, digest) in enumerate(orjson.loads(store.read(PLAN))["units"]):
            name = f"{folder}/{unit_name(k)}"
            with found.guard(name, REPLAN):
                found.require(
                    sha256(store.read(unit_name(k))) == digest, name, "its hash is not the one in plan.json", REPLAN
                )
    return len(found.faults) == before


def check_dealt(store: Store, folder: str, lines: Iterable[bytes], settings: PlanSettings, found: Findings) -> bool:
    """The units under ``folder`` are those that ``lines`` and ``settings`` give."""
    before, rows = len(found.faults), []
    for unit, data in planned(lines, settings):
        rows.append((unit, sha256(data)))
        name = f"{folder}/{unit_name(unit.index)}"
        with found.guard(name, REPLAN):
            found.require(
                store.read(unit_name(unit.index)) == data, name, "is not what the manifest and the recipe give", REPLAN
            )
    with found.guard(f"{folder}/{PLAN}", REPLAN):
        same = store.read(PLAN) == plan_file(rows)
        found.require(same, f"{folder}/{PLAN}", "is not what the manifest and the recipe give", REPLAN)
    return len(found.faults) == before


def load_receipt(subject: Subject, stage: str, unit: int, found: Findings, job: str | None = None) -> Receipt | None:
    """A unit's receipt, or None with a fault where it is missing, damaged, or of another unit. ``job`` is its stage where the folder's name is another."""
    name = f"{subject.folder(stage)}/{receipt_name(unit)}"
    with found.guard(name, "delete it and run the recipe again: only this unit is made anew"):
        data = subject.store(stage).read(receipt_name(unit))
        receipt = Receipt.from_bytes(data, name)
        whole = receipt.to_bytes() == data and (receipt.stage, receipt.unit) == (job or stage, unit)
        if found.require(
            whole, name, "its bytes are not those that were written", "delete it and run the recipe again"
        ):
            return receipt
    return None


def check_files(subject: Subject, stage: str, receipt: Receipt, found: Findings) -> list[str]:
    """Size and SHA-256 of every file a receipt names. Returns the names of damaged ones."""
    damaged = []
    for entry in receipt.files:
        name = f"{subject.folder(stage)}/{entry.name}"
        before = len(found.faults)
        with found.guard(name, REMAKE):
            data = subject.store(stage).read(entry.name)
            if found.require(
                len(data) == entry.bytes, name, f"has {len(data)} bytes, its receipt says {entry.bytes}", REMAKE
            ):
                found.require(sha256(data) == entry.sha256, name, "its SHA-256 is not the one in its receipt", REMAKE)
        damaged += [entry.name] if len(found.faults) > before else []
    return damaged


def check_fit(subject: Subject, found: Findings) -> None:
    """The fitted files are those of the receipt, and the tokenizers they open are those that ``dataset.json`` describes."""
    receipt = load_receipt(subject, "fit", 0, found)
    if receipt is None:
        return
    wanted = [CODEBOOK, TEXT] if needs_fit(subject.recipe.speech) else [TEXT]
    where = f"{subject.folder('fit')}/{receipt_name(0)}"
    found.require({f.name for f in receipt.files} == set(wanted), where, "does not name the files of a fit", RERUN)
    if check_files(subject, "fit", receipt, found):
        return
    with found.guard(f"{subject.folder('fit')}/{TEXT}", RERUN):
        text = {"checksum": subject.text.checksum, "vocab_size": subject.text.vocab_size}
        found.require(text == subject.description["text"], NAME, "its text tokenizer is not the fitted one", RESTORE)
    with found.guard(f"{subject.folder('fit')}/{CODEBOOK}", RERUN):
        spec = subject.tokenizer.spec.to_json()
        found.require(
            spec == subject.description["speech"], NAME, "its speech tokenizer is not the fitted one", RESTORE
        )
