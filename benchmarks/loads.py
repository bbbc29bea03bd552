"""Weight and interfaces: the liver of a real scan unloaded and reloaded, and tissues of a thousandfold stiffness.

The liver with its vena cava hangs by its attachments from the anatomy; its stress-free shape is found for the reference
element, and what is measured is how far the reloaded vertices are off the scanned ones. Needs the scan beside the
repository; without it those rows are left out.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from anatomy.labels import LabelMap
from anatomy.meshing import mesh_labels
from anatomy.progress import Progress
from benchmarks import Row
from solver import Body, Equilibrium
from solver.unloaded import unload
from solver.verification.interfaces import CASES, sheared

LABELS = Path(__file__).parents[2] / "shared" / "scans" / "abdomen_ct" / "labels_v2.nii.gz"
EDGE_MM, TOLERANCE_MM = 14.0, 0.05


def reloaded_liver(edge_mm: float, progress: Progress) -> list[Row]:
    """Rows of one mesh of the liver."""
    organ = mesh_labels(LabelMap.read(LABELS).select(["liver", "inferior_vena_cava"]), edge_mm=edge_mm)
    began = time.perf_counter()
    free = unload(Body(organ), "P2-P1", tolerance_mm=TOLERANCE_MM, progress=progress)
    seconds = time.perf_counter() - began
    state = Equilibrium(free, "P2-P1").solve()
    sag, off = (
        float(np.linalg.norm(move, axis=1).max()) for move in (free.scanned_displacement, state.displacement)
    )
    name = f"liver, {len(organ.tets)} tetrahedra, P2-P1"
    return [
        Row("loads", f"{name}: largest sag under its weight", sag, "mm"),
        Row("loads", f"{name}: reloaded shape off the scan, largest", off, "mm"),
        Row("loads", f"{name}: time to the stress-free shape", seconds, "s"),
        Row("loads", f"{name}: unknowns", float(state.unknowns), "1"),
    ]


def run(progress: Progress) -> list[Row]:
    """Newton iterations at a thousandfold stiffness, and the liver where its scan is at hand."""
    rows = [
        Row("loads", f"1:1000 {case.name}, {element}: Newton iterations", float(state.iterations), "1")
        for element in ("P1-averaged", "P2-P1")
        for case in CASES
        for state in [sheared(case, element)]
    ]
    if LABELS.is_file():
        rows += reloaded_liver(EDGE_MM, progress)
    return rows
