"""Closed polygons to voxels: a voxel counts when its centre lies inside, by the even-odd rule.

Theory: walking along a row from the left, every polygon edge that crosses the row turns outside into inside and back
(Foley et al., Computer Graphics, scan conversion of polygons). An edge from (x₀, y₀) to (x₁, y₁) crosses the
rows y with min(y₀, y₁) ≤ y < max(y₀, y₁), so that a vertex on a row counts once and a horizontal edge never. The
parity of crossings to the left of a centre says whether it is inside. Parities of several polygons add, which is
the exclusive or that DICOM's inner contours mean, and the two edges of a keyhole's channel cancel.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def inside(polygons: Sequence[NDArray[np.float64]], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Which pixel centres lie inside an odd number of polygons.

    Parameters
    ----------
    polygons : sequence of ndarray (n, 2) float64
        Corners (x, y) in pixels, where the centre of pixel (column i, row j) is at (i, j); closed by itself.
    shape : tuple of int
        Rows and columns.

    Returns
    -------
    ndarray (rows, columns) bool
        A centre that lies on an edge counts where the inside is to its right or, on a row of corners, below.
    """
    rows, columns = shape
    start = np.concatenate([np.asarray(p, dtype=np.float64) for p in polygons])
    end = np.concatenate([np.roll(p, -1, axis=0) for p in polygons])
    down = start[:, 1] <= end[:, 1]
    (x0, y0), (x1, y1) = (np.where(down[:, None], a, b).T for a, b in ((start, end), (end, start)))
    first = np.clip(np.ceil(y0), 0, rows).astype(int)
    last = np.clip(np.ceil(y1), 0, rows).astype(int)
    count = last - first
    edge = np.repeat(np.arange(count.size), count)
    row = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count) + first[edge]
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = (x1 - x0) / (y1 - y0)
    crossing = x0[edge] + (row - y0[edge]) * slope[edge]
    column = np.clip(np.ceil(crossing), 0, columns).astype(int)
    found = np.zeros((rows, columns), dtype=bool)
    if row.size == 0:
        return found
    # Only the box round all crossings needs a look.
    top, left = int(row.min()), int(column.min())
    height, width = int(row.max()) + 1 - top, int(column.max()) + 1 - left
    turns = np.bincount((row - top) * width + column - left, minlength=height * width)
    parity = np.cumsum(turns.reshape(height, width), axis=1) % 2 == 1
    found[top : top + height, left : left + width] = parity[:, : columns - left]
    return found
