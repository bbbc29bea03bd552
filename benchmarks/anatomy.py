"""From voxels to a mesh: the sample patient's liver and tumours, segmented and meshed.

The label map is the sample patient's truth for the mesher, so that its errors are its own; the segmentation is held
against that truth.
"""

from __future__ import annotations

import time

import numpy as np

from anatomy import LabelMap, Scan, agreement, mesh_labels, segment
from anatomy.progress import Progress
from benchmarks import Row
from sample_scans import make_patient
from twin.build import LIVER_CASE

SEED, SIZE, SLICE_MM = 1, 256, 4.0
BUDGETS = (20_000, 100_000)


def run(progress: Progress) -> list[Row]:
    """Segment once; mesh with two budgets."""
    progress("Segmenting and meshing", 0.0)
    patient = make_patient(SEED, size=SIZE, slice_mm=SLICE_MM)
    scan = Scan(patient.scan)
    rows = _segmented(scan, patient.labels)
    organ = patient.labels.select(["liver", "liver_tumour"])
    mesh_labels(organ, budget_tets=30_000)  # compiles the kernels
    for done, budget in enumerate(BUDGETS):
        progress("Segmenting and meshing", (1 + done) / (1 + len(BUDGETS)))
        rows += _meshed(organ, budget)
    progress("Segmenting and meshing", 1.0)
    return rows


def _segmented(scan: Scan, truth: LabelMap) -> list[Row]:
    began = time.perf_counter()
    found = segment(scan, LIVER_CASE)
    seconds = time.perf_counter() - began
    ours, true = (_together(labels) for labels in (found, truth))
    distance = agreement.surface_distances(ours, true, scan.spacing_mm)
    what = f"sample patient {SEED}, {SIZE}×{SIZE}"
    return [
        Row("anatomy", f"{what}: segmentation of liver, tumours and vessels", seconds, "s"),
        Row("anatomy", f"{what}: whole liver, Dice", float(agreement.dice(ours, true)), "1"),
        Row("anatomy", f"{what}: whole liver, 95 % Hausdorff distance", float(distance.hausdorff95_mm), "mm"),
    ]


def _together(labels: LabelMap) -> np.ndarray:
    names = [name for name in (*LIVER_CASE, "liver_vessels") if name in labels.structures]
    return np.any([labels.mask(name) for name in names], axis=0)


def _meshed(labels: LabelMap, budget: int) -> list[Row]:
    began = time.perf_counter()
    organ = mesh_labels(labels, budget_tets=budget)
    seconds = time.perf_counter() - began
    volume = {name: organ.volumes_ml[name] / ml - 1.0 for name, ml in labels.volumes_ml.items()}
    what = f"mesh of {len(organ.tets):,} tetrahedra"
    rows = [Row("anatomy", f"{what}: time", seconds, "s")]
    return rows + [
        Row("anatomy", f"{what}: volume error of {name}", 100.0 * error, "%")
        for name, error in volume.items()
    ]
