"""What a rehearsal measured, each number with its unit in its name and its definition here.

What an *operation* costs (volumes, future remnant, margins, vessels divided, bleeding, forces) is measured on any state
of an operative field by `twin.meter.OperationMeter`; every such measure stands with unit, definition and source in
`twin.metric_table.METRICS`, from which `docs/metrics.md` is made. This module puts together what a replay writes:

=============================  =====================================================================
`structures`                   per structure: `volume_ml` by voxels, `mesh_volume_ml`, `tets`
`tets`, `dofs`                 tetrahedra and displacement unknowns of the mechanical mesh
`build_seconds`                wall time of each stage that made the case, s
`replay_seconds`               wall time of each stage of this replay, s
`frames`                       frames of the replay
`median_frame_ms`              median wall time to solve a frame, ms
`worst_frame_ms`               longest, ms
`peak_force_N`                 largest force of one tool on the tissue in any frame, N
`peak_displacement_mm`         largest displacement of any mesh vertex from rest in any frame, mm
`minimum_jacobian`             smallest volume ratio of any tetrahedron in any frame; below 0 is inside out
`reference_error_mm`           mean distance of the mesh's vertices at the end from the converged equilibrium
                               of the same mesh, element and held tissue, by Newton's method, mm
`reference_error_max_mm`       the same, farthest vertex
`reference_error_peak_mm`      the mean at the frame of the largest displacement in which every tool holds, mm;
                               all three are null where the reference tier refuses the state, as the report says
`operation`                    volumes, margins, blood, forces: `docs/metrics.md` has every one
`events`                       what a surgeon must know, in order, with `kind`, `time_s` and `text`
`state_hash`                   SHA-256 of the final state of mesh, tissue and what is known of it
`case_sha256`                  identity of the case's content
=============================  =====================================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from solver.field import FieldSnapshot, OperativeField
from solver.live_error import reference_error
from twin.case import Case, software
from twin.rehearsal import Rehearsal
from twin.replay import Outcome


@dataclass(frozen=True)
class ReferenceError:
    """Distance of live states to the converged equilibrium, mm, over the vertices; None where it was refused."""

    end_mean_mm: float | None
    end_max_mm: float | None
    peak_mean_mm: float | None


def measure_reference_error(field: OperativeField, peak: FieldSnapshot | None) -> ReferenceError:
    """Hold two states of a replay against Newton's method: where it ended, and its largest displacement.

    Parameters
    ----------
    field : OperativeField
        In its final state, which it keeps.
    peak : FieldSnapshot or None
        State of the frame with the largest displacement, if there was one in which every tool holds.
    """
    end_mean, end_max = reference_error(field.live)
    if peak is None:
        return ReferenceError(end_mean, end_max, None)
    end = field.snapshot()
    field.restore(peak)
    try:
        peak_mean, _ = reference_error(field.live)
    finally:
        field.restore(end)
    return ReferenceError(end_mean, end_max, peak_mean)


def metrics(
    case: Case,
    rehearsal: Rehearsal,
    outcome: Outcome,
    error: ReferenceError,
    stages_s: Mapping[str, float],
) -> dict[str, Any]:
    """Put together what `metrics.json` holds; keys and units as in the module's table.

    Parameters
    ----------
    case : Case
    rehearsal : Rehearsal
    outcome : Outcome
        Of the replay.
    error : ReferenceError
    stages_s : mapping of str to float
        Wall time of each stage of the replay, s.
    """
    structures = {
        entry["name"]: {k: v for k, v in entry.items() if k != "name"} for entry in case.facts["structures"]
    }
    return {
        "title": rehearsal.title,
        "case": case.title,
        "case_sha256": case.sha256,
        "software": software(),
        "structures": structures,
        "tets": len(case.organ.tets),
        "dofs": 3 * len(case.organ.points),
        "build_seconds": dict(case.facts.get("stages_s", {})),
        "replay_seconds": dict(stages_s),
        "frames": outcome.frames,
        "median_frame_ms": outcome.median_frame_ms,
        "worst_frame_ms": outcome.worst_frame_ms,
        "peak_force_N": outcome.peak_force_N,
        "peak_displacement_mm": outcome.peak_displacement_mm,
        "minimum_jacobian": float(np.min(outcome.minimum_jacobian)) if outcome.frames else None,
        "reference_error_mm": error.end_mean_mm,
        "reference_error_max_mm": error.end_max_mm,
        "reference_error_peak_mm": error.peak_mean_mm,
        "state_hash": outcome.state_hash,
    }
