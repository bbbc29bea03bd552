"""Calibres: the radius of every piece of a tree, from the voxels of the vessel around it.

A voxel belongs to the piece that is nearest in units of that piece's radius, and a piece has the radius of the cylinder
that holds its voxels, so that the tree keeps the volume of the mask. A branch's first pieces lie in the vessel it
leaves and do not count; a branch shorter than it is wide takes the radius that its children need by Murray's law.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from anatomy.vessels.grid import Array, Grid, Index
from anatomy.vessels.tree import VesselTree


def radii(points: Array, parent: Index, grid: Grid) -> Array:
    """Radius of each piece, mm, shape (n,), evened along the vessel; `points` (n, 3) LPS mm and `parent` (n,)."""
    rows = np.flatnonzero(parent >= 0)
    if not len(rows):
        return np.full(len(parent), float(grid.depth.max()))
    length = VesselTree(points, np.zeros(len(parent)), parent).length_to_parent_mm
    middle = 0.5 * (points[rows] + points[parent[rows]])
    places = grid.positions(np.argwhere(grid.mask))
    count = min(12, len(rows))
    near, piece = cKDTree(middle).query(places, k=np.arange(1, count + 1))
    radius = _cylinders(points, parent, length, rows[piece[:, 0]], grid.edge_mm)
    for _ in range(2):
        best = np.argmin(near / radius[rows[piece]], axis=1)
        owner = rows[piece[np.arange(len(places)), best]]
        outside = _outside_parent(points, parent, radius)
        radius = _cylinders(points, parent, np.where(outside, length, 0.0), owner, grid.edge_mm)
        radius = _bridged(points, parent, radius)
    return radius


def _bridged(points: Array, parent: Index, radius: Array) -> Array:
    """Radii with those of branches shorter than they are wide put to what their children need by Murray's law.

    Between two forks close together too few voxels are the branch's own to measure it (Murray 1926, PNAS 12:207:
    r³ of the parent is the sum of r³ of the children).
    """
    tree = VesselTree(points, radius, parent)
    radius, cubes = radius.copy(), np.zeros(len(parent))
    for branch in tree.branches[::-1]:
        fork, rows = branch.nodes[0], branch.nodes[1:]
        need = np.cbrt(cubes[rows[-1]])
        if branch.length_mm < max(need, branch.radius_mm):
            radius[rows] = np.maximum(need, branch.radius_mm)
        cubes[fork] += radius[rows[0]] ** 3
    return radius


def _outside_parent(points: Array, parent: Index, radius: Array) -> NDArray[np.bool_]:
    """Nodes that have left the vessel from which their branch springs."""
    tree = VesselTree(points, radius, parent)
    outside = np.ones(len(parent), dtype=bool)
    for branch in tree.branches:
        fork, rows = branch.nodes[0], branch.nodes[1:]
        left = np.linalg.norm(points[rows] - points[fork], axis=1) > radius[fork]
        if parent[fork] >= 0 and left.any():
            outside[rows] = left
    return outside


def _cylinders(points: Array, parent: Index, length: Array, owner: Index, edge_mm: float) -> Array:
    """Radii (n,) of cylinders of a length each that hold the voxels whose piece is `owner`; no branch loses volume."""
    volume = np.bincount(owner, minlength=len(parent)) * edge_mm**3
    volume[length == 0.0] = 0.0
    rows = np.flatnonzero(parent >= 0)
    branch = VesselTree(points, np.zeros(len(parent)), parent).branch_of_node[rows]
    held = np.bincount(branch, volume[rows])
    mean = held / (np.pi * np.maximum(np.bincount(branch, length[rows]), 1e-9))
    square, long = _evened(volume, parent), _evened(length, parent)
    square /= np.pi * np.maximum(long, 1e-9)
    # Pieces inside the vessel that a branch leaves have no voxels of their own and take the branch's mean.
    bare = rows[long[rows] < 1e-3 * edge_mm]
    square[bare] = mean[branch[np.searchsorted(rows, bare)]]
    scale = held / np.maximum(np.bincount(branch, square[rows] * length[rows]) * np.pi, 1e-9)
    square[rows] *= np.where(held[branch] > 0, scale[branch], 1.0)
    for root in np.flatnonzero(parent < 0):
        square[root] = square[parent == root].max(initial=0.0)
    return np.sqrt(np.maximum(square, (0.25 * edge_mm) ** 2))


def _evened(values: NDArray[np.number], parent: Index, passes: int = 6) -> Array:
    """Values averaged with those of the same branch next to them; nothing runs over a fork."""
    kids = np.bincount(parent[parent >= 0], minlength=len(parent))
    rows = np.flatnonzero(
        (parent >= 0) & (parent[np.maximum(parent, 0)] >= 0) & (kids[np.maximum(parent, 0)] == 1)
    )
    up = parent[rows]
    count = 1.0 + np.bincount(np.concatenate([rows, up]), minlength=len(parent))
    out = values.astype(np.float64)
    for _ in range(passes):
        total = out.copy()
        np.add.at(total, rows, out[up])
        np.add.at(total, up, out[rows])
        out = total / count
    return out
