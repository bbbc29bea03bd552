"""Motion: inertia and viscosity of the live tissue, as an energy of each time step.

With the backward difference formula of second order (BDF2; Hairer & Wanner 1996, Solving Ordinary Differential
Equations II, § V.1) the velocity at the end of a step Δt is v = r (x − x̄), r = 3/(2Δt), x̄ = (4 xₙ − xₙ₋₁)/3, and the
acceleration r (v − v̄) likewise, so that the end of the step is where

    r²/2 ‖x − x̂‖²_M + α r/2 ‖x − x̄‖²_M + η r ∫ |sym grad (x − x̄)|² dv + (energy of the tissue),

x̂ = x̄ + v̄/r, is least: one more energy for the solver that finds equilibria. M is the consistent mass matrix of
linear tetrahedra, as in the reference tier; α damps in proportion to mass; η is the Kelvin–Voigt viscosity, its stress
2 η d in the shape at the start of the step, which makes rigid turns free of it. The first step is of first order,
r = 1/Δt. BDF2 damps what is faster than the step and leaves slower swings alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numba
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from solver.body import Body, tet_volumes
from solver.live_load import LiveLoad
from solver.topology import TopologyChange

Array = NDArray[np.float64]
Ints = NDArray[np.int64]

#: Viscosity of healthy liver at low rates, kPa s: the dashpot of the Zener model (Asbach 2008, Magn Reson Med 60:373).
VISCOSITY_KPA_S = 7.3e-3
#: Damping by what surrounds the organ, 1/s: fat and fluid let free swings die within a second. Nobody has measured it.
SURROUNDINGS_1_S = 8.0
SMALLEST_TOLERANCE_MM = 1e-6


@dataclass(frozen=True, eq=False)
class Motion(LiveLoad):
    """Inertia and viscosity over one time step; a value.

    Parameters
    ----------
    tets : ndarray, shape (m, 4), int64
    reference : ndarray, shape (n, 3), float64
        Stress-free positions, mm.
    density : ndarray, shape (m,), float64
        kg/mm³.
    mass_per_s, viscosity_kPa_s : float
        α and η.
    mass : scipy.sparse.csr_array, shape (n, n)
        M, kg.
    position, velocity : pair of ndarray, shape (n, 3), float64
        At the start of the step, and a step before, mm and mm/s.
    base, ahead : ndarray, shape (n, 3), float64
        x̄ and x̂ of the step, mm.
    step_s : float
        Length of the step; 0 before the first.
    second_order : bool
        Whether the step before was as long.
    under_way : bool
        False once the end of the step has been accepted.
    """

    tets: Ints
    reference: Array
    density: Array
    mass_per_s: float
    viscosity_kPa_s: float
    mass: sparse.csr_array
    position: tuple[Array, Array]
    velocity: tuple[Array, Array]
    base: Array
    ahead: Array
    step_s: float = 0.0
    second_order: bool = False
    under_way: bool = False

    @classmethod
    def of(
        cls,
        body: Body,
        positions: Array,
        mass_per_s: float = SURROUNDINGS_1_S,
        viscosity_kPa_s: float = VISCOSITY_KPA_S,
    ) -> Motion:
        """Tissue that begins to move from rest.

        Parameters
        ----------
        body : Body
        positions : ndarray, shape (n, 3), float64
            Where its vertices are, mm.
        mass_per_s, viscosity_kPa_s : float
            See `solver.damping.Damping`.
        """
        table = np.zeros(256)
        for value, name in body.organ.structures.items():
            table[value] = body.tissues[name].density_kg_mm3
        density = table[body.organ.region]
        tets, still = body.organ.tets, np.zeros_like(positions)
        return cls(
            tets, body.reference_points, density, mass_per_s, viscosity_kPa_s,
            _consistent(body.reference_points, tets, density), (positions, positions), (still, still),
            positions, positions,
        )  # fmt: skip

    @property
    def _rate(self) -> float:
        """r, 1/s."""
        return (1.5 if self.second_order else 1.0) / self.step_s

    @property
    def tolerance_mm(self) -> float:
        """A thousandth of the longest way any vertex goes along an axis in the step, mm."""
        if self.step_s == 0:
            return np.inf
        return max(
            1e-3 * self.step_s * float(np.abs(self.velocity[0]).max(initial=0.0)), SMALLEST_TOLERANCE_MM
        )

    def begun(self, positions: Array, seconds: float) -> Motion:
        """A step that begins here; without time the last one stays."""
        if seconds <= 0:
            return self
        same = bool(np.isclose(seconds, self.step_s, rtol=1e-9))
        rate = (1.5 if same else 1.0) / seconds
        base, speed = positions, self.velocity[0]
        if same:
            base = (4.0 * positions - self.position[0]) / 3.0
            speed = (4.0 * self.velocity[0] - self.velocity[1]) / 3.0
        return replace(
            self, position=(positions, self.position[0]), base=base, ahead=base + speed / rate,
            step_s=seconds, second_order=same, under_way=True,
        )  # fmt: skip

    def committed(self, positions: Array, time_s: float) -> Motion:
        """The step ended here."""
        if not self.under_way:
            return self
        velocity = self._rate * (positions - self.base)
        return replace(self, velocity=(velocity, self.velocity[0]), under_way=False)

    def evaluate(self, positions: Array) -> tuple[float, Array]:
        """Energy of the step, µJ, and its gradient, mN; nothing before the first."""
        if self.step_s == 0:
            return 0.0, np.zeros_like(positions)
        rate = self._rate
        moved, ahead = positions - self.base, positions - self.ahead
        gradient = rate**2 * (self.mass @ ahead)
        energy = 0.5 * float(np.vdot(ahead, gradient))
        if self.mass_per_s:
            damping = self.mass_per_s * rate * (self.mass @ moved)
            energy += 0.5 * float(np.vdot(moved, damping))
            gradient += damping
        if self.viscosity_kPa_s:
            energy += _viscous(
                self.tets, self.position[0], moved, 2.0 * self.viscosity_kPa_s * rate, gradient
            )
        return energy, gradient

    def stiffness(self, positions: Array) -> tuple[Ints, Array]:
        """The masses' part, lumped: r (r + α) m at every vertex."""
        if self.step_s == 0:
            return super().stiffness(positions)
        rate = self._rate
        blocks = rate * (rate + self.mass_per_s) * self.mass.sum(axis=1)[:, None, None] * np.eye(3)
        return np.arange(len(positions)), blocks

    def carried(self, change: TopologyChange) -> Motion:
        """The same motion on another mesh; mass goes where the tissue is."""
        reference, density = change.interpolate(self.reference), change.of_tets(self.density)
        tets = change.after.tets
        return replace(
            self, tets=tets, reference=reference, density=density, mass=_consistent(reference, tets, density),
            position=(change.interpolate(self.position[0]), change.interpolate(self.position[1])),
            velocity=(change.interpolate(self.velocity[0]), change.interpolate(self.velocity[1])),
            base=change.interpolate(self.base), ahead=change.interpolate(self.ahead),
        )  # fmt: skip


