"""Pneumoperitoneum: gas in the abdomen, whose pressure pushes on whatever surface it reaches.

A pressure p acts against the deformed surface: on a triangle with area vector a it puts −p a/3 on each corner. Around a
closed surface that is the gradient of p V(x), V being the volume inside; a pressure on part of it has a potential up to
terms on its boundary only (Schweizerhof & Ramm 1984, Comput Struct 18:1099). So the load is p V of the whole organ,
less the pressure on the surface that something holds, taken as a fixed force as it was when the step began. What is
left out is how the held surface turns within one step, and it hardly turns; what rests from step to step rests under
the true pressure.

Gas reaches the outer surface that nothing holds: attachments keep their facets, cut faces are open to it. It does not
enter vessels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from solver.body import Body
from solver.live_load import LiveLoad
from solver.topology import TopologyChange

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

LOAD = "pneumoperitoneum"
# NIST Special Publication 811 (2008), appendix B.8: conventional millimetre of mercury.
KPA_PER_MMHG = 0.1333224


def free_surface(body: Body) -> Ints:
    """Exterior triangles that no attachment holds, shape (k, 3), wound outwards."""
    return body.organ.exterior[~_held(body)]


def _held(body: Body) -> NDArray[np.bool_]:
    """Which exterior triangles an attachment holds."""
    count = len(body.organ.points)
    held = [_keys(a.facets, count) for a in body.attachments if not a.released]
    return np.isin(_keys(body.organ.exterior, count), np.concatenate([np.zeros(0, dtype=np.int64), *held]))


def area_vectors(facets: Ints, positions: Array) -> Array:
    """Area times outward normal of each triangle, mm², shape (k, 3)."""
    a, b, c = (positions[facets[:, i]] for i in range(3))
    return np.asarray(np.cross(b - a, c - a) / 2.0)


@dataclass(frozen=True, eq=False)
class Pneumoperitoneum(LiveLoad):
    """Pressure of a gas on part of the outer surface.

    Parameters
    ----------
    facets : ndarray, shape (k, 3), int64
        Exterior triangles it reaches, wound outwards.
    held : ndarray, shape (l, 3), int64
        The other exterior triangles.
    pressure_kPa : float
        Above that of the surroundings.
    shielded : ndarray, shape (n, 3), float64
        Area vectors of the held triangles at the vertices where the step began, mm².
    """

    facets: Ints
    held: Ints
    pressure_kPa: float
    shielded: Array

    @staticmethod
    def around(body: Body, pressure_kPa: float, positions: Array) -> Pneumoperitoneum:
        """The gas around a body at some positions, shape (n, 3), mm."""
        held = _held(body)
        exterior = body.organ.exterior
        load = Pneumoperitoneum(exterior[~held], exterior[held], pressure_kPa, np.zeros_like(positions))
        return load._exact_at(positions)

    def at(self, pressure_kPa: float) -> Pneumoperitoneum:
        """The same gas at another pressure."""
        return replace(self, pressure_kPa=pressure_kPa)

    @property
    def pressure_mmHg(self) -> float:
        """Pressure as surgeons read it."""
        return self.pressure_kPa / KPA_PER_MMHG

    def area_mm2(self, positions: Array) -> float:
        """Area it acts on."""
        return float(np.linalg.norm(area_vectors(self.facets, positions), axis=1).sum())

    def force_mN(self, positions: Array) -> Array:
        """Nodal forces of the true following pressure, mN, shape (n, 3)."""
        return -self.pressure_kPa * _vertex_areas(self.facets, positions)

    def _exact_at(self, positions: Array) -> Pneumoperitoneum:
        return replace(self, shielded=_vertex_areas(self.held, positions))

    def evaluate(self, positions: Array) -> tuple[float, Array]:
        """p (V − shielded · x) and its gradient."""
        whole = np.concatenate([self.facets, self.held])
        origin = positions.mean(axis=0)
        a, b, c = (positions[whole[:, i]] - origin for i in range(3))
        volume = float(np.vdot(a, np.cross(b, c))) / 6.0
        energy = volume - float(np.vdot(self.shielded, positions))
        return self.pressure_kPa * energy, self.pressure_kPa * (
            _vertex_areas(whole, positions) - self.shielded
        )

    def second_derivative(self, positions: Array) -> csr_array:
        """∂²E/∂x², mN/mm, shape (3 n, 3 n): the cross product with the third joins each two corners of a triangle."""
        whole = np.concatenate([self.facets, self.held])
        corners = positions[whole] - positions.mean(axis=0)
        rows, columns, values = [], [], []
        for first, second, third in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
            block = -self.pressure_kPa / 6.0 * _cross_matrix(corners[:, third])
            for a, b, own in ((first, second, block), (second, first, block.transpose(0, 2, 1))):
                row = 3 * whole[:, a, None, None] + np.arange(3)[:, None]
                column = 3 * whole[:, b, None, None] + np.arange(3)[None, :]
                shape = own.shape
                rows.append(np.broadcast_to(row, shape).ravel())
                columns.append(np.broadcast_to(column, shape).ravel())
                values.append(own.ravel())
        size = 3 * len(positions)
        entries = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
        return csr_array(entries, shape=(size, size))

    def begun(self, positions: Array, seconds: float) -> Pneumoperitoneum:
        """Exact at these positions."""
        found = self._exact_at(positions)
        return self if np.abs(found.shielded - self.shielded).max() < 1e-9 else found

    def carried(self, change: TopologyChange) -> Pneumoperitoneum:
        """On what is left of the surface, and on the faces the change laid open."""
        reached = np.concatenate([change.facets(self.facets), change.raw])
        held = np.zeros_like(change.after.points)
        return Pneumoperitoneum(reached, change.facets(self.held), self.pressure_kPa, held)


def _vertex_areas(facets: Ints, positions: Array) -> Array:
    """A third of the area vectors around each vertex, mm², shape (n, 3)."""
    third = area_vectors(facets, positions) / 3.0
    index, count = facets.T.ravel(), len(positions)
    return np.stack(
        [np.bincount(index, np.tile(third[:, axis], 3), minlength=count) for axis in range(3)], axis=1
    )


def _cross_matrix(vectors: Array) -> Array:
    """[v]× with [v]× w = v × w, shape (k, 3, 3)."""
    matrix = np.zeros((len(vectors), 3, 3))
    x, y, z = vectors.T
    matrix[:, 0, 1], matrix[:, 0, 2], matrix[:, 1, 2] = -z, y, -x
    return matrix - matrix.transpose(0, 2, 1)


def _keys(facets: Ints, count: int) -> Ints:
    low = np.sort(facets, axis=1)
    return (low[:, 0] * count + low[:, 1]) * count + low[:, 2]
