"""Vessel trees grown inside an organ by constrained constructive optimisation, with Murray's law for the calibres.

Terminals are added one at a time: a point is drawn in the tissue, joined to the segment and at the fork that add
the least blood volume (Schreiner & Buxbaum 1993, IEEE Trans Biomed Eng 40:482; in three dimensions and concave
organs Karch et al. 1999, Comput Biol Med 29:19). Every terminal carries the same flow, so Murray's law
r_parent^3 = sum r_child^3 (Murray 1926, PNAS 12:207) gives a segment that feeds n terminals the radius
r_terminal * n^(1/3), exactly, at every fork.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy import ndimage

from anatomy.vessels.tree import VesselTree

MURRAY_EXPONENT = 3.0


@njit(cache=True)
def _lookup(sdf, origin, step, p):  # type: ignore[no-untyped-def]
    """The organ's distance at a world point: trilinear, far outside the grid 60."""
    n = sdf.shape
    u = (p[0] - origin[0]) / step[0]
    v = (p[1] - origin[1]) / step[1]
    w = (p[2] - origin[2]) / step[2]
    i, j, k = int(np.floor(u)), int(np.floor(v)), int(np.floor(w))
    if i < 0 or j < 0 or k < 0 or i > n[2] - 2 or j > n[1] - 2 or k > n[0] - 2:
        return 60.0
    u -= i
    v -= j
    w -= k
    out = 0.0
    for a in range(2):
        for b in range(2):
            for c in range(2):
                weight = (w if a else 1 - w) * (v if b else 1 - v) * (u if c else 1 - u)
                out += weight * sdf[k + a, j + b, i + c]
    return out


@njit(cache=True)
def _gap(p1, q1, p2, q2):  # type: ignore[no-untyped-def]
    """Distance of two segments (Ericson 2005, Real-Time Collision Detection, 5.1.9)."""
    d1 = q1 - p1
    d2 = q2 - p2
    r = p1 - p2
    a = np.dot(d1, d1) + 1e-12
    e = np.dot(d2, d2) + 1e-12
    f = np.dot(d2, r)
    c = np.dot(d1, r)
    b = np.dot(d1, d2)
    den = a * e - b * b
    s = min(max((b * f - c * e) / den, 0.0), 1.0) if den > 1e-9 else 0.0
    t = (b * s + f) / e
    if t < 0.0:
        t = 0.0
        s = min(max(-c / a, 0.0), 1.0)
    elif t > 1.0:
        t = 1.0
        s = min(max((b - c) / a, 0.0), 1.0)
    gap = r + s * d1 - t * d2
    return np.sqrt(np.dot(gap, gap))


@njit(cache=True)
def _clear(a, b, radius, sdf, origin, step, wall, obstacles):  # type: ignore[no-untyped-def]
    """Whether a segment stays in the organ, deeper than `wall` plus its radius, and off the obstacles."""
    length = np.sqrt(np.dot(b - a, b - a))
    many = max(2, int(length / 2.5))
    for s in range(1, many + 1):
        if _lookup(sdf, origin, step, a + (b - a) * (s / many)) > -(wall + radius):
            return False
    for o in obstacles:  # noqa: SIM110 - a generator does not compile
        if _gap(a, b, o[0:3], o[3:6]) < radius + o[6] + 0.9:
            return False
    return True


# Where a fork may lie: shares of the segment's start, its end and the new terminal; on a first branch only along it.
_FREE = np.array([
    [0.45, 0.45, 0.10], [0.60, 0.20, 0.20], [0.20, 0.60, 0.20], [0.34, 0.33, 0.33], [0.75, 0.10, 0.15],
    [0.15, 0.70, 0.15], [0.50, 0.25, 0.25], [0.25, 0.50, 0.25],
])  # fmt: skip
_ALONG = np.array([[1.0 - t, t, 0.0] for t in (0.15, 0.3, 0.45, 0.6, 0.75, 0.88)])


@njit(cache=True)
def _distances(p, pos, parent, count):  # type: ignore[no-untyped-def]
    """Distance of a point from each segment, by the row of its lower node; 1e9 at roots."""
    out = np.full(count, 1e9)
    for i in range(count):
        if parent[i] >= 0:
            a = pos[parent[i]]
            d = pos[i] - a
            t = min(max(np.dot(p - a, d) / (np.dot(d, d) + 1e-12), 0.0), 1.0)
            g = p - a - t * d
            out[i] = np.sqrt(np.dot(g, g))
    return out


