"""Patch: the tissue a tool holds, and how far it has been carried."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anatomy.mesh import OrganMesh
from solver.errors import SolverError
from solver.topology import TopologyChange

Array = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass
class Patch:
    """Vertices that follow a tool rigidly.

    Parameters
    ----------
    vertices : ndarray, shape (k,), int64
    point_mm : ndarray, shape (3,)
        Where the tool took hold, mm, LPS.
    start_mm : ndarray, shape (k, 3)
        Displacement of the vertices, from the stress-free shape, at that moment.
    radius_mm : float
    moved_mm : ndarray, shape (3,)
        How far the tool has gone since.
    pending_mm : ndarray, shape (3,)
        The part of it that the vertices have not followed yet.
    share : float
        1 while the vertices are held; below, they are let go and only this share of `load_mN` pulls them.
    load_mN : ndarray, shape (k, 3)
        Force of the tool on each vertex when it began to let go.
    """

    vertices: Ints
    point_mm: Array
    start_mm: Array
    radius_mm: float
    moved_mm: Array
    pending_mm: Array
    share: float
    load_mN: Array

    @property
    def holding(self) -> bool:
        """True until the tool begins to let go."""
        return self.share >= 1.0

    @property
    def position_mm(self) -> Array:
        """Where the tool is, mm, LPS."""
        return self.point_mm + self.moved_mm

    def copy(self) -> Patch:
        """An independent copy."""
        return Patch(
            self.vertices, self.point_mm, self.start_mm, self.radius_mm,
            self.moved_mm.copy(), self.pending_mm.copy(), self.share, self.load_mN.copy(),
        )  # fmt: skip

    def carried(self, change: TopologyChange, displacement: Array) -> Patch:
        """The patch on the mesh after a change of topology; empty where all it held was taken out.

        Parameters
        ----------
        change : TopologyChange
        displacement : ndarray, shape (n', 3)
            Of the vertices after it, from the stress-free shape, mm.
        """
        vertices = change.carried_between(self.vertices)
        load = np.zeros((len(change.before.points), 3))
        load[self.vertices] = self.load_mN
        # A force on a vertex that was parted pulls its copies with one half each.
        heirs = np.bincount(change.parents[vertices, 0], minlength=len(load))
        first = change.parents[vertices, 0]
        return Patch(
            vertices, self.point_mm, displacement[vertices] - (self.moved_mm - self.pending_mm), self.radius_mm,
            self.moved_mm.copy(), self.pending_mm.copy(), self.share, load[first] / heirs[first, None],
        )  # fmt: skip


def find_patch(
    organ: OrganMesh, positions: Array, point_mm: Array, radius_mm: float, taken: Ints, displacement: Array
) -> Patch:
    """The vertices a tool takes hold of.

    Every vertex within the radius is held. Where the mesh is coarser than the tool there may be none; then a tool
    that touches the tissue takes the nearest vertex.

    Parameters
    ----------
    organ : OrganMesh
    positions : ndarray, shape (n, 3)
        Where its vertices are now, mm.
    point_mm : ndarray, shape (3,)
    radius_mm : float
    taken : ndarray of int64
        Vertices other tools hold.
    displacement : ndarray, shape (n, 3)
        From the stress-free shape, mm.

    Raises
    ------
    SolverError
        If there is no tissue at the point, or another tool holds all of it.
    """
    distance = np.linalg.norm(positions - point_mm, axis=1)
    vertices = np.flatnonzero(distance <= radius_mm)
    if not len(vertices):
        nearest = int(np.argmin(distance))
        around = np.unique(organ.tets[(organ.tets == nearest).any(axis=1)])
        edge = float(np.linalg.norm(positions[around] - positions[nearest], axis=1).max())
        # A point on a facet is at most edge/√3 from one of its vertices.
        if distance[nearest] > edge / np.sqrt(3.0):
            x, y, z = point_mm
            raise SolverError(
                f"There is nothing there to grasp: the tissue nearest to ({x:.1f}, {y:.1f}, {z:.1f}) mm is "
                f"{distance[nearest]:.1f} mm away; choose a point on the organ."
            )
        vertices = np.array([nearest])
    free = np.setdiff1d(vertices, taken)
    if not len(free):
        raise SolverError("Another tool already holds the tissue there; release it first or grasp beside it.")
    return Patch(
        free, point_mm, displacement[free].copy(), radius_mm,
        np.zeros(3), np.zeros(3), 1.0, np.zeros((len(free), 3)),
    )  # fmt: skip
