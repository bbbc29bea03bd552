"""Point location on a mesh whose topology changes: which tetrahedron holds a point now, and what a face cuts.

Everything is looked up in the scanned shape, in which no point ever moves and both sides of a cut coincide.
"""

from __future__ import annotations

from itertools import chain

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from anatomy.mesh import OrganMesh
from solver.topology import TopologyChange

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]

# A barycentric coordinate this little below zero still counts as inside: no point, and no way through a surface, may
# slip between two tetrahedra or triangles.
INSIDE = 1e-9
_NEAR_MM = 1e-6


def relocated(
    change: TopologyChange, tet: Ints, scanned: Array, weights: Array, offset: Array
) -> tuple[Ints, Array, Array]:
    """Where points that ride on tetrahedra ride after a change.

    Of the parts of its tetrahedron a point takes the one that it lies deepest in, and where it lies in none of them the
    tetrahedron that holds it; a point outside the organ is tied to the nearest place of its part.

    Parameters
    ----------
    change : TopologyChange
    tet : ndarray, shape (k,), int64
        Tetrahedra of the mesh before.
    scanned : ndarray, shape (k, 3), float64
        The points in the scanned shape, mm.
    weights : ndarray, shape (k, 4), float64
        Barycentric, in those tetrahedra.
    offset : ndarray, shape (k, 3), float64
        What points far outside the mesh are shifted by, mm.

    Returns
    -------
    tet : ndarray, shape (k,), int64
        Tetrahedra of the mesh after; −1 where a point has gone with what was taken out.
    weights, offset : ndarray
        As given.
    """
    before, after = change.before, change.after
    row, part = _parts(change.tet_parent, tet)
    # The place up to which the node rides, without what it is only shifted by.
    place = scanned - offset
    share = _barycentric(after.points[after.tets[part]], place[row])
    deepest = np.lexsort((-share.min(axis=1), row))
    chosen = deepest[np.unique(row[deepest], return_index=True)[1]]
    child = np.full(len(tet), -1, dtype=np.int64)
    found = np.zeros((len(tet), 4))
    child[row[chosen]], found[row[chosen]] = part[chosen], share[chosen]
    corners = after.points[after.tets[np.maximum(child, 0)]]
    same = (corners == before.points[before.tets[tet]]).all(axis=(1, 2))
    found[same] = weights[same]
    # Beside a vertex that was moved on to the cut a point lies in a part of another tetrahedron.
    lost = (child < 0) | (~same & (found.min(axis=1) < -INSIDE))
    strayed = np.flatnonzero(lost & ~offset.any(axis=1))
    if len(strayed):
        # Next to it in the mesh before: the sides of a cut share no vertex any more.
        around = np.zeros(len(before.points), dtype=bool)
        around[before.tets[tet[strayed]]] = True
        ring = np.flatnonzero(around[change.parents].any(axis=1)[after.tets].any(axis=1))
        holder, inside = _holders(after, ring, place[strayed])
        held = holder >= 0
        child[strayed[held]], found[strayed[held]] = holder[held], inside[held]
        corners = after.points[after.tets[np.maximum(child, 0)]]
    beside = ~same & (found.min(axis=1) < -INSIDE)
    found[beside] = np.maximum(found[beside], 0.0)
    found[beside] /= found[beside].sum(axis=1, keepdims=True)
    moved = np.where(same[:, None], offset, scanned - np.einsum("nk,nkd->nd", found, corners))
    moved[~same & ~beside & ~offset.any(axis=1)] = 0.0
    moved[child < 0] = 0.0
    return child, found, moved


def part_of(organ: OrganMesh, tet: Ints) -> Ints:
    """Number of the connected part of a mesh that each of some tetrahedra belongs to; shapes (k,)."""
    tets = organ.tets
    edges = np.concatenate([tets[:, [0, i]] for i in (1, 2, 3)])
    graph = coo_array((np.ones(len(edges), dtype=np.int8), edges.T), shape=(len(organ.points),) * 2)
    return np.asarray(connected_components(graph, directed=False)[1][tets[tet, 0]])


