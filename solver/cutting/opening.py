"""Opening a mesh along facets, so that what is left is a manifold with a closed surface.

Opened facets no longer join their two tetrahedra. A vertex on them gets one copy for every group of its tetrahedra
that still hang together over facets; a vertex at the end of a crack keeps one group and stays whole, which is what
makes the crack end there. The surface would then touch itself in an edge or a vertex in places (other than two exterior
facets at an edge, or several fans around a vertex). There tetrahedra first change the side of the cut they lie on; what
is left is closed again, facet by facet, until the surface is clean. In the end the star of every vertex hangs together
and every exterior edge has two facets. Pieces too small to be worth a name (crumbs) are not cut loose.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from anatomy.lattice.topology import stars_of
from anatomy.mesh import FACETS_OF_TET

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


# How often tetrahedra may change sides in turn.
_ROUNDS = 12


@dataclass(frozen=True)
class Opened:
    """A mesh after its facets were opened.

    Attributes
    ----------
    tets : ndarray, shape (m, 4), int64
        With the copies in the place of vertices.
    original : ndarray, shape (n', ), int64
        Vertex of which each vertex is a copy; itself for the first n.
    opened : ndarray, shape (m, 4), bool
        Facets that were opened, seen from both sides; facet i lies opposite corner i.
    closed_again : int
        Facets that had to stay closed because the surface would have touched itself.
    """

    tets: Ints
    original: Ints
    opened: Flags
    closed_again: int


def open_facets(
    tets: Ints,
    across: Ints,
    facets: Flags,
    vertices: int,
    around_too: Ints | None = None,
    volumes: Array | None = None,
    crumb_mm3: float = 0.0,
    side: NDArray[np.int8] | None = None,
    settled: Flags | None = None,
) -> Opened:
    """Open facets of a mesh.

    Parameters
    ----------
    tets : ndarray, shape (m, 4), int64
    across : ndarray, shape (m, 4), int64
        Tetrahedron across each facet, −1 where there is none.
    facets : ndarray, shape (m, 4), bool
        Facets to open, marked from both sides.
    vertices : int
        Number of vertices.
    around_too : ndarray of int64, optional
        Further vertices that are copied where their tetrahedra do not hang together.
    volumes : ndarray, shape (m,), optional
        Volumes of the tetrahedra, mm³.
    crumb_mm3 : float
        Pieces smaller than this are not cut loose.
    side : ndarray, shape (m,), int8
        Which side, 1 or −1, each tetrahedron lies on; 0 where it reaches to both. Where the surface would touch
        itself, tetrahedra change sides before facets are closed, so that the two sides still come apart.
    settled : ndarray, shape (m,), bool
        Tetrahedra that may not change sides.
    """
    facets = facets.copy()
    closed_again = 0
    touched = np.zeros(vertices, dtype=bool)
    tet, facet = np.nonzero(facets)
    touched[tets[tet[:, None], FACETS_OF_TET[facet]]] = True
    if around_too is not None:
        touched[around_too] = True
    starts, around = stars_of(tets, vertices)
    if side is not None and settled is not None:
        _change_sides(tets, across, facets, touched, starts, around, side.copy(), settled.copy())
    while True:
        made, original = _copied(tets, across, facets, np.flatnonzero(touched), starts, around, vertices)
        _close_whole(tets, made, across, facets)
        closed = _close_pinched(tets, made, across, facets, touched, starts, around)
        closed_again += closed
        if volumes is not None and crumb_mm3 > 0.0:
            closed += _close_crumbs(across, facets, volumes, crumb_mm3)
        if not closed:
            return Opened(made, original, facets, closed_again)


def _change_sides(
    tets: Ints,
    across: Ints,
    facets: Flags,
    touched: Flags,
    starts: Ints,
    around: Ints,
    side: NDArray[np.int8],
    changed: Flags,
) -> None:
    """Let tetrahedra change sides, each once at most, where the surface would touch itself; in place."""
    for _ in range(_ROUNDS):
        made, _ = _copied(tets, across, facets, np.flatnonzero(touched), starts, around, len(touched))
        _close_whole(tets, made, across, facets)
        if not _flip_pinched(tets, made, across, facets, touched, starts, around, side, changed):
            return


@numba.njit(cache=True)
def _copied(tets, across, facets, touched, starts, around, vertices):  # type: ignore[no-untyped-def]
    """Tetrahedra with a copy of each touched vertex for every group in its star, and whose copy each vertex is."""
    out = tets.copy()
    original = np.empty(vertices + 4 * len(tets), np.int64)
    for v in range(vertices):
        original[v] = v
    total = vertices
    seen = np.full(len(tets), -1, np.int64)
    stack = np.empty(len(tets), np.int64)
    for v in touched:
        name = v
        for k in range(starts[v], starts[v + 1]):
            first = around[k]
            if seen[first] == v:
                continue
            if k > starts[v]:
                name = total
                original[total] = v
                total += 1
            stack[0] = first
            seen[first] = v
            size = 1
            while size > 0:
                size -= 1
                t = stack[size]
                for f in range(4):
                    if tets[t, f] == v:
                        out[t, f] = name
                        continue
                    other = across[t, f]
                    if other >= 0 and not facets[t, f] and seen[other] != v:
                        seen[other] = v
                        stack[size] = other
                        size += 1
    return out, original[:total].copy()


@numba.njit(cache=True)
def _close_whole(tets, made, across, facets):  # type: ignore[no-untyped-def]
    """Close, in place, the opened facets none of whose corners comes apart: they join their tetrahedra as before."""
    for t in range(len(tets)):
        for f in range(4):
            if facets[t, f] and across[t, f] > t:
                other = across[t, f]
                apart = False
                for i in range(4):
                    if i != f and made[other, _corner(tets[other], tets[t, i])] != made[t, i]:
                        apart = True
                if not apart:
                    _close(across, facets, t, f)


@numba.njit(cache=True)
def _close_crumbs(across, facets, volumes, crumb):  # type: ignore[no-untyped-def]
    """Close the opened facets around pieces that are too small, in place; how many were closed."""
    seen = np.zeros(len(volumes), np.bool_)
    stack = np.empty(len(volumes), np.int64)
    closed = 0
    for first in range(len(volumes)):
        if seen[first]:
            continue
        # Pieces are walked over the facets that were closed when this began or have been since.
        stack[0] = first
        seen[first] = True
        at, size, volume = 0, 1, 0.0
        while at < size:
            t = stack[at]
            at += 1
            volume += volumes[t]
            for f in range(4):
                other = across[t, f]
                if other >= 0 and not facets[t, f] and not seen[other]:
                    seen[other] = True
                    stack[size] = other
                    size += 1
        if volume < crumb:
            for k in range(size):
                for f in range(4):
                    closed += _close(across, facets, stack[k], f)
    return closed


@numba.njit(cache=True)
def _corner(tet, vertex):  # type: ignore[no-untyped-def]
    for i in range(4):
        if tet[i] == vertex:
            return i
    return -1


@numba.njit(cache=True)
def _across_edge(tets, across, facets, t, f, v, x):  # type: ignore[no-untyped-def]
    """The exterior facet that follows facet f of t around the edge (v, x), through the tissue between them."""
    while True:
        for i in range(4):
            if i != f and tets[t, i] != v and tets[t, i] != x:
                leave = i
        if across[t, leave] < 0 or facets[t, leave]:
            return t, leave
        other = across[t, leave]
        # Entered by the facet opposite the one corner that is not of the facet left.
        for i in range(4):
            if _corner(tets[t], tets[other, i]) < 0:
                f = i
        t = other


@numba.njit(cache=True)
def _fans(v, tets, made, across, facets, starts, around, visited, fan):  # type: ignore[no-untyped-def]
    """Walk the exterior facets around a vertex of the closed mesh, fan by fan.

    Rows of `fan` become: tetrahedron, facet, number of the fan, copy of v, copy of the vertex walked around next, and
    that vertex.
    """
    total, number = 0, 0
    for k in range(starts[v], starts[v + 1]):
        for f in range(4):
            t = around[k]
            if tets[t, f] == v or not (across[t, f] < 0 or facets[t, f]) or visited[t, f] == v:
                continue
            g = f
            x = -1
            for i in range(4):
                if i != g and tets[t, i] != v:
                    x = tets[t, i]
            while visited[t, g] != v:
                visited[t, g] = v
                if total == len(fan):
                    return -1
                fan[total, 0], fan[total, 1], fan[total, 2] = t, g, number
                fan[total, 3] = made[t, _corner(tets[t], v)]
                fan[total, 4] = made[t, _corner(tets[t], x)]
                fan[total, 5] = x
                total += 1
                t, g = _across_edge(tets, across, facets, t, g, v, x)
                for i in range(4):
                    if i != g and tets[t, i] != v and tets[t, i] != x:
                        follow = tets[t, i]
                x = follow
            number += 1
    return total


@numba.njit(cache=True)
def _close(across, facets, t, f):  # type: ignore[no-untyped-def]
    """Close one opened facet from both sides; 1 if it was open."""
    if not facets[t, f]:
        return 0
    other = across[t, f]
    facets[t, f] = False
    for i in range(4):
        if across[other, i] == t:
            facets[other, i] = False
    return 1


@numba.njit(cache=True)
def _staying_fan(fan, total, copy, facets):  # type: ignore[no-untyped-def]
    """The fan of a copy of a vertex that stays: the one that reaches the old surface, or else the longest."""
    best, most = -1, -1
    for j in range(total):
        if fan[j, 3] != copy:
            continue
        size = 0
        for k in range(total):
            if fan[k, 2] == fan[j, 2]:
                size += 1 if facets[fan[k, 0], fan[k, 1]] else 1000
        if size > most:
            best, most = fan[j, 2], size
    return best


@numba.njit(cache=True)
def _close_pinched(tets, made, across, facets, touched, starts, around):  # type: ignore[no-untyped-def]
    """Close opened facets, in place, where the surface touches itself; how many were closed."""
    visited = np.full((len(tets), 4), -1, np.int64)
    fan = np.empty((4096, 6), np.int64)
    closed = 0
    was = facets.copy()
    for v in np.flatnonzero(touched):
        total = _fans(v, tets, made, across, was, starts, around, visited, fan)
        for i in range(total):
            if fan[i, 2] != _staying_fan(fan, total, fan[i, 3], was):
                closed += _close(across, facets, fan[i, 0], fan[i, 1])
            for j in range(i):
                if fan[j, 3] == fan[i, 3] and fan[j, 4] == fan[i, 4] and fan[j, 2] == fan[i, 2]:
                    closed += _close(across, facets, fan[i, 0], fan[i, 1])
                    closed += _close(across, facets, fan[j, 0], fan[j, 1])
    return closed


@numba.njit(cache=True)
def _wedge(tets, across, facets, t, f, v, x, out):  # type: ignore[no-untyped-def]
    """The tetrahedra around the edge (v, x) from facet f of t to the next exterior facet; how many."""
    size = 0
    while size < len(out):
        out[size] = t
        size += 1
        for i in range(4):
            if i != f and tets[t, i] != v and tets[t, i] != x:
                leave = i
        if across[t, leave] < 0 or facets[t, leave]:
            return size
        other = across[t, leave]
        for i in range(4):
            if _corner(tets[t], tets[other, i]) < 0:
                f = i
        t = other
    return size


@numba.njit(cache=True)
def _flip_pinched(tets, made, across, facets, touched, starts, around, side, changed):  # type: ignore[no-untyped-def]
    """Change the side of tetrahedra, in place, where the surface touches itself; how many changed."""
    visited = np.full((len(tets), 4), -1, np.int64)
    fan = np.empty((4096, 6), np.int64)
    chosen = np.zeros(len(tets), np.bool_)
    wedge, least = np.empty(256, np.int64), np.empty(256, np.int64)
    for v in np.flatnonzero(touched):
        total = _fans(v, tets, made, across, facets, starts, around, visited, fan)
        for i in range(total):
            if fan[i, 2] != _staying_fan(fan, total, fan[i, 3], facets):
                # What the fan encloses joins the side around it; where it has changed before, it is the other way.
                if facets[fan[i, 0], fan[i, 1]]:
                    within = across[fan[i, 0], fan[i, 1]]
                    chosen[fan[i, 0] if changed[within] else within] = True
                continue
            for j in range(i):
                if fan[j, 3] != fan[i, 3] or fan[j, 4] != fan[i, 4] or fan[j, 2] != fan[i, 2]:
                    continue
                # Of the wedges that meet in the edge the smallest changes sides, if none of it has yet.
                count = len(wedge) + 1
                for row in (i, j):
                    t, f, x = fan[row, 0], fan[row, 1], fan[row, 5]
                    for turn in range(2):
                        size = _wedge(tets, across, facets, t, f, v, x, wedge)
                        settled = False
                        for k in range(size):
                            settled |= changed[wedge[k]]
                        if size < count and not settled:
                            count = size
                            least[:size] = wedge[:size]
                        if turn == 1 or not facets[t, f]:
                            break
                        other = across[t, f]
                        for k in range(4):
                            if across[other, k] == t:
                                f = k
                        t = other
                for k in range(count if count <= len(wedge) else 0):
                    chosen[least[k]] = True
    done = 0
    for t in np.flatnonzero(chosen):
        if changed[t]:
            continue
        changed[t] = True
        side[t] = -side[t]
        done += 1
        for f in range(4):
            other = across[t, f]
            if other < 0:
                continue
            apart = side[other] != side[t]
            facets[t, f] = apart
            for k in range(4):
                if across[other, k] == t:
                    facets[other, k] = apart
            touched[tets[t, f]] = True
    return done
