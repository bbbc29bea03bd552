"""Organs and movements of the benchmark `interactive`: what is held, and where it is led.

Organs are the liver (with the vena cava that carries it) and the right kidney of the CT in
`../shared/scans/abdomen_ct`, meshed from the labels that come with it; where the folder is absent, the liver of the
made patient of `sample_scans`. A pull takes all tissue around the foremost point within 15 % of the organ's length,
and leads it 30 mm to the front in 3 s. A palpation stroke presses a small patch of the front 8 mm in, leads
it 10 mm across, and lets it up again, each in 1 s.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from anatomy.labels import LabelMap
from anatomy.mesh import OrganMesh
from anatomy.meshing import mesh_labels

Array = NDArray[np.float64]

LABELS = Path(__file__).resolve().parents[2] / "shared" / "scans" / "abdomen_ct" / "labels_v1.nii.gz"
SECONDS = 3.0
PULL_MM, PRESS_MM, STROKE_MM = 30.0, 8.0, 10.0
# A smaller patch would tear: its rigid edge crushes the tissue beside it before it has gone 30 mm.
GRASP_SHARE = 0.15
FRONT, LEFT = np.array([0.0, -1.0, 0.0]), np.array([1.0, 0.0, 0.0])


@cache
def labels_of(organ: str) -> tuple[LabelMap, str]:
    """Labels to mesh for "liver" or "kidney", and where they are from.

    Raises
    ------
    FileNotFoundError
        For the kidney, where the real scan is absent.
    """
    if LABELS.is_file():
        names = ["liver", "inferior_vena_cava"] if organ == "liver" else ["kidney_right"]
        return LabelMap.read(LABELS).select(names), "abdomen_ct"
    if organ != "liver":
        raise FileNotFoundError(f"The {organ} needs {LABELS.parent}.")
    from sample_scans import make_patient

    return make_patient(1, size=192, slice_mm=4.0).labels.select(
        ["liver", "inferior_vena_cava"]
    ), "made patient"


@cache
def organ_mesh(organ: str, tets: int) -> OrganMesh:
    """The organ's mesh of at most so many tetrahedra."""
    return mesh_labels(labels_of(organ)[0], budget_tets=tets)


@dataclass(frozen=True, eq=False)
class Movement:
    """A scripted movement of a grasped patch.

    Parameters
    ----------
    name : str
    point_mm : ndarray, shape (3,)
        Where the tool takes hold, mm, LPS.
    radius_mm : float
    path : callable
        From time, 0 to `SECONDS`, to the tool's displacement, mm, shape (3,).
    """

    name: str
    point_mm: Array
    radius_mm: float
    path: Callable[[float], Array]


def pull(mesh: OrganMesh) -> Movement:
    """Take the foremost tissue 30 mm to the front."""
    radius = GRASP_SHARE * float(np.ptp(mesh.points, axis=0).max())
    return Movement("pull", _foremost(mesh, FRONT), radius, lambda t: FRONT * PULL_MM * t / SECONDS)


def palpation(mesh: OrganMesh) -> Movement:
    """Press into the front, stroke across, let up."""

    def path(t: float) -> Array:
        third = SECONDS / 3
        depth = PRESS_MM * min(t / third, 1.0, (SECONDS - t) / third)
        across = STROKE_MM * float(np.clip(t / third - 1.0, 0.0, 1.0))
        return -FRONT * depth + LEFT * across

    return Movement("palpation", _foremost(mesh, FRONT), 10.0, path)


def _foremost(mesh: OrganMesh, direction: Array) -> Array:
    surface = mesh.points[np.unique(mesh.exterior)]
    return np.asarray(surface[np.argmax(surface @ direction)])
