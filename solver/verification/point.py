"""Stress of a law at one deformation gradient, computed by the same compiled forms that solve organs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from solver.backend import MPI, basix, compile_expression, fem, mesh, ufl
from solver.materials import Law

Array = NDArray[np.float64]


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
    corners = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    element = basix.ufl.element("Lagrange", "tetrahedron", 1, shape=(3,))
    domain = mesh.create_mesh(MPI.COMM_SELF, np.array([[0, 1, 2, 3]]), ufl.Mesh(element), corners)
    F = ufl.variable(fem.Constant(domain, np.asarray(gradient, dtype=np.float64)))
    directions = tuple(fem.Constant(domain, np.asarray(fibre, dtype=np.float64)) for fibre in fibres)
    parameters = {name: fem.Constant(domain, value) for name, value in law.parameters.items()}
    stress = ufl.diff(law.energy(F, parameters, directions), F)
    expression = compile_expression(stress, np.array([[0.25, 0.25, 0.25]]))
    return np.asarray(expression.eval(domain, np.zeros(1, dtype=np.int32))).reshape(3, 3)


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
