"""How well two masks agree: Dice's overlap and the distances between their surfaces, in millimetres.

Theory: the Dice coefficient is 2|A∩B| / (|A|+|B|) (Dice 1945, Ecology 26:297). The surface of a mask is its
voxels with a face neighbour outside it; what lies beyond the image counts as outside. Every surface voxel
of one mask has a distance to the nearest surface voxel of the other, exact between voxel centres on an
anisotropic grid (Euclidean distance transform, Maurer et al. 2003, IEEE PAMI 25:265). The average symmetric
surface distance is the mean over both surfaces' distances together, the Hausdorff distance their largest,
and the 95 % Hausdorff distance the larger of the two directed 95th percentiles (Heimann et al. 2009, IEEE
TMI 28:1251; Huttenlocher et al. 1993, IEEE PAMI 15:850). Masks that differ by less than a voxel have
distance 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from anatomy.errors import AnatomyError


@dataclass(frozen=True)
class SurfaceDistances:
    """Distances between two surfaces, mm.

    Parameters
    ----------
    average_mm : float
        Average symmetric surface distance.
    hausdorff95_mm : float
        95 % Hausdorff distance.
    hausdorff_mm : float
        Hausdorff distance.
    """

    average_mm: float
    hausdorff95_mm: float
    hausdorff_mm: float


def dice(a: ArrayLike, b: ArrayLike) -> float:
    """Dice coefficient of two masks, 0 to 1; two empty masks agree (1).

    Parameters
    ----------
    a, b : array_like of bool
        Masks of one shape.

    Raises
    ------
    AnatomyError
        If the shapes differ.
    """
    first, second = _masks(a, b)
    total = np.count_nonzero(first) + np.count_nonzero(second)
    return 2.0 * float(np.count_nonzero(first & second)) / total if total else 1.0


def surface_distances(a: ArrayLike, b: ArrayLike, spacing: ArrayLike) -> SurfaceDistances:
    """Distances between the surfaces of two masks.

    Parameters
    ----------
    a, b : array_like of bool, shape (z, y, x)
        Masks of one shape, neither empty.
    spacing : array_like, shape (3,)
        Voxel edges in mm along x, y, z, as `Scan.spacing_mm` and `LabelMap.spacing_mm` give them.

    Raises
    ------
    AnatomyError
        If the shapes differ, a mask is empty, or the spacing is not three positive lengths.
    """
    first, second = _masks(a, b)
    edges = np.asarray(spacing, dtype=float)
    if edges.shape != (3,) or first.ndim != 3 or not (edges > 0).all():
        raise AnatomyError(
            "surface distances need two 3-D masks and three positive voxel edges in mm (x, y, z)"
        )
    if not (first.any() and second.any()):
        raise AnatomyError("surface distances need two masks with at least one voxel each")
    box = ndimage.find_objects((first | second).astype(np.uint8))[0]
    first, second = _surface(first[box]), _surface(second[box])
    there = _distance_to(second, edges)[first]
    back = _distance_to(first, edges)[second]
    return SurfaceDistances(
        average_mm=float((there.sum() + back.sum()) / (there.size + back.size)),
        hausdorff95_mm=float(max(np.percentile(there, 95), np.percentile(back, 95))),
        hausdorff_mm=float(max(there.max(), back.max())),
    )


def _masks(a: ArrayLike, b: ArrayLike) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    first, second = np.asarray(a).astype(bool), np.asarray(b).astype(bool)
    if first.shape != second.shape:
        raise AnatomyError(
            f"masks of {first.shape} and {second.shape} voxels cannot be compared: put both on one grid"
        )
    return first, second


def _surface(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    inside: NDArray[np.bool_] = ndimage.binary_erosion(mask)
    return mask & ~inside


def _distance_to(surface: NDArray[np.bool_], edges: NDArray[np.float64]) -> NDArray[Any]:
    """Distance of every voxel centre to the nearest surface voxel centre, mm."""
    distance: NDArray[Any] = ndimage.distance_transform_edt(~surface, sampling=edges[::-1])
    return distance
