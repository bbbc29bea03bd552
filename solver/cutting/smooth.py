"""Smooth sheets of a resection: through control points, at a margin around a tumour, or at a level of any value."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from anatomy.embedding import Embedding
from anatomy.mesh import OrganMesh
from solver.cutting.sheet import finite_points, positive, unit
from solver.errors import SolverError

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

# Places along the opening of a wedge at which its section is laid, in units of the margin.
_SECTION = 0.25
# Beyond this distance from a wedge a lower bound of the distance will do: only its sign is used there.
_NEAR_MM = 15.0


@dataclass(frozen=True, eq=False)
class SplineSheet:
    """A smooth surface through control points, across the whole organ or near them.

    Its height over the plane that fits the points best is a thin-plate spline: the surface through the points that
    bends least (Duchon 1977, Lect Notes Math 571:85), h = Σ c_i r_i² ln r_i + a linear part. φ is the height above
    the surface over √(1 + |∇h|²), which is the distance to it up to its curvature.

    Parameters
    ----------
    points_mm : array_like, shape (k, 3)
        Control points, k ≥ 3.
    reach_mm : float
        How far it is cut beyond the outline of the points; infinite cuts the whole organ.

    Raises
    ------
    SolverError
        If there are too few points, they lie on a line, two of them lie over each other, or a number makes no sense.
    """

    points_mm: ArrayLike
    reach_mm: float = np.inf

    def __post_init__(self) -> None:
        points = finite_points("The list of control points", self.points_mm, 3)
        object.__setattr__(self, "points_mm", points)
        if not self.reach_mm > 0:
            raise SolverError(f"The reach of the surface is {self.reach_mm:g} mm; it must be above 0.")
        spread = np.linalg.svd(points - points.mean(axis=0), compute_uv=False)
        if spread[1] < 1e-6 * max(spread[0], 1e-300):
            raise SolverError("The control points lie on a line; add one beside it.")
        if cKDTree(self._flat).query_pairs(1e-6 * float(spread[0])):
            raise SolverError("Two control points lie at one place of the surface; move one of them aside.")

    @cached_property
    def _frame(self) -> tuple[Array, Array]:
        """Centre and axes (3, 3) of the plane that fits best; the last row is its normal."""
        points = np.asarray(self.points_mm)
        centre = points.mean(axis=0)
        return centre, np.linalg.svd(points - centre)[2]

    @cached_property
    def _flat(self) -> Array:
        centre, axes = self._frame
        return np.asarray((np.asarray(self.points_mm) - centre) @ axes[:2].T)

    @cached_property
    def _scale(self) -> float:
        return float(np.abs(self._flat).max())

    @cached_property
    def _weights(self) -> Array:
        """Weights of the k points, then the constant and the two slopes, in units of `_scale`."""
        centre, axes = self._frame
        height = (np.asarray(self.points_mm) - centre) @ axes[2] / self._scale
        flat = self._flat / self._scale
        k = len(flat)
        squared = ((flat[:, None] - flat[None]) ** 2).sum(axis=2)
        system = np.zeros((k + 3, k + 3))
        system[:k, :k] = 0.5 * squared * np.log(np.maximum(squared, 1e-300))
        system[:k, k:] = np.column_stack([np.ones(k), flat])
        system[k:, :k] = system[:k, k:].T
        return np.linalg.solve(system, np.r_[height, np.zeros(3)])

    def distance(self, points: Array) -> Array:
        """Signed distance φ, mm, exact on the surface and to first order beside it."""
        centre, axes = self._frame
        local = (points - centre) @ axes.T / self._scale
        flat, weights = self._flat / self._scale, self._weights
        apart = local[:, None, :2] - flat[None]
        squared = np.maximum((apart**2).sum(axis=2), 1e-300)
        logarithm = np.log(squared)
        height = 0.5 * (squared * logarithm) @ weights[:-3] + weights[-3] + local[:, :2] @ weights[-2:]
        slope = np.einsum("ij,ijk,j->ik", logarithm + 1.0, apart, weights[:-3]) + weights[-2:]
        gap = (local[:, 2] - height) / np.sqrt(1.0 + (slope**2).sum(axis=1))
        return np.asarray(gap * self._scale)

    def extent(self, points: Array) -> Array:
        """Distance ψ beyond the outline of the control points and the reach, mm."""
        if not np.isfinite(self.reach_mm):
            return np.full(len(points), -np.inf)
        from scipy.spatial import ConvexHull

        centre, axes = self._frame
        planes = ConvexHull(self._flat).equations
        flat = (points - centre) @ axes[:2].T
        return np.asarray((flat @ planes[:, :2].T + planes[:, 2]).max(axis=1) - self.reach_mm)


@dataclass(frozen=True, eq=False)
class Offset:
    """The surface at a margin around a structure, closed or opened to one side as a wedge.

    φ = d − margin, d the distance to the nearest point of the structure's tetrahedra. Opened, the section grows on
    its way out along the direction a: φ = min over s ≥ 0 of d(x − s a) − margin − s tan(angle), so that nothing of
    what is cut out hangs under an edge.

    Parameters
    ----------
    points_mm : array_like, shape (k, 3)
        Vertices of the structure where it lies now.
    tets : ndarray, shape (m, 4), int64
        Its tetrahedra, positively oriented.
    margin_mm : float
        Tissue to leave around it.
    towards : array_like, shape (3,), optional
        Direction of the opening; closed if None.
    reach_mm : float
        How far the opening goes.
    angle_deg : float
        How much it widens to each side.

    Raises
    ------
    SolverError
        If a number is not finite, the margin is not above 0, or the angle is not between 0° and 80°.
    """

    points_mm: ArrayLike
    tets: Ints
    margin_mm: float
    towards: ArrayLike | None = None
    reach_mm: float = 200.0
    angle_deg: float = 15.0
    _centre: Array = field(init=False, repr=False)
    _radius: float = field(init=False, repr=False)

    def __post_init__(self) -> None:
        points = finite_points("The list of vertices of the structure", self.points_mm, 4)
        object.__setattr__(self, "margin_mm", positive("The margin", self.margin_mm))
        object.__setattr__(self, "reach_mm", positive("The reach of the opening", self.reach_mm))
        if self.towards is not None:
            object.__setattr__(self, "towards", unit("The direction of the opening", self.towards))
        if not 0.0 <= self.angle_deg <= 80.0:
            raise SolverError(f"The opening widens by {self.angle_deg:g}°; give an angle from 0° to 80°.")
        centre = 0.5 * (points.min(axis=0) + points.max(axis=0))
        object.__setattr__(self, "points_mm", points)
        object.__setattr__(self, "_centre", centre)
        object.__setattr__(self, "_radius", float(np.linalg.norm(points - centre, axis=1).max()))

    @staticmethod
    def around(
        organ: OrganMesh,
        positions: Array,
        structure: str,
        margin_mm: float,
        opened: bool = False,
        angle_deg: float = 15.0,
    ) -> Offset:
        """The sheet around a structure of an organ, opened towards the nearest point of the outer surface if asked.

        Parameters
        ----------
        organ : OrganMesh
        positions : ndarray, shape (n, 3)
            Where its vertices are now, mm.
        structure : str
        margin_mm : float
        opened : bool
        angle_deg : float

        Raises
        ------
        SolverError
            If the organ has no such structure, or it has no tetrahedra.
        """
        if structure not in organ.structures.values() or not len(organ.tets_of(structure)):
            known = ", ".join(organ.structures.values())
            raise SolverError(f"There is no '{structure}' to cut around; the organ has {known}.")
        tets = organ.tets[organ.tets_of(structure)]
        vertices, local = np.unique(tets, return_inverse=True)
        points = positions[vertices]
        towards, reach = None, 1.0
        if opened:
            surface = positions[np.unique(organ.exterior)]
            apart, nearest = cKDTree(surface).query(points)
            middle = points.mean(axis=0)
            towards = surface[nearest[np.argmin(apart)]] - middle
            reach = 2.0 * float(np.linalg.norm(towards)) + 2.0 * margin_mm
        return Offset(points, local.reshape(-1, 4), margin_mm, towards, reach, angle_deg)

    def _gap(self, points: Array) -> Array:
        """Distance to the structure, or a lower bound of it where that is far."""
        bound = np.linalg.norm(points - self._centre, axis=1) - self._radius
        near = bound < self.margin_mm + _NEAR_MM
        if near.any():
            carried = Embedding((np.asarray(self.points_mm), self.tets), points[near])
            bound[near] = carried.outside_mm
        return np.asarray(bound)

    def distance(self, points: Array) -> Array:
        """Signed distance φ, mm, negative in what is cut out; far away a lower bound."""
        least = self._gap(points) - self.margin_mm
        if self.towards is None:
            return least
        direction = np.asarray(self.towards)
        widen = np.tan(np.radians(self.angle_deg))
        step = _SECTION * self.margin_mm
        for s in np.arange(step, self.reach_mm + step, step):
            # A section that cannot come below what is known already is not looked at.
            moved = points - s * direction
            grown = self.margin_mm + s * widen
            bound = np.linalg.norm(moved - self._centre, axis=1) - self._radius - grown
            near = np.flatnonzero((bound < least) & (bound < _NEAR_MM))
            least = np.minimum(least, np.maximum(bound, _NEAR_MM))
            if len(near):
                carried = Embedding((np.asarray(self.points_mm), self.tets), moved[near])
                least[near] = np.minimum(least[near], carried.outside_mm - grown)
        return least

    def extent(self, points: Array) -> Array:
        """The surface has no end inside the organ."""
        return np.full(len(points), -np.inf)


@dataclass(frozen=True, eq=False)
class Values:
    """The surface at a level of any value known at the vertices, such as the membership in a territory.

    Parameters
    ----------
    values : array_like, shape (n,)
        One a vertex of the organ that is cut; linear along its edges.
    level : float
        Where to cut.

    Raises
    ------
    SolverError
        If a value is not finite.
    """

    values: ArrayLike
    level: float = 0.0

    def __post_init__(self) -> None:
        values = np.array(self.values, dtype=np.float64)
        if values.ndim != 1 or not np.isfinite(values).all() or not np.isfinite(self.level):
            raise SolverError("The values to cut at a level of must be one finite number a vertex.")
        object.__setattr__(self, "values", values)
