"""Relaxation of a body: quasi-linear viscoelasticity with its history at the quadrature points.

The part of the second Piola–Kirchhoff stress that comes from a tissue's law, S_e(C), is passed through a Prony series
(Fung 1993, Biomechanics, § 7.6): S = (1 − Σ g_i) S_e + Σ h_i, each h_i following S_e with its own relaxation time.
Changes of volume stay elastic. Over a step Δt in which S_e changes linearly (Taylor 1970, Int J Numer Methods Eng 2:45;
Simo & Hughes 1998, Computational Inelasticity, § 10.3)

    h_i ← e_i h_i + g_i γ_i (S_e − S_e before),   e_i = exp(−Δt/τ_i),   γ_i = (1 − e_i) τ_i/Δt,

so that the stress at the end of a step is c S_e + H with the number c = 1 − Σ g_i (1 − γ_i) and with
H = Σ (e_i h_i − g_i γ_i S_e before), which is known. A step is thus as elastic as equilibrium is: c − 1 of the law's
own energy is added to the element's, and the fixed stress H. The constants of a tissue are those at once after a change
(instantaneous) or those after long (relaxed); in the second case all of it is divided by 1 − Σ g_i.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from solver.backend import basix, compile_expression, compile_form, fem, la, ufl
from solver.elements import DEGREE, Element
from solver.errors import SolverError
from solver.materials import PronySeries

Array = NDArray[np.float64]


class Relaxation:
    """Viscoelastic part of the forces of an element.

    Parameters
    ----------
    element : Element
    series : PronySeries or mapping of structure name to PronySeries
        One series for every tissue, or those of some structures; the others stay elastic.
    relaxed : bool
        True takes the constants of the tissues for those of relaxed tissue, and the state that a motion starts from
        for one that has rested; False takes them for instantaneous ones, and the state for one that was just loaded.
        In both cases what is in static equilibrium starts in equilibrium.

    Raises
    ------
    SolverError
        If a structure is unknown.
    """

    def __init__(
        self, element: Element, series: PronySeries | Mapping[str, PronySeries], relaxed: bool
    ) -> None:
        body = element.body
        by_name = dict.fromkeys(body.tissues, series) if isinstance(series, PronySeries) else dict(series)
        unknown = sorted(set(by_name) - set(body.tissues))
        if unknown:
            raise SolverError(
                f"A Prony series is given for {', '.join(unknown)}, which the body does not have."
            )
        self.element, self.relaxed = element, relaxed
        region = body.cells_from_organ(body.organ.region)
        value_of = {name: value for value, name in body.organ.structures.items()}
        self._branches = [
            (s, np.flatnonzero(region == value_of[name])) for name, s in by_name.items() if name in value_of
        ]
        self._scale = np.ones(len(region))
        for s, cells in self._branches:
            self._scale[cells] = 1 / (1 - sum(s.weights)) if relaxed else 1.0
        self._build_forms()

    def _build_forms(self) -> None:
        element, body = self.element, self.element.body
        degree = DEGREE[element.name] or 1
        u = ufl.split(element.state)[0] if element.name == "P2-P1" else element.state
        test, trial = ufl.TestFunction(element.space), ufl.TrialFunction(element.space)
        v = ufl.split(test)[0] if element.name == "P2-P1" else test
        stress_element = basix.ufl.quadrature_element("tetrahedron", value_shape=(3, 3), degree=degree)
        self._history = fem.Function(fem.functionspace(body.mesh, stress_element))
        self._points = self._history.function_space.dofmap.list.ravel()
        self._more = fem.Function(body.cell_space)
        points = np.asarray(basix.make_quadrature(basix.CellType.tetrahedron, degree)[0])
        dx = body.dx(metadata={"quadrature_degree": degree})
        F = ufl.variable(ufl.Identity(3) + ufl.grad(u))
        groups = body.law_energies(F)
        self._stresses = [
            (compile_expression(ufl.inv(F) * ufl.diff(density, F), points), cells)
            for density, cells in groups
        ]
        F = ufl.Identity(3) + ufl.grad(u)
        energy: Any = 0
        for index, (density, _) in enumerate(body.law_energies(F)):
            energy += self._more * density * (dx if len(groups) == 1 else dx(index))
        residual = ufl.derivative(energy, element.state, test)
        residual += ufl.inner(self._history, F.T * ufl.grad(v)) * dx
        self._residual = compile_form(residual)
        self._tangent = compile_form(ufl.derivative(residual, element.state, trial))
        self._matrix = fem.create_matrix(self._tangent, block_mode=la.BlockMode.expanded)

    # ------------------------------------------------------------------ history

    def begin(self, x: Array) -> None:
        """Start from unknowns that are in static equilibrium."""
        self._before = self._elastic(x)
        share = 0.0 if self.relaxed else 1.0
        self._kept = [[share * g * self._before[cells] for g in s.weights] for s, cells in self._branches]

    def prepare(self, elapsed_s: float) -> None:
        """Get ready for a step that ends after some time."""
        self._elapsed = elapsed_s
        history = np.zeros_like(self._before)
        self._more.x.array[:] = 0.0
        for (s, cells), kept in zip(self._branches, self._kept, strict=True):
            times = np.asarray(s.times_s)
            gamma = -np.expm1(-elapsed_s / times) * times / elapsed_s
            factor = 1 - sum(g * (1 - c) for g, c in zip(s.weights, gamma, strict=True))
            self._more.x.array[cells] = self._scale[cells] * factor - 1
            # What stays of the branches if the elastic stress went to zero over the step.
            advanced = s.advance(kept, -self._before[cells], elapsed_s)
            history[cells] = self._scale[cells, None, None] * sum(advanced)
        self._history.x.array.reshape(-1, 9)[self._points] = history.reshape(-1, 9)

    def commit(self, x: Array) -> None:
        """Keep the unknowns at the end of the step that was prepared."""
        now = self._elastic(x)
        self._kept = [
            s.advance(kept, now[cells] - self._before[cells], self._elapsed)
            for (s, cells), kept in zip(self._branches, self._kept, strict=True)
        ]
        self._before = now

    def snapshot(self) -> tuple[Any, ...]:
        """What `restore` needs to go back to the present history."""
        return self._before, self._kept

    def restore(self, snapshot: tuple[Any, ...]) -> None:
        """Go back to a history."""
        self._before, self._kept = snapshot

    def _elastic(self, x: Array) -> Array:
        """S_e at the quadrature points, kPa, shape (m, q, 9)."""
        self.element.state.x.array[:] = x
        mesh = self.element.body.mesh
        values = np.zeros((len(self._scale), len(self._points) // len(self._scale), 9))
        for stress, cells in self._stresses:
            values[cells] = stress.eval(mesh, cells).reshape(len(cells), -1, 9)
        return values

    # ------------------------------------------------------------------ forces

    def residual(self, x: Array) -> Array:
        """What relaxation adds to the out-of-balance force, mN."""
        self.element.state.x.array[:] = x
        return np.array(fem.assemble_vector(self._residual).array)

    def tangent(self, x: Array) -> Any:
        """Its derivative, a SciPy matrix."""
        self.element.state.x.array[:] = x
        self._matrix.data[:] = 0.0
        fem.assemble_matrix(self._matrix, self._tangent)
        return self._matrix.to_scipy()
