"""Energy, stress and tangent of a law at one deformation gradient, from the same UFL that solves organs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from solver.backend import MPI, basix, compile_expression, fem, mesh, ufl
from solver.materials import Law

Array = NDArray[np.float64]


@dataclass(frozen=True)
class PointResponse:
    """What an energy density gives at one deformation gradient.

    Parameters
    ----------
    energy : float
        W in kPa.
    stress : ndarray, shape (3, 3)
        First Piola–Kirchhoff stress ∂W/∂F, kPa.
    second : float
        ∂²W/∂F∂F in the two directions that were asked for, G : ∂P/∂F : H, kPa; zero without them.
    """

    energy: float
    stress: Array
    second: float


def response(
    energy: Callable[[Any, dict[str, Any], tuple[Any, ...]], Any],
    gradient: ArrayLike,
    parameters: dict[str, float],
    fibres: Sequence[ArrayLike] = (),
    directions: tuple[ArrayLike, ArrayLike] = (np.zeros((3, 3)), np.zeros((3, 3))),
) -> PointResponse:
    """Derivatives of an energy density by the deformation gradient.

    Parameters
    ----------
    energy : callable
        From F, the parameters and the fibre directions in UFL to the density; a law's `energy`, for one.
    gradient : array-like, shape (3, 3)
        Deformation gradient F.
    parameters : dict of str to float
        Constants of the density.
    fibres : sequence of array-like, shape (3,)
        Unit fibre directions in the reference shape.
    directions : pair of array-like, shape (3, 3)
        G and H, along which the second derivative is taken.
    """
    corners = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    element = basix.ufl.element("Lagrange", "tetrahedron", 1, shape=(3,))
    domain = mesh.create_mesh(MPI.COMM_SELF, np.array([[0, 1, 2, 3]]), ufl.Mesh(element), corners)
    first, second = (ufl.variable(fem.Constant(domain, 0.0)) for _ in range(2))
    G, H = (fem.Constant(domain, np.asarray(d, dtype=np.float64)) for d in directions)
    F = ufl.variable(fem.Constant(domain, np.asarray(gradient, dtype=np.float64)) + first * G + second * H)
    axes = tuple(fem.Constant(domain, np.asarray(fibre, dtype=np.float64)) for fibre in fibres)
    constants = {name: fem.Constant(domain, float(value)) for name, value in parameters.items()}
    density = energy(F, constants, axes)
    stress = ufl.diff(density, F)
    both = ufl.diff(ufl.diff(density, first), second)
    entries = [density, *(stress[i, j] for i in range(3) for j in range(3)), both]
    expression = compile_expression(ufl.as_vector(entries), np.array([[0.25, 0.25, 0.25]]))
    values = np.asarray(expression.eval(domain, np.zeros(1, dtype=np.int32))).ravel()
    return PointResponse(float(values[0]), values[1:10].reshape(3, 3), float(values[10]))


def first_piola(law: Law, gradient: ArrayLike, fibres: Sequence[ArrayLike] = ()) -> Array:
    """Derivative of a law's energy by the deformation gradient, kPa, shape (3, 3).

    Parameters
    ----------
    law : Law
        Its volumetric energy is no part of it.
    gradient : array-like, shape (3, 3)
        Deformation gradient.
    fibres : sequence of array-like, shape (3,)
        Unit fibre directions in the reference shape.
    """
    return response(law.energy, gradient, law.parameters, fibres).stress


def incompressible_stress(
    law: Law, gradient: ArrayLike, free: int, fibres: Sequence[ArrayLike] = ()
) -> tuple[Array, Array]:
    """First Piola and Cauchy stress of the incompressible law whose Cauchy stress vanishes in direction `free`.

    The gradient must have determinant one; the pressure that incompressibility leaves open follows from
    σ[free, free] = 0.
    """
    F = np.asarray(gradient, dtype=np.float64)
    cauchy = first_piola(law, F, fibres) @ F.T
    cauchy -= cauchy[free, free] * np.eye(3)
    return cauchy @ np.linalg.inv(F).T, cauchy
