"""Anchors: single places in the tissue that loads take hold of.

A place rides on a tetrahedron by its barycentric weights, which are the same in every shape; a force on it goes to
the four vertices by the same weights. After a change of topology it rides on that part of its tetrahedron in which it
lies; where no part is left, it is lost.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from anatomy.embedding import Embedding
from anatomy.mesh import OrganMesh
from solver.errors import SolverError
from solver.topology import TopologyChange

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

# A point this far from the tissue is still taken to be on it: the shown surface is finer than the mesh.
REACH_MM = 5.0


@dataclass(frozen=True, eq=False)
class Anchors:
    """Places in the tissue.

    Parameters
    ----------
    tet : ndarray, shape (k,), int64
        Tetrahedron of each; −1 where it was cut away.
    corners : ndarray, shape (k, 4), int64
        Its vertices.
    weights : ndarray, shape (k, 4), float64
        Barycentric weights, none negative, each row summing to 1; zeros where it was cut away.
    """

    tet: Ints
    corners: Ints
    weights: Array

    @staticmethod
    def at(organ: OrganMesh, positions: Array, points_mm: ArrayLike, what: str) -> Anchors:
        """The places nearest to some points of the present shape.

        Parameters
        ----------
        organ : OrganMesh
        positions : ndarray, shape (n, 3), float64
            Where its vertices are, mm, LPS.
        points_mm : array-like, shape (k, 3)
        what : str
            What the points are, for messages.

        Raises
        ------
        SolverError
            If a point is more than `REACH_MM` off the organ.
        """
        points = np.asarray(points_mm, dtype=np.float64).reshape(-1, 3)
        found = Embedding((positions, organ.tets), points)
        off = np.flatnonzero(found.outside_mm > REACH_MM)
        if len(off):
            x, y, z = points[off[0]]
            which = f"{what} {off[0] + 1}" if len(points) > 1 else what
            raise SolverError(
                f"{which} at ({x:.1f}, {y:.1f}, {z:.1f}) mm is {found.outside_mm[off[0]]:.1f} mm off the organ; "
                "choose a point on it."
            )
        return Anchors(found.tet, organ.tets[found.tet], inside(found.weights))

    def __len__(self) -> int:
        return len(self.tet)

    @property
    def lost(self) -> NDArray[np.bool_]:
        """Which were cut away, shape (k,)."""
        return self.tet < 0

    def points(self, positions: Array) -> Array:
        """Where they are, shape (k, 3), when the vertices are at positions (n, 3), mm."""
        return np.asarray(np.einsum("kc,kcd->kd", self.weights, positions[self.corners]))

    def spread(self, forces: Array, count: int) -> Array:
        """Forces on the places, shape (k, 3), as forces on `count` vertices."""
        spread = np.zeros((count, 3))
        np.add.at(spread, self.corners, self.weights[:, :, None] * forces[:, None, :])
        return spread

    def stiffness(self, between: Array) -> tuple[Ints, Array]:
        """A stiffness between the places, shape (k, 3, k, 3), as one among the vertices that carry them.

        Returns
        -------
        vertices : ndarray, shape (v,), int64
            Ascending.
        matrix : ndarray, shape (3 v, 3 v), float64
        """
        here = ~self.lost
        vertices, index = np.unique(self.corners[here], return_inverse=True)
        share = np.zeros((len(self.tet), len(vertices)))
        rows = np.flatnonzero(here)[:, None]
        np.add.at(share, (np.broadcast_to(rows, (len(rows), 4)), index.reshape(-1, 4)), self.weights[here])
        matrix = np.einsum("kv,kilj,lw->viwj", share, between, share, optimize=True)
        # A vertex that has no part in it is not named: nothing acts there.
        felt = np.flatnonzero(matrix.any(axis=(1, 2, 3)))
        return vertices[felt], matrix[np.ix_(felt, range(3), felt, range(3))].reshape(
            3 * len(felt), 3 * len(felt)
        )

    def taken(self, rows: NDArray[np.bool_] | Ints) -> Anchors:
        """Some of them."""
        return Anchors(self.tet[rows], self.corners[rows], self.weights[rows])

    def joined(self, others: Anchors) -> Anchors:
        """These and others."""
        return Anchors(
            np.concatenate([self.tet, others.tet]),
            np.concatenate([self.corners, others.corners]),
            np.concatenate([self.weights, others.weights]),
        )

    def carried(self, change: TopologyChange) -> Anchors:
        """The same places on the mesh after a change."""
        tet, corners = np.full(len(self), -1), np.zeros((len(self), 4), dtype=np.int64)
        weights = np.zeros((len(self), 4))
        places = self.points(change.before.points)
        order = np.argsort(change.tet_parent, kind="stable")
        first, last = (np.searchsorted(change.tet_parent[order], self.tet, side=s) for s in ("left", "right"))
        for row in np.flatnonzero(~self.lost):
            parts = order[first[row] : last[row]]
            if len(parts):
                own = barycentric(change.after.points[change.after.tets[parts]], places[row])
                best = int(own.min(axis=1).argmax())
                tet[row], corners[row] = parts[best], change.after.tets[parts[best]]
                weights[row] = inside(own[best : best + 1])[0]
        return Anchors(tet, corners, weights)


def barycentric(corners: Array, point: Array) -> Array:
    """Barycentric weights, shape (k, 4), of a point (3,) in tetrahedra with corners (k, 4, 3)."""
    edges = (corners[:, 1:] - corners[:, :1]).transpose(0, 2, 1)
    rest = np.linalg.solve(edges, (point - corners[:, 0])[:, :, None])[:, :, 0]
    return np.concatenate([1.0 - rest.sum(axis=1, keepdims=True), rest], axis=1)


def inside(weights: Array) -> Array:
    """The nearest weights, shape (k, 4), of a place that is not outside its tetrahedron."""
    clipped = np.maximum(weights, 0.0)
    return np.asarray(clipped / clipped.sum(axis=1, keepdims=True))


def located(organ: OrganMesh, positions: Array, point: Array) -> Anchors | None:
    """The place at a point of the present shape, if there is tissue."""
    corners = positions[organ.tets]
    near = ((corners.min(axis=1) <= point) & (corners.max(axis=1) >= point)).all(axis=1)
    candidates = np.flatnonzero(near)
    if not len(candidates):
        return None
    weights = barycentric(corners[candidates], point)
    best = int(weights.min(axis=1).argmax())
    if weights[best].min() < -1e-9:
        return None
    tet = candidates[best : best + 1]
    return Anchors(tet, organ.tets[tet], inside(weights[best : best + 1]))


def surface_crossed(
    organ: OrganMesh,
    positions: Array,
    origin: Array,
    direction: Array,
    start: float,
    end: float,
    entering: bool,
) -> tuple[float, Anchors] | None:
    """Where an axis first enters, or leaves, the tissue between two depths, mm, and the place there.

    Möller & Trumbore 1997, J Graph Tools 2:21, for all triangles of the outer surface at once.
    """
    a, b, c = (positions[organ.exterior[:, i]] for i in range(3))
    first, second = b - a, c - a
    normal = np.cross(first, second) @ direction
    p = np.cross(direction, second)
    determinant = np.einsum("ij,ij->i", first, p)
    facing = (normal < 0) if entering else (normal > 0)
    rows = np.flatnonzero(facing & (np.abs(determinant) > 1e-12))
    s = (origin - a[rows]) / determinant[rows, None]
    u = np.einsum("ij,ij->i", s, p[rows])
    q = np.cross(s, first[rows])
    v = q @ direction
    depth = np.einsum("ij,ij->i", q, second[rows])
    hit = (u >= -1e-9) & (v >= -1e-9) & (u + v <= 1 + 1e-9) & (depth >= start) & (depth <= end)
    if not hit.any():
        return None
    best = np.flatnonzero(hit)[depth[hit].argmin()]
    facet = rows[best]
    share = np.clip([1 - u[best] - v[best], u[best], v[best]], 0.0, None)
    tet = organ.exterior_tets[facet : facet + 1]
    corners = organ.tets[tet]
    weights = np.zeros((1, 4))
    for vertex, part in zip(organ.exterior[facet], share / share.sum(), strict=True):
        weights[0, np.flatnonzero(corners[0] == vertex)[0]] = part
    return float(depth[best]), Anchors(tet, corners, weights)
