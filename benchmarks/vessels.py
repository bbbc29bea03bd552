"""Centrelines against the truth they were grown from: the sample patient's portal and hepatic tree.

The mask is the patient's truth, so that the errors are the centreline's own and those of the voxels; distances are to
the tree that was painted, along its pieces.
"""

from __future__ import annotations

import time

import numpy as np
from scipy.spatial import cKDTree

from anatomy.progress import Progress
from anatomy.vessels import VesselTree, centreline, liver_vessels
from benchmarks import Row
from sample_scans import make_patient

SEED, SIZE, SLICE_MM = 1, 256, 2.0
# A vessel narrower than this (radius, mm) is about two voxels wide.
LEAST_MM = 1.5


def run(progress: Progress) -> list[Row]:
    """Follow both trees and divide the liver."""
    progress("Following vessels", 0.0)
    patient = make_patient(SEED, size=SIZE, slice_mm=SLICE_MM)
    liver = patient.labels.select(["liver", "liver_tumour", "portal_vein", "hepatic_vein"])
    liver_vessels(liver)  # compiles the kernels
    rows = []
    for number, (name, true) in enumerate(patient.trees.items()):
        progress("Following vessels", 0.3 + 0.3 * number)
        mask = liver.image == liver.value(name)
        began = time.perf_counter()
        found = centreline(mask, true.points[true.roots])
        rows.append(
            Row("vessels", f"{name}: centreline of {len(found.branches)} branches", _since(began), "s")
        )
        rows += _compared(name, found, true)
    began = time.perf_counter()
    divided = liver_vessels(liver).couinaud
    rows.append(Row("vessels", "both trees and Couinaud segments", _since(began), "s"))
    rows += [] if divided is None else [
        Row("vessels", f"{name.replace('_', ' ')}", ml, "ml") for name, ml in divided.labels.volumes_ml.items()
    ]  # fmt: skip
    progress("Following vessels", 1.0)
    return rows


def _since(began: float) -> float:
    return time.perf_counter() - began


def _compared(name: str, found: VesselTree, true: VesselTree) -> list[Row]:
    starts, ends, radius = true.segments
    along = np.concatenate([starts + t * (ends - starts) for t in np.linspace(0.0, 1.0, 6)])
    off = cKDTree(along).query(found.points)[0]
    wide = true.radius >= LEAST_MM
    missed = cKDTree(found.points).query(true.points[wide])[0]
    gap, row = cKDTree(0.5 * (starts + ends)).query(found.points)
    near = (gap < 2.0) & (found.parent >= 0) & (radius[row] >= LEAST_MM)
    calibre = float(np.median(found.radius[near] / radius[row][near]))
    measured = (
        ("distance from the true tree, median", float(np.median(off)), "mm"),
        ("distance from the true tree, 95 %", float(np.percentile(off, 95)), "mm"),
        ("of vessels of 3 mm and wider, found within 2 mm", 100 * float((missed < 2.0).mean()), "%"),
        ("calibre over the true one, median", calibre, "1"),
        (f"ends found of {len(true.leaves)}", float(len(found.leaves)), "1"),
    )
    return [Row("vessels", f"{name}: {what}", value, unit) for what, value, unit in measured]
