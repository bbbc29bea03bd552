"""Perfusion territories: the part of an organ that each branch of a vessel tree feeds or drains.

Two published estimates. *Nearest branch*: a voxel belongs to the vessel nearest to it (Selle et al. 2002, IEEE Trans
Med Imaging 21:1344), here along the shortest way inside the organ, so that a fissure is not crossed. *Weighted by
calibre*: flow goes with the cube of the radius (Murray 1926, PNAS 12:207), and so, at even perfusion, does the volume
that a branch feeds; its extent goes with the radius itself. Fronts therefore leave every branch with a speed in
proportion to its radius. The front is the solution of the eikonal equation |grad T| = 1/speed by fast marching (Sethian
1996, PNAS 93:1591), and a voxel takes over the source that is nearest to it among those of the neighbours that
the front has passed.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import SimpleITK as sitk
from numba import njit
from numpy.typing import NDArray
from scipy import ndimage

from anatomy.errors import AnatomyError
from anatomy.progress import Progress, silent
from anatomy.vessels.grid import Grid, cubic
from anatomy.vessels.tree import VesselTree

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Weighting = Literal["nearest", "calibre"]
# Voxels of the working grid: a territory's border is no sharper than the distance of two branches.
_EDGE_MM = 2.0


@dataclass(frozen=True, eq=False)
class Territories:
    """Which node of a tree each voxel of an organ belongs to.

    Parameters
    ----------
    tree : VesselTree
    node : ndarray, shape (z, y, x), int32
        Row of the tree's node that feeds each voxel; -1 outside the organ.
    image : SimpleITK.Image
        The organ's label image, whose grid the arrays are on.
    weighting : {"nearest", "calibre"}
    """

    tree: VesselTree
    node: NDArray[np.int32]
    image: sitk.Image
    weighting: Weighting

    @cached_property
    def voxel_ml(self) -> float:
        """Volume of a voxel, ml."""
        return float(np.prod(self.image.GetSpacing())) / 1000.0

    @cached_property
    def node_ml(self) -> Array:
        """Volume that each node feeds by itself, ml, shape (n,)."""
        counts = np.bincount(self.node[self.node >= 0], minlength=len(self.tree.parent))
        return counts.astype(np.float64) * self.voxel_ml

    @cached_property
    def fed_ml(self) -> Array:
        """Volume that each node feeds with everything below it, ml, shape (n,)."""
        return self.tree.gathered(self.node_ml)

    def of(self, node: int) -> Mask:
        """Tissue that loses its blood when the vessel is closed at a node, shape (z, y, x) bool."""
        inside = np.zeros(len(self.tree.parent) + 1, dtype=bool)
        inside[self.tree.below(node)] = True
        return np.asarray(inside[self.node])

    def divided(self, nodes: Sequence[int]) -> NDArray[np.int16]:
        """Territory of each of some nodes, shape (z, y, x): 1, 2, … in their order, 0 for none of them.

        A node below another one takes its territory from it.
        """
        number = np.zeros(len(self.tree.parent) + 1, dtype=np.int16)
        own = {int(node): place for place, node in enumerate(nodes, start=1)}
        for row in range(len(self.tree.parent)):
            up = self.tree.parent[row]
            number[row] = own.get(row, number[up] if up >= 0 else 0)
        return np.asarray(number[self.node])


def territories(
    organ: sitk.Image,
    tree: VesselTree,
    weighting: Weighting = "nearest",
    edge_mm: float = _EDGE_MM,
    progress: Progress = silent,
) -> Territories:
    """Divide an organ between the branches of a tree.

    Parameters
    ----------
    organ : SimpleITK.Image
        Mask of the organ (anything but 0), LPS mm.
    tree : VesselTree
        In the same patient space. Nodes outside the organ feed nothing.
    weighting : {"nearest", "calibre"}
    edge_mm : float
        Edge of the cubic voxels that the front runs on, mm.
    progress : Progress

    Raises
    ------
    AnatomyError
        If the organ is empty, the tree does not enter it, or the weighting is unknown.
    """
    if weighting not in ("nearest", "calibre"):
        raise AnatomyError(f"territories are weighted 'nearest' or 'calibre', not '{weighting}'")
    progress("dividing the organ between vessels", 0.0)
    grid = cubic(organ, edge_mm)
    at = grid.indices(tree.points)
    inside = _inside(grid.mask, at)
    if not inside.any():
        raise AnatomyError(
            "the vessel tree does not run through the organ: are both of one patient and frame?"
        )
    speed = np.ones(len(tree.parent)) if weighting == "nearest" else tree.radius / tree.radius.mean()
    node = _march(grid.mask, at, np.flatnonzero(inside), speed)
    progress("dividing the organ between vessels", 0.8)
    found = Territories(tree, _on_organ(organ, grid, node), organ, weighting)
    progress("dividing the organ between vessels", 1.0)
    return found


def _inside(mask: Mask, at: Array) -> NDArray[np.bool_]:
    """Which points, by continuous index, lie in a voxel of the mask or beside one."""
    index = np.rint(at).astype(np.int64)
    within = ((index >= 0) & (index < mask.shape)).all(axis=1)
    near = ndimage.binary_dilation(mask)
    within[within] = near[tuple(index[within].T)]
    return np.asarray(within)


def _on_organ(organ: sitk.Image, grid: Grid, node: NDArray[np.int32]) -> NDArray[np.int32]:
    """Node on the organ's own grid: that of the nearest voxel that the front reached."""
    near = ndimage.distance_transform_edt(node < 0, return_distances=False, return_indices=True)
    image = sitk.GetImageFromArray(node[tuple(near)].astype(np.int32))
    image.CopyInformation(grid.image)
    moved = sitk.Resample(image, organ, sitk.Transform(), sitk.sitkNearestNeighbor, -1, sitk.sitkInt32)
    own = sitk.GetArrayFromImage(moved)
    own[sitk.GetArrayViewFromImage(organ) == 0] = -1
    return own


