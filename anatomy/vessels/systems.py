"""Vessel systems told apart: which voxels of a common vessel label are portal, hepatic or arterial.

The systems touch where a scan cannot resolve the tissue between them. Each one joins a great vessel outside the organ:
the portal trunk, the inferior vena cava, the aorta or the hepatic artery. From every junction a front runs through the
vessels, fast in wide ones and slowly through the thin bridges between systems, and a voxel belongs to the system whose
front arrives first (shortest paths, Dijkstra 1959; the same rule as in Selle et al. 2002, IEEE Trans Med Imaging
21:1344, who cut the graph at its thinnest place).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy.sparse.csgraph import dijkstra
from scipy.spatial import cKDTree

from anatomy.errors import AnatomyError
from anatomy.labels import LabelMap
from anatomy.vessels.grid import Grid, cubic, graph, neighbours

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

#: Great vessels that each system of the liver joins.
LIVER_SYSTEMS: Mapping[str, Sequence[str]] = {
    "portal_vein": ("portal_vein_and_splenic_vein", "portal_vein", "splenic_vein"),
    "hepatic_vein": ("inferior_vena_cava", "hepatic_vein"),
    "hepatic_artery": ("hepatic_artery", "aorta"),
}
# A vessel begins within this distance of the great vessel that it joins.
_CONTACT_MM = 4.0
# Speed of a front: this much everywhere, and the square of the depth in mm.
_CREEP = 0.2
# A voxel is clear where the second front needs a quarter longer.
_CLEAR = 0.8


@dataclass(frozen=True, eq=False)
class Systems:
    """Vessels by the system they belong to.

    Parameters
    ----------
    labels : LabelMap
        One structure a system, on the grid of the label map that was given.
    confidence : float
        Share of the vessels' volume that a front reached clearly before any other, 0 to 1.
    """

    labels: LabelMap
    confidence: float


def tell_apart(
    labels: LabelMap,
    vessels: str = "liver_vessels",
    systems: Mapping[str, Sequence[str]] = LIVER_SYSTEMS,
) -> Systems:
    """Divide a common vessel label between the systems that it joins.

    Parameters
    ----------
    labels : LabelMap
        Holds the vessels and at least two of the great vessels.
    vessels : str
        The structure to divide.
    systems : mapping of str to sequence of str
        Structure of each system, and the great vessels by which it begins, the first one present counting.

    Raises
    ------
    AnatomyError
        If the vessels are not in the map, or fewer than two systems are seen to join a great vessel.
    """
    grid = cubic(labels.image == labels.value(vessels), margin_mm=_CONTACT_MM + 2.0)
    begins: dict[str, Mask] = {}
    for system, joined in systems.items():
        present = [name for name in joined if name in labels.structures]
        if present:
            begin = grid.near(labels.image == labels.value(present[0]), _CONTACT_MM)
            if begin.any():
                begins[system] = begin
    if len(begins) < 2:
        raise AnatomyError(
            f"'{vessels}' is seen to join {' and '.join(begins) or 'nothing'}: to tell systems apart the label map "
            f"must hold two of the great vessels they begin at ({', '.join(v[0] for v in systems.values())})"
        )
    owner, confidence = _first(grid, list(begins.values()))
    return Systems(_on_labels(labels, vessels, grid, owner, list(begins)), confidence)


def arrivals(mask: Mask, depth_mm: NDArray[np.floating], begins: Sequence[Mask]) -> list[Array]:
    """When a front from each beginning arrives at each voxel of a mask, in an arbitrary unit; infinite if never.

    Parameters
    ----------
    mask : ndarray, shape (z, y, x), bool
        The vessels, on cubic voxels.
    depth_mm : ndarray, shape (k,)
        Distance of each voxel of the mask, in the order of `np.argwhere(mask)`, to the vessels' surface.
    begins : sequence of ndarray, shape (z, y, x), bool
        Where each front starts, inside the vessels.
    """
    places, start, end, length = neighbours(mask)
    speed = _CREEP + np.maximum(depth_mm, 0.0).astype(np.float64) ** 2
    ways = graph(len(places), start, end, length * 2.0 / (speed[start] + speed[end]))
    return [
        np.asarray(dijkstra(ways, directed=False, indices=np.flatnonzero(begin[mask]), min_only=True))
        for begin in begins
    ]


def _first(grid: Grid, begins: list[Mask]) -> tuple[NDArray[np.int64], float]:
    """Which front comes first at each voxel of the mask, and the share where that is clear."""
    times = np.array(arrivals(grid.mask, grid.depth[grid.mask], begins))
    owner = times.argmin(axis=0)
    times.sort(axis=0)
    reached = np.isfinite(times[0])
    places = np.argwhere(grid.mask)
    # A part that no front reaches goes with the vessel nearest to it.
    if reached.any() and not reached.all():
        owner[~reached] = owner[reached][cKDTree(places[reached]).query(places[~reached])[1]]
    clear = times[0][reached] < _CLEAR * times[1][reached]
    return owner, float(clear.sum()) / len(places)


def _on_labels(
    labels: LabelMap, vessels: str, grid: Grid, owner: NDArray[np.int64], names: list[str]
) -> LabelMap:
    """The vessels of the label map, each voxel of the system of the nearest voxel of the grid."""
    own = np.argwhere(labels.mask(vessels))
    geometry = labels.image
    direction = np.array(geometry.GetDirection()).reshape(3, 3)
    at = np.asarray(geometry.GetOrigin()) + (own[:, ::-1] * np.asarray(labels.spacing_mm)) @ direction.T
    nearest = cKDTree(grid.positions(np.argwhere(grid.mask))).query(at)[1]
    array = np.zeros(labels.array.shape, dtype=np.uint8)
    array[tuple(own.T)] = owner[nearest] + 1
    image = sitk.GetImageFromArray(array)
    image.CopyInformation(geometry)
    return LabelMap(image, dict(enumerate(names, start=1)))
