"""LiveRelaxation: viscoelastic tissue in the live tier, as an energy of each time step.

Over a step the second Piola–Kirchhoff stress of the law is passed through the tissue's Prony series exactly as in
`solver.relaxation`: at the end of the step it is c S_e + H with a known number c and a known stress H, so that the step
adds the energy (c − 1) W(F) + ½ H : FᵀF to the tissue's own. Constants are those at once after a change, and what is in
equilibrium when the clock starts has just been loaded (the convention of a relaxation test). On linear tetrahedra the
history is one stress a cell and branch.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numba
import numpy as np
from numpy.typing import NDArray

from solver.body import Body, tet_volumes
from solver.digest import NOT_STATE
from solver.kernels import call_kernel, law_kernel
from solver.live_load import LiveLoad
from solver.materials import PronySeries
from solver.topology import TopologyChange

Array = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class _Group:
    """Cells of one tissue that relaxes.

    Parameters
    ----------
    stress : int
        Address of the law's kernel.
    constants : ndarray, shape (k,)
        Of the law, and a bulk modulus that does not count.
    series : PronySeries
    cells : ndarray of int64
    kept : tuple of ndarray, shape (c, 9)
        h_i of each branch, kPa.
    before : ndarray, shape (c, 9)
        S_e at the start of the step, kPa.
    """

    stress: int = field(metadata=NOT_STATE)
    constants: Array
    series: PronySeries
    cells: Ints
    kept: tuple[Array, ...]
    before: Array


@dataclass(frozen=True, eq=False)
class LiveRelaxation(LiveLoad):
    """How the stress of tissues relaxes over one time step; a value.

    Parameters
    ----------
    tets : ndarray, shape (m, 4), int64
    reference : ndarray, shape (n, 3), float64
        Stress-free positions, mm.
    groups : tuple of _Group
    step_s : float
        Length of the step; 0 before the first.
    under_way : bool
        False once the end of the step has been accepted.
    """

    tets: Ints
    reference: Array
    groups: tuple[_Group, ...]
    step_s: float = 0.0
    under_way: bool = False

    @classmethod
    def of(cls, body: Body, positions: Array) -> LiveRelaxation | None:
        """Relaxation of the tissues whose series is published, from a state just loaded; None where there is none."""
        groups = []
        load = cls(body.organ.tets, body.reference_points, ())
        F = load._gradients(positions)
        for value, name in body.organ.structures.items():
            tissue = body.tissues[name]
            cells = np.flatnonzero(body.organ.region == value)
            if tissue.relaxation is None or not len(cells):
                continue
            law = tissue.law
            names = tuple(law.parameters)
            kernel = law_kernel(type(law), names, 0.0, law.structure)
            constants = np.array([*(law.parameters[n] for n in names), 0.0])
            before = _elastic(kernel.stress, constants, F[cells])
            kept = tuple(g * before for g in tissue.relaxation.weights)
            groups.append(_Group(kernel.stress, constants, tissue.relaxation, cells, kept, before))
        return replace(load, groups=tuple(groups)) if groups else None

    def _edges(self) -> tuple[Array, Array]:
        """Inverse of the stress-free edge matrices, shape (m, 3, 3), and volumes, mm³."""
        points, tets = self.reference, self.tets
        edges = np.moveaxis(points[tets[:, 1:]] - points[tets[:, :1]], 1, 2)
        return np.linalg.inv(edges), tet_volumes(points, tets)

    def _gradients(self, positions: Array) -> Array:
        """Deformation gradient of every cell, shape (m, 9)."""
        edges = np.moveaxis(positions[self.tets[:, 1:]] - positions[self.tets[:, :1]], 1, 2)
        return (edges @ self._geometry[0]).reshape(-1, 9)

    @property
    def _geometry(self) -> tuple[Array, Array]:
        known = self.__dict__.get("_known")
        if known is None:
            known = self._edges()
            self.__dict__["_known"] = known
        return known

    def _following(self, **changes: object) -> LiveRelaxation:
        """Another state on the same mesh, which keeps what was computed of it."""
        after = replace(self, **changes)  # type: ignore[arg-type]
        after.__dict__["_known"] = self._geometry
        return after

    def begun(self, positions: Array, seconds: float) -> LiveRelaxation:
        """A step that begins here; without time the last one stays."""
        return self if seconds <= 0 else self._following(step_s=seconds, under_way=True)

    def committed(self, positions: Array, time_s: float) -> LiveRelaxation:
        """The step ended here: every branch has followed the stress."""
        if not self.under_way:
            return self
        F = self._gradients(positions)
        groups = []
        for group in self.groups:
            now = _elastic(group.stress, group.constants, F[group.cells])
            kept = group.series.advance(list(group.kept), now - group.before, self.step_s)
            groups.append(replace(group, kept=tuple(kept), before=now))
        return self._following(groups=tuple(groups), under_way=False)

    def evaluate(self, positions: Array) -> tuple[float, Array]:
        """Energy of the step, µJ, and its gradient, mN."""
        gradient = np.zeros_like(positions)
        if self.step_s == 0 or not self.under_way:
            return self._held(positions, gradient)
        energy = 0.0
        for group in self.groups:
            times = np.asarray(group.series.times_s)
            gamma = -np.expm1(-self.step_s / times) * times / self.step_s
            more = -float(np.dot(group.series.weights, 1.0 - gamma))
            fixed = sum(group.series.advance(list(group.kept), -group.before, self.step_s))
            energy += self._add(group, more, fixed, positions, gradient)
        return energy, gradient

    def _held(self, positions: Array, gradient: Array) -> tuple[float, Array]:
        """Between steps: the branches stay at what they have reached, and a change is answered at once."""
        energy = 0.0
        for group in self.groups:
            fixed = sum(group.kept) - sum(group.series.weights) * group.before
            energy += self._add(group, 0.0, fixed, positions, gradient)
        return energy, gradient

    def _add(self, group: _Group, more: float, fixed: Array, positions: Array, gradient: Array) -> float:
        inverse, volumes = self._geometry
        energy = _forces(
            group.stress, group.constants, group.cells, more, np.ascontiguousarray(fixed), positions,
            self.tets, inverse, volumes, gradient,
        )  # fmt: skip
        return float(energy)

    def carried(self, change: TopologyChange) -> LiveRelaxation:
        """The same history on another mesh: every part of a cell keeps the cell's."""
        groups = []
        for group in self.groups:
            row = np.full(len(self.tets), -1, dtype=np.int64)
            row[group.cells] = np.arange(len(group.cells))
            of = change.of_tets(row)
            cells = np.flatnonzero(of >= 0)
            kept = tuple(h[of[cells]] for h in group.kept)
            groups.append(replace(group, cells=cells, kept=kept, before=group.before[of[cells]]))
        return LiveRelaxation(
            change.after.tets, change.interpolate(self.reference), tuple(groups), self.step_s, self.under_way
        )


