"""Sheets: the surfaces along which tissue is cut, where the organ lies while it is cut.

A sheet knows two things of a point: its signed distance φ, whose zero is the surface, and its extent ψ, which is
negative over the part of the surface that the instrument really swept. φ need only be a distance near the surface;
its sign tells the two sides apart and its zero is found along the edges of the mesh. Positions are millimetres in the
DICOM patient frame, in the deformed organ. The smooth sheets of a resection are in `solver.cutting.smooth`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from solver.errors import SolverError

Array = NDArray[np.float64]

# A path shorter than this, seen along the blade, is a point.
_NO_LENGTH_MM = 1e-6


class Sheet(Protocol):
    """A cut surface."""

    def distance(self, points: Array) -> Array:
        """Signed distance φ of points (k, 3), mm, shape (k,): zero on the surface, of either sign beside it."""

    def extent(self, points: Array) -> Array:
        """How far points (k, 3) lie from the swept part, mm, shape (k,): negative inside it, seen along the surface."""


def _numbers(what: str, values: ArrayLike) -> Array:
    try:
        return np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise SolverError(f"{what} is {values!r}; give numbers.") from None


def finite_points(what: str, values: ArrayLike, least: int) -> Array:
    """Points (k, 3) with at least `least` rows.

    Raises
    ------
    SolverError
        If the shape is wrong, a coordinate is not finite, or there are too few.
    """
    points = _numbers(what, values)
    if points.ndim != 2 or points.shape[1] != 3 or len(points) < least:
        raise SolverError(f"{what} has shape {points.shape}; give at least {least} points (x, y, z) in mm.")
    if not np.isfinite(points).all():
        raise SolverError(f"{what} holds values that are not finite; give coordinates in mm.")
    return points


def _point(what: str, values: ArrayLike) -> Array:
    return np.asarray(finite_points(what, _numbers(what, values)[None], 1)[0])


def unit(what: str, values: ArrayLike) -> Array:
    """A direction as a unit vector, shape (3,).

    Raises
    ------
    SolverError
        If it is not three finite numbers, or has no length.
    """
    vector = _numbers(what, values)
    size = float(np.linalg.norm(vector)) if vector.shape == (3,) else np.nan
    if not np.isfinite(size) or size == 0.0:
        raise SolverError(f"{what} is {values!r}; give three finite numbers that are not all zero.")
    return np.asarray(vector / size)


def positive(what: str, value: float) -> float:
    """A length above 0.

    Raises
    ------
    SolverError
        If it is not.
    """
    if not (np.isfinite(value) and value > 0):
        raise SolverError(f"{what} is {value:g} mm; it must be above 0.")
    return float(value)


@dataclass(frozen=True, eq=False)
class Plane:
    """A flat cut through the whole organ.

    Parameters
    ----------
    point_mm : array_like, shape (3,)
        A point of the plane.
    normal : array_like, shape (3,)
        Its normal, of any length; φ is positive on that side.

    Raises
    ------
    SolverError
        If a number is not finite, or the normal has no length.
    """

    point_mm: ArrayLike
    normal: ArrayLike

    def __post_init__(self) -> None:
        object.__setattr__(self, "point_mm", _point("The point of the plane", self.point_mm))
        object.__setattr__(self, "normal", unit("The normal of the plane", self.normal))

    def distance(self, points: Array) -> Array:
        """Signed distance φ, mm."""
        return np.asarray((points - np.asarray(self.point_mm)) @ np.asarray(self.normal))

    def extent(self, points: Array) -> Array:
        """A plane has no end."""
        return np.full(len(points), -np.inf)


@dataclass(frozen=True, eq=False)
class BladeStroke:
    """A blade drawn along a path: an open ruled surface with a depth.

    The surface is {p(s) + u d}: p runs along the path, d is the direction of the blade, u reaches from `height_mm`
    above the path to `depth_mm` below it. Seen along d it is a polyline, and φ is the signed distance to that, with
    its first and last piece prolonged; ψ is the signed distance to the swept rectangle in the coordinates (s, u).

    Parameters
    ----------
    path_mm : array_like, shape (k, 3)
        Points the blade passes, k ≥ 2; where it meets the surface of the organ.
    direction : array_like, shape (3,)
        From the handle to the tip, of any length.
    depth_mm : float
        How deep the tip reaches below the path.
    height_mm : float
        Length of the blade above the path: tissue that bulges there between two points of the path is cut as well.
    rounded : bool
        Whether the ends run up in an arc, as the belly of a scalpel leaves them, or straight.

    Raises
    ------
    SolverError
        If a number is not finite, the depth or the height is not above 0, or the path has no length across the
        blade.
    """

    path_mm: ArrayLike
    direction: ArrayLike
    depth_mm: float
    height_mm: float = 30.0
    rounded: bool = True
    _path: Array = field(init=False, repr=False)

    def __post_init__(self) -> None:
        path = finite_points("The path of the stroke", self.path_mm, 2)
        direction = unit("The direction of the blade", self.direction)
        object.__setattr__(self, "direction", direction)
        object.__setattr__(self, "depth_mm", positive("The depth of the stroke", self.depth_mm))
        object.__setattr__(self, "height_mm", positive("The height of the blade", self.height_mm))
        flat = path - np.outer(path @ direction, direction)
        kept = np.r_[True, np.linalg.norm(np.diff(flat, axis=0), axis=1) > _NO_LENGTH_MM]
        if kept.sum() < 2:
            raise SolverError(
                "The stroke has no length across its blade: give two points of the path that are apart, "
                "and a direction that points into the tissue."
            )
        object.__setattr__(self, "path_mm", path)
        object.__setattr__(self, "_path", path[kept])

    @property
    def length_mm(self) -> float:
        """Length of the path across the blade, mm."""
        return float(self._length.sum())

    @cached_property
    def _axes(self) -> Array:
        """Two unit vectors (2, 3) across the blade."""
        d = np.asarray(self.direction)
        first = np.cross(d, np.eye(3)[np.argmin(np.abs(d))])
        first /= np.linalg.norm(first)
        return np.stack([first, np.cross(d, first)])

    @cached_property
    def _flat(self) -> Array:
        """The path seen along the blade, shape (k, 2)."""
        return np.asarray(self._path @ self._axes.T)

    @cached_property
    def _length(self) -> Array:
        """Length of each piece of the path seen along the blade, shape (k − 1,)."""
        return np.asarray(np.linalg.norm(np.diff(self._flat, axis=0), axis=1))

    @cached_property
    def _side(self) -> Array:
        """Normal of the path at each of its points: the sum of those of the two pieces (Baerentzen & Aanaes 2005)."""
        along = np.diff(self._flat, axis=0) / self._length[:, None]
        normal = np.stack([-along[:, 1], along[:, 0]], axis=1)
        return np.concatenate([normal[:1], normal[1:] + normal[:-1], normal[-1:]])

    def _foot(self, points: Array) -> tuple[Array, Array, Array]:
        """φ of points, their place s along the path and their depth u below it."""
        flat, height = points @ self._axes.T, points @ np.asarray(self.direction)
        best = np.full(len(points), np.inf)
        signed, place, below = np.zeros(len(points)), np.zeros(len(points)), np.zeros(len(points))
        start = np.r_[0.0, np.cumsum(self._length)]
        level = self._path @ np.asarray(self.direction)
        last = len(self._length) - 1
        for i, length in enumerate(self._length):
            along = (self._flat[i + 1] - self._flat[i]) / length
            offset = flat - self._flat[i]
            s = offset @ along
            within = np.clip(s, -np.inf if i == 0 else 0.0, np.inf if i == last else length)
            apart = offset - within[:, None] * along
            distance = np.linalg.norm(apart, axis=1)
            near = distance < best
            normal = np.where((within >= length)[:, None], self._side[i + 1], self._side[i])
            normal = np.where((within == s)[:, None], [-along[1], along[0]], normal)
            side = np.where(np.einsum("ij,ij->i", apart, normal) >= 0.0, 1.0, -1.0)
            share = np.clip(within / length, 0.0, 1.0)
            best = np.where(near, distance, best)
            signed = np.where(near, side * distance, signed)
            place = np.where(near, start[i] + within, place)
            below = np.where(near, height - (1.0 - share) * level[i] - share * level[i + 1], below)
        return signed, place, below

    def distance(self, points: Array) -> Array:
        """Signed distance φ to the ruled surface without its ends, mm."""
        return self._foot(points)[0]

    def extent(self, points: Array) -> Array:
        """Signed distance ψ to the swept rectangle, along the surface, mm."""
        _, place, below = self._foot(points)
        half = 0.5 * self.length_mm
        radius = min(self.depth_mm, half) if self.rounded else 0.0
        beyond, deep = np.abs(place - half) - half + radius, below - self.depth_mm + radius
        corner = np.hypot(np.maximum(beyond, 0.0), np.maximum(deep, 0.0))
        # Only the deep ends are round: above the path the blade stands upright at both ends.
        upright = np.maximum(np.abs(place - half) - half, below - self.depth_mm)
        box = np.where(deep > 0.0, corner + np.minimum(np.maximum(beyond, deep), 0.0) - radius, upright)
        return np.asarray(np.maximum(box, -self.height_mm - below))
