"""Small organs whose answers are known: bricks cut into Kuhn tetrahedra.

Every brick is cut into the six tetrahedra around one of its diagonals (Kuhn 1960, IBM J Res Dev 4:518), the
same one everywhere, so that the cut is conforming and the same in every code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from anatomy.mesh import OrganMesh

Array = NDArray[np.float64]


def kuhn_block(
    size_mm: tuple[float, float, float],
    cells: tuple[int, int, int],
    structures: Mapping[int, str] | None = None,
    region: Callable[[Array], NDArray[np.uint8]] | None = None,
) -> OrganMesh:
    """A brick with one corner at the origin.

    Parameters
    ----------
    size_mm : tuple of float
        Edges along x, y, z.
    cells : tuple of int
        Bricks along x, y, z.
    structures : mapping of int to str
        Structure name of each region; default one region, "liver".
    region : callable
        From centroids (m, 3) to region (m,); default all 1.

    Returns
    -------
    OrganMesh
    """
    _, ny, nz = cells
    grid = np.stack(np.meshgrid(*(np.arange(n + 1) for n in cells), indexing="ij"), axis=-1).reshape(-1, 3)
    points = grid * (np.asarray(size_mm, dtype=np.float64) / np.asarray(cells))
    corner = np.stack(np.meshgrid(*(np.arange(n) for n in cells), indexing="ij"), axis=-1).reshape(-1, 3)
    stride = np.array([(ny + 1) * (nz + 1), nz + 1, 1])
    first = corner @ stride
    tets = []
    for order in permutations(range(3)):
        walk = np.concatenate([[0], np.cumsum(stride[list(order)])])
        even = np.linalg.det(np.eye(3)[list(order)]) > 0
        path = walk if even else walk[[0, 1, 3, 2]]
        tets.append(first[:, None] + path[None, :])
    cells_array = np.stack(tets, axis=1).reshape(-1, 4)
    centroid = points[cells_array].mean(axis=1)
    labels = np.ones(len(cells_array), dtype=np.uint8) if region is None else region(centroid)
    return OrganMesh(points, cells_array, labels, structures or {1: "liver"})
