"""Agreement of the brain protocol with made heads of known truth, and with a real head where one is on this machine.

The seeds are ones that nothing was developed on. The real head is Colin27 with its brain as the brain extraction tool
found it, from Debian's package mricron-data; without the package there is no such row.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from anatomy import LabelMap, Scan, agreement, segment
from anatomy.progress import Progress, silent
from anatomy.segmentation.mr_brain import STRUCTURES
from benchmarks import Row
from sample_scans.brain import make_head

#: Heads that the protocol never saw while it was made.
SEEDS = (101, 102, 103, 104, 105)
_REAL = Path("/usr/share/mricron/templates")


def run(progress: Progress = silent) -> list[Row]:
    """Dice, average and 95 % Hausdorff distance of each structure."""
    rows: list[Row] = []
    for done, seed in enumerate(SEEDS):
        progress("Finding brains", done / (len(SEEDS) + 1))
        made = make_head(seed, edge_mm=1.5)
        scan = Scan(made.scan)
        began = time.perf_counter()
        found = segment(scan, STRUCTURES)
        rows.append(Row("brain", f"made head {seed}: time", time.perf_counter() - began, "s"))
        rows += _compared(f"made head {seed}", scan, found, made.labels)
    if (_REAL / "ch2.nii.gz").is_file():
        scan = Scan.read(_REAL / "ch2.nii.gz")
        reference = sitk.GetArrayFromImage(sitk.ReadImage(str(_REAL / "ch2bet.nii.gz"))) > 0
        rows += _agreed("Colin27, brain", scan, segment(scan, ["brain"]).array > 0, reference)
    progress("Finding brains", 1.0)
    return rows


def _compared(what: str, scan: Scan, found: LabelMap, truth: LabelMap) -> list[Row]:
    """The organ with all that is in it, then its parts."""
    rows = _agreed(f"{what}, brain", scan, found.array > 0, truth.array > 0)
    for name in STRUCTURES[1:]:
        rows += _agreed(f"{what}, {name}", scan, found.mask(name), truth.mask(name))
    return rows


def _agreed(what: str, scan: Scan, found: NDArray[np.bool_], truth: NDArray[np.bool_]) -> list[Row]:
    distance = agreement.surface_distances(found, truth, scan.spacing_mm)
    return [
        Row("brain", f"{what}: Dice", float(agreement.dice(found, truth)), "1"),
        Row("brain", f"{what}: average surface distance", distance.average_mm, "mm"),
        Row("brain", f"{what}: 95 % Hausdorff distance", distance.hausdorff95_mm, "mm"),
    ]
