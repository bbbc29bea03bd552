"""Rigid shapes: the signed distance of points to tools and to bone, with its first and second derivatives.

The distance g is positive outside; its gradient n is the outward unit normal at the nearest point, and its second
derivative there the curvature that contact needs for an exact tangent. Ball, half-space and capsule have closed forms
(Ericson 2005, Real-Time Collision Detection, ch. 5). Any other closed shape is a `DistanceGrid`: distances on a regular
grid, interpolated by cubic B-splines, which have continuous second derivatives (Unser 1999, IEEE Signal Process Mag
16(6):22).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import distance_transform_edt, spline_filter

from solver.errors import SolverError

Array = NDArray[np.float64]


class Distance(NamedTuple):
    """Signed distance mm, shape (k,), its gradient, shape (k, 3), and its second derivative 1/mm, shape (k, 3, 3)."""

    gap: Array
    normal: Array
    curvature: Array


class Shape(Protocol):
    """A rigid body that knows how far points are from it."""

    def distance(self, points: Array) -> Distance:
        """Signed distance of points, shape (k, 3), mm, positive outside."""


def _point(what: str, values: ArrayLike) -> Array:
    point = np.asarray(values, dtype=np.float64)
    if point.shape != (3,) or not np.isfinite(point).all():
        raise SolverError(f"{what} is {values!r}; give three finite numbers.")
    return point


def _radius(what: str, value: float) -> float:
    if not (np.isfinite(value) and value > 0):
        raise SolverError(f"The radius of the {what} is {value:g} mm; it must be positive.")
    return float(value)


def _around(offset: Array, radius: float) -> Distance:
    """Distance of points to a ball, from their offset to its centre."""
    length = np.linalg.norm(offset, axis=1)
    safe = np.maximum(length, 1e-12)
    normal = offset / safe[:, None]
    # At the very centre every direction is as near; any is taken.
    normal[length <= 1e-12] = [0.0, 0.0, 1.0]
    across = np.eye(3) - normal[:, :, None] * normal[:, None, :]
    return Distance(length - radius, normal, across / safe[:, None, None])


@dataclass(frozen=True)
class Sphere:
    """A ball.

    Parameters
    ----------
    centre_mm : array-like, shape (3,)
        LPS.
    radius_mm : float
    """

    centre_mm: ArrayLike
    radius_mm: float

    def __post_init__(self) -> None:
        _point("The centre of the sphere", self.centre_mm)
        _radius("sphere", self.radius_mm)

    def distance(self, points: Array) -> Distance:
        """Signed distance of points, shape (k, 3), mm, positive outside."""
        return _around(points - np.asarray(self.centre_mm, dtype=np.float64), self.radius_mm)


@dataclass(frozen=True)
class Plane:
    """A half-space: everything on the far side of its normal is solid.

    Parameters
    ----------
    point_mm, normal : array-like, shape (3,)
        A point of its surface, and the direction that leads out of it, LPS.
    """

    point_mm: ArrayLike
    normal: ArrayLike

    def __post_init__(self) -> None:
        _point("The point of the plane", self.point_mm)
        if not np.linalg.norm(_point("The normal of the plane", self.normal)) > 0:
            raise SolverError("The normal of the plane is zero; give a direction.")

    def distance(self, points: Array) -> Distance:
        """Signed distance of points, shape (k, 3), mm, positive outside."""
        normal = np.asarray(self.normal, dtype=np.float64)
        normal = normal / np.linalg.norm(normal)
        gap = (points - np.asarray(self.point_mm, dtype=np.float64)) @ normal
        return Distance(gap, np.tile(normal, (len(points), 1)), np.zeros((len(points), 3, 3)))


@dataclass(frozen=True)
class Capsule:
    """A rod with round ends: all that is within a radius of a segment, as the shaft of an instrument.

    Parameters
    ----------
    start_mm, end_mm : array-like, shape (3,)
        Ends of the segment, LPS.
    radius_mm : float
    """

    start_mm: ArrayLike
    end_mm: ArrayLike
    radius_mm: float

    def __post_init__(self) -> None:
        start, end = (_point("An end of the capsule", p) for p in (self.start_mm, self.end_mm))
        if not np.linalg.norm(end - start) > 0:
            raise SolverError("The ends of the capsule coincide; use a sphere.")
        _radius("capsule", self.radius_mm)

    def distance(self, points: Array) -> Distance:
        """Signed distance of points, shape (k, 3), mm, positive outside."""
        start, end = (np.asarray(p, dtype=np.float64) for p in (self.start_mm, self.end_mm))
        axis = (end - start) / np.linalg.norm(end - start)
        along = (points - start) @ axis
        nearest = np.clip(along, 0.0, np.linalg.norm(end - start))
        found = _around(points - start - nearest[:, None] * axis, self.radius_mm)
        # Beside the shaft the distance does not change along it.
        beside = along == nearest
        length = np.maximum(found.gap[beside] + self.radius_mm, 1e-12)
        found.curvature[beside] -= np.outer(axis, axis) / length[:, None, None]
        return found


class DistanceGrid:
    """Any closed rigid shape, by its signed distance on a regular grid.

    Parameters
    ----------
    values_mm : array-like, shape (i, j, k)
        Signed distance at the grid points, positive outside.
    origin_mm : array-like, shape (3,)
        Position of the first grid point, LPS.
    spacing_mm : float or array-like, shape (3,)

    Raises
    ------
    SolverError
        If the grid has fewer than four points along an axis or holds no surface.

    Notes
    -----
    Outside the grid the distance is that of the nearest point of its border plus the way there.
    """

    def __init__(self, values_mm: ArrayLike, origin_mm: ArrayLike, spacing_mm: ArrayLike) -> None:
        values = np.asarray(values_mm, dtype=np.float64)
        if values.ndim != 3 or min(values.shape) < 4 or not np.isfinite(values).all():
            raise SolverError(
                f"A distance grid has shape {values.shape}; give at least 4 × 4 × 4 finite numbers."
            )
        if not (values.min() < 0 < values.max()):
            raise SolverError("The distance grid holds no surface; its values must change sign.")
        self.shape = np.array(values.shape)
        self.origin_mm = _point("The origin of the distance grid", origin_mm)
        self.spacing_mm = np.broadcast_to(np.asarray(spacing_mm, dtype=np.float64), (3,))
        if not (self.spacing_mm > 0).all():
            raise SolverError(f"The spacing of the distance grid is {spacing_mm!r}; it must be positive.")
        self._coefficients = np.pad(spline_filter(values, order=3, mode="mirror"), 1, mode="reflect")

    @classmethod
    def of_mask(cls, mask: ArrayLike, origin_mm: ArrayLike, spacing_mm: ArrayLike) -> DistanceGrid:
        """Shape of the voxels that are True; the surface lies half-way to their neighbours.

        Parameters
        ----------
        mask : array-like of bool, shape (i, j, k)
        origin_mm : array-like, shape (3,)
            Centre of the first voxel, LPS; axes along x, y, z.
        spacing_mm : float or array-like, shape (3,)
        """
        inside = np.asarray(mask, dtype=bool)
        spacing = np.broadcast_to(np.asarray(spacing_mm, dtype=np.float64), (3,))
        out, within = (distance_transform_edt(m, sampling=spacing) for m in (~inside, inside))
        half = spacing.mean() / 2
        return cls(np.where(inside, half - within, out - half), origin_mm, spacing_mm)

    @classmethod
    def of_surface(
        cls, points: Array, triangles: NDArray[np.int64], spacing_mm: float, margin_mm: float
    ) -> DistanceGrid:
        """Shape inside a closed triangulated surface.

        Parameters
        ----------
        points : ndarray, shape (n, 3), float64
            mm, LPS.
        triangles : ndarray, shape (f, 3), int64
            Turned outwards.
        spacing_mm : float
            Of the grid; details smaller than twice this are lost.
        margin_mm : float
            How far the grid reaches beyond the surface.

        Notes
        -----
        Every grid point is measured against every triangle; inside is where the solid angle of all triangles is 4π
        (van Oosterom & Strackee 1983, IEEE Trans Biomed Eng 30:125).
        """
        low, high = points.min(axis=0) - margin_mm, points.max(axis=0) + margin_mm
        axes = [np.arange(a, b + spacing_mm, spacing_mm) for a, b in zip(low, high, strict=True)]
        grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
        values = np.empty(len(grid))
        corners = points[triangles]
        chunk = max(1, 2_000_000 // len(triangles))
        for begin in range(0, len(grid), chunk):
            part = grid[begin : begin + chunk]
            inside = _solid_angle(part, corners) > 2 * np.pi
            values[begin : begin + chunk] = np.where(inside, -1, 1) * _unsigned(part, corners)
        return cls(values.reshape([len(a) for a in axes]), low, spacing_mm)

    def distance(self, points: Array) -> Distance:
        """Signed distance of points, shape (k, 3), mm, positive outside."""
        place = (points - self.origin_mm) / self.spacing_mm
        inside = np.clip(place, 0.0, self.shape - 1.0)
        first = np.minimum(np.floor(inside).astype(np.int64), self.shape - 2)
        t = inside - first
        weights = [_bspline(t[:, axis], order) for axis in range(3) for order in range(3)]
        index = first[:, :, None] + np.arange(4)
        c = self._coefficients[
            index[:, 0, :, None, None], index[:, 1, None, :, None], index[:, 2, None, None, :]
        ]

        # One axis after the other, so that derivatives share what they have in common.
        along_z = [np.einsum("pijk,pk->pij", c, weights[6 + k]) for k in range(3)]
        along_yz = {
            (j, k): np.einsum("pij,pj->pi", along_z[k], weights[3 + j])
            for k in range(3)
            for j in range(3 - k)
        }

        def part(i: int, j: int, k: int) -> Array:
            scale = self.spacing_mm[0] ** i * self.spacing_mm[1] ** j * self.spacing_mm[2] ** k
            return np.asarray(np.einsum("pi,pi->p", along_yz[j, k], weights[i]) / scale)

        gradient = np.stack([part(1, 0, 0), part(0, 1, 0), part(0, 0, 1)], axis=1)
        second = np.empty((len(points), 3, 3))
        for a in range(3):
            for b in range(a, 3):
                orders = [int(axis == a) + int(axis == b) for axis in range(3)]
                second[:, a, b] = second[:, b, a] = part(*orders)
        away = (points - self.origin_mm) - inside * self.spacing_mm
        beyond = np.linalg.norm(away, axis=1)
        gap = part(0, 0, 0) + beyond
        outside = beyond > 0
        gradient[outside] = away[outside] / beyond[outside, None]
        second[outside] = 0.0
        return Distance(gap, gradient, second)


def _bspline(t: Array, order: int) -> Array:
    """Weights of the four cubic B-splines around a point a share t into its cell, or a derivative, shape (k, 4)."""
    if order == 0:
        rows = [(1 - t) ** 3 / 6, 2 / 3 - t**2 + t**3 / 2, 2 / 3 - (1 - t) ** 2 + (1 - t) ** 3 / 2, t**3 / 6]
    elif order == 1:
        rows = [-((1 - t) ** 2) / 2, -2 * t + 1.5 * t**2, 2 * (1 - t) - 1.5 * (1 - t) ** 2, t**2 / 2]
    else:
        rows = [1 - t, -2 + 3 * t, -2 + 3 * (1 - t), t]
    return np.stack(rows, axis=1)


def inside(point: Array, corners: Array) -> bool:
    """Whether a point, shape (3,), is inside of a closed surface of triangles turned outwards, shape (f, 3, 3)."""
    return bool(_solid_angle(point[None], corners)[0] > 2 * np.pi)


def _solid_angle(points: Array, corners: Array) -> Array:
    """Solid angle of all triangles, shape (f, 3, 3), seen from points, shape (k, 3)."""
    a, b, c = (corners[None, :, i] - points[:, None] for i in range(3))
    la, lb, lc = (np.linalg.norm(v, axis=-1) for v in (a, b, c))
    top = np.einsum("kfi,kfi->kf", a, np.cross(b, c))
    dot = [np.einsum("kfi,kfi->kf", p, q) for p, q in ((a, b), (b, c), (c, a))]
    bottom = la * lb * lc + dot[0] * lc + dot[1] * la + dot[2] * lb
    return np.asarray(2 * np.arctan2(top, bottom).sum(axis=1))


def _unsigned(points: Array, corners: Array) -> Array:
    """Distance of points, shape (k, 3), to the nearest of triangles, shape (f, 3, 3)."""
    a, b, c = (corners[:, i] for i in range(3))
    normal = np.cross(b - a, c - a)
    length = np.linalg.norm(normal, axis=1)
    unit = normal / length[:, None]
    best = np.full(len(points), np.inf)
    offset = points[:, None] - a[None]
    height = np.einsum("kfi,fi->kf", offset, unit)
    foot = points[:, None] - height[..., None] * unit
    sides = [
        np.einsum("kfi,fi->kf", foot - p, np.cross(unit, q - p)) >= 0 for p, q in ((a, b), (b, c), (c, a))
    ]
    above = sides[0] & sides[1] & sides[2]
    best = np.where(above, np.abs(height), np.inf).min(axis=1)
    for p, q in ((a, b), (b, c), (c, a)):
        edge = q - p
        share = np.einsum("kfi,fi->kf", points[:, None] - p, edge) / np.einsum("fi,fi->f", edge, edge)
        nearest = p + np.clip(share, 0, 1)[..., None] * edge
        best = np.minimum(best, np.linalg.norm(points[:, None] - nearest, axis=-1).min(axis=1))
    return best
