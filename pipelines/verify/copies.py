"""Checks of what was found to be copies by ear: fingerprints against their receipts, and the marked plan, made again of them."""

from __future__ import annotations

from manifests.fingerprint import sha256
from pipelines.stages.s30_plan import RECEIPT, plan_file, unit_name
from pipelines.stages.s35_copies import marked
from pipelines.subject import Subject
from pipelines.verify.findings import RERUN, Findings
from pipelines.verify.inputs import check_files, load_receipt

STAGE = "copies"
REMARK = f"delete its {RECEIPT} and run the recipe again: copies are marked anew"


def check_copies(subject: Subject, found: Findings) -> None:
    """Receipts, fingerprints and the marked plan of a dataset whose recipe looks for copies."""
    settings, folder, before = subject.recipe.copies, subject.folder(STAGE), len(found.faults)
    assert settings is not None, "asked only where copies are looked for"
    with found.guard(folder, RERUN):
        for unit in subject.units:
            receipt = load_receipt(subject, STAGE, unit.index, found)
            if receipt is not None:
                check_files(subject, STAGE, receipt, found)
        if len(found.faults) > before:  # of damaged fingerprints nothing can be told
            return
        rows, store = [], subject.store(STAGE)
        for unit, data in marked(subject.store("plan"), store, subject.units, settings):
            rows.append((unit, sha256(data)))
            name = f"{folder}/{unit_name(unit.index)}"
            with found.guard(name, REMARK):
                what = "is not what the plan and the fingerprints give"
                found.require(store.read(unit_name(unit.index)) == data, name, what, REMARK)
        name = f"{folder}/{RECEIPT}"
        with found.guard(name, REMARK):
            same = store.read(RECEIPT) == plan_file(rows)
            found.require(same, name, "is not what the plan and the fingerprints give", REMARK)
