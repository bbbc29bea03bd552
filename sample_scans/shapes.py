"""Signed distance fields of simple shapes, and the smooth ways of joining them.

Every organ is a field: negative inside, positive outside, in millimetres near its surface. Fields are joined by
minimum (union) and maximum (intersection), smoothly where tissue is rounded, and an organ makes room for its
neighbour by subtraction. All fields are float32 arrays (z, y, x) over one coarse grid; the canvas renders them
finely and with partial volume, which a distance, unlike a mask, allows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy import ndimage
from scipy.interpolate import PchipInterpolator

Field = NDArray[np.float32]
FAR = np.float32(60.0)


def smooth_min(a: Field, b: Field, k: float) -> Field:
    """Union of two fields, rounded over about k mm (polynomial blend of I. Quilez)."""
    h = np.maximum(np.float32(k) - np.abs(a - b), 0.0)
    return np.minimum(a, b) - h * h * np.float32(0.25 / k)


def smooth_max(a: Field, b: Field, k: float) -> Field:
    """Intersection of two fields, rounded over about k mm."""
    h = np.maximum(np.float32(k) - np.abs(a - b), 0.0)
    return np.maximum(a, b) + h * h * np.float32(0.25 / k)


def carve(field: Field, other: Field, gap: float = 0.0, k: float = 0.0) -> Field:
    """Take away what lies in `other` or nearer than `gap` mm to it."""
    room = np.float32(gap) - other
    return smooth_max(field, room, k) if k > 0.0 else np.maximum(field, room)


def largest_piece(field: Field, keep: float = 1.0) -> Field:
    """The field with stray pieces (connected over faces) pushed outside: those smaller than `keep` of the largest."""
    pieces, count = ndimage.label(field < 0.0)
    if count < 2:
        return field
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    stray = (sizes < keep * sizes.max())[pieces] & (pieces > 0)
    return np.where(ndimage.binary_dilation(stray), np.maximum(field, np.float32(1.5)), field)


@njit(cache=True)
def _tube(out, xs, ys, zs, pts, radii, stretch, low, high):  # type: ignore[no-untyped-def]
    for s in range(len(pts) - 1):
        ax = pts[s, 0]
        ay = pts[s, 1]
        az = pts[s, 2]
        bx = (pts[s + 1, 0] - ax) * stretch[0]
        by = (pts[s + 1, 1] - ay) * stretch[1]
        bz = (pts[s + 1, 2] - az) * stretch[2]
        length = bx * bx + by * by + bz * bz + 1e-9
        for i in range(low[s, 0], high[s, 0]):
            for j in range(low[s, 1], high[s, 1]):
                for m in range(low[s, 2], high[s, 2]):
                    px = (xs[i, j, m] - ax) * stretch[0]
                    py = (ys[i, j, m] - ay) * stretch[1]
                    pz = (zs[i, j, m] - az) * stretch[2]
                    t = min(max((px * bx + py * by + pz * bz) / length, 0.0), 1.0)
                    dx = px - t * bx
                    dy = py - t * by
                    dz = pz - t * bz
                    d = np.sqrt(dx * dx + dy * dy + dz * dz) - (radii[s] + t * (radii[s + 1] - radii[s]))
                    if d < out[i, j, m]:
                        out[i, j, m] = d


@njit(cache=True)
def _superellipse(out, xs, ys, cx, cy, half_x, half_front, half_back, power):  # type: ignore[no-untyped-def]
    flat_out = out.ravel()
    flat_x = xs.ravel()
    flat_y = ys.ravel()
    per_slice = out.shape[1] * out.shape[2]
    for n in range(flat_out.size):
        k = n // per_slice
        a = half_x[k]
        dx = flat_x[n] - cx[k]
        dy = flat_y[n] - cy[k]
        b = half_front[k] if dy < 0.0 else half_back[k]
        u = abs(dx) / a
        v = abs(dy) / b
        f = (u**power + v**power) ** (1.0 / power)
        if f < 1e-3:
            flat_out[n] = -min(a, b)
            continue
        gx = (u / f) ** (power - 1.0) / a
        gy = (v / f) ** (power - 1.0) / b
        flat_out[n] = (f - 1.0) / np.sqrt(gx * gx + gy * gy)


def spline(points: Any, count: int) -> NDArray[np.float64]:
    """A smooth curve through control points: (count, d), monotone cubic with centripetal spacing."""
    p = np.asarray(points, dtype=np.float64)
    knots = np.r_[0.0, np.cumsum(np.sqrt(np.linalg.norm(np.diff(p[:, :3], axis=0), axis=1)))]
    t = np.linspace(0.0, knots[-1], count)
    return np.asarray(PchipInterpolator(knots, p, axis=0)(t))
