"""Is a triangulated surface a closed 2-manifold?

It is when exactly two triangles meet in every edge and the triangles around every vertex form one fan. Both are
counted here from the triangles alone.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


def pinched_edges(triangles: NDArray[np.int64]) -> NDArray[np.int64]:
    """Edges (k, 2) in which other than two triangles (t, 3) meet."""
    pairs = np.sort(triangles[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    vertices = int(triangles.max(initial=0)) + 1
    keys, count = np.unique(pairs[:, 0] * vertices + pairs[:, 1], return_counts=True)
    odd = keys[count != 2]
    return np.stack([odd // vertices, odd % vertices], axis=1)


def pinched_vertices(triangles: NDArray[np.int64]) -> NDArray[np.int64]:
    """Vertices around which triangles (t, 3) form more than one fan."""
    start, end = triangles.reshape(-1), np.roll(triangles, -1, axis=1).reshape(-1)
    # A corner is a triangle seen from one of its vertices; corners of one vertex join over shared edges.
    corner_here = np.arange(triangles.size)
    corner_next = corner_here.reshape(-1, 3)[:, [1, 2, 0]].reshape(-1)
    low, high = np.minimum(start, end), np.maximum(start, end)
    at_low = np.where(start == low, corner_here, corner_next)
    at_high = np.where(start == low, corner_next, corner_here)
    order = np.lexsort((high, low))
    same = (low[order][1:] == low[order][:-1]) & (high[order][1:] == high[order][:-1])
    a, b = order[:-1][same], order[1:][same]
    row = np.concatenate([at_low[a], at_high[a]])
    column = np.concatenate([at_low[b], at_high[b]])
    graph = coo_array((np.ones(len(row)), (row, column)), shape=(triangles.size,) * 2)
    fan = connected_components(graph, directed=False)[1]
    fans = np.unique(start * np.int64(len(start)) + fan) // len(start) if len(start) else start
    vertex, count = np.unique(fans, return_counts=True)
    return vertex[count > 1]
