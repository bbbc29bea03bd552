"""Tool: a rigid instrument with a place, and the outer surface of the tissue as contact sees it.

A tool is a shape of `solver.rigid` in a frame of its own, whose origin is carried to the tool's position; so it can be
moved and turned without making its distances anew. Contact is sampled at points of the outer facets, closer together
than the tool is thick, so that a tool smaller than a facet is felt where it is. Only facets whose box meets the box
of the tool are looked at (Ericson 2005, Real-Time Collision Detection, ch. 4).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numba
import numpy as np
from numpy.typing import ArrayLike, NDArray

from solver.errors import SolverError
from solver.rigid import Capsule, Distance, DistanceGrid, Shape, Sphere

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

# Contact points stand at most this share of the tool's half-thickness apart, a facet having this many rows at most.
SPACING, MOST_ROWS = 0.5, 6


@dataclass(frozen=True, eq=False)
class Tool:
    """A rigid instrument.

    Parameters
    ----------
    shape : Shape
        In the tool's own frame, mm.
    size_mm : float
        Half of its thickness where it is thinnest: the radius of a ball or a rod.
    low_mm, high_mm : ndarray, shape (3,)
        Box that holds the shape, in its own frame.
    position_mm : ndarray, shape (3,)
        Where the origin of its frame is, LPS.
    rotation : ndarray, shape (3, 3)
        From its frame to LPS.
    """

    shape: Shape
    size_mm: float
    low_mm: Array
    high_mm: Array
    position_mm: Array = field(default_factory=lambda: np.zeros(3))
    rotation: Array = field(default_factory=lambda: np.eye(3))

    @classmethod
    def ball(cls, radius_mm: float, position_mm: ArrayLike = (0.0, 0.0, 0.0)) -> Tool:
        """A ball whose centre is its position."""
        shape = Sphere((0.0, 0.0, 0.0), radius_mm)
        reach = np.full(3, float(radius_mm))
        return cls(shape, float(radius_mm), -reach, reach, _place(position_mm))

    @classmethod
    def rod(cls, radius_mm: float, shaft_mm: ArrayLike, position_mm: ArrayLike = (0.0, 0.0, 0.0)) -> Tool:
        """A rod with round ends: its tip's centre is its position, its shaft leads from there along `shaft_mm`."""
        shaft = _place(shaft_mm)
        shape = Capsule((0.0, 0.0, 0.0), shaft, radius_mm)
        low, high = np.minimum(shaft, 0.0) - radius_mm, np.maximum(shaft, 0.0) + radius_mm
        return cls(shape, float(radius_mm), low, high, _place(position_mm))

    @classmethod
    def instrument(
        cls, points: Array, triangles: Ints, spacing_mm: float = 0.5, position_mm: ArrayLike = (0.0, 0.0, 0.0)
    ) -> Tool:
        """A closed triangulated surface as a signed distance field.

        Parameters
        ----------
        points : ndarray, shape (n, 3), float64
            In the tool's own frame, mm.
        triangles : ndarray, shape (f, 3), int64
            Turned outwards.
        spacing_mm : float
            Of the grid of distances; details smaller than twice this are lost.
        position_mm : array-like, shape (3,)
        """
        points = np.asarray(points, dtype=np.float64)
        grid = DistanceGrid.of_surface(points, triangles, spacing_mm, 3 * spacing_mm)
        axes = [
            a + s * np.arange(n) for a, s, n in zip(grid.origin_mm, grid.spacing_mm, grid.shape, strict=True)
        ]
        inside = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
        depth = -float(grid.distance(inside).gap.min())
        return cls(grid, depth, points.min(axis=0), points.max(axis=0), _place(position_mm))

    def at(self, position_mm: ArrayLike) -> Tool:
        """The tool at another position."""
        return replace(self, position_mm=_place(position_mm))

    def turned(self, rotation: ArrayLike) -> Tool:
        """The tool turned to a rotation matrix, shape (3, 3)."""
        turn = np.asarray(rotation, dtype=np.float64)
        if turn.shape != (3, 3) or not np.allclose(turn @ turn.T, np.eye(3), atol=1e-6):
            raise SolverError("The rotation of a tool must be an orthogonal 3 × 3 matrix.")
        return replace(self, rotation=turn)

    def distance(self, points: Array) -> Distance:
        """Signed distance of points, shape (k, 3), LPS mm, positive outside."""
        turn = self.rotation
        found = self.shape.distance((points - self.position_mm) @ turn)
        return Distance(found.gap, found.normal @ turn.T, turn @ found.curvature @ turn.T)


def _place(values: ArrayLike) -> Array:
    place = np.asarray(values, dtype=np.float64)
    if place.shape != (3,) or not np.isfinite(place).all():
        raise SolverError(f"The place of a tool is {values!r}; give three finite numbers in mm.")
    return place


@dataclass(frozen=True, eq=False)
class TouchedSurface:
    """Outer facets and the points at which contact is sampled.

    Parameters
    ----------
    facets : ndarray, shape (f, 3), int64
    area_mm2 : ndarray, shape (f,)
        In the stress-free shape.
    shares : ndarray, shape (q, 3)
        Barycentric coordinates of the points of every facet; each stands for an equal part of its area.
    """

    facets: Ints
    area_mm2: Array
    shares: Array

    @classmethod
    def of(cls, facets: Ints, reference_points: Array, size_mm: float) -> TouchedSurface:
        """The surface with points close enough for a tool of a half-thickness, mm."""
        facets = np.ascontiguousarray(facets, dtype=np.int64)
        a, b, c = (reference_points[facets[:, i]] for i in range(3))
        area = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2
        edge = float(np.sqrt(area.mean() * 4 / np.sqrt(3.0)))
        rows = int(np.clip(np.ceil(edge / (SPACING * size_mm)), 2, MOST_ROWS))
        return cls(facets, area, _even_points(rows))

    def near(self, tool: Tool, positions: Array, reach_mm: float, way_mm: Array | None = None) -> Ints:
        """Rows of the facets whose box comes as near as `reach_mm` to the tool's, on a way of its own if given."""
        if not np.isfinite(tool.low_mm).all():
            return np.arange(len(self.facets))
        low, high = tool.low_mm - reach_mm, tool.high_mm + reach_mm
        if way_mm is not None:
            own = way_mm @ tool.rotation
            low, high = low + np.minimum(own, 0.0), high + np.maximum(own, 0.0)
        return _near(positions, self.facets, tool.position_mm, tool.rotation, low, high)


def _even_points(rows: int) -> Array:
    """Centroids of the rows² equal parts of a triangle, barycentric, shape (rows², 3)."""
    found = []
    for i in range(rows):
        for j in range(rows - i):
            found.append((i + 1 / 3, j + 1 / 3))
            if j < rows - i - 1:
                found.append((i + 2 / 3, j + 2 / 3))
    first = np.array(found) / rows
    return np.column_stack([1.0 - first.sum(axis=1), first])


@numba.njit(nogil=True, cache=True)
def _near(positions, facets, origin, rotation, low, high):  # type: ignore[no-untyped-def]
    found = np.empty(len(facets), dtype=np.int64)
    count = 0
    for f in range(len(facets)):
        meets = True
        for axis in range(3):
            least, most = np.inf, -np.inf
            for i in range(3):
                at = 0.0
                for j in range(3):
                    at += (positions[facets[f, i], j] - origin[j]) * rotation[j, axis]
                least, most = min(least, at), max(most, at)
            if least > high[axis] or most < low[axis]:
                meets = False
                break
        if meets:
            found[count] = f
            count += 1
    return found[:count].copy()
