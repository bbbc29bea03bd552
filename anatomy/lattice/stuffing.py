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

Where the pieces of a tetrahedron could not be given good angles, its vertices can be held: they do not move and
their edges are not cut, so the interface follows the facets of the lattice there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from anatomy.lattice.fields import LARGEST_BIAS, Fields
from anatomy.lattice.topology import EDGES_OF_TET, edges_of, stars_of, volumes_of

# Share of a lattice edge within which an end snaps to a crossing: diagonal ("short") and axis-parallel ("long")
# edges of the body-centred lattice (Labelle & Shewchuk 2007, section 3.1).
_SNAP_SHORT, _SNAP_LONG = 0.41189, 0.24999
# A crossing this near an end (as a share) would make a sliver: the end joins the other side's interface.
_NEAREST_CUT = 0.05
# Snapping may not leave a tetrahedron less of its volume than this share.
_LEAST_VOLUME = 0.1
# A place whose label fields add up to less than this is background whatever the bias.
_BACKGROUND = 0.5 * (1 - LARGEST_BIAS)


@dataclass(frozen=True)
class Lattice:
    """The part of the lattice that can hold a label, and what does not change however it is cut.

    Attributes
    ----------
    points : ndarray, shape (n, 3), float64
        Vertices, mm LPS.
    tets : ndarray, shape (m, 4), int64
        Conforming tetrahedra.
    edges : ndarray, shape (e, 2), int64
        Their edges, in lexical order.
    of_tet : ndarray, shape (m, 6), int64
        Rows of each tetrahedron's edges.
    length : ndarray, shape (e,)
        Lengths of the edges, mm.
    reach : ndarray, shape (e,)
        How far along each edge an end may snap, mm.
    shortest : ndarray, shape (n,)
        Shortest edge at each vertex, mm.
    starts, around : ndarray
        The star of each vertex, see `anatomy.lattice.topology.stars_of`.
    volume : ndarray, shape (m,)
        Volumes of the tetrahedra, mm³.
    """

    points: NDArray[np.float64]
    tets: NDArray[np.int64]
    edges: NDArray[np.int64]
    of_tet: NDArray[np.int64]
    length: NDArray[np.float64]
    reach: NDArray[np.float64]
    shortest: NDArray[np.float64]
    starts: NDArray[np.int64]
    around: NDArray[np.int64]
    volume: NDArray[np.float64]


@dataclass(frozen=True)
class Stuffed:
    """The cut lattice.

    Attributes
    ----------
    points : ndarray, shape (n, 3), float64
        Vertices, mm LPS: those of the lattice, then the cuts.
    tets : ndarray, shape (m, 4), int64
        Positively oriented, conforming.
    label : ndarray, shape (m,), int64
        Index of each tetrahedron's label in `Fields.values`; 0 is background.
    parent : ndarray, shape (m,), int64
        Tetrahedron of the lattice that each was cut from.
    """

    points: NDArray[np.float64]
    tets: NDArray[np.int64]
    label: NDArray[np.int64]
    parent: NDArray[np.int64]


def prepare(
    coordinates: NDArray[np.int64], points: NDArray[np.float64], tets: NDArray[np.int64], fields: Fields
) -> Lattice:
    """Keep the part of a lattice within two tetrahedra of where a label can be.

    Parameters
    ----------
    coordinates : ndarray, shape (n, 3), int64
        Lattice coordinates of the vertices.
    points : ndarray, shape (n, 3), float64
        Their positions, mm LPS.
    tets : ndarray, shape (m, 4), int64
        Conforming lattice tetrahedra.
    fields : Fields
        What lies where.
    """
    near = fields.near(points, _BACKGROUND)
    near[tets[near[tets].any(axis=1)]] = True
    tets = tets[near[tets].any(axis=1)]
    kept = np.zeros(len(points), dtype=bool)
    kept[tets] = True
    tets = (np.cumsum(kept) - 1)[tets]
    points, coordinates = points[kept], coordinates[kept]
    edges, of_tet = edges_of(tets)
    length = np.linalg.norm(points[edges[:, 1]] - points[edges[:, 0]], axis=1)
    along = (coordinates[edges[:, 1]] != coordinates[edges[:, 0]]).sum(axis=1) == 1
    shortest = np.full(len(points), np.inf)
    for column in (0, 1):
        np.minimum.at(shortest, edges[:, column], length)
    reach = np.where(along, _SNAP_LONG, _SNAP_SHORT) * length
    starts, around = stars_of(tets, len(points))
    volume = volumes_of(points, tets)
    return Lattice(points, tets, edges, of_tet, length, reach, shortest, starts, around, volume)


