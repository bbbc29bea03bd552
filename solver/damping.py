"""Viscous damping: Rayleigh's, proportional to mass, and the Kelvin–Voigt stress 2 η d.

d is the rate of deformation, which no rigid movement feels (Holzapfel 2000, § 2.8).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from solver.backend import compile_form, fem, la, ufl
from solver.elements import DEGREE, Element
from solver.errors import SolverError

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Damping:
    """Viscous damping.

    Parameters
    ----------
    mass_per_s : float
        Force per momentum, 1/s (Rayleigh's α); every free vibration decays as exp(−mass_per_s t / 2).
    viscosity_kPa_s : float
        η of the Kelvin–Voigt stress 2 η d, kPa s.
    """

    mass_per_s: float = 0.0
    viscosity_kPa_s: float = 0.0

    def __post_init__(self) -> None:
        for name, value, unit in (
            ("mass-proportional damping", self.mass_per_s, "1/s"),
            ("viscosity", self.viscosity_kPa_s, "kPa s"),
        ):
            if not (np.isfinite(value) and value >= 0):
                raise SolverError(f"The {name} is {value:g} {unit}; it must be zero or positive.")


class Viscosity:
    """Forces of the Kelvin–Voigt stress 2 η d: ∫ J 2η d : (grad δu F⁻¹) dX with d = sym(grad v F⁻¹).

    Parameters
    ----------
    element : Element
    viscosity_kPa_s : float
        η, kPa s.

    Attributes
    ----------
    none : bool
        Whether η is zero, and no force acts.
    """

    def __init__(self, element: Element, viscosity_kPa_s: float) -> None:
        self.element, self.none = element, viscosity_kPa_s == 0
        if self.none:
            return
        mixed = element.mixed
        self._velocity = fem.Function(element.space)
        self._slope = fem.Constant(element.body.mesh, 0.0)
        test, trial = ufl.TestFunction(element.space), ufl.TrialFunction(element.space)
        u, v, w = (ufl.split(f)[0] if mixed else f for f in (element.state, self._velocity, test))
        inverse = ufl.inv(ufl.Identity(3) + ufl.grad(u))
        J = ufl.det(ufl.Identity(3) + ufl.grad(u))
        eta = fem.Constant(element.body.mesh, float(viscosity_kPa_s))
        rate = ufl.sym(ufl.grad(v) * inverse)
        dx = element.body.dx(metadata={"quadrature_degree": DEGREE[element.name] or 1})
        residual = 2 * eta * J * ufl.inner(rate, ufl.grad(w) * inverse) * dx
        tangent = ufl.derivative(residual, element.state, trial)
        tangent += self._slope * ufl.derivative(residual, self._velocity, trial)
        self._residual, self._tangent = compile_form(residual), compile_form(tangent)
        self._matrix = fem.create_matrix(self._tangent, block_mode=la.BlockMode.expanded)

    def _put(self, x: Array, velocity: Array) -> None:
        self.element.state.x.array[:] = x
        self._velocity.x.array[:] = velocity

    def residual(self, x: Array, velocity: Array) -> Array:
        """Viscous forces, mN."""
        if self.none:
            return np.zeros_like(x)
        self._put(x, velocity)
        return np.array(fem.assemble_vector(self._residual).array)

    def tangent(self, x: Array, velocity: Array, slope: float) -> csr_matrix:
        """Their derivative where the velocity changes by `slope` times the displacement."""
        if self.none:
            return csr_matrix((len(x), len(x)))
        self._put(x, velocity)
        self._slope.value[()] = slope
        self._matrix.data[:] = 0.0
        fem.assemble_matrix(self._matrix, self._tangent)
        return self._matrix.to_scipy()
