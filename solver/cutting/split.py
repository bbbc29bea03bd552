"""Splitting tetrahedra along the edges a sheet cuts.

Every cut edge is bisected, one after the other in one order of all edges: the longest first. A tetrahedron is split by
its own cut edges in that order, so that two tetrahedra always split their common facet alike and no template is
needed. Bisection keeps the orientation of every piece in every shape, and divides its volume exactly.
"""

from __future__ import annotations

from collections.abc import Sequence

import numba
import numpy as np
from numpy.typing import NDArray

from anatomy.lattice.topology import EDGES_OF_TET
from solver.cutting.snapping import Marks, Mesh, mean_ratios, shortest_edges, spare

Array = NDArray[np.float64]
Ints = NDArray[np.int64]


# A piece may not have a mean ratio below this, unless the tetrahedron it comes from has no better one.
POOREST_RATIO = 0.2
_ROUNDS = 12


def split_well(mesh: Mesh, marks: Marks, shapes: Sequence[Array], floor_mm: float) -> tuple[Ints, Ints]:
    """Split a mesh as `split` does, but lead the sheet through more vertices where a piece would be a sliver.

    Of the cut edges of a tetrahedron with a poor piece, the one cut nearest to an end is spared: the sheet goes
    through that end. The same goes where a piece would have an edge below the floor that no edge of its tetrahedron
    was below. Fewer edges are cut each time, so this comes to an end; `marks` is brought up to date.
    """
    points = mesh.organ.points
    least_ratio = np.minimum(POOREST_RATIO, mean_ratios(points, mesh.organ.tets)) * (1.0 - 1e-9)
    least_edge = np.minimum(floor_mm, shortest_edges(points, mesh.organ.tets)) * (1.0 - 1e-9)
    cut = np.zeros(len(mesh.edges), dtype=bool)
    cut[marks.cut] = True
    rows = np.flatnonzero(cut[mesh.of_tet].any(axis=1))
    for _ in range(_ROUNDS):
        tets, parent = split(mesh, marks, rows)
        a, b = points[mesh.edges[marks.cut, 0]], points[mesh.edges[marks.cut, 1]]
        every = np.concatenate([marks.placed(points), a + marks.at[:, None] * (b - a)])
        poor = mean_ratios(every, tets) < least_ratio[parent]
        poor |= shortest_edges(every, tets) < least_edge[parent]
        row = np.full(len(mesh.edges), -1, dtype=np.int64)
        row[marks.cut] = np.arange(len(marks.cut))
        cuts = row[mesh.of_tet[np.unique(parent[poor])]]
        cuts = cuts[(cuts >= 0).any(axis=1)]
        if not len(cuts):
            break
        nearest = np.where(cuts >= 0, np.minimum(marks.at, 1.0 - marks.at)[cuts], np.inf)
        spared = np.unique(cuts[np.arange(len(cuts)), nearest.argmin(axis=1)])
        spare(marks, mesh, shapes, spared)
    return split(mesh, marks)


def split(mesh: Mesh, marks: Marks, rows: Ints | None = None) -> tuple[Ints, Ints]:
    """Split tetrahedra of a mesh along its cut edges.

    Parameters
    ----------
    mesh : Mesh
    marks : Marks
    rows : ndarray of int64, optional
        Which tetrahedra; all if None.

    Returns
    -------
    tets : ndarray, shape (m', 4), int64
        Uncut tetrahedra and pieces, in the order of their parents; the vertex on cut edge k is n + k.
    parent : ndarray, shape (m',), int64
        Tetrahedron each is a piece of.
    """
    rank = np.full(len(mesh.edges), -1, dtype=np.int64)
    order = np.lexsort((marks.cut, -mesh.length[marks.cut]))
    rank[marks.cut[order]] = np.arange(len(order))
    middle = np.full(len(mesh.edges), -1, dtype=np.int64)
    middle[marks.cut] = len(mesh.free) + np.arange(len(marks.cut))
    if rows is None:
        rows = np.arange(len(mesh.organ.tets))
    tets, parent = _split(mesh.organ.tets[rows], mesh.of_tet[rows], rank, middle, EDGES_OF_TET)
    return tets, rows[parent]


@numba.njit(cache=True)
def _split(tets, of_tet, rank, middle, pairs):  # type: ignore[no-untyped-def]
    count = len(tets)
    room = 0
    for t in range(count):
        cuts = 0
        for e in range(6):
            cuts += rank[of_tet[t, e]] >= 0
        room += 1 if cuts == 0 else (2 if cuts == 1 else (4 if cuts == 2 else 32))
    out, parent = np.empty((room, 4), np.int64), np.empty(room, np.int64)
    pieces = np.empty((32, 4), np.int64)
    cut = np.empty(6, np.int64)
    total = 0
    for t in range(count):
        cuts = 0
        for e in range(6):
            row = of_tet[t, e]
            if rank[row] < 0:
                continue
            at = cuts
            while at > 0 and rank[of_tet[t, cut[at - 1]]] > rank[row]:
                cut[at] = cut[at - 1]
                at -= 1
            cut[at] = e
            cuts += 1
        pieces[0] = tets[t]
        made = 1
        for k in range(cuts):
            a, b = tets[t, pairs[cut[k], 0]], tets[t, pairs[cut[k], 1]]
            m = middle[of_tet[t, cut[k]]]
            for p in range(made):
                here, there = -1, -1
                for i in range(4):
                    if pieces[p, i] == a:
                        here = i
                    elif pieces[p, i] == b:
                        there = i
                if here >= 0 and there >= 0:
                    pieces[made] = pieces[p]
                    pieces[made, here] = m
                    pieces[p, there] = m
                    made += 1
        for p in range(made):
            out[total] = pieces[p]
            parent[total] = t
            total += 1
    return out[:total].copy(), parent[:total].copy()
