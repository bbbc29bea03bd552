"""Posture: the patient is turned on the table, so that gravity turns in the patient's own frame.

The stress-free shape belongs to the patient lying level; a turn by R changes the weight of a mass m from m g to
m Rᵀ g. The load is that difference, a dead force: its energy is −Σ m (Rᵀ − 1) g · x.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from solver.body import Body, tet_volumes
from solver.live_load import LiveLoad
from solver.topology import TopologyChange

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

LOAD = "posture"


def turned(vector: Array, axis: Array, degrees: float) -> Array:
    """A vector turned about a unit axis by the right-hand rule (Rodrigues' formula), shape (3,)."""
    angle = np.deg2rad(degrees)
    along = axis * float(axis @ vector)
    return np.asarray(along + np.cos(angle) * (vector - along) + np.sin(angle) * np.cross(axis, vector))


@dataclass(frozen=True, eq=False)
class Posture(LiveLoad):
    """Weight of the organ in a turned patient, less that of the level one.

    Parameters
    ----------
    tets : ndarray, shape (m, 4), int64
    mass_kg : ndarray, shape (m,), float64
        Of each tetrahedron.
    level_mm_s2 : ndarray, shape (3,)
        Gravity for which the body was built, LPS.
    gravity_mm_s2 : ndarray, shape (3,)
        Gravity now, in the patient's frame.
    force_mN : ndarray, shape (n, 3), float64
    """

    tets: Ints
    mass_kg: Array
    level_mm_s2: Array
    gravity_mm_s2: Array
    force_mN: Array

    @staticmethod
    def level(body: Body) -> Posture:
        """The patient on a level table."""
        organ = body.organ
        density = np.zeros(256)
        for value, name in organ.structures.items():
            density[value] = body.tissues[name].density_kg_mm3 if name in body.tissues else 0.0
        mass = density[organ.region] * tet_volumes(body.reference_points, organ.tets)
        gravity = body.gravity_mm_s2
        return Posture(organ.tets, mass, gravity, gravity, np.zeros_like(organ.points))

    def under(self, gravity_mm_s2: Array) -> Posture:
        """The same masses under another gravity."""
        force = self._vertex_mass(len(self.force_mN))[:, None] * (gravity_mm_s2 - self.level_mm_s2)
        return replace(self, gravity_mm_s2=gravity_mm_s2, force_mN=force)

    def _vertex_mass(self, count: int) -> Array:
        return np.bincount(self.tets.ravel(), np.repeat(self.mass_kg / 4, 4), minlength=count)

    def evaluate(self, positions: Array) -> tuple[float, Array]:
        """−f · x and −f."""
        return -float(np.vdot(self.force_mN, positions)), -self.force_mN

    def carried(self, change: TopologyChange) -> Posture:
        """With the masses of the parts of each tetrahedron."""
        share = change.after.tet_volumes / change.before.tet_volumes[change.tet_parent]
        other = replace(
            self,
            tets=change.after.tets,
            mass_kg=change.of_tets(self.mass_kg) * share,
            force_mN=np.zeros_like(change.after.points),
        )
        return other.under(self.gravity_mm_s2)
