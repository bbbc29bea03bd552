"""Dihedral angles of tetrahedra, and the moves that improve the worst of them.

Cutting leaves a few tetrahedra in a thousand with poor angles. Each vertex of such a tetrahedron in turn tries
small moves and takes the one after which the worst tetrahedron around it is best (local optimisation as in
Freitag & Ollivier-Gooch 1997, by compass search, because the measure is not smooth). Vertices inside a
structure move freely; those on an interface slide in its tangent plane and leave it by a few hundredths of an
edge at most; those on a line or corner of the surface move as little in every direction. Vertices are visited
in order of their number: the result is the same on every run.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from anatomy.lattice.topology import EDGES_OF_TET, neighbours_of, stars_of, volumes_of
from anatomy.mesh import FACETS_OF_TET

# The range every dihedral angle is worked towards, degrees.
LEAST_ANGLE, LARGEST_ANGLE = 12.5, 139.0
# How far a vertex may stray, in units of its mean edge: inside, along a surface, off a surface.
_FREE, _ALONG, _OFF = 0.5, 0.35, 0.06
# How many times as far where that was not enough.
_SECOND_CHANCE = 3.0
# Facet normals around a smooth surface vertex lie within this cosine of their mean.
_SMOOTH_COSINE = 0.6
_PASSES = 12
# Quality (see `_worst_around`) at which a vertex is left in peace.
_ENOUGH = 1.1


def dihedral_angles(points: NDArray[np.float64], tets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Least and largest dihedral angle of each tetrahedron, degrees; shape (m, 2)."""
    angles: NDArray[np.float64] = _extreme_angles(points, tets)
    return angles


def all_dihedral_angles(points: NDArray[np.float64], tets: NDArray[np.int64]) -> NDArray[np.float64]:
    """All six dihedral angles of each tetrahedron, degrees; shape (m, 6)."""
    corner = points[tets]
    normal = np.stack([_normals(corner[:, FACETS_OF_TET[f]]) for f in range(4)], axis=1)
    pairs = [(i, j) for i in range(3) for j in range(i + 1, 4)]
    cosine = np.stack([np.einsum("ij,ij->i", normal[:, i], normal[:, j]) for i, j in pairs], axis=1)
    return np.asarray(180.0 - np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))))