def _consistent(points: Array, tets: Ints, density: Array) -> sparse.csr_array:
    """Consistent mass matrix, kg: ρV/10 on the diagonal of a tetrahedron, ρV/20 beside it."""
    mass = density * tet_volumes(points, tets)
    row, column = np.repeat(tets, 4, axis=1).ravel(), np.tile(tets, (1, 4)).ravel()
    share = np.where(np.eye(4, dtype=bool), 0.1, 0.05).ravel()
    shape = (len(points), len(points))
    return sparse.csr_array(((mass[:, None] * share).ravel(), (row, column)), shape=shape)


@numba.njit(nogil=True, cache=True)
def _viscous(tets, start, moved, strength, gradient):  # type: ignore[no-untyped-def]
    """Energy strength/2 ∫ |sym grad moved|² over the shape at the start; its gradient is added."""
    total = 0.0
    edges, inverse, slope = np.empty((3, 3)), np.empty((3, 3)), np.empty((3, 3))
    for e in range(len(tets)):
        a = tets[e, 0]
        for k in range(3):
            for i in range(3):
                edges[i, k] = start[tets[e, k + 1], i] - start[a, i]
        for i in range(3):
            for j in range(3):
                inverse[j, i] = (
                    edges[(i + 1) % 3, (j + 1) % 3] * edges[(i + 2) % 3, (j + 2) % 3]
                    - edges[(i + 1) % 3, (j + 2) % 3] * edges[(i + 2) % 3, (j + 1) % 3]
                )
        determinant = edges[0, 0] * inverse[0, 0] + edges[0, 1] * inverse[1, 0] + edges[0, 2] * inverse[2, 0]
        volume = determinant / 6.0
        for i in range(3):
            for j in range(3):
                slope[i, j] = 0.0
                for k in range(3):
                    slope[i, j] += (moved[tets[e, k + 1], i] - moved[a, i]) * inverse[k, j] / determinant
        for i in range(3):
            for j in range(3):
                half = 0.5 * (slope[i, j] + slope[j, i])
                total += 0.5 * strength * volume * half * half
                for k in range(3):
                    force = strength * volume * half * inverse[k, j] / determinant
                    gradient[tets[e, k + 1], i] += force
                    gradient[a, i] -= force
    return total