def share_label(a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether sets (n, 3) and (n, 3) have a label in common, row by row."""
    shared = np.zeros(len(a), dtype=bool)
    for i in range(3):
        for j in range(3):
            shared |= (a[:, i] == b[:, j]) & (a[:, i] >= 0)
    return shared


def stuff(lattice: Lattice, fields: Fields, held: NDArray[np.bool_]) -> Stuffed:
    """Cut a lattice along the interfaces of label fields.

    Parameters
    ----------
    lattice : Lattice
        What to cut.
    fields : Fields
        What lies where.
    held : ndarray, shape (n,), bool
        Vertices that stay, and whose edges are not cut.
    """
    sets = np.full((len(lattice.points), 3), -1, dtype=np.int64)
    sets[:, 0] = fields.winner(lattice.points)
    free = ~held[lattice.edges].any(axis=1)
    points = _snap(lattice, sets, free, fields)
    crossing = np.flatnonzero(free & _crosses(lattice, sets))
    a, b = lattice.edges[crossing].T
    where = fields.crossings(points[a], points[b], sets[a], sets[b])
    crossing, where = _join_near(points, lattice.edges, crossing, where, sets, fields)
    return _bisect(points, lattice, crossing, where, sets, fields)


def _crosses(lattice: Lattice, sets: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether the ends of each edge have no label in common."""
    found = sets[lattice.edges[:, 0], 0] != sets[lattice.edges[:, 1], 0]
    rows = np.flatnonzero(found)
    found[rows] = ~share_label(sets[lattice.edges[rows, 0]], sets[lattice.edges[rows, 1]])
    return found


def _snap(
    lattice: Lattice, sets: NDArray[np.int64], free: NDArray[np.bool_], fields: Fields
) -> NDArray[np.float64]:
    """Vertices moved to the nearest crossing within the snapping reach; `sets` is brought up to date."""
    points = lattice.points
    row = np.flatnonzero(free & _crosses(lattice, sets))
    a, b = lattice.edges[row].T
    t = fields.crossings(points[a], points[b], sets[a], sets[b])
    end, other, row = np.concatenate([a, b]), np.concatenate([b, a]), np.tile(row, 2)
    share = np.concatenate([t, 1.0 - t])
    away = share * lattice.length[row]
    # Beside smaller cubes a vertex keeps to the scale of its shortest edge.
    near = away < np.minimum(lattice.reach[row], _SNAP_SHORT * lattice.shortest[end])
    end, other, share, away = end[near], other[near], share[near], away[near]
    order = np.lexsort((other, away, end))
    first = order[np.unique(end[order], return_index=True)[1]]
    moved = points.copy()
    v, w = end[first], other[first]
    moved[v] = points[v] + share[first, None] * (points[w] - points[v])
    rivals = sets[w, 0]
    sets[v, 1] = rivals
    # In the grading's flatter tetrahedra two moves can come together: those go back.
    touched = np.zeros(len(points), dtype=bool)
    touched[v] = True
    suspects = np.flatnonzero(touched[lattice.tets].any(axis=1))
    whole = _LEAST_VOLUME * lattice.volume[suspects]
    while (crushed := volumes_of(moved, lattice.tets[suspects]) < whole).any():
        back = np.unique(lattice.tets[suspects[crushed]])
        moved[back], sets[back, 1] = points[back], -1
    return moved


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
    lattice: Lattice,
    crossing: NDArray[np.int64],
    where: NDArray[np.float64],
    sets: NDArray[np.int64],
    fields: Fields,
) -> Stuffed:
    """Split the crossing edges, longest first, and give every tetrahedron its label."""
    a, b = (points[lattice.edges[crossing, i]] for i in (0, 1))
    order = np.lexsort((crossing, -np.round(np.linalg.norm(b - a, axis=1), 9)))
    crossing, cuts = crossing[order], (a + where[:, None] * (b - a))[order]
    ends = [sets[lattice.edges[crossing, i]] for i in (0, 1)]
    cut_sets = np.full((len(cuts), 3), -1, dtype=np.int64)
    for i in (0, 1):
        cut_sets[:, i] = fields.leader(cuts, ends[i])
    none = len(cuts)
    rank = np.full(len(lattice.edges), none, dtype=np.int64)
    rank[crossing] = np.arange(none)
    tets, parent = _split(lattice.tets, rank[lattice.of_tet], none, len(points), EDGES_OF_TET)
    points, sets = np.concatenate([points, cuts]), np.concatenate([sets, cut_sets])
    return Stuffed(points, tets, _label_tets(points, tets, sets, fields), parent)


