"""Cut surfaces: how the shown surfaces follow a mesh whose topology has changed.

A shown surface knows nothing of tetrahedra; it is tied to the mesh afresh after every change, starting from the
surfaces of the case, so that to undo a cut is to tie them to the mesh before. Where the corners of a triangle land in
tetrahedra that touch each other, the triangle stays as it is. Elsewhere a cut runs through it: it is divided into
small ones, each of which goes with the tetrahedron at its centre, and a point between small triangles that went
different ways becomes as many points as there are ways. What lies in tissue that was taken out is left away.
The cut faces themselves are those of the mesh.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array, diags_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from anatomy.embedding import Embedding
from anatomy.mesh import OrganMesh
from viewer.seams import onto_faces, open_edges

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

#: A triangle that a cut runs through is divided so often into four.
LEVELS = 2
#: A point so much farther from the mesh than it was before lies in tissue that was taken out, mm.
GONE_MM = 0.5


@dataclass(frozen=True, eq=False)
class Shown:
    """A surface to be shown.

    Parameters
    ----------
    points : ndarray, shape (k, 3), float64
        In the scanned shape, mm, LPS.
    triangles : ndarray, shape (t, 3), int64
    weights : scipy.sparse.csr_array, shape (k, n)
        Of the mesh's vertices in each point.
    """

    points: Array
    triangles: Ints
    weights: csr_array


class Tie:
    """Where the tetrahedra of the whole mesh are in the mesh as it is now.

    Parameters
    ----------
    whole, organ : OrganMesh
        Before anything was cut, and now, in the scanned shape.
    raw : ndarray, shape (k, 3), int64
        Cut faces of `organ`.

    Attributes
    ----------
    kept : ndarray, shape (m,), int64
        The tetrahedron of `organ` that each of `whole` still is, −1 where it was divided or taken out.
    fresh : ndarray of int64
        Tetrahedra of `organ` that are parts of others.
    """

    def __init__(self, whole: OrganMesh, organ: OrganMesh, raw: Ints) -> None:
        self.organ, self.raw = organ, raw
        # What no cut came near has kept its corners to the last bit.
        _, number = np.unique(np.concatenate([whole.points, organ.points]), axis=0, return_inverse=True)
        before = np.sort(number.ravel()[: len(whole.points)][whole.tets], axis=1)
        after = np.sort(number.ravel()[len(whole.points) :][organ.tets], axis=1)
        _, key = np.unique(np.concatenate([before, after]), axis=0, return_inverse=True)
        first, second = key.ravel()[: len(before)], key.ravel()[len(before) :]
        holder = np.full(int(key.max()) + 1, -1, dtype=np.int64)
        holder[second] = np.arange(len(second))
        self.kept = holder[first]
        lost = before[self.kept < 0].ravel()
        self._bared = np.flatnonzero(np.isin(number.ravel()[len(whole.points) :], lost))
        fresh = np.ones(len(second), dtype=bool)
        fresh[self.kept[self.kept >= 0]] = False
        self.fresh = np.flatnonzero(fresh)

    @cached_property
    def _centres(self) -> tuple[cKDTree, float]:
        """Centres of all tetrahedra of `organ`, and how far a corner lies from one at most, mm."""
        corners = self.organ.points[self.organ.tets]
        centres = corners.mean(axis=1)
        return cKDTree(centres), float(np.linalg.norm(corners - centres[:, None], axis=2).max())

    @cached_property
    def _changed(self) -> cKDTree | None:
        """Where the mesh was changed: vertices of what was divided, and of what lost a neighbour."""
        touched = np.union1d(self.organ.tets[self.fresh].ravel(), self._bared)
        return cKDTree(self.organ.points[touched]) if len(touched) else None

    def near(self, points: Array, reach: Array) -> NDArray[np.bool_]:
        """Which points have a changed place within their reach, mm."""
        if self._changed is None:
            return np.zeros(len(points), dtype=bool)
        return np.asarray(self._changed.query(points)[0] <= reach + self._centres[1])

    def embed(self, points: Array) -> tuple[Ints, Array]:
        """Tetrahedron of `organ` that carries each point, and its distance from it, mm."""
        tree, radius = self._centres
        among = np.unique(
            np.concatenate([*tree.query_ball_point(points, 1.5 * radius), [tree.query(points[0])[1]]])
        )
        among = among.astype(np.int64)
        found = Embedding((self.organ.points, self.organ.tets[among]), points)
        return among[found.tet], found.outside_mm


def cut_surface(points: Array, triangles: Ints, tet: Ints, outside_mm: Array, tie: Tie) -> Shown:
    """Tie a surface of the case to the mesh as it is now.

    Parameters
    ----------
    points, triangles : ndarray
        Of the surface, in the scanned shape.
    tet, outside_mm : ndarray, shape (k,)
        Tetrahedron of the whole mesh that carried each point, and how far the point lay outside it.
    tie : Tie
    """
    organ, carrier = tie.organ, tie.kept[tet]
    lost = np.flatnonzero(carrier < 0)
    gone = np.zeros(len(points), dtype=bool)
    if len(lost):
        carrier[lost], away = tie.embed(points[lost])
        gone[lost] = away > outside_mm[lost] + GONE_MM
    of = carrier[triangles]
    corners = points[triangles]
    centre = corners.mean(axis=1)
    near = tie.near(centre, np.linalg.norm(corners - centre[:, None], axis=2).max(axis=1))
    whole = _touch(organ, of[:, 0], of[:, 1]) & _touch(organ, of[:, 1], of[:, 2])
    whole &= _touch(organ, of[:, 0], of[:, 2])
    whole = (whole | ~near) & ~gone[triangles].any(axis=1)
    torn = ~whole & ~gone[triangles].all(axis=1)
    places, small, by = points, np.zeros((0, 3), dtype=np.int64), np.zeros(0, dtype=np.int64)
    if torn.any():
        places, small, by = _divided(points, triangles[torn], outside_mm, tie)
    shown = _joined(places, triangles[whole], carrier, small, by, organ)
    return _seamed(shown, len(small), tie)


def cut_faces(organ: OrganMesh, raw: Ints) -> Mapping[str, Shown]:
    """The faces that cuts have laid open, by the structure behind them.

    Parameters
    ----------
    organ : OrganMesh
        As it is now, in the scanned shape.
    raw : ndarray, shape (k, 3), int64
        Exterior facets that are cut faces.
    """
    if not len(raw):
        return {}
    count = len(organ.points)
    exterior = _keys(organ.exterior, count)
    order = np.argsort(exterior)
    at = order[np.searchsorted(exterior[order], _keys(raw, count))]
    facets, region = organ.exterior[at], organ.region[organ.exterior_tets[at]]
    found = {}
    for value, name in organ.structures.items():
        mine = facets[region == value]
        if len(mine):
            used, local = np.unique(mine, return_inverse=True)
            rows = (np.ones(len(used)), (np.arange(len(used)), used))
            weights = csr_array(coo_array(rows, shape=(len(used), count)))
            found[name] = Shown(organ.points[used], local.reshape(-1, 3), weights)
    return found


def _keys(facets: Ints, count: int) -> Ints:
    low = np.sort(facets, axis=1).astype(np.int64)
    return np.asarray((low[:, 0] * count + low[:, 1]) * count + low[:, 2])


def _touch(organ: OrganMesh, first: Ints, second: Ints) -> NDArray[np.bool_]:
    """Which pairs of tetrahedra share a vertex."""
    a, b = organ.tets[first], organ.tets[second]
    shared = np.zeros(len(a), dtype=bool)
    for i in range(4):
        for j in range(4):
            shared |= a[:, i] == b[:, j]
    return shared


def _divided(points: Array, torn: Ints, outside_mm: Array, tie: Tie) -> tuple[Array, Ints, Ints]:
    """Torn triangles in small ones: places, the small triangles that stay, and the tetrahedron each goes with."""
    places, small, far = _subdivided(points, torn, outside_mm)
    centre = places[small].mean(axis=1)
    tet, away = tie.embed(centre)
    kept = away <= far[small].mean(axis=1) + GONE_MM
    return places, small[kept], tet[kept]


def _joined(places: Array, whole: Ints, carrier: Ints, small: Ints, by: Ints, organ: OrganMesh) -> Shown:
    """One surface of whole triangles, carried by the tetrahedra of their corners, and small ones, each by its own."""
    corners = np.concatenate([whole.ravel(), small.ravel()])
    carriers = np.concatenate([carrier[whole.ravel()], np.repeat(by, 3)])
    # Only where small triangles meet can a place go more than one way.
    near = np.zeros(len(places), dtype=bool)
    near[small.ravel()] = True
    node = np.where(near[corners], -1, corners)
    asked = np.flatnonzero(node < 0)
    if len(asked):
        pair, of = np.unique(np.stack([corners[asked], carriers[asked]], axis=1), axis=0, return_inverse=True)
        node[asked] = len(places) + _ways(pair, organ)[of.ravel()]
    _, first, local = np.unique(node, return_index=True, return_inverse=True)
    at = places[corners[first]]
    return Shown(at, local.reshape(-1, 3), _weights(organ, at, carriers[first]))


def _seamed(shown: Shown, small: int, tie: Tie) -> Shown:
    """The surface with the open edges of its small triangles, the last `small` ones, brought onto the cut faces."""
    if not small or not len(tie.raw):
        return shown
    edge = open_edges(shown.triangles)
    edge = edge[edge[:, 1] >= len(shown.triangles) - small]
    if not len(edge):
        return shown
    at, beside = edge[:, 0], shown.points[shown.triangles[edge[:, 1]]]
    reach = 1.5 * np.linalg.norm(beside - np.roll(beside, 1, axis=1), axis=2).max(axis=1) + GONE_MM
    found, corners, share = onto_faces(shown.points[at], beside.mean(axis=1), tie.organ, tie.raw, reach)
    at, corners, share = at[found], corners[found], share[found]
    points = shown.points.copy()
    points[at] = np.einsum("kc,kcx->kx", share, tie.organ.points[corners])
    keep = np.ones(len(points))
    keep[at] = 0.0
    rows = (share.ravel(), (np.repeat(at, 3), corners.ravel()))
    placed = csr_array(coo_array(rows, shape=shown.weights.shape))
    weights = csr_array(diags_array(keep) @ shown.weights + placed)
    return Shown(points, shown.triangles, weights)


def _ways(pairs: Ints, organ: OrganMesh) -> Ints:
    """For each pair of a place and a tetrahedron the number of the way it goes: pairs at a place whose tetrahedra
    touch go the same way."""
    place = pairs[:, 0]
    starts = np.flatnonzero(np.r_[True, place[1:] != place[:-1]])
    size = np.diff(np.r_[starts, len(place)])
    rows, columns = [], []
    for step in range(1, int(size.max(initial=1))):
        first = np.flatnonzero(np.r_[place[step:] == place[:-step], np.zeros(step, dtype=bool)])
        joined = _touch(organ, pairs[first, 1], pairs[first + step, 1])
        rows.append(first[joined])
        columns.append(first[joined] + step)
    row = np.concatenate([np.zeros(0, dtype=np.int64), *rows])
    column = np.concatenate([np.zeros(0, dtype=np.int64), *columns])
    graph = coo_array((np.ones(len(row), dtype=np.int8), (row, column)), shape=(len(pairs), len(pairs)))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)


def _subdivided(points: Array, triangles: Ints, outside_mm: Array) -> tuple[Array, Ints, Array]:
    """Divide triangles into four, several times: places (the given points first), triangles, and how far outside."""
    places, far = points, outside_mm
    for _ in range(LEVELS):
        edges = np.sort(triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
        unique, of = np.unique(edges, axis=0, return_inverse=True)
        middle = len(places) + of.reshape(-1, 3)
        places = np.concatenate([places, places[unique].mean(axis=1)])
        far = np.concatenate([far, far[unique].mean(axis=1)])
        a, b, c = triangles.T
        ab, bc, ca = middle.T
        four = [(a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca)]
        triangles = np.concatenate([np.stack(corners, axis=1) for corners in four])
    return places, triangles, far


def _weights(organ: OrganMesh, places: Array, tet: Ints) -> csr_array:
    """Barycentric weights of places in given tetrahedra, which need not hold them."""
    corners = organ.points[organ.tets[tet]]
    edges = np.moveaxis(corners[:, 1:] - corners[:, :1], 1, 2)
    rest = np.linalg.solve(edges, (places - corners[:, 0])[:, :, None])[:, :, 0]
    # A place beside a small tetrahedron must not be flung away with it.
    rest = np.clip(rest, -1.0, 2.0)
    weights = np.concatenate([1.0 - rest.sum(axis=1, keepdims=True), rest], axis=1)
    indptr = np.arange(0, 4 * len(tet) + 1, 4)
    shape = (len(places), len(organ.points))
    return csr_array((weights.ravel(), organ.tets[tet].ravel(), indptr), shape=shape)