@njit(cache=True)
def _beside(i, j, k, axis, side):  # type: ignore[no-untyped-def]
    """Index of the voxel one step along an axis."""
    return i + side * (axis == 0), j + side * (axis == 1), k + side * (axis == 2)


@njit(cache=True)
def _inside_of(shape, i, j, k):  # type: ignore[no-untyped-def]
    return 0 <= i < shape[0] and 0 <= j < shape[1] and 0 <= k < shape[2]


@njit(cache=True)
def _eikonal(time, known, i, j, k, slowness):  # type: ignore[no-untyped-def]
    """Upwind solution of |grad T| = slowness at a voxel from its neighbours that are known."""
    shape = time.shape
    least = np.full(3, np.inf)
    for axis in range(3):
        for side in (-1, 1):
            a, b, c = _beside(i, j, k, axis, side)
            if _inside_of(shape, a, b, c) and known[a, b, c] and time[a, b, c] < least[axis]:
                least[axis] = time[a, b, c]
    least.sort()
    t = least[0] + slowness
    if t > least[1]:
        root = 2.0 * slowness * slowness - (least[0] - least[1]) ** 2
        t = 0.5 * (least[0] + least[1] + np.sqrt(max(root, 0.0)))
        if t > least[2]:
            total = least[0] + least[1] + least[2]
            squares = least[0] ** 2 + least[1] ** 2 + least[2] ** 2
            root = total * total - 3.0 * (squares - slowness * slowness)
            t = (total + np.sqrt(max(root, 0.0))) / 3.0
    return t


@njit(cache=True)
def _march(mask, at, sources, speed):  # type: ignore[no-untyped-def]
    """Node that reaches each voxel first; -1 where none does."""
    shape = mask.shape
    time = np.full(shape, np.inf)
    node = np.full(shape, -1, dtype=np.int32)
    known = np.zeros(shape, dtype=np.bool_)
    heap = [(0.0, 0, 0, 0)]
    heap.pop()
    for s in sources:
        base = np.floor(at[s]).astype(np.int64)
        for corner in range(8):
            i, j, k = base[0] + (corner & 1), base[1] + (corner >> 1 & 1), base[2] + (corner >> 2 & 1)
            if not _inside_of(shape, i, j, k) or not mask[i, j, k]:
                continue
            t = np.sqrt((i - at[s, 0]) ** 2 + (j - at[s, 1]) ** 2 + (k - at[s, 2]) ** 2) / speed[s]
            if t < time[i, j, k]:
                time[i, j, k] = t
                node[i, j, k] = s
                heapq.heappush(heap, (t, i, j, k))
    while len(heap) > 0:
        t, i, j, k = heapq.heappop(heap)
        if known[i, j, k]:
            continue
        known[i, j, k] = True
        for axis in range(3):
            for side in (-1, 1):
                a, b, c = _beside(i, j, k, axis, side)
                if not _inside_of(shape, a, b, c) or known[a, b, c] or not mask[a, b, c]:
                    continue
                source = node[i, j, k]
                new = _eikonal(time, known, a, b, c, 1.0 / speed[source])
                if new < time[a, b, c]:
                    time[a, b, c] = new
                    node[a, b, c] = _nearest_source(node, known, at, speed, a, b, c, source)
                    heapq.heappush(heap, (new, a, b, c))
    return node


@njit(cache=True)
def _nearest_source(node, known, at, speed, a, b, c, best):  # type: ignore[no-untyped-def]
    """Of the sources of the known voxels around one, that from which a straight front arrives first."""
    shape = node.shape
    first = np.inf
    for i in range(max(a - 1, 0), min(a + 2, shape[0])):
        for j in range(max(b - 1, 0), min(b + 2, shape[1])):
            for k in range(max(c - 1, 0), min(c + 2, shape[2])):
                if not known[i, j, k]:
                    continue
                s = node[i, j, k]
                t = np.sqrt((a - at[s, 0]) ** 2 + (b - at[s, 1]) ** 2 + (c - at[s, 2]) ** 2) / speed[s]
                if t < first:
                    first, best = t, s
    return best