@numba.njit(cache=True)
def _split(tets, rank, none, first_cut, edges):  # type: ignore[no-untyped-def]
    """Bisect the edges with a rank below `none` at vertex `first_cut` + rank, lowest rank first.

    Returns the tetrahedra and which of `tets` each comes from, those of one parent together.
    """
    stack, ranks = np.empty((16, 4), np.int64), np.empty((16, 6), np.int64)
    room = 2 * len(tets) + 64
    out, parent = np.empty((room, 4), np.int64), np.empty(room, np.int64)
    found = 0
    for t in range(len(tets)):
        stack[0], ranks[0] = tets[t], rank[t]
        depth = 1
        while depth:
            top = depth - 1
            edge = 0
            for e in range(1, 6):
                if ranks[top, e] < ranks[top, edge]:
                    edge = e
            cut = ranks[top, edge]
            if cut == none:
                if found == room:
                    room *= 2
                    more, mores = np.empty((room, 4), np.int64), np.empty(room, np.int64)
                    more[:found], mores[:found] = out, parent
                    out, parent = more, mores
                out[found], parent[found] = stack[top], t
                found += 1
                depth -= 1
                continue
            stack[depth], ranks[depth] = stack[top], ranks[top]
            for half in range(2):
                end, at = edges[edge, half], top + half
                stack[at, end] = first_cut + cut
                for e in range(6):
                    if edges[e, 0] == end or edges[e, 1] == end:
                        ranks[at, e] = none
            depth += 1
    return out[:found].copy(), parent[:found].copy()


def _label_tets(
    points: NDArray[np.float64], tets: NDArray[np.int64], sets: NDArray[np.int64], fields: Fields
) -> NDArray[np.int64]:
    """Label each tetrahedron (m,): the only one its vertices share, else the one that wins at its centroid."""
    label, common = _common_labels(tets, sets)
    open_ = np.flatnonzero(label < 0)
    centroid = points[tets[open_]].mean(axis=1)
    several = (common[open_] >= 0).any(axis=1)
    label[open_[several]] = fields.leader(centroid[several], common[open_[several]])
    label[open_[~several]] = fields.winner(centroid[~several])
    return label


@numba.njit(cache=True)
def _common_labels(tets, sets):  # type: ignore[no-untyped-def]
    """The label that the vertices of each tetrahedron share, -1 unless it is one; and all they share, padded."""
    label = np.empty(len(tets), np.int64)
    common = np.full((len(tets), 3), -1, np.int64)
    for t in range(len(tets)):
        count = 0
        for i in range(3):
            candidate = sets[tets[t, 0], i]
            if candidate < 0:
                continue
            everywhere = True
            for corner in range(1, 4):
                v = tets[t, corner]
                everywhere &= sets[v, 0] == candidate or sets[v, 1] == candidate or sets[v, 2] == candidate
            if everywhere:
                common[t, count] = candidate
                count += 1
        label[t] = common[t, 0] if count == 1 else -1
    return label, common
