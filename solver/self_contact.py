"""SelfContact: cut faces that are pressed together do not pass through each other.

At the beginning of a step every vertex of a cut face is paired with the nearest place of the cut faces that look the
other way, if one is near: the foot, a point within a facet, and the direction between the two faces there. Both are
kept for the length of a step. With x the vertex, y its foot (fixed shares of the facet's corners) and n the direction,
the overlap d = (y − x)·n is linear in the positions, and is met by the pressure per area of the stress-free shape

    p = ε d²/(2 h) for 0 < d < h,   p = ε (d − h/2) beyond,

a penalty between vertices and facets in both directions (two-pass node-to-segment contact, linearised at the beginning
of each step; Wriggers 2006, Computational Contact Mechanics, ch. 6 and 9). Its energy is convex with two continuous
derivatives, whatever the faces look like and however far they slide. Vertex and foot press each other with opposite
forces; their moments balance as far as the vertex lies above its foot.

Faces that have just been cut lie on one another without force. Not taken as contact is what lies near through the
tissue: facets that share a vertex with those around the vertex, as near the front of a cut, and facets that the vertex
lies behind in the stress-free shape already, as across a strip between two cuts.

The penalty is some shear moduli of the tissue over the mean edge of the cut faces, `STIFF` where these are small and
`SOFT` where they are large, so that the faces of a cut that is pressed shut by a pressure p overlap by about p/ε + h/2.
Large faces cost iterations: on a liver of 6.7k tetrahedra pulled beside an open cut with one iteration a frame the
mean distance to rest was 0.066 mm with 160 vertices of cut faces and 0.003 mm without the contact.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numba
import numpy as np
from numpy.typing import NDArray

from solver.body import Body
from solver.live_load import LiveLoad
from solver.topology import TopologyChange

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

LAYER_MM = 0.05
# Up to this many vertices of cut faces every step solves for their forces exactly; the effort grows with their square.
COUPLED_VERTICES = 120
# Penalty times the mean edge of the cut faces over the shear modulus of the tissue: where the forces are solved for
# exactly, and where the tissue's own iteration has to find them.
STIFF, SOFT = 200.0, 20.0
# A foot nearer than this share to a corner or an edge of its facet is put there, so that fewer vertices are joined.
SNAP = 0.05
# Pairs are sought within this, over the mean edge of the cut faces.
REACH = 0.6
# Vertices farther behind a facet than this, over the mean edge, in the stress-free shape are so through the tissue.
THROUGH = 0.1
# Faces look towards each other where the cosine of the angle between their normals is below this.
FACING = -0.3


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
    shear_kPa : float
        Initial shear modulus of the tissue that most of the body is made of.
    reference : ndarray, shape (n, 3)
        Stress-free vertex positions, mm.
    pair : ndarray, shape (k,), int64
        Row of `facets` that each vertex is paired with, −1 for none.
    shares : ndarray, shape (k, 3)
        Of the corners of that facet in the foot of the vertex.
    normal : ndarray, shape (k, 3)
        From the facet's face to the vertex's, unit vectors.
    """

    facets: Ints
    vertices: Ints
    area_mm2: Array
    edge_mm: float
    shear_kPa: float
    reference: Array
    pair: Ints
    shares: Array
    normal: Array

    @classmethod
    def of(cls, body: Body) -> SelfContact:
        """Contact between the cut faces that a body has now and will have after further cuts."""
        volume = np.bincount(body.organ.region, body.organ.tet_volumes)
        name = body.organ.structures[int(volume.argmax())]
        shear = body.tissues[name].law.initial_shear_kPa
        return _made(body.raw, body.reference_points, shear)

    @property
    def penalty_kPa_mm(self) -> float:
        """ε: pressure over overlap."""
        return (STIFF if self.coupled else SOFT) * self.shear_kPa / self.edge_mm

    @property
    def coupled(self) -> bool:  # type: ignore[override]
        """Whether every step solves for the forces exactly: where the cut faces are few."""
        return len(self.vertices) <= COUPLED_VERTICES

    def begun(self, positions: Array, seconds: float) -> SelfContact:
        """Pair vertices and facets anew."""
        return self._paired(positions) if len(self.facets) else self

    def _paired(self, positions: Array) -> SelfContact:
        pair, shares, normal = _nearest_facing(
            positions, self.reference, self.vertices, self.facets, self.edge_mm
        )
        if np.array_equal(pair, self.pair) and np.array_equal(shares, self.shares):
            return self
        return replace(self, pair=pair, shares=shares, normal=normal)

    def _overlaps(self, positions: Array) -> tuple[Ints, Array]:
        """Rows of the vertices that overlap, and by how much, mm."""
        rows = np.flatnonzero(self.pair >= 0)
        foot = np.einsum("rc,rci->ri", self.shares[rows], positions[self.facets[self.pair[rows]]])
        overlap = np.einsum("ri,ri->r", foot - positions[self.vertices[rows]], self.normal[rows])
        over = overlap > 0
        return rows[over], overlap[over]

    def evaluate(self, positions: Array) -> tuple[float, Array]:
        """Energy, µJ, and its gradient, mN, shape (n, 3)."""
        gradient = np.zeros_like(positions)
        if not len(self.facets):
            return 0.0, gradient
        rows, d = self._overlaps(positions)
        h, area = LAYER_MM, self.penalty_kPa_mm * self.area_mm2[rows]
        density = np.where(d < h, d**3 / (6 * h), d**2 / 2 - d * h / 2 + h**2 / 6)
        force = (area * np.where(d < h, d**2 / (2 * h), d - h / 2))[:, None] * self.normal[rows]
        np.subtract.at(gradient, self.vertices[rows], force)
        nodal = self.shares[rows][:, :, None] * force[:, None, :]
        np.add.at(gradient, self.facets[self.pair[rows]].ravel(), nodal.reshape(-1, 3))
        return float(area @ density), gradient

    def coupled_stiffness(self, positions: Array, convex: bool = False) -> tuple[Ints, Array]:
        """Second derivative among the vertices in contact."""
        if not len(self.facets):
            return np.zeros(0, dtype=np.int64), np.zeros((0, 0))
        rows, d = self._overlaps(positions)
        slope = self.penalty_kPa_mm * self.area_mm2[rows] * np.minimum(d / LAYER_MM, 1.0)
        corners = np.column_stack([self.vertices[rows], self.facets[self.pair[rows]]])
        arm = np.column_stack([np.ones(len(rows)), -self.shares[rows]])
        way = (arm[:, :, None] * self.normal[rows][:, None, :]).reshape(-1, 12)
        blocks = slope[:, None, None] * way[:, :, None] * way[:, None, :]
        vertices, number = np.unique(corners, return_inverse=True)
        own = (3 * number.reshape(-1, 4)[:, :, None] + np.arange(3)).reshape(-1, 12)
        size = 3 * len(vertices)
        flat = own[:, :, None] * size + own[:, None, :]
        matrix = np.bincount(flat.ravel(), blocks.ravel(), minlength=size * size)
        return vertices, matrix.reshape(size, size)

    def overlap_mm(self, positions: Array) -> float:
        """How far the faces overlap where they do so most, mm."""
        return float(self._overlaps(positions)[1].max(initial=0.0)) if len(self.facets) else 0.0

    def carried(self, change: TopologyChange) -> SelfContact:
        """Contact of the cut faces after a change, old and new."""
        facets = np.concatenate([change.facets(self.facets), change.raw])
        return _made(facets, change.interpolate(self.reference), self.shear_kPa)


