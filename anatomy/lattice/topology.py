"""Who meets whom in a tetrahedral mesh: edges, neighbours across facets, the star of each vertex; and volumes.

Compiled loops over buckets of vertices: facets and edges are sorted into the bucket of their smallest vertex and
paired there, which takes one pass where a sort of all keys takes ten. Results do not depend on anything but the
order of the tetrahedra.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from anatomy.mesh import FACETS_OF_TET

#: Local vertex pairs of the six edges of a tetrahedron.
EDGES_OF_TET = np.array([[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]])


def edges_of(tets: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Edges (e, 2) of tetrahedra in lexical order, and for each tetrahedron the rows of its six edges (m, 6)."""
    low, high, row = _edges(tets, EDGES_OF_TET, int(tets.max(initial=-1)) + 1)
    return np.stack([low, high], axis=1), row


def neighbours_of(tets: NDArray[np.int64]) -> NDArray[np.int64]:
    """Tetrahedron across each facet, shape (m, 4); -1 where there is none."""
    across: NDArray[np.int64] = _neighbours(tets, FACETS_OF_TET, int(tets.max(initial=-1)) + 1)
    return across


def stars_of(tets: NDArray[np.int64], vertices: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The tetrahedra around each vertex: those of vertex v are `around[starts[v]:starts[v + 1]]`, ascending."""
    starts, around = _stars(tets, vertices)
    return starts, around


def volumes_of(points: NDArray[np.float64], tets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Signed volumes (m,) of tetrahedra, in the cube of the points' unit."""
    volumes: NDArray[np.float64] = _volumes(points, tets)
    return volumes


def pieces_of(label: NDArray[np.int64], neighbours: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number of the face-connected piece of one label to which each tetrahedron belongs, shape (m,)."""
    row = np.repeat(np.arange(len(label)), 4)
    column = neighbours.reshape(-1)
    joined = (column > row) & (label[row] == label[np.maximum(column, 0)])
    graph = coo_array(
        (np.ones(joined.sum(), np.int8), (row[joined], column[joined])), shape=(len(label),) * 2
    )
    return connected_components(graph, directed=False)[1].astype(np.int64)


def surface_within(
    tets: NDArray[np.int64], inside: NDArray[np.bool_], neighbours: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Triangles (k, 3) around the tetrahedra that are inside, normals outward."""
    open_ = inside[:, None] & ((neighbours < 0) | ~inside[np.maximum(neighbours, 0)])
    tet, facet = np.nonzero(open_)
    return np.asarray(tets[tet[:, None], FACETS_OF_TET[facet]])


@numba.njit(cache=True)
def _edges(tets, pairs, vertices):  # type: ignore[no-untyped-def]
    count = len(tets)
    starts = np.zeros(vertices + 1, np.int64)
    for t in range(count):
        for e in range(6):
            starts[min(tets[t, pairs[e, 0]], tets[t, pairs[e, 1]]) + 1] += 1
    starts = np.cumsum(starts)
    fill = starts[:-1].copy()
    half = np.empty(6 * count, np.int64)
    for t in range(count):
        for e in range(6):
            low = min(tets[t, pairs[e, 0]], tets[t, pairs[e, 1]])
            half[fill[low]] = 6 * t + e
            fill[low] += 1
    low_of, high_of = np.empty(6 * count, np.int64), np.empty(6 * count, np.int64)
    row = np.empty((count, 6), np.int64)
    found = 0
    for v in range(vertices):
        first = found
        for k in range(starts[v], starts[v + 1]):
            t, e = half[k] // 6, half[k] % 6
            other = max(tets[t, pairs[e, 0]], tets[t, pairs[e, 1]])
            at = first
            while at < found and high_of[at] != other:
                at += 1
            if at == found:
                low_of[found], high_of[found] = v, other
                found += 1
        for i in range(first + 1, found):  # few: insertion sort
            other, j = high_of[i], i - 1
            while j >= first and high_of[j] > other:
                high_of[j + 1] = high_of[j]
                j -= 1
            high_of[j + 1] = other
        for k in range(starts[v], starts[v + 1]):
            t, e = half[k] // 6, half[k] % 6
            other = max(tets[t, pairs[e, 0]], tets[t, pairs[e, 1]])
            at = first
            while high_of[at] != other:
                at += 1
            row[t, e] = at
    return low_of[:found].copy(), high_of[:found].copy(), row


@numba.njit(cache=True)
def _neighbours(tets, facets, vertices):  # type: ignore[no-untyped-def]
    count = len(tets)
    keys = np.empty((4 * count, 2), np.int64)
    starts = np.zeros(vertices + 1, np.int64)
    lowest = np.empty(4 * count, np.int64)
    for t in range(count):
        for f in range(4):
            a, b, c = tets[t, facets[f, 0]], tets[t, facets[f, 1]], tets[t, facets[f, 2]]
            low, high = min(a, b, c), max(a, b, c)
            lowest[4 * t + f] = low
            keys[4 * t + f, 0], keys[4 * t + f, 1] = a + b + c - low - high, high
            starts[low + 1] += 1
    starts = np.cumsum(starts)
    fill = starts[:-1].copy()
    across = np.full((count, 4), -1, np.int64)
    held = np.empty(4 * count, np.int64)
    for row in range(4 * count):
        low = lowest[row]
        for k in range(starts[low], fill[low]):
            other = held[k]
            if keys[other, 0] == keys[row, 0] and keys[other, 1] == keys[row, 1]:
                across[row // 4, row % 4] = other // 4
                across[other // 4, other % 4] = row // 4
                break
        held[fill[low]] = row
        fill[low] += 1
    return across


@numba.njit(cache=True)
def _stars(tets, vertices):  # type: ignore[no-untyped-def]
    starts = np.zeros(vertices + 1, np.int64)
    for t in range(len(tets)):
        for i in range(4):
            starts[tets[t, i] + 1] += 1
    starts = np.cumsum(starts)
    fill = starts[:-1].copy()
    around = np.empty(4 * len(tets), np.int64)
    for t in range(len(tets)):
        for i in range(4):
            around[fill[tets[t, i]]] = t
            fill[tets[t, i]] += 1
    return starts, around


@numba.njit(cache=True)
def _volumes(points, tets):  # type: ignore[no-untyped-def]
    out = np.empty(len(tets))
    for t in range(len(tets)):
        a, b, c, d = tets[t, 0], tets[t, 1], tets[t, 2], tets[t, 3]
        ux, uy, uz = points[b, 0] - points[a, 0], points[b, 1] - points[a, 1], points[b, 2] - points[a, 2]
        vx, vy, vz = points[c, 0] - points[a, 0], points[c, 1] - points[a, 1], points[c, 2] - points[a, 2]
        wx, wy, wz = points[d, 0] - points[a, 0], points[d, 1] - points[a, 1], points[d, 2] - points[a, 2]
        out[t] = (ux * (vy * wz - vz * wy) + uy * (vz * wx - vx * wz) + uz * (vx * wy - vy * wx)) / 6.0
    return out
