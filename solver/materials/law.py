"""What a strain energy is: the contract of every law, and what the laws share.

A hyperelastic tissue stores the energy W(F) per reference volume, F = I + grad u, J = det F. Nearly
incompressible tissue is written as W = W_iso(C̄) + U(J) with C̄ = J^(-2/3) FᵀF (Flory 1961, Trans Faraday Soc
57:829), so that the law and its compressibility are two objects: a `Law` gives W_iso, a
`solver.materials.compressibility.Compressibility` gives U(J).

Parameters are numbers when a law is made, and may be replaced by cell-wise coefficients when its energy is
written: `Law.energy(F, parameters)`, so that all regions of one law share one compiled kernel.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from solver.backend import ufl
from solver.errors import SolverError


def positive(law: object, **values: float) -> None:
    """Refuse a parameter that is not a positive number, in the law's words."""
    for name, value in values.items():
        if not (math.isfinite(value) and value > 0):
            raise SolverError(f"{type(law).__name__}: {name} is {value:g}; it must be a positive number.")


def not_negative(law: object, **values: float) -> None:
    """Refuse a parameter that is negative or not a number, in the law's words."""
    for name, value in values.items():
        if not (math.isfinite(value) and value >= 0):
            raise SolverError(f"{type(law).__name__}: {name} is {value:g}; it must be zero or positive.")


@dataclass(frozen=True)
class Law(ABC):
    """A strain energy; subclasses name their parameters as fields and write `energy`."""

    fibres: ClassVar[int] = 0
    isochoric: ClassVar[bool] = True

    @property
    def parameters(self) -> dict[str, float]:
        """Name and value of every constant, in the order of the law's signature."""
        return {f.name: float(getattr(self, f.name)) for f in fields(self)}

    @property
    def structure(self) -> tuple[float, ...]:
        """Constants that are compiled into the energy; laws that differ in them share no kernel."""
        return ()

    @classmethod
    def of_structure(cls, structure: tuple[float, ...]) -> Law:
        """An instance without numbers of its own, whose energy is written with coefficients only."""
        return object.__new__(cls)

    @property
    @abstractmethod
    def initial_shear_kPa(self) -> float:
        """Shear modulus of the undeformed tissue in kPa, of the matrix where fibres are a term of their own."""

    @abstractmethod
    def energy(
        self, F: Any, parameters: Mapping[str, Any] | None = None, fibres: tuple[Any, ...] = ()
    ) -> Any:
        """Energy per reference volume in kPa, in UFL, without the volumetric part.

        Parameters
        ----------
        F : UFL tensor, shape (3, 3)
            Deformation gradient.
        parameters : mapping, optional
            Coefficients in place of the law's own numbers.
        fibres : tuple of UFL vectors
            Unit fibre directions in the reference shape, as many as the law has.
        """


def isochoric_invariants(F: Any) -> tuple[Any, Any]:
    """First and second invariants of C̄ = J^(-2/3) FᵀF, in UFL."""
    C = F.T * F
    J = ufl.det(F)
    first = ufl.tr(C)
    second = (first**2 - ufl.tr(C * C)) / 2
    return J ** (-2 / 3) * first, J ** (-4 / 3) * second


def stretching(strain: Any, stiffness: Any, exponent: Any) -> Any:
    """Energy of a fibre family that resists stretch only: k/(2b) (exp(b E²) − 1) for E > 0."""
    pulled = ufl.max_value(strain, 0.0)
    return stiffness / (2 * exponent) * (ufl.exp(exponent * pulled**2) - 1)
