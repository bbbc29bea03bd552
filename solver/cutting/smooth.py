"""Smooth sheets of a resection: through control points, at a margin around a tumour, or at a level of any value."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numba
import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import ConvexHull, cKDTree

from anatomy.lattice.topology import EDGES_OF_TET, neighbours_of, pieces_of
from anatomy.mesh import OrganMesh, unpaired_facets
from solver.cutting.sheet import Sheet, finite_points, positive, unit
from solver.errors import SolverError

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

# How far the samples of a structure's surface are apart, in units of the margin, and how many there are at most.
_SPACING, _MOST_SAMPLES = 0.3, 6000


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
        centre, axes = self._frame
        planes = ConvexHull(self._flat).equations
        flat = (points - centre) @ axes[:2].T
        return np.asarray((flat @ planes[:, :2].T + planes[:, 2]).max(axis=1) - self.reach_mm)


@dataclass(frozen=True, eq=False)
class Offset:
    """The surface at a margin around a structure, closed or opened to one side as a wedge.

    φ = d − margin, d the distance to the structure. Opened, the margin grows on the way out along a direction a, so
    that nothing of what is cut out hangs under an edge: φ(x) = min over q in the structure and s ≥ 0 of
    |x − s a − q| − s sin(angle) − margin. With ρ and z the distances of x from q across and along a, the least over s
    is ρ cos(angle) − z sin(angle): a cone of that half-angle around a ball at q.

    The structure is sampled more finely than the margin, with r the farthest any point of it lies from a sample; the
    margin around the samples is √(margin² + r²), which holds the margin around the structure everywhere.

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
        Half-angle by which it widens.

    Raises
    ------
    SolverError
        If a number is not finite, the margin is not above 0, or the angle is not between 0° and 60°.
    """

    points_mm: ArrayLike
    tets: Ints
    margin_mm: float
    towards: ArrayLike | None = None
    reach_mm: float = 200.0
    angle_deg: float = 15.0

    def __post_init__(self) -> None:
        points = finite_points("The list of vertices of the structure", self.points_mm, 4)
        object.__setattr__(self, "points_mm", points)
        object.__setattr__(self, "margin_mm", positive("The margin", self.margin_mm))
        object.__setattr__(self, "reach_mm", positive("The reach of the opening", self.reach_mm))
        if self.towards is not None:
            object.__setattr__(self, "towards", unit("The direction of the opening", self.towards))
        if not 0.0 <= self.angle_deg <= 60.0:
            raise SolverError(f"The opening widens by {self.angle_deg:g}°; give an angle from 0° to 60°.")

    @staticmethod
    def around(
        organ: OrganMesh,
        positions: Array,
        structure: str,
        margin_mm: float,
        opened: bool = False,
        angle_deg: float = 15.0,
        near_mm: ArrayLike | None = None,
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
        near_mm : array_like, shape (3,), optional
            Of several parts of the structure that do not touch, only the one nearest to this point.

        Raises
        ------
        SolverError
            If the organ has no such structure, or it has no tetrahedra.
        """
        if structure not in organ.structures.values() or not len(organ.tets_of(structure)):
            known = ", ".join(organ.structures.values())
            raise SolverError(f"There is no '{structure}' to cut around; the organ has {known}.")
        tets = organ.tets[organ.tets_of(structure)]
        if near_mm is not None:
            tets = _nearest_part(tets, positions, np.asarray(near_mm, dtype=np.float64))
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

    @cached_property
    def _samples(self) -> tuple[Array, float]:
        """Points that fill the structure, and how far any point of it lies from one at most, mm."""
        points = np.asarray(self.points_mm)
        corner = points[self.tets]
        longest = float(
            np.linalg.norm(corner[:, EDGES_OF_TET[:, 0]] - corner[:, EDGES_OF_TET[:, 1]], axis=2).max()
        )
        facets = unpaired_facets(self.tets)[0]
        fine = int(np.ceil(longest / (_SPACING * self.margin_mm)))
        fine = max(1, min(fine, int(np.sqrt(2.0 * _MOST_SAMPLES / len(facets)))))
        coarse = max(1, min(int(np.ceil(longest / self.margin_mm)), 4))
        samples = np.concatenate(
            [
                np.einsum("bi,tij->tbj", _lattice(3, fine), points[facets]).reshape(-1, 3),
                np.einsum("bi,tij->tbj", _lattice(4, coarse), corner).reshape(-1, 3),
            ]
        )
        _, kept = np.unique(np.round(samples / (1e-6 * longest)).astype(np.int64), axis=0, return_index=True)
        # No point of a triangle lies farther from its corners than its longest edge over √3.
        return samples[np.sort(kept)], longest / fine / np.sqrt(3.0)

    def distance(self, points: Array) -> Array:
        """Signed distance φ, mm, negative in what is cut out."""
        samples, apart = self._samples
        towards = np.zeros(3) if self.towards is None else np.asarray(self.towards)
        reach = 0.0 if self.towards is None else self.reach_mm
        angle = np.radians(self.angle_deg)
        least = _least(np.ascontiguousarray(points), samples, towards, reach, np.sin(angle), np.cos(angle))
        return np.asarray(least - np.hypot(self.margin_mm, apart))

    def extent(self, points: Array) -> Array:
        """The surface has no end inside the organ."""
        return np.full(len(points), -np.inf)


