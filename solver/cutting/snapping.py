"""Snapping: where a sheet crosses the edges of a mesh, which vertices it is led through, which edges it cuts.

An edge is cut when its ends lie on different sides and a tetrahedron around it is crossed in the swept part. Where it
crosses close to an end, that end is counted to the sheet instead, which keeps the pieces from becoming slivers. An end
inside one tissue moves to the crossing, so the sheet stays smooth; one on the outer surface or between tissues stays
where it is, for moving it would change a volume. Every vertex moves along one of its edges, at the same share in all
shapes of the organ, and goes back when a tetrahedron would lose too much of its volume in any of them. (Snapping
before splitting: Labelle & Shewchuk 2007, ACM TOG 26:57; for cutting Paulus et al. 2015, Vis Comput 31:831.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from anatomy.lattice.topology import edges_of, neighbours_of, stars_of
from anatomy.mesh import FACETS_OF_TET, OrganMesh
from solver.cutting.sheet import Sheet
from solver.cutting.smooth import Values
from solver.errors import SolverError

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

# Share of an edge within which an end moves to the crossing, and within which it is led to the sheet unmoved.
MOVED_WITHIN, UNMOVED_WITHIN = 0.35, 0.2
# A move may not leave a tetrahedron less of its volume than this share, in any shape, nor a mean ratio below this in
# the scanned one, unless it was lower before.
_LEAST_SHARE, MOVED_RATIO = 0.3, 0.35
# A vertex this near the sheet, as a share of the mean edge, lies on it.
_ON = 1e-9
_REFINEMENTS = 8


@dataclass(frozen=True)
class Mesh:
    """What cutting asks of a mesh: edges, neighbours across facets, stars, and which vertices may move."""

    organ: OrganMesh
    edges: Ints  # (e, 2)
    of_tet: Ints  # (m, 6)
    across: Ints  # (m, 4)
    length: Array  # (e,) mm, scanned shape
    free: Flags  # (n,) inside one tissue
    stars: tuple[Ints, Ints]  # tetrahedra around each vertex

    @staticmethod
    def of(organ: OrganMesh) -> Mesh:
        """Look a mesh up."""
        edges, of_tet = edges_of(organ.tets)
        across = neighbours_of(organ.tets)
        length = np.linalg.norm(organ.points[edges[:, 1]] - organ.points[edges[:, 0]], axis=1)
        bound = (across < 0) | (organ.region[np.maximum(across, 0)] != organ.region[:, None])
        tet, facet = np.nonzero(bound)
        free = np.ones(len(organ.points), dtype=bool)
        free[organ.tets[tet[:, None], FACETS_OF_TET[facet]]] = False
        return Mesh(organ, edges, of_tet, across, length, free, stars_of(organ.tets, len(free)))


@dataclass
class Marks:
    """What a sheet does to a mesh.

    Attributes
    ----------
    side : ndarray, shape (n,), int8
        1 or −1, by the sign of φ; 0 for vertices the sheet is led through.
    towards : ndarray, shape (n,), int64
        Vertex towards which each moves; itself if it stays.
    share : ndarray, shape (n,), float64
        Which part of the way it moves.
    cut : ndarray, shape (k,), int64
        Edges that the sheet cuts.
    at : ndarray, shape (k,), float64
        Where, as a share from the first end.
    """

    side: NDArray[np.int8]
    towards: Ints
    share: Array
    cut: Ints
    at: Array

    def lead_through(self, vertices: Ints, mesh: Mesh) -> None:
        """Count more vertices to the sheet, where they are; their edges are no longer cut."""
        self.side[vertices] = 0
        kept = (self.side[mesh.edges[self.cut]] != 0).all(axis=1)
        self.cut, self.at = self.cut[kept], self.at[kept]

    def placed(self, points: Array) -> Array:
        """Vertices after their moves, in a shape given by its points (n, 3)."""
        moved = points.copy()
        v = np.flatnonzero(self.share)
        t = self.share[v, None]
        moved[v] = (1.0 - t) * points[v] + t * points[self.towards[v]]
        return moved


def mark(mesh: Mesh, shapes: Sequence[Array], sheet: Sheet | Values, floor_mm: float) -> Marks:
    """Find what a sheet does to a mesh.

    Parameters
    ----------
    mesh : Mesh
    shapes : sequence of ndarray, shape (n, 3)
        Positions in every shape of the organ, mm; the first is the deformed one, in which the sheet lies.
    sheet : Sheet or Values
    floor_mm : float
        No part of an edge becomes shorter.

    Raises
    ------
    SolverError
        If the sheet does not cross the organ.
    """
    positions = shapes[0]
    level = levels(sheet, positions)
    on = np.abs(level) <= _ON * float(mesh.length.mean())
    side = np.where(on, 0, np.where(level >= 0.0, 1, -1)).astype(np.int8)
    ends = side[mesh.edges]
    cut = np.flatnonzero(ends[:, 0] * ends[:, 1] < 0)
    at, met = _crossings(sheet, positions, mesh.edges[cut], level)
    cut, at = cut[met], at[met]
    swept, through = _swept(sheet, mesh, positions, cut, at, on)
    cut, at = cut[swept], at[swept]
    if not len(cut) and not through.any():
        raise SolverError(_missed(sheet, positions, level))
    side[on & ~through] = 1
    count = len(positions)
    marks = Marks(side, np.arange(count), np.zeros(count), cut, at)
    v, w, t = _nearest(marks, mesh, np.full(len(cut), MOVED_WITHIN))
    free = mesh.free[v]
    _move(marks, mesh, shapes, v[free], w[free], t[free])
    v, _, _ = _nearest(marks, mesh, np.full(len(marks.cut), UNMOVED_WITHIN))
    marks.lead_through(v, mesh)
    _spare_short(marks, mesh, shapes, floor_mm)
    return marks


def _swept(
    sheet: Sheet | Values, mesh: Mesh, positions: Array, cut: Ints, at: Array, on: Flags
) -> tuple[Flags, Flags]:
    """Which crossings, and which vertices that lie on the sheet, belong to the swept part.

    The sheet crosses a tetrahedron in a polygon; all corners of it belong when its middle lies in the swept part.
    """
    if isinstance(sheet, Values):
        return np.ones(len(cut), dtype=bool), on
    tets = mesh.organ.tets
    row = np.full(len(mesh.edges), -1, dtype=np.int64)
    row[cut] = np.arange(len(cut))
    corner = row[mesh.of_tet]
    weight = np.concatenate([corner >= 0, on[tets]], axis=1)
    met = np.flatnonzero(weight.sum(axis=1) >= 3)
    a, b = positions[mesh.edges[cut, 0]], positions[mesh.edges[cut, 1]]
    crossing = np.concatenate([a + at[:, None] * (b - a), np.zeros((1, 3))])
    places = np.concatenate([crossing[corner[met]], positions[tets[met]]], axis=1)
    middle = np.einsum("ij,ijk->ik", weight[met], places) / weight[met].sum(axis=1, keepdims=True)
    met = met[sheet.extent(middle) < 0.0]
    swept, through = np.zeros(len(cut) + 1, dtype=bool), np.zeros(len(on), dtype=bool)
    swept[corner[met]] = True
    through[tets[met]] = True
    return swept[:-1], through & on


def levels(sheet: Sheet | Values, positions: Array) -> Array:
    """φ at the vertices, mm or in the unit of the values."""
    if not isinstance(sheet, Values):
        return sheet.distance(positions)
    values = np.asarray(sheet.values)
    if len(values) != len(positions):
        raise SolverError(f"There are {len(values)} values for {len(positions)} vertices; give one each.")
    return np.asarray(values - sheet.level)


def _crossings(sheet: Sheet | Values, positions: Array, edges: Ints, level: Array) -> tuple[Array, Flags]:
    """Share along each edge at which φ vanishes, and whether it does."""
    a, b = positions[edges[:, 0]], positions[edges[:, 1]]
    fa, fb = level[edges[:, 0]], level[edges[:, 1]]
    t = fa / (fa - fb)
    if isinstance(sheet, Values):
        return t, np.ones(len(t), dtype=bool)
    low, high = np.zeros(len(t)), np.ones(len(t))
    flow, fhigh = fa.copy(), fb.copy()
    length = np.linalg.norm(b - a, axis=1)
    missed = np.zeros(len(t))
    rows = np.arange(len(t))
    for step in range(_REFINEMENTS):
        value = sheet.distance(a[rows] + t[rows, None] * (b[rows] - a[rows]))
        missed[rows] = np.abs(value)
        going = missed[rows] > 1e-4 * length[rows]
        rows, value = rows[going], value[going]
        if not len(rows):
            break
        lower = value * fa[rows] > 0
        low[rows[lower]], flow[rows[lower]] = t[rows[lower]], value[lower]
        high[rows[~lower]], fhigh[rows[~lower]] = t[rows[~lower]], value[~lower]
        # Regula falsi, and every third step a bisection where one end would stay for long.
        secant = low[rows] + (high[rows] - low[rows]) * flow[rows] / (flow[rows] - fhigh[rows])
        t[rows] = 0.5 * (low[rows] + high[rows]) if step % 3 == 2 else secant
    # Where φ jumps without vanishing (between two limbs of a path) there is no surface.
    return t, missed < 0.1 * length


def _missed(sheet: Sheet | Values, positions: Array, level: Array) -> str:
    if isinstance(sheet, Values):
        return (
            f"The level {sheet.level:g} lies outside the values, which go from {np.asarray(sheet.values).min():g} to "
            f"{np.asarray(sheet.values).max():g}; choose one between them."
        )
    reach = np.maximum(sheet.extent(positions), 0.0)
    away = float(np.hypot(level, np.where(np.isfinite(reach), reach, 0.0)).min())
    return (
        f"The cut misses the organ: it crosses none of its edges, and the nearest vertex lies {away:.1f} mm from "
        "it; place it on the organ, or cut longer or deeper."
    )


def _nearest(marks: Marks, mesh: Mesh, within: Array) -> tuple[Ints, Ints, Array]:
    """Vertices with a crossing within a share of each cut edge: vertex, other end, share; the nearest crossing each."""
    a, b = mesh.edges[marks.cut].T
    end, other = np.concatenate([a, b]), np.concatenate([b, a])
    share, length = np.concatenate([marks.at, 1.0 - marks.at]), np.tile(mesh.length[marks.cut], 2)
    near = share < np.tile(within, 2)
    end, other, share, away = end[near], other[near], share[near], (share * length)[near]
    order = np.lexsort((other, away, end))
    first = order[np.unique(end[order], return_index=True)[1]]
    return end[first], other[first], share[first]


def _move(marks: Marks, mesh: Mesh, shapes: Sequence[Array], v: Ints, w: Ints, t: Array) -> Flags:
    """Move vertices v a share t towards w, as far as every tetrahedron keeps its volume; which moved."""
    if not len(v):
        return np.zeros(0, dtype=bool)
    marks.towards[v], marks.share[v] = w, t
    every = np.ascontiguousarray(np.stack([*shapes, mesh.organ.points]))
    starts, around = mesh.stars
    _take_back(
        v, marks.towards, marks.share, mesh.organ.tets, starts, around, every, _LEAST_SHARE, MOVED_RATIO
    )
    moved = marks.share[v] > 0.0
    marks.lead_through(v[moved], mesh)
    return moved


def spare(marks: Marks, mesh: Mesh, shapes: Sequence[Array], edges: Ints) -> None:
    """Lead the sheet through the nearer end of some of the cut edges, given by their rows in `marks.cut`.

    The end moves to the crossing where it is free to, and stays where it is otherwise.
    """
    within = np.zeros(len(marks.cut))
    within[edges] = 0.5 + 1e-12
    v, w, t = _nearest(marks, mesh, within)
    free = mesh.free[v]
    moved = _move(marks, mesh, shapes, v[free], w[free], t[free])
    marks.lead_through(np.concatenate([v[~free], v[free][~moved]]), mesh)


def _spare_short(marks: Marks, mesh: Mesh, shapes: Sequence[Array], floor_mm: float) -> None:
    """Spare the edges whose parts would be shorter than the floor."""
    short = np.minimum(marks.at, 1.0 - marks.at) * mesh.length[marks.cut] < floor_mm
    spare(marks, mesh, shapes, np.flatnonzero(short))


@numba.njit(cache=True)
def _volume(x, tet):  # type: ignore[no-untyped-def]
    a, b, c, d = x[tet[0]], x[tet[1]], x[tet[2]], x[tet[3]]
    ux, uy, uz = b[0] - a[0], b[1] - a[1], b[2] - a[2]
    vx, vy, vz = c[0] - a[0], c[1] - a[1], c[2] - a[2]
    wx, wy, wz = d[0] - a[0], d[1] - a[1], d[2] - a[2]
    return (ux * (vy * wz - vz * wy) + uy * (vz * wx - vx * wz) + uz * (vx * wy - vy * wx)) / 6.0


@numba.njit(cache=True)
def _mean_ratio(x, tet):  # type: ignore[no-untyped-def]
    squares = 0.0
    for i in range(3):
        for j in range(i + 1, 4):
            for c in range(3):
                squares += (x[tet[i], c] - x[tet[j], c]) ** 2
    return 12.0 * (3.0 * max(_volume(x, tet), 0.0)) ** (2.0 / 3.0) / squares


@numba.njit(cache=True)
def mean_ratios(x, tets):  # type: ignore[no-untyped-def]
    """Mean ratio 12 (3 V)^(2/3) / Σ l² of tetrahedra: 1 if regular, 0 if flat (Liu & Joe 1994, BIT 34:268)."""
    out = np.empty(len(tets))
    for t in range(len(tets)):
        out[t] = _mean_ratio(x, tets[t])
    return out


@numba.njit(cache=True)
def shortest_edges(x, tets):  # type: ignore[no-untyped-def]
    """Length of the shortest edge of each tetrahedron."""
    out = np.empty(len(tets))
    for t in range(len(tets)):
        least = np.inf
        for i in range(3):
            for j in range(i + 1, 4):
                square = 0.0
                for c in range(3):
                    square += (x[tets[t, i], c] - x[tets[t, j], c]) ** 2
                least = min(least, square)
        out[t] = np.sqrt(least)
    return out


@numba.njit(cache=True)
def _crushed(x, shapes, tet, least, poorest):  # type: ignore[no-untyped-def]
    for s in range(len(shapes)):
        if not _volume(x[s], tet) >= least * _volume(shapes[s], tet):
            return True
    # The scanned shape is the last one.
    after = _mean_ratio(x[-1], tet)
    return after < poorest and after < _mean_ratio(shapes[-1], tet)


@numba.njit(cache=True)
def _take_back(moving, towards, share, tets, starts, around, shapes, least, poorest):  # type: ignore[no-untyped-def]
    """Undo the moves of some vertices, in place, until no tetrahedron around them is crushed in any shape."""
    x = shapes.copy()
    for s in range(len(shapes)):
        for v in range(len(share)):
            if share[v] > 0.0:
                for c in range(3):
                    x[s, v, c] += share[v] * (shapes[s, towards[v], c] - shapes[s, v, c])
    again = True
    while again:
        again = False
        for v in moving:
            if share[v] == 0.0:
                continue
            for k in range(starts[v], starts[v + 1]):
                if _crushed(x, shapes, tets[around[k]], least, poorest):
                    share[v] = 0.0
                    towards[v] = v
                    again = True
                    for s in range(len(shapes)):
                        for c in range(3):
                            x[s, v, c] = shapes[s, v, c]
                    break
