"""FixedNeighbour: an organ lies against something that does not move, such as the spine or the abdominal wall.

One-sided contact of the outer surface, vertex by vertex, with a rigid shape (`solver.rigid`): at the depth d of a
vertex in the neighbour the pressure per area of the stress-free shape is

    p = ε d²/(2 h) for 0 < d < h,   p = ε (d − h/2) beyond,

a penalty whose energy has two continuous derivatives (Wriggers 2006, Computational Contact Mechanics, ch. 6). What the
scan shows in contact, or overlapping because of the size of a voxel, is taken to be in contact without force: d counts
from there. Many vertices touch a neighbour for long, so their stiffness goes into the factored tangent, vertex by
vertex, and is moderate: peritoneal fat lies between, and depths of tenths of a millimetre are less than a voxel. A
neighbour must be thicker than what presses on it is deep, for what comes past its middle is pushed out behind: the
spine and the muscles of the back are, a single rib is not.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from solver.body import Body
from solver.errors import SolverError
from solver.live_load import LiveLoad
from solver.onset import onset
from solver.rigid import DistanceGrid, Shape
from solver.topology import TopologyChange

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

LAYER_MM = 0.2
# Penalty over the shear modulus of the stiffest tissue, 1/mm.
PENALTY = 20.0
# Of a mask, only what is within this of the organ as scanned is looked at.
NEAR_MM = 60.0


@dataclass(frozen=True, eq=False)
class FixedNeighbour(LiveLoad):
    """A rigid shape that does not move, against the outer surface.

    Made by `FixedNeighbour.of` or `FixedNeighbour.of_mask`.

    Parameters
    ----------
    name : str
    shape : Shape
        In LPS mm.
    vertices : ndarray, shape (k,), int64
        Of the outer surface.
    area_mm2 : ndarray, shape (k,)
        Around each, in the stress-free shape.
    start_mm : ndarray, shape (n,)
        Depth of every vertex in the scanned shape, 0 where it is outside; depth counts from there.
    penalty_kPa_mm : float
        ε.
    reference : ndarray, shape (n, 3)
        Stress-free vertex positions, mm.
    """

    name: str
    shape: Shape
    vertices: Ints
    area_mm2: Array
    start_mm: Array
    penalty_kPa_mm: float
    reference: Array

    @classmethod
    def of(cls, name: str, body: Body, shape: Shape) -> FixedNeighbour:
        """Contact of the whole outer surface of a body with a shape."""
        shear = max(tissue.law.initial_shear_kPa for tissue in body.tissues.values())
        start = np.maximum(0.0, -shape.distance(body.organ.points).gap)
        vertices, area = _vertex_areas(body.organ.exterior, body.reference_points)
        return cls(name, shape, vertices, area, start, PENALTY * shear, body.reference_points)

    @classmethod
    def of_mask(
        cls, name: str, body: Body, mask: ArrayLike, origin_mm: ArrayLike, spacing_mm: ArrayLike
    ) -> FixedNeighbour:
        """Contact with the voxels of a mask, as those of the spine in a label map.

        Parameters
        ----------
        name : str
        body : Body
        mask : array-like of bool, shape (i, j, k)
            Axes along x, y, z.
        origin_mm : array-like, shape (3,)
            Centre of the first voxel, LPS.
        spacing_mm : float or array-like, shape (3,)

        Raises
        ------
        SolverError
            If the mask is empty or does not come near the organ.
        """
        voxels = np.asarray(mask, dtype=bool)
        if voxels.ndim != 3 or not voxels.any():
            raise SolverError(
                f"The mask of the neighbour '{name}' is empty; give one with its voxels marked."
            )
        spacing = np.broadcast_to(np.asarray(spacing_mm, dtype=np.float64), (3,))
        origin = np.asarray(origin_mm, dtype=np.float64)
        low, high = (edge(body.organ.points, axis=0) for edge in (np.min, np.max))
        first = np.maximum(np.floor((low - NEAR_MM - origin) / spacing).astype(np.int64), 0)
        last = np.minimum(np.ceil((high + NEAR_MM - origin) / spacing).astype(np.int64) + 1, voxels.shape)
        part = voxels[tuple(slice(a, max(a, b)) for a, b in zip(first, last, strict=True))]
        if not part.any():
            raise SolverError(f"The neighbour '{name}' is nowhere within {NEAR_MM:g} mm of the organ.")
        # A border of empty voxels, so that the shape is closed where it was cut off.
        padded = np.pad(part, 2)
        grid = DistanceGrid.of_mask(padded, origin + (first - 2) * spacing, spacing)
        return cls.of(name, body, grid)

    def _touch(self, positions: Array) -> tuple[Ints, Array, Array]:
        """Rows of `vertices` that are in, their depth, mm, and the normals out of the neighbour."""
        rows = np.arange(len(self.vertices))
        if isinstance(self.shape, DistanceGrid):
            low = self.shape.origin_mm
            high = low + (self.shape.shape - 1) * self.shape.spacing_mm
            places = positions[self.vertices]
            rows = np.flatnonzero(((places > low) & (places < high)).all(axis=1))
        found = self.shape.distance(positions[self.vertices[rows]])
        depth = -found.gap - self.start_mm[self.vertices[rows]]
        active = depth > 0
        return rows[active], depth[active], found.normal[active]

    def evaluate(self, positions: Array) -> tuple[float, Array]:
        """Energy, µJ, and its gradient, mN, shape (n, 3)."""
        rows, d, normal = self._touch(positions)
        area = self.penalty_kPa_mm * self.area_mm2[rows]
        density, pressure, _ = onset(d, LAYER_MM)
        gradient = np.zeros_like(positions)
        gradient[self.vertices[rows]] = -(area * pressure)[:, None] * normal
        return float(area @ density), gradient

    def stiffness(self, positions: Array) -> tuple[Ints, Array]:
        """Second derivative at each vertex, without the curvature of the neighbour."""
        rows, d, normal = self._touch(positions)
        slope = self.penalty_kPa_mm * self.area_mm2[rows] * onset(d, LAYER_MM)[2]
        return self.vertices[rows], slope[:, None, None] * normal[:, :, None] * normal[:, None, :]

    def forces_N(self, positions: Array) -> dict[str, Array]:
        """With which the neighbour pushes the tissue, N."""
        return {self.name: -self.evaluate(positions)[1].sum(axis=0) / 1000.0}

    def depth_mm(self, positions: Array) -> float:
        """How deep the farthest vertex is in the neighbour, beyond where the scan shows it, mm."""
        return float(self._touch(positions)[1].max(initial=0.0))

    def carried(self, change: TopologyChange) -> FixedNeighbour:
        """The same neighbour of another mesh."""
        reference = change.interpolate(self.reference)
        vertices, area = _vertex_areas(change.after.exterior, reference)
        start = change.interpolate(self.start_mm)
        return replace(self, vertices=vertices, area_mm2=area, start_mm=start, reference=reference)


def _vertex_areas(facets: Ints, points: Array) -> tuple[Ints, Array]:
    """Vertices of facets, and the area around each, a third of every facet."""
    a, b, c = (points[facets[:, i]] for i in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2
    vertices, number = np.unique(facets, return_inverse=True)
    return vertices.astype(np.int64), np.bincount(number.ravel(), np.repeat(area / 3, 3))