@njit(cache=True)
def _length(a, b):  # type: ignore[no-untyped-def]
    return np.sqrt(np.dot(b - a, b - a))


@njit(cache=True)
def _upstream(i, pos, parent, load):  # type: ignore[no-untyped-def]
    """Volume (over pi unit_radius^2) that one more terminal adds to the segments above row i."""
    more = 0.0
    j = parent[i]
    while parent[j] >= 0:
        more += _length(pos[j], pos[parent[j]]) * ((load[j] + 1.0) ** (2.0 / 3.0) - load[j] ** (2.0 / 3.0))
        j = parent[j]
    return more


@njit(cache=True)
def _best_fork(p, near, pos, parent, load, fixed, unit, sdf, origin, step, wall, obstacles, free, along):  # type: ignore[no-untyped-def]
    """The segment and the fork on it that join terminal p at the least added volume; row -1 when none may."""
    best, best_i, best_b = 1e18, -1, p.copy()
    order = np.argsort(near)
    for q in range(min(14, len(near))):
        i = order[q]
        if near[i] > 1e8:
            break
        a, e = pos[parent[i]], pos[i]
        whole = load[i] ** (2.0 / 3.0)
        joined = (load[i] + 1.0) ** (2.0 / 3.0)
        radius = unit * (load[i] + 1.0) ** (1.0 / 3.0)
        base = _upstream(i, pos, parent, load) - _length(a, e) * whole
        options = along if fixed[i] else free
        for o in range(len(options)):
            b = options[o, 0] * a + options[o, 1] * e + options[o, 2] * p
            la, le, lp = _length(a, b), _length(b, e), _length(b, p)
            if la < 1.2 * radius or le < 1.2 * radius or lp < 3.0:
                continue
            cost = base + la * joined + le * whole + lp
            if cost >= best or not _clear(b, p, unit, sdf, origin, step, wall, obstacles):
                continue
            if not fixed[i]:
                if not _clear(a, b, radius, sdf, origin, step, wall, obstacles):
                    continue
                if not _clear(b, e, radius, sdf, origin, step, wall, obstacles):
                    continue
            best, best_i, best_b = cost, i, b.copy()
    return best_i, best_b


@njit(cache=True)
def _grow(  # type: ignore[no-untyped-def]
    draws, pos, parent, load, fixed, count, want, unit, sdf, origin, step, wall, obstacles, free, along
):
    """Add terminals from `draws` until `want` more are in; returns the number of nodes."""
    placed = 0
    spread = 17.0  # least distance of a new terminal from the tree, mm; shrinks as the tissue fills
    for n in range(len(draws)):
        if placed == want:
            break
        p = draws[n]
        spread *= 0.9985
        near = _distances(p, pos, parent, count)
        if near.min() < max(spread, 5.0):
            continue
        i, b = _best_fork(
            p, near, pos, parent, load, fixed, unit, sdf, origin, step, wall, obstacles, free, along
        )
        if i < 0:
            continue
        # The fork takes the old segment's upper part, the old node hangs below it.
        fork = count
        pos[fork] = b
        parent[fork] = parent[i]
        load[fork] = load[i]
        fixed[fork] = fixed[i]
        parent[i] = fork
        pos[count + 1] = p
        parent[count + 1] = fork
        load[count + 1] = 1.0
        fixed[count + 1] = False
        j = fork
        while j >= 0:
            load[j] += 1.0
            j = parent[j]
        count += 2
        placed += 1
    return count


