"""Corrections of a case by a person: an append-only record from which the labels can be made again.

Contract: a corrected case keeps the label map from before (`labels_original.nrrd`) and, in `case.json`, every entry
ever made: a correction, or the withdrawal of the last so many. Nothing is taken out of the record. The label map is
always the original with the corrections that stand, applied in order; mesh, surfaces and vessels are made anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from anatomy.errors import AnatomyError
from anatomy.labels import LabelMap
from anatomy.progress import Progress, silent
from anatomy.segmentation.correction import Correction, correct, from_json, to_json
from twin.build import Choice, assemble
from twin.case import Case
from twin.errors import TwinError
from twin.stages import Stages


@dataclass(frozen=True)
class CorrectionLog:
    """What was ever done to a case's labels.

    Parameters
    ----------
    entries : tuple of dict
        JSON-ready, in the order they were made: `{"at": …, "correction": {…}}` or `{"at": …, "undo": n}`.
    """

    entries: tuple[dict[str, Any], ...] = ()

    @classmethod
    def of(cls, case: Case) -> CorrectionLog:
        """The record of a case; empty where nobody corrected it.

        Raises
        ------
        TwinError
            If the record cannot be read.
        """
        log = cls(tuple(case.facts.get("corrections", ())))
        try:
            log.standing()
        except (AnatomyError, KeyError, TypeError) as error:
            raise TwinError(
                f"the corrections of {case.path} cannot be read ({error}); build the case anew"
            ) from error
        return log

    def standing(self) -> list[Correction]:
        """The corrections that were not withdrawn, in order."""
        stand: list[Correction] = []
        for entry in self.entries:
            if "undo" in entry:
                del stand[len(stand) - int(entry["undo"]) :]
            else:
                stand += from_json([entry["correction"]])
        return stand

    def plus(self, corrections: Sequence[Correction]) -> CorrectionLog:
        """The record with corrections added."""
        at = datetime.now(UTC).isoformat(timespec="seconds")
        return CorrectionLog(
            (*self.entries, *({"at": at, "correction": made} for made in to_json(corrections)))
        )

    def minus(self, count: int) -> CorrectionLog:
        """The record with the withdrawal of the last `count` corrections that stand.

        Raises
        ------
        TwinError
            If fewer stand.
        """
        stand = len(self.standing())
        if not 1 <= count <= stand:
            raise TwinError(f"{count} corrections cannot be withdrawn: {stand} stand")
        at = datetime.now(UTC).isoformat(timespec="seconds")
        return CorrectionLog((*self.entries, {"at": at, "undo": count}))


def correct_case(
    case: Case, corrections: Sequence[Correction] = (), *, undo: int = 0, progress: Progress = silent
) -> Case:
    """Correct a case's labels and make everything that follows from them anew, in its folder.

    Parameters
    ----------
    case : Case
        The case; its folder is replaced whole, or left as it is.
    corrections : sequence of Correction
        What a person did, in order.
    undo : int
        How many of the corrections that stand are withdrawn first.
    progress : Progress
        Who watches.

    Returns
    -------
    Case
        The corrected case.

    Raises
    ------
    AnatomyError
        If a correction cannot be applied, or a corrected structure cannot be meshed.
    TwinError
        If there is nothing to do, fewer corrections stand than are withdrawn, or the folder cannot be written.
    """
    if not corrections and not undo:
        raise TwinError("there is nothing to correct: give a correction, or how many to withdraw")
    log = CorrectionLog.of(case)
    log = log.minus(undo) if undo else log
    log = log.plus(corrections)
    stages = Stages(progress)
    scan, original = case.scan, case.original_labels
    with stages.stage("correct", "Correcting") as inner:
        labels = correct(scan, original, log.standing(), inner)
        confidence = {n: float(c) for n, c in _confidence(case).items()}
        touched = {correction.structure for correction in log.standing()}
        labels.confidence = {n: c for n, c in confidence.items() if n not in touched}
        labels.warnings = list(dict.fromkeys([*_first_warnings(case), *labels.warnings]))
    facts = {
        "source": case.facts.get("source"),
        "edge_mm": case.facts.get("edge_mm"),
        "confidence_before_corrections": confidence,
        "warnings_before_corrections": _first_warnings(case),
        "corrections": list(log.entries),
    }
    choice = Choice(edge_mm=case.facts.get("edge_mm"), title=case.title, replace=True)
    return assemble(
        case.path, scan, labels, labels, choice=choice, facts=facts, stages=stages, original=original,
        keep=_foreign(case),
    )  # fmt: skip


def remake_labels(case: Case) -> LabelMap:
    """The label map made again from the original and the corrections that stand.

    Raises
    ------
    TwinError
        If it is not, voxel for voxel, the case's own.
    """
    labels = correct(case.scan, case.original_labels, CorrectionLog.of(case).standing())
    if not np.array_equal(labels.array, case.labels.array):
        raise TwinError(
            f"{case.path}: its labels are not what its corrections make of the original; build the case anew"
        )
    return labels


def _confidence(case: Case) -> dict[str, float]:
    return dict(case.facts.get("confidence_before_corrections", case.facts.get("confidence", {})))


def _first_warnings(case: Case) -> list[str]:
    return list(case.facts.get("warnings_before_corrections", case.facts.get("warnings", ())))


def _foreign(case: Case) -> list[Path]:
    """Files in the case's folder that are no part of the case, which a person may have put there."""
    known = {case.path / name for name in case.facts["files"]} | {case.path / "case.json"}
    return [file for file in sorted(case.path.rglob("*")) if file.is_file() and file not in known]
