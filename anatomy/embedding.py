"""Embedding: fine geometry carried by a coarse mesh, and forces carried back by the transpose.

A point inside a tetrahedron moves with its barycentric weights, which is the finite-element interpolation of
the displacement; forces go up by the transpose, so that work is the same on both sides. A point outside the
mesh (the fine surface bulges over flat facets) follows the affine motion of its nearest tetrahedron. That
extrapolation is used only as far from the mesh as the tetrahedron is high; a point farther out rides on the
extrapolated motion at that distance, so that no point can be flung away by a small tetrahedron.

Both searches are exact and vectorised: candidates come from KD-trees over centroids, one tree for each octave
of element size, so that a graded mesh costs no more than a uniform one.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array
from scipy.spatial import cKDTree

from anatomy.errors import AnatomyError
from anatomy.mesh import FACETS_OF_TET, OrganMesh, unpaired_facets

# A weight this far below zero still counts as inside: rounding of points that lie on a facet.
_INSIDE_TOLERANCE = 1e-9
_ROWS_AT_ONCE = 1 << 19


class Embedding:
    """Weights that tie points to the tetrahedra of a mesh.

    Parameters
    ----------
    organ : OrganMesh or tuple of ndarray
        The carrying mesh, or its points (n, 3) mm and positively oriented tets (m, 4).
    points : array_like, shape (k, 3)
        Points to carry, millimetres, LPS, in the shape in which the mesh is given.

    Attributes
    ----------
    rest : ndarray, shape (k, 3), float64
        The points as given, mm.
    tet : ndarray, shape (k,), int64
        Tetrahedron that carries each point.
    weights : ndarray, shape (k, 4), float64
        Barycentric weights in it; a row sums to 1, and is negative in places for points outside.
    outside_mm : ndarray, shape (k,), float64
        Distance of each point to the mesh; 0 inside.

    Raises
    ------
    AnatomyError
        If a shape is wrong or a coordinate is not finite.
    """

    def __init__(
        self, organ: OrganMesh | tuple[NDArray[np.float64], NDArray[np.int64]], points: ArrayLike
    ) -> None:
        vertices, tets = (organ.points, organ.tets) if isinstance(organ, OrganMesh) else organ
        self._vertices = np.ascontiguousarray(vertices, dtype=np.float64)
        self._tets = np.ascontiguousarray(tets, dtype=np.int64)
        self.rest = np.array(points, dtype=np.float64)
        if self.rest.ndim != 2 or self.rest.shape[1] != 3:
            raise AnatomyError(f"Points to embed have shape {self.rest.shape}; give (k, 3) millimetres.")
        if not np.isfinite(self.rest).all():
            raise AnatomyError("Points to embed contain values that are not finite.")
        self.outside_mm = np.zeros(len(self.rest))
        self.tet = _containing(self._vertices[self._tets], self.rest)
        carriers = self.rest.copy()
        lost = np.flatnonzero(self.tet < 0)
        if len(lost):
            self.tet[lost], carriers[lost], self.outside_mm[lost] = self._nearest(self.rest[lost])
        self.weights = _barycentric(self._vertices[self._tets[self.tet]], carriers)

    def _nearest(
        self, points: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
        """Nearest exterior tetrahedron, the point up to which it extrapolates, and the distance."""
        facets, behind = unpaired_facets(self._tets)
        corners = self._vertices[facets]
        facet, foot = _closest_facet(corners, points)
        offset = points - foot
        distance = np.linalg.norm(offset, axis=1)
        tet = behind[facet]
        height = _least_height(self._vertices[self._tets[tet]])
        share = np.minimum(1.0, height / np.maximum(distance, 1e-300))
        return tet, foot + offset * share[:, None], distance

    @cached_property
    def matrix(self) -> csr_array:
        """Weights as a sparse matrix, shape (k, n); rows sum to 1. It maps vertex displacements to points."""
        indptr = np.arange(0, 4 * len(self.tet) + 1, 4)
        shape = (len(self.rest), len(self._vertices))
        return csr_array((self.weights.reshape(-1), self._tets[self.tet].reshape(-1), indptr), shape=shape)

    @cached_property
    def _offset(self) -> NDArray[np.float64]:
        return self.rest - self.matrix @ self._vertices

    def positions(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Where the points are when the mesh's vertices are at `x` (n, 3) mm; shape (k, 3) mm."""
        return self.matrix @ np.asarray(x) + self._offset

    def forces(self, f: NDArray[np.float64]) -> NDArray[np.float64]:
        """Vertex forces (n, 3) that do the same work as forces `f` (k, 3) on the points; unit of `f`."""
        return self.matrix.T @ np.asarray(f)