def _made(facets: Ints, reference: Array, shear_kPa: float) -> SelfContact:
    facets = np.ascontiguousarray(facets, dtype=np.int64).reshape(-1, 3)
    a, b, c = (reference[facets[:, i]] for i in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2
    vertices, number = np.unique(facets, return_inverse=True)
    around = np.bincount(number.ravel(), np.repeat(area / 3, 3), minlength=len(vertices))
    edge = float(np.linalg.norm(b - a, axis=1).mean()) if len(facets) else 1.0
    k = len(vertices)
    none = np.full(k, -1, dtype=np.int64), np.zeros((k, 3)), np.zeros((k, 3))
    # In the stress-free shape the two faces of a cut lie on one another.
    made = SelfContact(facets, vertices.astype(np.int64), around, edge, shear_kPa, reference, *none)
    return made._paired(reference)


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
def _snapped(u, v, w):  # type: ignore[no-untyped-def]
    """Barycentric coordinates with small ones put to zero."""
    u, v, w = (u if u > SNAP else 0.0), (v if v > SNAP else 0.0), (w if w > SNAP else 0.0)
    whole = u + v + w
    return u / whole, v / whole, w / whole


@numba.njit(nogil=True, cache=True)
def _normals(positions, facets):  # type: ignore[no-untyped-def]
    """Unit normals of facets, and their sums around vertices."""
    normals, around = np.zeros((len(facets), 3)), np.zeros((len(positions), 3))
    for f in range(len(facets)):
        a, b, c = positions[facets[f, 0]], positions[facets[f, 1]], positions[facets[f, 2]]
        normal = np.cross(b - a, c - a)
        normals[f] = normal / np.sqrt(np.dot(normal, normal))
        for i in range(3):
            around[facets[f, i]] += normals[f]
    return normals, around


@numba.njit(nogil=True, cache=True)
def _nearest_facing(positions, reference, vertices, facets, edge):  # type: ignore[no-untyped-def]
    """For each vertex the nearest place that looks the other way: its facet (−1 for none), shares and direction."""
    count, faces = len(vertices), len(facets)
    normals, around = _normals(positions, facets)
    first_normals, _ = _normals(reference, facets)
    middle, radius = np.zeros((faces, 3)), np.zeros(faces)
    for f in range(faces):
        middle[f] = (positions[facets[f, 0]] + positions[facets[f, 1]] + positions[facets[f, 2]]) / 3.0
        for i in range(3):
            arm = positions[facets[f, i]] - middle[f]
            radius[f] = max(radius[f], np.sqrt(np.dot(arm, arm)))
    starts = np.zeros(len(positions) + 1, dtype=np.int64)
    for f in range(faces):
        for i in range(3):
            starts[facets[f, i] + 1] += 1
    starts = np.cumsum(starts)
    fill, facets_at = starts[:-1].copy(), np.zeros(3 * faces, dtype=np.int64)
    for f in range(faces):
        for i in range(3):
            facets_at[fill[facets[f, i]]] = f
            fill[facets[f, i]] += 1
    pair = np.full(count, -1, dtype=np.int64)
    shares, direction = np.zeros((count, 3)), np.zeros((count, 3))
    mine = np.full(len(positions), -1, dtype=np.int64)
    for k in range(count):
        vertex = vertices[k]
        p, own = positions[vertex], around[vertex]
        length = np.sqrt(np.dot(own, own))
        # The tip of a cut belongs to both of its faces.
        if length < 0.1:
            continue
        for j in range(starts[vertex], starts[vertex + 1]):
            for i in range(3):
                mine[facets[facets_at[j], i]] = k
        best = REACH * edge
        for f in range(faces):
            # Written out, because nearly all facets are turned down here.
            x, y, z = p[0] - middle[f, 0], p[1] - middle[f, 1], p[2] - middle[f, 2]
            limit = best + radius[f]
            if x * x + y * y + z * z > limit * limit:
                continue
            towards = own[0] * normals[f, 0] + own[1] * normals[f, 1] + own[2] * normals[f, 2]
            if towards > FACING * length:
                continue
            if mine[facets[f, 0]] == k or mine[facets[f, 1]] == k or mine[facets[f, 2]] == k:
                continue
            u, v, w = _nearest(p, positions[facets[f, 0]], positions[facets[f, 1]], positions[facets[f, 2]])
            foot = u * positions[facets[f, 0]] + v * positions[facets[f, 1]] + w * positions[facets[f, 2]]
            away = foot - p
            distance = np.sqrt(np.dot(away, away))
            if distance >= best:
                continue
            if np.dot(reference[facets[f, 0]] - reference[vertex], first_normals[f]) > THROUGH * edge:
                continue
            u, v, w = _snapped(u, v, w)
            # Between the faces as a whole, however rough they are.
            there = u * around[facets[f, 0]] + v * around[facets[f, 1]] + w * around[facets[f, 2]]
            size = np.sqrt(np.dot(there, there))
            if size < 0.1:
                continue
            way = there / size - own / length
            way /= np.sqrt(np.dot(way, way))
            best = distance
            pair[k] = f
            shares[k, 0], shares[k, 1], shares[k, 2] = u, v, w
            direction[k] = way
    return pair, shares, direction