@dataclass(frozen=True, eq=False)
class Union:
    """The surface around all that lies inside of one sheet or another.

    Parameters
    ----------
    sheets : tuple of Sheet
        One at least.
    """

    sheets: tuple[Sheet, ...]

    def distance(self, points: Array) -> Array:
        """Signed distance φ, mm, negative inside any of them."""
        return np.asarray(np.min([sheet.distance(points) for sheet in self.sheets], axis=0))

    def extent(self, points: Array) -> Array:
        """Distance ψ from the swept part of any, mm."""
        return np.asarray(np.min([sheet.extent(points) for sheet in self.sheets], axis=0))


def wedges(
    organ: OrganMesh, positions: Array, structure: str, margin_mm: float, near_mm: ArrayLike | None = None
) -> list[Offset]:
    """A wedge at a margin around each part of a structure, such as each tumour, opened to the surface nearest to it.

    Parameters
    ----------
    organ, positions, structure, margin_mm, near_mm
        As of `Offset.around`.

    Raises
    ------
    SolverError
        If the organ has no such structure.
    """
    if near_mm is not None or structure not in organ.structures.values():
        return [Offset.around(organ, positions, structure, margin_mm, opened=True, near_mm=near_mm)]
    tets = organ.tets[organ.tets_of(structure)]
    part = pieces_of(np.zeros(len(tets), dtype=np.int64), neighbours_of(tets))
    inside = [
        positions[tets[np.argmax(part == number)]].mean(axis=0) for number in range(part.max(initial=-1) + 1)
    ]
    return [
        Offset.around(organ, positions, structure, margin_mm, opened=True, near_mm=point)
        for point in inside or [None]
    ]


def _nearest_part(tets: Ints, positions: Array, point: Array) -> Ints:
    """Those of some tetrahedra that hang together with the one nearest to a point."""
    part = pieces_of(np.zeros(len(tets), dtype=np.int64), neighbours_of(tets))
    return tets[part == part[cKDTree(positions[tets].mean(axis=1)).query(point)[1]]]


def _lattice(corners: int, parts: int) -> Array:
    """Barycentric weights of the points that divide every edge of a simplex into equal parts."""
    steps = [c for c in product(range(parts + 1), repeat=corners) if sum(c) == parts]
    return np.array(steps, dtype=np.float64) / parts


@numba.njit(cache=True, nogil=True)
def _least(points, samples, towards, reach, sine, cosine):  # type: ignore[no-untyped-def]
    """Least over samples q and 0 ≤ s ≤ reach of |x − s a − q| − s sin(angle)."""
    out = np.empty(len(points))
    for i in range(len(points)):
        best = np.inf
        for j in range(len(samples)):
            x = points[i, 0] - samples[j, 0]
            y = points[i, 1] - samples[j, 1]
            z = points[i, 2] - samples[j, 2]
            square = x * x + y * y + z * z
            along = x * towards[0] + y * towards[1] + z * towards[2]
            across = np.sqrt(max(square - along * along, 0.0))
            s = min(max(along + across * sine / cosine, 0.0), reach)
            best = min(best, np.sqrt(across * across + (along - s) ** 2) - s * sine)
        out[i] = best
    return out


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