def _holders(organ: OrganMesh, tets: Ints, points: Array) -> tuple[Ints, Array]:
    """Which of some tetrahedra each point lies in, or −1, and its weights there."""
    corners = organ.points[organ.tets[tets]]
    low, high = corners.min(axis=1), corners.max(axis=1)
    found, weights = np.full(len(points), -1, dtype=np.int64), np.zeros((len(points), 4))
    for row, point in enumerate(points):
        near = np.flatnonzero(((low <= point) & (high >= point)).all(axis=1))
        if not len(near):
            continue
        share = _barycentric(corners[near], np.broadcast_to(point, (len(near), 3)))
        best = int(np.argmax(share.min(axis=1)))
        if share[best].min() >= -INSIDE:
            found[row], weights[row] = tets[near[best]], share[best]
    return found, weights


def _parts(tet_parent: Ints, tet: Ints) -> tuple[Ints, Ints]:
    """Every part of some tetrahedra: row of `tet` and tetrahedron after the change, of all pairs."""
    order = np.argsort(tet_parent, kind="stable")
    ranked = tet_parent[order]
    first = np.searchsorted(ranked, tet, side="left")
    count = np.searchsorted(ranked, tet, side="right") - first
    row = np.repeat(np.arange(len(tet)), count)
    start = np.repeat(first - (np.cumsum(count) - count), count)
    return row, order[start + np.arange(len(row))]


def _barycentric(corners: Array, points: Array) -> Array:
    """Barycentric weights (k, 4) of points (k, 3) in tetrahedra with corners (k, 4, 3)."""
    edges = (corners[:, 1:] - corners[:, :1]).transpose(0, 2, 1)
    rest = np.linalg.solve(edges, (points - corners[:, 0])[:, :, None])[:, :, 0]
    return np.concatenate([1.0 - rest.sum(axis=1, keepdims=True), rest], axis=1)


def pierced(start: Array, end: Array, corners: Array) -> Mask:
    """Which segments (s, 3) to (s, 3) pass through one of the triangles (t, 3, 3), touching included, shape (s,).

    By signed volumes (Segura & Feito 2001, WSCG): the ends lie on both sides of the triangle's plane, and the line
    passes its three edges on the same side.
    """
    hit = np.zeros(len(start), dtype=bool)
    low, high = corners.min(axis=(0, 1)) - _NEAR_MM, corners.max(axis=(0, 1)) + _NEAR_MM
    near = ((np.minimum(start, end) <= high) & (np.maximum(start, end) >= low)).all(axis=1)
    rows = np.flatnonzero(near)
    middle, centroid = 0.5 * (start[rows] + end[rows]), corners.mean(axis=1)
    reach = np.linalg.norm(corners - centroid[:, None], axis=2).max() + _NEAR_MM
    around = cKDTree(centroid).query_ball_point(
        middle, 0.5 * np.linalg.norm(end[rows] - start[rows], axis=1) + reach
    )
    segment = np.repeat(rows, [len(found) for found in around])
    triangle = np.fromiter(chain.from_iterable(around), dtype=np.int64, count=len(segment))
    p, q, r = (corners[triangle, i] - start[segment] for i in range(3))
    way = end[segment] - start[segment]
    normal = np.cross(q - p, r - p)
    height, rise = np.einsum("ij,ij->i", p, normal), np.einsum("ij,ij->i", way, normal)
    steep = rise != 0.0
    share = height / np.where(steep, rise, 1.0)
    sides = np.stack([np.einsum("ij,ij->i", way, np.cross(*pair)) for pair in ((q, r), (r, p), (p, q))])
    slack = INSIDE * np.abs(sides).sum(axis=0)
    same = (sides >= -slack).all(axis=0) | (sides <= slack).all(axis=0)
    hit[segment[steep & (share >= 0.0) & (share <= 1.0) & same]] = True
    return hit