def grow_tree(
    skeleton: NDArray[np.float64],
    parents: list[int],
    terminals: int,
    unit_radius: float,
    organ: tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.float64]],
    obstacles: NDArray[np.float64],
    rng: np.random.Generator,
) -> VesselTree:
    """Grow a tree from a skeleton of first branches.

    Parameters
    ----------
    skeleton, parents
        Nodes (n, 3) in mm and the row of each one's parent (-1 at roots). Its leaves are terminals too.
    terminals : int
        Terminals to add.
    unit_radius : float
        Radius of a terminal segment, mm.
    organ : tuple
        Signed distance (z, y, x) of the organ, and origin (3,) and step (3,) of its grid in mm, x first.
    obstacles : ndarray, shape (k, 7)
        Capsules to stay off: start, end, radius, mm.
    rng : numpy.random.Generator
        Where the terminals come from.

    Returns
    -------
    VesselTree
        With curved segments: each is cut into bends of the same radius.
    """
    sdf, origin, step = organ
    first = len(skeleton)
    pos, parent, load = _start(skeleton, parents, first + 2 * terminals)
    fixed = np.arange(len(pos)) < first
    draws = _draw_terminals(skeleton, organ, 400 * terminals, rng)
    count = _grow(
        draws, pos, parent, load, fixed, first, terminals, unit_radius, sdf, origin, step, 1.8, obstacles, _FREE, _ALONG
    )  # fmt: skip
    radius = unit_radius * np.cbrt(load[:count])
    ordered = _sort(pos[:count], radius, parent[:count])
    return _bend(ordered[0], ordered[1], ordered[2], rng)


def _start(skeleton, parents, room):  # type: ignore[no-untyped-def]
    """Room for all nodes, filled with the first branches; the load of a segment is the terminals below it."""
    first = len(skeleton)
    pos = np.zeros((room, 3))
    pos[:first] = skeleton
    parent = np.full(room, -1, dtype=np.int64)
    parent[:first] = parents
    load = np.zeros(room)
    for leaf in set(range(first)) - set(parents):
        row = leaf
        while row >= 0:
            load[row] += 1.0
            row = int(parent[row])
    return pos, parent, load


def _draw_terminals(skeleton, organ, count, rng):  # type: ignore[no-untyped-def]
    """Random points deeper than 3 mm in the organ, in a box around the first branches; the same on every grid."""
    sdf, origin, step = organ
    low = skeleton.min(axis=0) - np.array([120.0, 90.0, 140.0])
    high = skeleton.max(axis=0) + np.array([120.0, 110.0, 60.0])
    draws = rng.uniform(low, high, (count, 3))
    depth = ndimage.map_coordinates(sdf, ((draws - origin) / step).T[::-1], order=1, mode="nearest")
    return np.ascontiguousarray(draws[depth < -3.0])


def _sort(pos, radius, parent):  # type: ignore[no-untyped-def]
    """Rows reordered so that every parent comes before its children."""
    depth = np.zeros(len(parent), dtype=np.int64)
    for row in range(len(parent)):
        up = parent[row]
        while up >= 0:
            depth[row] += 1
            up = parent[up]
    order = np.argsort(depth, kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    up = parent[order]
    return pos[order], radius[order], np.where(up >= 0, rank[up], -1)


def _bend(pos, radius, parent, rng):  # type: ignore[no-untyped-def]
    """Replace straight segments by gently curved ones (cubic Hermite), about 4 mm a piece."""
    points: list[NDArray[np.float64]] = []
    radii: list[float] = []
    parents: list[int] = []
    row_of: dict[int, int] = {}
    for row in range(len(pos)):
        up = int(parent[row])
        if up < 0:
            row_of[row] = len(points)
            points.append(pos[row])
            radii.append(radius[row])
            parents.append(-1)
            continue
        a, b = pos[up], pos[row]
        length = float(np.linalg.norm(b - a))
        before = a - pos[parent[up]] if parent[up] >= 0 else b - a
        before = before / max(float(np.linalg.norm(before)), 1e-9)
        onward = (b - a) / length
        slope_a = 0.45 * length * (0.5 * before + 0.5 * onward)
        slope_b = length * (onward + 0.22 * rng.normal(size=3))
        pieces = int(np.clip(round(length / 4.0), 1, 12))
        last = row_of[up]
        for t in np.arange(1, pieces + 1) / pieces:
            h = (2 * t**3 - 3 * t**2 + 1, t**3 - 2 * t**2 + t, -2 * t**3 + 3 * t**2, t**3 - t**2)
            points.append(h[0] * a + h[1] * slope_a + h[2] * b + h[3] * 0.5 * slope_b)
            radii.append(radius[row])
            parents.append(last)
            last = len(points) - 1
        row_of[row] = last
    return VesselTree(np.array(points), np.array(radii), np.array(parents, dtype=np.int64))