@numba.njit(nogil=True, cache=True)
def _elastic(kernel, law, F):  # type: ignore[no-untyped-def]
    """S_e = F⁻¹ P of each cell, shape (c, 9)."""
    found = np.empty_like(F)
    result, constants, nothing = np.empty(10), np.empty(9 + len(law)), np.zeros(12)
    constants[9:] = law
    for c in range(len(F)):
        result[:] = 0.0
        constants[:9] = F[c]
        call_kernel(kernel, result.ctypes.data, constants.ctypes.data, nothing.ctypes.data)  # type: ignore[call-arg]
        found[c] = (np.linalg.inv(F[c].reshape(3, 3)) @ result[1:].reshape(3, 3)).ravel()
    return found


@numba.njit(nogil=True, cache=True)
def _forces(  # type: ignore[no-untyped-def]
    kernel, law, cells, more, fixed, positions, tets, inverse, volumes, gradient
):  # fmt: skip
    """Add the gradient of V (more W + ½ H : FᵀF) over some cells; returns the energy."""
    energy = 0.0
    result, constants, nothing = np.empty(10), np.empty(9 + len(law)), np.zeros(12)
    constants[9:] = law
    edges = np.empty((3, 3))
    for c in range(len(cells)):
        e = cells[c]
        a = tets[e, 0]
        for k in range(3):
            for i in range(3):
                edges[i, k] = positions[tets[e, k + 1], i] - positions[a, i]
        F = edges @ inverse[e]
        P = np.zeros((3, 3))
        if more != 0.0:
            result[:] = 0.0
            constants[:9] = F.ravel()
            call_kernel(kernel, result.ctypes.data, constants.ctypes.data, nothing.ctypes.data)  # type: ignore[call-arg]
            energy += more * volumes[e] * result[0]
            P += more * result[1:].reshape(3, 3)
        H = fixed[c].reshape(3, 3)
        FH = F @ H
        P += FH
        for i in range(3):
            for j in range(3):
                energy += 0.5 * volumes[e] * FH[i, j] * F[i, j]
        D = inverse[e]
        for i in range(3):
            total = 0.0
            for k in range(3):
                force = 0.0
                for j in range(3):
                    force += P[i, j] * D[k, j]
                force *= volumes[e]
                gradient[tets[e, k + 1], i] += force
                total += force
            gradient[a, i] -= total
    return energy
