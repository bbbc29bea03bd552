"""Seams: the open edges of a shown surface are brought onto the cut faces of the mesh, so that both meet in one line."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from anatomy.mesh import OrganMesh

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Cut facets that are looked at for every point, the nearest by their middles.
_CANDIDATES = 24


def open_edges(triangles: Ints) -> Ints:
    """Vertices on edges that only one triangle has, and for each the row of one such triangle, shape (k, 2)."""
    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    rows = np.tile(np.arange(len(triangles)), 3)
    key = np.sort(edges, axis=1)
    _, first, count = np.unique(key, axis=0, return_index=True, return_counts=True)
    alone = first[count == 1]
    pairs = np.concatenate(
        [np.stack([edges[alone, side], rows[alone]], axis=1) for side in (0, 1)]
    )
    return pairs[np.unique(pairs[:, 0], return_index=True)[1]]


def onto_faces(
    points: Array, inner: Array, organ: OrganMesh, raw: Ints, reach_mm: Array
) -> tuple[NDArray[np.bool_], Ints, Array]:
    """Nearest places of points on cut faces that turn their back on the tissue the points belong to.

    Parameters
    ----------
    points, inner : ndarray, shape (k, 3)
        The points, and for each a place of its surface beside it, in the scanned shape, mm.
    organ : OrganMesh
    raw : ndarray, shape (r, 3)
        Cut facets, their normals outward.
    reach_mm : ndarray, shape (k,)
        How far a point may be moved.

    Returns
    -------
    found : ndarray of bool, shape (k,)
    corners : ndarray, shape (k, 3), int64
        Vertices of the facet.
    weights : ndarray, shape (k, 3)
        Of these in the place.
    """
    corners = organ.points[raw]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-300)
    count = min(_CANDIDATES, len(raw))
    near = cKDTree(corners.mean(axis=1)).query(points, k=count)[1].reshape(len(points), count)
    flat = near.ravel()
    many, beside = np.repeat(points, count, axis=0), np.repeat(inner, count, axis=0)
    weights = _closest(many, corners[flat])
    place = np.einsum("kc,kcx->kx", weights, corners[flat])
    away = np.linalg.norm(place - many, axis=1)
    # Both walls of an incision lie in one place: the right one has the surface on its inner side.
    away[np.einsum("kx,kx->k", beside - place, normal[flat]) > 0.0] = np.inf
    away = away.reshape(len(points), count)
    best = away.argmin(axis=1)
    row = np.arange(len(points)) * count + best
    return away[np.arange(len(points)), best] <= reach_mm, raw[flat[row]], weights[row]


def _closest(points: Array, corners: Array) -> Array:
    """Barycentric weights (k, 3) of the place of triangles (k, 3, 3) nearest to points (k, 3)."""
    a, b, c = np.moveaxis(corners, 1, 0)
    ab, ac, ap = b - a, c - a, points - a
    d00, d01, d11 = ((x * y).sum(axis=1) for x, y in ((ab, ab), (ab, ac), (ac, ac)))
    d20, d21 = (ap * ab).sum(axis=1), (ap * ac).sum(axis=1)
    area = np.maximum(d00 * d11 - d01 * d01, 1e-300)
    v, w = (d11 * d20 - d01 * d21) / area, (d00 * d21 - d01 * d20) / area
    within = np.stack([1.0 - v - w, v, w], axis=1)
    best, least = within, np.where((within >= 0).all(axis=1), 0.0, np.inf)
    for first, second in ((0, 1), (1, 2), (2, 0)):
        start, way = corners[:, first], corners[:, second] - corners[:, first]
        share = ((points - start) * way).sum(axis=1) / np.maximum((way**2).sum(axis=1), 1e-300)
        share = np.clip(share, 0.0, 1.0)
        far = np.linalg.norm(start + share[:, None] * way - points, axis=1)
        weights = np.zeros_like(within)
        weights[:, first], weights[:, second] = 1.0 - share, share
        best = np.where((far < least)[:, None], weights, best)
        least = np.minimum(far, least)
    return best
