"""Cleaning the labels of the cut lattice: no specks, no pinched surfaces.

Works by relabelling tetrahedra only, the background's included, so the mesh stays conforming. A speck is a
piece of a label (or a hole) smaller than a stated volume; it joins the label it shares most facets with. A
surface is pinched where more than two of its triangles meet in an edge, or where its triangles around a vertex
form more than one fan; the smallest group of tetrahedra around that edge or vertex changes sides. Changes can
pinch elsewhere, so this repeats; after a number of rounds only the solid may grow, which must end.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from anatomy.mesh import FACETS_OF_TET

_ROUNDS_BOTH_WAYS, _ROUNDS = 8, 40


def neighbours_of(tets: NDArray[np.int64]) -> NDArray[np.int64]:
    """Tetrahedron across each facet, shape (m, 4); -1 where there is none."""
    count = np.int64(tets.max()) + 1
    facets = np.sort(tets[:, FACETS_OF_TET].reshape(-1, 3), axis=1)
    keys = (facets[:, 0] * count + facets[:, 1]) * count + facets[:, 2]
    order = np.argsort(keys, kind="stable")
    same = keys[order][1:] == keys[order][:-1]
    across = np.full(len(keys), -1, dtype=np.int64)
    a, b = order[:-1][same], order[1:][same]
    across[a], across[b] = b // 4, a // 4
    return across.reshape(-1, 4)


def pieces_of(label: NDArray[np.int64], neighbours: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number of the face-connected piece of one label to which each tetrahedron belongs, shape (m,)."""
    row = np.repeat(np.arange(len(label)), 4)
    column = neighbours.reshape(-1)
    joined = (column >= 0) & (label[row] == label[np.maximum(column, 0)])
    graph = coo_array((np.ones(joined.sum()), (row[joined], column[joined])), shape=(len(label),) * 2)
    return connected_components(graph, directed=False)[1].astype(np.int64)


def without_specks(
    label: NDArray[np.int64], neighbours: NDArray[np.int64], volume: NDArray[np.float64], speck_mm3: float
) -> NDArray[np.int64]:
    """Labels (m,) in which pieces and enclosed holes below `speck_mm3` have joined their main neighbour."""
    label = label.copy()
    for _ in range(4):
        piece = pieces_of(label, neighbours)
        size = np.bincount(piece, weights=volume)
        # A piece that reaches the lattice's rim is the surrounding background, whatever its size.
        size[np.unique(piece[(neighbours < 0).any(axis=1)])] = np.inf
        small = size < speck_mm3
        row = np.repeat(np.arange(len(label)), 4)
        column = neighbours.reshape(-1)
        border = (column >= 0) & small[piece[row]] & (piece[row] != piece[np.maximum(column, 0)])
        if not border.any():
            break
        votes = np.zeros((len(size), int(label.max()) + 1), dtype=np.int64)
        np.add.at(votes, (piece[row[border]], label[column[border]]), 1)
        joins = votes.argmax(axis=1)
        label = np.where(small[piece], joins[piece], label)
    return label


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


def without_pinches(
    tets: NDArray[np.int64],
    label: NDArray[np.int64],
    neighbours: NDArray[np.int64],
    volume: NDArray[np.float64],
) -> NDArray[np.int64]:
    """Labels (m,) after which the outer surface, and as far as possible every label's, is a 2-manifold."""
    label = label.copy()
    order = np.argsort(tets, axis=None, kind="stable")
    starts = np.searchsorted(tets.reshape(-1)[order], np.arange(int(tets.max()) + 2))
    around = order // 4
    targets = np.unique(label).tolist()
    for attempt in range(_ROUNDS):
        only_grow = attempt >= _ROUNDS_BOTH_WAYS
        touched: set[int] = set()
        for target in [0] if only_grow else targets:
            inside = label != 0 if target == 0 else label == target
            surface = surface_within(tets, inside, neighbours)
            for simplex in [*pinched_edges(surface).tolist(), *([v] for v in pinched_vertices(surface))]:
                star = around[starts[simplex[0]] : starts[simplex[0] + 1]]
                for vertex in simplex[1:]:
                    star = star[(tets[star] == vertex).any(axis=1)]
                before = label[star].copy()
                if _unpinch(tets, label, volume, star, target, only_grow):
                    changed = before != label[star]
                    touched |= {0, *before[changed].tolist(), *label[star][changed].tolist()}
        targets = sorted(touched)
        if not touched:
            break
    return label


def surface_within(
    tets: NDArray[np.int64], inside: NDArray[np.bool_], neighbours: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Triangles (k, 3) around the tetrahedra that are inside, normals outward."""
    open_ = inside[:, None] & ((neighbours < 0) | ~inside[np.maximum(neighbours, 0)])
    tet, facet = np.nonzero(open_)
    return np.asarray(tets[tet[:, None], FACETS_OF_TET[facet]])


def _unpinch(
    tets: NDArray[np.int64],
    label: NDArray[np.int64],
    volume: NDArray[np.float64],
    star: NDArray[np.int64],
    target: int,
    only_grow: bool,
) -> bool:
    """Turn the smallest group of the star to the other side, in place; False when there is nothing to turn."""
    inside = label[star] != 0 if target == 0 else label[star] == target
    shared = (tets[star][:, None, :, None] == tets[star][None, :, None, :]).any(axis=3).sum(axis=2)
    joined = (shared == 3) & (inside[:, None] == inside[None, :])
    count, group = connected_components(joined, directed=False)
    members = [np.flatnonzero(group == g) for g in range(count)]
    sides = [bool(inside[m[0]]) for m in members]
    best: tuple[float, int] | None = None
    for g, side in enumerate(sides):
        if sides.count(side) > 1 and not (only_grow and side):
            size = float(volume[star[members[g]]].sum())
            best = min(best, (size, g)) if best else (size, g)
    if best is None:
        return False
    turned = star[members[best[1]]]
    rest = star[inside != sides[best[1]]]
    if sides[best[1]] or target == 0:
        # Between labels, tissue goes to tissue where there is some, so that the outer surface keeps still.
        values = label[rest]
        values = values[values > 0] if target and (values > 0).any() else values
        label[turned] = np.bincount(values).argmax()
    else:
        tissue = turned[label[turned] > 0]
        label[tissue if len(tissue) else turned] = target
    return True