def radius_ratios(points: NDArray[np.float64], tets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Three times the inscribed over the circumscribed radius of each tetrahedron, shape (m,).

    1 for the regular tetrahedron, 0 for a flat one (Liu & Joe 1994, BIT 34:268). With volume V, facet areas A and
    products p, q, r of the lengths of opposite edges the radii are 3 V / Σ A and
    √((p + q + r)(p + q − r)(p − q + r)(q + r − p)) / 24 V.
    """
    volume = volumes_of(points, tets)
    corner = points[tets]
    area = np.zeros(len(tets))
    for facet in FACETS_OF_TET:
        a, b, c = (corner[:, i] for i in facet)
        area += 0.5 * np.linalg.norm(np.cross(b - a, c - a), axis=1)
    length = {(i, j): np.linalg.norm(corner[:, i] - corner[:, j], axis=1) for i, j in EDGES_OF_TET.tolist()}
    p, q, r = (length[0, k] * length[i, j] for k, i, j in ((1, 2, 3), (2, 1, 3), (3, 1, 2)))
    product = (p + q + r) * (p + q - r) * (p - q + r) * (q + r - p)
    circumscribed = np.sqrt(np.maximum(product, 0.0)) / (24.0 * volume)
    return np.asarray(3.0 * (3.0 * volume / area) / circumscribed)


def _normals(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    return np.asarray(cross / np.maximum(np.linalg.norm(cross, axis=1, keepdims=True), 1e-300))


@dataclass(frozen=True)
class _Freedom:
    """What each vertex may do: its mean edge (n,), unit normal (n, 3), and reach along and across it (n,)."""

    scale: NDArray[np.float64]
    normal: NDArray[np.float64]
    along: NDArray[np.float64]
    across: NDArray[np.float64]


def improved(
    points: NDArray[np.float64], tets: NDArray[np.int64], label: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Vertex positions (n, 3) mm after which the worst dihedral angles are better.

    Parameters
    ----------
    points, tets, label
        A conforming mesh and the label of each tetrahedron; only points change, and no tetrahedron inverts.
    """
    if not _outside_range(points, tets).any():
        return points
    freedom = _freedom(points, tets, label)
    starts, around = stars_of(tets, len(points))
    rest, points = points, points.copy()
    for share in (1.0, _SECOND_CHANCE):
        along, across = freedom.along * share, freedom.across * share
        suspects = np.arange(len(tets))
        for _ in range(_PASSES):
            bad = _outside_range(points, tets[suspects])
            vertices = np.unique(tets[suspects[bad]])
            moved = _compass(
                points, rest, tets, starts, around, vertices, freedom.scale, freedom.normal, along, across
            )
            if not moved:
                break
            # Only tetrahedra around these vertices can have changed.
            touched = np.zeros(len(points), dtype=bool)
            touched[vertices] = True
            suspects = np.flatnonzero(touched[tets].any(axis=1))
    return points


def _outside_range(points: NDArray[np.float64], tets: NDArray[np.int64]) -> NDArray[np.bool_]:
    angles = dihedral_angles(points, tets)
    outside: NDArray[np.bool_] = (angles[:, 0] < LEAST_ANGLE) | (angles[:, 1] > LARGEST_ANGLE)
    return outside


def _freedom(points: NDArray[np.float64], tets: NDArray[np.int64], label: NDArray[np.int64]) -> _Freedom:
    count = len(points)
    scale = _mean_edges(points, tets)
    facets, unit, area = _interface_facets(points, tets, label)
    normal = np.zeros((count, 3))
    for corner in range(3):
        for axis in range(3):
            normal[:, axis] += np.bincount(facets[:, corner], unit[:, axis] * area, minlength=count)
    size = np.linalg.norm(normal, axis=1)
    normal /= np.maximum(size, 1e-12)[:, None]
    flattest = np.ones(count)
    for corner in range(3):
        np.minimum.at(flattest, facets[:, corner], np.einsum("ij,ij->i", unit, normal[facets[:, corner]]))
    on_surface = np.zeros(count, dtype=bool)
    on_surface[facets] = True
    smooth = flattest > _SMOOTH_COSINE
    along = np.where(on_surface, np.where(smooth, _ALONG, _OFF), _FREE) * scale
    across = np.where(on_surface, _OFF, _FREE) * scale
    return _Freedom(scale, normal, along, across)


def _interface_facets(
    points: NDArray[np.float64], tets: NDArray[np.int64], label: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Facets (k, 3) between labels and outside, each once, seen from the smaller label; unit normals, areas."""
    across = neighbours_of(tets)
    other = np.where(across >= 0, label[np.maximum(across, 0)], 0)
    tet, facet = np.nonzero((other == 0) | (other > label[:, None]))
    facets = tets[tet[:, None], FACETS_OF_TET[facet]]
    a, b, c = (points[facets[:, corner]] for corner in range(3))
    cross = np.cross(b - a, c - a)
    double = np.linalg.norm(cross, axis=1)
    return facets, cross / np.maximum(double, 1e-300)[:, None], 0.5 * double


@numba.njit(cache=True)
def _mean_edges(points, tets):  # type: ignore[no-untyped-def]
    """Mean length of the edges at each vertex, an edge once for each tetrahedron around it."""
    length, number = np.zeros(len(points)), np.zeros(len(points))
    for t in range(len(tets)):
        for i in range(3):
            for j in range(i + 1, 4):
                a, b = tets[t, i], tets[t, j]
                edge = 0.0
                for c in range(3):
                    edge += (points[a, c] - points[b, c]) ** 2
                edge = np.sqrt(edge)
                length[a] += edge
                length[b] += edge
                number[a] += 1
                number[b] += 1
    return length / np.maximum(number, 1.0)


@numba.njit(cache=True)
def _shape(corner, normal):  # type: ignore[no-untyped-def]
    """Least and largest dihedral angle of one tetrahedron (4, 3), degrees; (-1, 181) when flat or inverted."""
    volume = 0.0
    for f in range(4):
        # Facet f lies opposite corner f; `p, q, r` wind it outwards.
        if f == 0:
            p, q, r = 1, 2, 3
        elif f == 1:
            p, q, r = 0, 3, 2
        elif f == 2:
            p, q, r = 0, 1, 3
        else:
            p, q, r = 0, 2, 1
        ux, uy, uz = (
            corner[q, 0] - corner[p, 0],
            corner[q, 1] - corner[p, 1],
            corner[q, 2] - corner[p, 2],
        )
        vx, vy, vz = (
            corner[r, 0] - corner[p, 0],
            corner[r, 1] - corner[p, 1],
            corner[r, 2] - corner[p, 2],
        )
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        size = np.sqrt(nx * nx + ny * ny + nz * nz)
        if size == 0.0:
            return -1.0, 181.0
        normal[f, 0], normal[f, 1], normal[f, 2] = nx / size, ny / size, nz / size
        if f == 0:
            volume = (
                nx * (corner[1, 0] - corner[0, 0])
                + ny * (corner[1, 1] - corner[0, 1])
                + nz * (corner[1, 2] - corner[0, 2])
            )
    if volume <= 0.0:
        return -1.0, 181.0
    low, high = 1.0, -1.0
    for i in range(3):
        for j in range(i + 1, 4):
            dot = normal[i, 0] * normal[j, 0] + normal[i, 1] * normal[j, 1] + normal[i, 2] * normal[j, 2]
            low, high = min(low, dot), max(high, dot)
    # Outward normals n of two facets enclose the dihedral angle π − arccos(n · n').
    least = 180.0 - np.degrees(np.arccos(max(-1.0, low)))
    return least, 180.0 - np.degrees(np.arccos(min(1.0, high)))


@numba.njit(cache=True)
def _extreme_angles(points, tets):  # type: ignore[no-untyped-def]
    out = np.empty((len(tets), 2))
    corner, normal = np.empty((4, 3)), np.empty((4, 3))
    for t in range(len(tets)):
        for i in range(4):
            corner[i] = points[tets[t, i]]
        out[t, 0], out[t, 1] = _shape(corner, normal)
    return out


@numba.njit(cache=True)
def _worst_around(points, tets, starts, around, vertex, at, floor):  # type: ignore[no-untyped-def]
    """Least quality of the tetrahedra around a vertex put at `at`; stops early below `floor`.

    Quality is the least of angle / LEAST_ANGLE and (180 − angle) / (180 − LARGEST_ANGLE); −1 when inverted.
    """
    worst = 1e9
    corner = np.empty((4, 3))
    normal = np.empty((4, 3))
    for k in range(starts[vertex], starts[vertex + 1]):
        tet = around[k]
        for i in range(4):
            v = tets[tet, i]
            for c in range(3):
                corner[i, c] = at[c] if v == vertex else points[v, c]
        least, largest = _shape(corner, normal)
        if least < 0.0:
            return -1.0
        worst = min(worst, least / LEAST_ANGLE, (180.0 - largest) / (180.0 - LARGEST_ANGLE))
        if worst <= floor:
            return worst
    return worst


@numba.njit(cache=True)
def _compass(points, rest, tets, starts, around, vertices, scale, normal, along, across):  # type: ignore[no-untyped-def]
    """Move the vertices, in place, to better places within their freedom; how many moved."""
    moved = 0
    trial = np.empty(3)
    best = np.empty(3)
    for vertex in vertices:
        quality = _worst_around(points, tets, starts, around, vertex, points[vertex], -2.0)
        start = quality
        step = 0.2 * scale[vertex]
        while step > 0.008 * scale[vertex] and quality < _ENOUGH:
            found = quality
            for direction in range(26):
                code = direction if direction < 13 else direction + 1
                dx, dy, dz = code // 9 - 1, code // 3 % 3 - 1, code % 3 - 1
                size = step / np.sqrt(dx * dx + dy * dy + dz * dz)
                trial[0] = points[vertex, 0] + size * dx - rest[vertex, 0]
                trial[1] = points[vertex, 1] + size * dy - rest[vertex, 1]
                trial[2] = points[vertex, 2] + size * dz - rest[vertex, 2]
                off = (
                    trial[0] * normal[vertex, 0] + trial[1] * normal[vertex, 1] + trial[2] * normal[vertex, 2]
                )
                kept = min(across[vertex], max(-across[vertex], off))
                flat = 0.0
                for c in range(3):
                    trial[c] -= off * normal[vertex, c]
                    flat += trial[c] * trial[c]
                flat = np.sqrt(flat)
                shrink = min(1.0, along[vertex] / flat) if flat > 0.0 else 1.0
                for c in range(3):
                    trial[c] = rest[vertex, c] + trial[c] * shrink + kept * normal[vertex, c]
                reached = _worst_around(points, tets, starts, around, vertex, trial, found)
                if reached > found + 1e-6:
                    found = reached
                    best[:] = trial
            if found > quality:
                quality = found
                points[vertex] = best
            else:
                step *= 0.5
        if quality > start:
            moved += 1
    return moved
