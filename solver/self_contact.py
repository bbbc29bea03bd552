"""SelfContact: cut faces that are pressed together do not pass through each other.

At the beginning of a step every vertex of a cut face is paired with the nearest facet of the cut faces that look the
other way, if one is near. During the step the depth d of the vertex behind the plane of its facet is met by the
pressure per area of the stress-free shape

    p = ε d²/(2 h) for 0 < d < h,   p = ε (d − h/2) beyond,

a penalty whose energy has two continuous derivatives, between vertices and facets in both directions (two-pass
node-to-segment contact; Wriggers 2006, Computational Contact Mechanics, ch. 6 and 9). With pairs that are fixed for a
step the energy is smooth, whatever the faces look like. The facets' share of the force goes to their corners by the
barycentric coordinates of the foot of the vertex, which is the exact derivative and keeps forces and moments in
balance. Faces that have just been cut lie on one another without force.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from solver.body import Body
from solver.live_load import LiveLoad
from solver.topology import TopologyChange

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

LAYER_MM = 0.05
# Penalty over the shear modulus of the stiffest tissue, 1/mm.
PENALTY = 100.0
# Pairs are sought within this, over the mean edge of the cut faces.
REACH = 0.6
# Faces look towards each other where the cosine of the angle between their normals is below this.
FACING = -0.3


class _Pairs(NamedTuple):
    """Vertices behind a facet: r of them."""

    vertex: Ints  # (r,) rows of `vertices`
    facet: Ints  # (r,) rows of `facets`
    shares: Array  # (r, 3) barycentric coordinates of the foot of the vertex in the facet's plane
    depth: Array  # (r,) mm
    normal: Array  # (r, 3) out of the facet


@dataclass(frozen=True, eq=False)
class SelfContact(LiveLoad):
    """Contact between the cut faces of a body.

    Made by `SelfContact.of`.

    Parameters
    ----------
    facets : ndarray, shape (f, 3), int64
        Cut faces, turned outwards; there may be none yet.
    vertices : ndarray, shape (k,), int64
        Of the facets.
    area_mm2 : ndarray, shape (k,)
        Around each, in the stress-free shape.
    edge_mm : float
        Mean edge of the facets.
    penalty_kPa_mm : float
        ε.
    reference : ndarray, shape (n, 3)
        Stress-free vertex positions, mm.
    pair : ndarray, shape (k,), int64
        Row of `facets` that each vertex is paired with, −1 for none.
    """

    coupled: ClassVar[bool] = True
    facets: Ints
    vertices: Ints
    area_mm2: Array
    edge_mm: float
    penalty_kPa_mm: float
    reference: Array
    pair: Ints

    @classmethod
    def of(cls, body: Body) -> SelfContact:
        """Contact between the cut faces that a body has now and will have after further cuts."""
        shear = max(tissue.law.initial_shear_kPa for tissue in body.tissues.values())
        return _made(body.raw, body.reference_points, PENALTY * shear)

    def begun(self, positions: Array, seconds: float) -> SelfContact:
        """Pair vertices and facets anew."""
        if not len(self.facets):
            return self
        pair = _nearest_facing(positions, self.vertices, self.facets, REACH * self.edge_mm, FACING)
        return self if np.array_equal(pair, self.pair) else replace(self, pair=pair)

    def _pairs(self, positions: Array) -> _Pairs:
        rows = np.flatnonzero(self.pair >= 0)
        facet = self.pair[rows]
        a, b, c = (positions[self.facets[facet, i]] for i in range(3))
        first, second, arm = b - a, c - a, positions[self.vertices[rows]] - a
        normal = np.cross(first, second)
        square = np.einsum("ri,ri->r", normal, normal)
        # Barycentric coordinates of the foot in the plane of the facet (Heidrich 2005, J Graphics Tools 10(3):9).
        w = np.einsum("ri,ri->r", np.cross(first, arm), normal) / square
        v = np.einsum("ri,ri->r", np.cross(arm, second), normal) / square
        normal /= np.sqrt(square)[:, None]
        depth = -np.einsum("ri,ri->r", arm, normal)
        active = depth > 0
        shares = np.column_stack([1.0 - v - w, v, w])
        return _Pairs(rows[active], facet[active], shares[active], depth[active], normal[active])

    def evaluate(self, positions: Array) -> tuple[float, Array]:
        """Energy, µJ, and its gradient, mN, shape (n, 3)."""
        gradient = np.zeros_like(positions)
        if not len(self.facets):
            return 0.0, gradient
        pairs, h = self._pairs(positions), LAYER_MM
        d, area = pairs.depth, self.penalty_kPa_mm * self.area_mm2[pairs.vertex]
        density = np.where(d < h, d**3 / (6 * h), d**2 / 2 - d * h / 2 + h**2 / 6)
        force = (area * np.where(d < h, d**2 / (2 * h), d - h / 2))[:, None] * pairs.normal
        np.subtract.at(gradient, self.vertices[pairs.vertex], force)
        nodal = pairs.shares[:, :, None] * force[:, None, :]
        np.add.at(gradient, self.facets[pairs.facet].ravel(), nodal.reshape(-1, 3))
        return float(area @ density), gradient

    def coupled_stiffness(self, positions: Array, convex: bool = False) -> tuple[Ints, Array]:
        """Second derivative among the vertices in contact, the turning of the facets left out."""
        if not len(self.facets):
            return np.zeros(0, dtype=np.int64), np.zeros((0, 0))
        pairs = self._pairs(positions)
        slope = self.penalty_kPa_mm * self.area_mm2[pairs.vertex] * np.minimum(pairs.depth / LAYER_MM, 1.0)
        corners = np.column_stack([self.vertices[pairs.vertex], self.facets[pairs.facet]])
        arm = np.column_stack([np.ones(len(slope)), -pairs.shares])
        way = (arm[:, :, None] * pairs.normal[:, None, :]).reshape(-1, 12)
        blocks = slope[:, None, None] * way[:, :, None] * way[:, None, :]
        vertices, number = np.unique(corners, return_inverse=True)
        own = (3 * number.reshape(-1, 4)[:, :, None] + np.arange(3)).reshape(-1, 12)
        size = 3 * len(vertices)
        flat = own[:, :, None] * size + own[:, None, :]
        matrix = np.bincount(flat.ravel(), blocks.ravel(), minlength=size * size)
        return vertices, matrix.reshape(size, size)

    def depth_mm(self, positions: Array) -> float:
        """How deep the farthest vertex is behind an opposite face, mm."""
        return float(self._pairs(positions).depth.max(initial=0.0)) if len(self.facets) else 0.0

    def carried(self, change: TopologyChange) -> SelfContact:
        """Contact of the cut faces after a change, old and new."""
        facets = np.concatenate([change.facets(self.facets), change.raw])
        return _made(facets, change.interpolate(self.reference), self.penalty_kPa_mm)


def _made(facets: Ints, reference: Array, penalty_kPa_mm: float) -> SelfContact:
    facets = np.ascontiguousarray(facets, dtype=np.int64).reshape(-1, 3)
    a, b, c = (reference[facets[:, i]] for i in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2
    vertices, number = np.unique(facets, return_inverse=True)
    around = np.bincount(number.ravel(), np.repeat(area / 3, 3), minlength=len(vertices))
    edge = float(np.linalg.norm(b - a, axis=1).mean()) if len(facets) else 0.0
    vertices = vertices.astype(np.int64)
    # In the stress-free shape the two faces of a cut lie on one another.
    pair = _nearest_facing(reference, vertices, facets, REACH * edge, FACING)
    return SelfContact(facets, vertices, around, edge, penalty_kPa_mm, reference, pair)


@numba.njit(nogil=True, cache=True)
def _nearest(p, a, b, c):  # type: ignore[no-untyped-def]
    """Barycentric coordinates of the point of a triangle nearest to p (Ericson 2005, § 5.1.5)."""
    ab, ac, ap = b - a, c - a, p - a
    d1, d2 = np.dot(ab, ap), np.dot(ac, ap)
    if d1 <= 0 and d2 <= 0:
        return 1.0, 0.0, 0.0
    bp = p - b
    d3, d4 = np.dot(ab, bp), np.dot(ac, bp)
    if d3 >= 0 and d4 <= d3:
        return 0.0, 1.0, 0.0
    vc = d1 * d4 - d3 * d2
    if vc <= 0 and d1 >= 0 and d3 <= 0:
        v = d1 / (d1 - d3)
        return 1.0 - v, v, 0.0
    cp = p - c
    d5, d6 = np.dot(ab, cp), np.dot(ac, cp)
    if d6 >= 0 and d5 <= d6:
        return 0.0, 0.0, 1.0
    vb = d5 * d2 - d1 * d6
    if vb <= 0 and d2 >= 0 and d6 <= 0:
        w = d2 / (d2 - d6)
        return 1.0 - w, 0.0, w
    va = d3 * d6 - d5 * d4
    if va <= 0 and d4 - d3 >= 0 and d5 - d6 >= 0:
        w = (d4 - d3) / ((d4 - d3) + (d5 - d6))
        return 0.0, 1.0 - w, w
    scale = 1.0 / (va + vb + vc)
    v, w = vb * scale, vc * scale
    return 1.0 - v - w, v, w


@numba.njit(nogil=True, cache=True)
def _nearest_facing(positions, vertices, facets, reach, facing):  # type: ignore[no-untyped-def]
    """For each vertex the nearest facet that looks the other way, −1 if none is within reach."""
    count, faces = len(vertices), len(facets)
    normals, radius, middle = np.zeros((faces, 3)), np.zeros(faces), np.zeros((faces, 3))
    around = np.zeros((len(positions), 3))
    for f in range(faces):
        a, b, c = positions[facets[f, 0]], positions[facets[f, 1]], positions[facets[f, 2]]
        normal = np.cross(b - a, c - a)
        normals[f] = normal / np.sqrt(np.dot(normal, normal))
        middle[f] = (a + b + c) / 3.0
        for i in range(3):
            around[facets[f, i]] += normals[f]
            arm = positions[facets[f, i]] - middle[f]
            radius[f] = max(radius[f], np.sqrt(np.dot(arm, arm)))
    pair = np.full(count, -1, dtype=np.int64)
    for k in range(count):
        vertex = vertices[k]
        p, own = positions[vertex], around[vertex]
        length = np.sqrt(np.dot(own, own))
        # The tip of a cut belongs to both of its faces.
        if length < 0.1:
            continue
        best = reach
        for f in range(faces):
            # Written out, because nearly all facets are turned down here.
            x, y, z = p[0] - middle[f, 0], p[1] - middle[f, 1], p[2] - middle[f, 2]
            limit = best + radius[f]
            if x * x + y * y + z * z > limit * limit:
                continue
            towards = own[0] * normals[f, 0] + own[1] * normals[f, 1] + own[2] * normals[f, 2]
            if towards > facing * length:
                continue
            if facets[f, 0] == vertex or facets[f, 1] == vertex or facets[f, 2] == vertex:
                continue
            a, b, c = positions[facets[f, 0]], positions[facets[f, 1]], positions[facets[f, 2]]
            u, v, w = _nearest(p, a, b, c)
            away = u * a + v * b + w * c - p
            distance = np.sqrt(np.dot(away, away))
            if distance < best:
                best = distance
                pair[k] = f
    return pair