def distance_to_surface(
    points: NDArray[np.float64], vertices: NDArray[np.float64], triangles: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Distance of points (k, 3) to the nearest point of a triangulated surface, exact; in their unit, shape (k,)."""
    _, foot = _closest_facet(vertices[triangles], points)
    return np.asarray(np.linalg.norm(points - foot, axis=1))


def _barycentric(corners: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Barycentric weights (k, 4) of points (k, 3) in tetrahedra with corners (k, 4, 3)."""
    a = corners[:, 0]
    edges = (corners[:, 1:] - a[:, None]).transpose(0, 2, 1)
    rest = np.linalg.solve(edges, (points - a)[:, :, None])[:, :, 0]
    return np.concatenate([1.0 - rest.sum(axis=1, keepdims=True), rest], axis=1)


def _least_height(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """Smallest of the four heights of tetrahedra (k, 4, 3), mm."""
    a, b, c, d = (corners[:, i] for i in range(4))
    six_volumes = np.abs(np.einsum("ij,ij->i", b - a, np.cross(c - a, d - a)))
    p, q, r = (corners[:, FACETS_OF_TET[:, i]] for i in range(3))
    return six_volumes / np.linalg.norm(np.cross(q - p, r - p), axis=2).max(axis=1)


def _containing(corners: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.int64]:
    """Tetrahedron (of corners (m, 4, 3)) that contains each point (k, 3); -1 where none does."""
    found = np.full(len(points), -1, dtype=np.int64)
    centroid = corners.mean(axis=1)
    radius = np.linalg.norm(corners - centroid[:, None], axis=2).max(axis=1)
    inverse = np.linalg.inv((corners[:, 1:] - corners[:, :1]).transpose(0, 2, 1))
    box = (corners.min(axis=(0, 1)), corners.max(axis=(0, 1)))
    near = ((points >= box[0] - 1e-6) & (points <= box[1] + 1e-6)).all(axis=1)
    for members in _octaves(radius):
        tree, reach = cKDTree(centroid[members]), radius[members].max()
        open_ = np.flatnonzero(near & (found < 0))
        k = 12
        while len(open_):
            k = min(k, len(members))
            distance, candidate = tree.query(points[open_], k=np.arange(1, k + 1))
            hit = _first_inside(corners[members], inverse[members], points[open_], candidate)
            found[open_[hit >= 0]] = members[hit[hit >= 0]]
            unfinished = (hit < 0) & (distance[:, -1] <= reach) & (k < len(members))
            open_, k = open_[unfinished], 4 * k
    return found


def _first_inside(
    corners: NDArray[np.float64],
    inverse: NDArray[np.float64],
    points: NDArray[np.float64],
    candidates: NDArray[np.int64],
) -> NDArray[np.int64]:
    """First candidate (k, c) that contains its point (k, 3), or -1."""
    hit = np.full(len(points), -1, dtype=np.int64)
    chunk = max(1, _ROWS_AT_ONCE // candidates.shape[1])
    for start in range(0, len(points), chunk):
        c = candidates[start : start + chunk]
        rest = np.einsum("kcij,kcj->kci", inverse[c], points[start : start + chunk, None] - corners[c, 0])
        inside = (rest.min(axis=2) >= -_INSIDE_TOLERANCE) & (rest.sum(axis=2) <= 1 + _INSIDE_TOLERANCE)
        first = inside.argmax(axis=1)
        rows = np.arange(len(c))
        hit[start : start + chunk] = np.where(inside[rows, first], c[rows, first], -1)
    return hit


def _octaves(size: NDArray[np.float64]) -> list[NDArray[np.int64]]:
    """Indices of elements grouped by size, each group within a factor of two, small ones first."""
    octave = np.floor(np.log2(size / size.min())).astype(int)
    return [np.flatnonzero(octave == value) for value in np.unique(octave)]


def _closest_facet(
    corners: NDArray[np.float64], points: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Nearest of the triangles (t, 3, 3) to each point (k, 3), and the nearest point on it (k, 3)."""
    best = np.full(len(points), np.inf)
    facet = np.zeros(len(points), dtype=np.int64)
    foot = np.zeros_like(points)
    centroid = corners.mean(axis=1)
    radius = np.linalg.norm(corners - centroid[:, None], axis=2).max(axis=1)
    for members in _octaves(radius):
        tree, reach = cKDTree(centroid[members]), radius[members].max()
        open_, k = np.arange(len(points)), 6
        while len(open_):
            k = min(k, len(members))
            distance, candidate = tree.query(points[open_], k=np.arange(1, k + 1))
            for column in range(k):
                trial = members[candidate[:, column]]
                worth = np.flatnonzero(distance[:, column] - radius[trial] < best[open_])
                at = _closest_on_triangle(corners[trial[worth]], points[open_[worth]])
                gap = np.linalg.norm(points[open_[worth]] - at, axis=1)
                nearer = gap < best[open_[worth]]
                rows = open_[worth[nearer]]
                best[rows], facet[rows], foot[rows] = gap[nearer], trial[worth[nearer]], at[nearer]
            unfinished = (distance[:, -1] - reach < best[open_]) & (k < len(members))
            open_, k = open_[unfinished], 4 * k
    return facet, foot


def _closest_on_triangle(corners: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Nearest point (k, 3) on triangles (k, 3, 3): the foot in the plane, else on one of the three edges."""
    a, b, c = (corners[:, i] for i in range(3))
    normal = np.cross(b - a, c - a)
    area2 = np.einsum("ij,ij->i", normal, normal)
    height = np.einsum("ij,ij->i", points - a, normal) / np.maximum(area2, 1e-300)
    best = points - height[:, None] * normal
    outside = np.zeros(len(points), dtype=bool)
    for p, q in ((a, b), (b, c), (c, a)):
        outside |= np.einsum("ij,ij->i", np.cross(q - p, best - p), normal) < 0
    gap = np.where(outside, np.inf, 0.0)
    for p, q in ((a, b), (b, c), (c, a)):
        along = np.einsum("ij,ij->i", points - p, q - p) / np.maximum(
            np.einsum("ij,ij->i", q - p, q - p), 1e-300
        )
        at = p + np.clip(along, 0.0, 1.0)[:, None] * (q - p)
        distance = np.linalg.norm(points - at, axis=1)
        nearer = distance < gap
        best[nearer], gap[nearer] = at[nearer], distance[nearer]
    return best
