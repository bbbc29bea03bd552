"""Cutting the lattice along the interfaces: snap near vertices, bisect the edges that still cross, label.

Every vertex carries the set of labels whose closed regions it lies in: one label, or two or three for a vertex
on an interface. An edge crosses an interface when the sets of its ends have no label in common. Where it
crosses close to an end (a quarter of a long edge of the lattice, 0.41 of a short one: the thresholds of Labelle
& Shewchuk 2007, table 1, which bound the dihedral angles), that end moves to the crossing; every edge that still
crosses is bisected there. Bisecting splits all tetrahedra around the edge at once, and the order of bisections
is one global ranking of edges, so two tetrahedra always cut their common facet alike: any number of labels may
meet in a tetrahedron and the mesh conforms. A tetrahedron then belongs to the label all its vertices share;
where there are several or none (at triple lines and in flat tetrahedra on an interface) to the one that wins
at its centroid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anatomy.lattice.fields import Fields

# Share of a lattice edge within which an end snaps to a crossing: diagonal ("short") and axis-parallel ("long")
# edges of the body-centred lattice (Labelle & Shewchuk 2007, section 3.1).
_SNAP_SHORT, _SNAP_LONG = 0.41189, 0.24999
# A crossing this near an end (as a share) would make a sliver: the end joins the other side's interface.
_NEAREST_CUT = 0.05
# Snapping may not leave a tetrahedron less of its volume than this share.
_LEAST_VOLUME = 0.1
_BISECTIONS = 7
EDGES_OF_TET = np.array([[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]])


@dataclass
class Stuffed:
    """The cut lattice.

    Attributes
    ----------
    points : ndarray, shape (n, 3), float64
        Vertices, mm LPS.
    tets : ndarray, shape (m, 4), int64
        Positively oriented, conforming.
    label : ndarray, shape (m,), int64
        Index of each tetrahedron's label in `Fields.values`; 0 is background.
    sets : ndarray, shape (n, 3), int64
        Labels in which each vertex lies, padded with -1.
    """

    points: NDArray[np.float64]
    tets: NDArray[np.int64]
    label: NDArray[np.int64]
    sets: NDArray[np.int64]


def edges_of(tets: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Edges (e, 2) of tetrahedra in lexical order, and for each tetrahedron the rows of its six edges (m, 6)."""
    pairs = np.sort(tets[:, EDGES_OF_TET].reshape(-1, 2), axis=1)
    count = int(tets.max()) + 1
    keys, row = np.unique(pairs[:, 0] * count + pairs[:, 1], return_inverse=True)
    return np.stack([keys // count, keys % count], axis=1), row.reshape(-1, 6)


def volumes_of(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """Signed volumes (m,) of tetrahedra with corners (m, 4, 3)."""
    a, b, c, d = (corners[:, i] for i in range(4))
    return np.asarray(np.einsum("ij,ij->i", b - a, np.cross(c - a, d - a)) / 6.0)


def share_label(a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether sets (n, 3) and (n, 3) have a label in common, row by row."""
    return ((a[:, :, None] == b[:, None, :]) & (a[:, :, None] >= 0)).any(axis=(1, 2))


def stuff(
    lattice: NDArray[np.int64], points: NDArray[np.float64], tets: NDArray[np.int64], fields: Fields
) -> Stuffed:
    """Cut a lattice along the interfaces of label fields.

    Parameters
    ----------
    lattice : ndarray, shape (n, 3), int64
        Lattice coordinates of the vertices.
    points : ndarray, shape (n, 3), float64
        Their positions, mm LPS.
    tets : ndarray, shape (m, 4), int64
        Conforming lattice tetrahedra.
    fields : Fields
        What lies where.
    """
    winner = fields.winner(points)
    points, tets, winner, lattice = _near_labels(points, tets, winner, lattice)
    sets = np.full((len(points), 3), -1, dtype=np.int64)
    sets[:, 0] = winner
    edges, of_tet = edges_of(tets)
    points, sets = _snap(lattice, points, edges, tets, sets, fields)
    crossing = np.flatnonzero(~share_label(sets[edges[:, 0]], sets[edges[:, 1]]))
    where = _crossings(points, edges[crossing], sets, fields)
    crossing, where = _join_near(points, edges, crossing, where, sets, fields)
    return _bisect(points, tets, edges, of_tet, crossing, where, sets, fields)


def _near_labels(
    points: NDArray[np.float64],
    tets: NDArray[np.int64],
    winner: NDArray[np.int64],
    lattice: NDArray[np.int64],
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The part of the lattice within one tetrahedron of a vertex that is not background."""
    near = winner > 0
    near[tets[near[tets].any(axis=1)]] = True
    tets = tets[near[tets].any(axis=1)]
    used, tets = np.unique(tets, return_inverse=True)
    return points[used], tets.reshape(-1, 4), winner[used], lattice[used]


def _margin(values: NDArray[np.float64], sets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Largest field among the labels of each set."""
    rows = np.arange(len(values))[:, None]
    return np.where(sets >= 0, values[rows, np.maximum(sets, 0)], -np.inf).max(axis=1)


def _crossings(
    points: NDArray[np.float64], edges: NDArray[np.int64], sets: NDArray[np.int64], fields: Fields
) -> NDArray[np.float64]:
    """Where along edges (k, 2) the labels of the first end give way to those of the second, 0 to 1."""
    a, b = points[edges[:, 0]], points[edges[:, 1]]
    low, high = np.zeros(len(edges)), np.ones(len(edges))

    def lead(t: NDArray[np.float64]) -> NDArray[np.float64]:
        values = fields.at(a + t[:, None] * (b - a))
        return _margin(values, sets[edges[:, 0]]) - _margin(values, sets[edges[:, 1]])

    at_low, at_high = lead(low), lead(high)
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        value = lead(middle)
        first = value > 0
        low, at_low = np.where(first, middle, low), np.where(first, value, at_low)
        high, at_high = np.where(first, high, middle), np.where(first, at_high, value)
    share = np.clip(at_low / np.where(at_low - at_high > 0, at_low - at_high, 1.0), 0.0, 1.0)
    return low + share * (high - low)


def _snap(
    lattice: NDArray[np.int64],
    points: NDArray[np.float64],
    edges: NDArray[np.int64],
    tets: NDArray[np.int64],
    sets: NDArray[np.int64],
    fields: Fields,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Move vertices to the nearest crossing among those within the snapping share of an edge."""
    crossing = edges[~share_label(sets[edges[:, 0]], sets[edges[:, 1]])]
    t = _crossings(points, crossing, sets, fields)
    along = np.abs(lattice[crossing[:, 1]] - lattice[crossing[:, 0]])
    reach = np.where((along > 0).sum(axis=1) == 1, _SNAP_LONG, _SNAP_SHORT)
    length = np.linalg.norm(points[crossing[:, 1]] - points[crossing[:, 0]], axis=1)
    end = np.concatenate([crossing[:, 0], crossing[:, 1]])
    other = np.concatenate([crossing[:, 1], crossing[:, 0]])
    share, length, reach = np.concatenate([t, 1.0 - t]), np.tile(length, 2), np.tile(reach, 2)
    # Beside smaller cubes a vertex keeps to the scale of its shortest edge.
    shortest = np.full(len(points), np.inf)
    every = np.linalg.norm(points[edges[:, 1]] - points[edges[:, 0]], axis=1)
    for column in (0, 1):
        np.minimum.at(shortest, edges[:, column], every)
    near = share * length < np.minimum(reach * length, _SNAP_SHORT * shortest[end])
    end, other, share, length = end[near], other[near], share[near], length[near]
    order = np.lexsort((other, share * length, end))
    first = order[np.unique(end[order], return_index=True)[1]]
    moved, sets = points.copy(), sets.copy()
    v, w = end[first], other[first]
    moved[v] = points[v] + share[first, None] * (points[w] - points[v])
    before = sets[:, 0].copy()
    sets[v, 1] = before[w]
    # In the grading's flatter tetrahedra two moves can come together: those go back.
    whole = volumes_of(points[tets])
    while (crushed := volumes_of(moved[tets]) < _LEAST_VOLUME * whole).any():
        back = np.unique(tets[crushed])
        moved[back], sets[back, 1] = points[back], -1
    return moved, sets


def _join_near(
    points: NDArray[np.float64],
    edges: NDArray[np.int64],
    crossing: NDArray[np.int64],
    where: NDArray[np.float64],
    sets: NDArray[np.int64],
    fields: Fields,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Let ends of edges that cross next to them join the other side; what still crosses is returned."""
    near = (where < _NEAREST_CUT) | (where > 1 - _NEAREST_CUT)
    for row, t in zip(crossing[near], where[near], strict=True):
        u, w = edges[row] if t < 0.5 else edges[row][::-1]
        free = np.flatnonzero(sets[u] < 0)
        if len(free) and not np.isin(sets[u][sets[u] >= 0], sets[w]).any():
            rivals = sets[w][sets[w] >= 0]
            sets[u, free[0]] = rivals[fields.at(points[u][None])[0, rivals].argmax()]
    still = ~share_label(sets[edges[crossing, 0]], sets[edges[crossing, 1]])
    return crossing[still], np.clip(where[still], _NEAREST_CUT, 1 - _NEAREST_CUT)


def _bisect(
    points: NDArray[np.float64],
    tets: NDArray[np.int64],
    edges: NDArray[np.int64],
    of_tet: NDArray[np.int64],
    crossing: NDArray[np.int64],
    where: NDArray[np.float64],
    sets: NDArray[np.int64],
    fields: Fields,
) -> Stuffed:
    """Split the crossing edges, longest first, and give every tetrahedron its label."""
    a, b = points[edges[crossing, 0]], points[edges[crossing, 1]]
    order = np.lexsort((crossing, -np.round(np.linalg.norm(b - a, axis=1), 9)))
    crossing, cuts = crossing[order], (a + where[:, None] * (b - a))[order]
    values = fields.at(cuts)
    ends = [sets[edges[crossing, i]] for i in (0, 1)]
    rows = np.arange(len(cuts))[:, None]
    best = [np.where(e >= 0, values[rows, np.maximum(e, 0)], -np.inf).argmax(axis=1) for e in ends]
    cut_sets = np.full((len(cuts), 3), -1, dtype=np.int64)
    for i in (0, 1):
        cut_sets[:, i] = ends[i][rows[:, 0], best[i]]
    none = len(cuts)
    rank = np.full(len(edges), none, dtype=np.int64)
    rank[crossing] = np.arange(none)
    points, sets, tets = split_edges(points, sets, tets, rank[of_tet], cuts, cut_sets)
    return Stuffed(points, tets, label_tets(points, tets, sets, fields), sets)


def split_edges(
    points: NDArray[np.float64],
    sets: NDArray[np.int64],
    tets: NDArray[np.int64],
    rank: NDArray[np.int64],
    cuts: NDArray[np.float64],
    cut_sets: NDArray[np.int64],
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Bisect edges at their cut vertices, in the order of rank, in all tetrahedra at once.

    `rank` (m, 6) names for each edge of each tetrahedron its row in `cuts` (k, 3), or k where it is not cut.
    """
    none, first = len(cuts), len(points)
    touching = [np.flatnonzero(np.isin(EDGES_OF_TET, i).any(axis=1)) for i in range(4)]
    while True:
        edge = rank.argmin(axis=1)
        cut = rank[np.arange(len(rank)), edge]
        to_split = cut < none
        if not to_split.any():
            break
        halves, ranks = [tets[~to_split]], [rank[~to_split]]
        for e, ends in enumerate(EDGES_OF_TET):
            mine = to_split & (edge == e)
            for end in ends:
                half, left = tets[mine].copy(), rank[mine].copy()
                half[:, end] = first + cut[mine]
                left[:, touching[end]] = none
                halves.append(half)
                ranks.append(left)
        tets, rank = np.concatenate(halves), np.concatenate(ranks)
    return np.concatenate([points, cuts]), np.concatenate([sets, cut_sets]), tets


def label_tets(
    points: NDArray[np.float64], tets: NDArray[np.int64], sets: NDArray[np.int64], fields: Fields
) -> NDArray[np.int64]:
    """Label each tetrahedron (m,): the only one its vertices share, else the one that wins at its centroid."""
    first = sets[tets[:, 0]]
    common = first >= 0
    for corner in range(1, 4):
        common &= (first[:, :, None] == sets[tets[:, corner]][:, None, :]).any(axis=2)
    label = first[np.arange(len(tets)), common.argmax(axis=1)]
    count = common.sum(axis=1)
    open_ = np.flatnonzero(count != 1)
    if len(open_):
        values = fields.at(points[tets[open_]].mean(axis=1))
        allowed = np.zeros_like(values, dtype=bool)
        several = count[open_] > 1
        rows, columns = np.nonzero(common[open_])
        allowed[rows, first[open_][rows, columns]] = True
        allowed[~several] = True
        label[open_] = np.where(allowed, values, -np.inf).argmax(axis=1)
    return label
