"""Compressibility: how tissue resists a change of volume, as a penalty and as a pressure.

Every volumetric energy is U(J) = K u(J) with u(1) = u'(1) = 0 and u''(1) = 1, so that K is the bulk modulus of
small strains. With the displacement alone U(J) is added to the law. With a pressure of its own, nearly
incompressible tissue is written as a perturbed Lagrangian: a functional that is linear in a measure of the
volume change and whose stationary value over the pressure is U(J) again (Brink & Stein 1996, Comput Mech
19:105; Holzapfel 2000, Nonlinear Solid Mechanics, § 8.6).

Where u = g²/2 the functional is p g(J) − p²/(2K), and p = K g. For the others it is p (J − 1) − U*(p) with the
Legendre transform U* of U over J − 1, and p = U'(J) is the volumetric Cauchy stress itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from solver.backend import ufl
from solver.errors import SolverError


def _simo_taylor_conjugate(p: Any, K: Any) -> Any:
    """U*(p) of U = K/4 (J² − 1 − 2 ln J): from q = p/K = (J − 1/J)/2 follows J = q + √(q² + 1)."""
    q = p / K
    J = q + ufl.sqrt(q**2 + 1)
    return K * (q * J / 2 - q + ufl.ln(J) / 2)


class _Function(NamedTuple):
    """U(J, K), the measure that the mixed form is linear in, and what is subtracted from p times it, U*(p, K)."""

    energy: Callable[[Any, Any], Any]
    measure: Callable[[Any], Any]
    conjugate: Callable[[Any, Any], Any]


_FUNCTIONS = {
    "linear": _Function(lambda J, K: K / 2 * (J - 1) ** 2, lambda J: J - 1, lambda p, K: p**2 / (2 * K)),
    "logarithmic": _Function(
        lambda J, K: K / 2 * ufl.ln(J) ** 2, lambda J: ufl.ln(J), lambda p, K: p**2 / (2 * K)
    ),
    "Simo-Taylor": _Function(
        lambda J, K: K / 4 * (J**2 - 1 - 2 * ufl.ln(J)), lambda J: J - 1, _simo_taylor_conjugate
    ),
    "Liu": _Function(
        lambda J, K: K * (J * ufl.ln(J) - J + 1),
        lambda J: J - 1,
        lambda p, K: K * (ufl.exp(p / K) - 1) - p,
    ),
}


@dataclass(frozen=True)
class Compressibility:
    """Volumetric energy U(J) = K u(J).

    Parameters
    ----------
    bulk_kPa : float
        Bulk modulus K in kPa.
    measure : {"linear", "logarithmic", "Simo-Taylor", "Liu"}
        u = (J − 1)²/2, a penalty on the volume change; (ln J)²/2, which resists J → 0 without bound; (J² − 1 − 2 ln
        J)/4, which is convex as well (Simo & Taylor 1991, Comput Methods Appl Mech Eng 85:273); J ln J − J + 1, whose
        stress is K ln J (Liu, Hofstetter & Mang 1994, Eng Comput 11:491).
    """

    bulk_kPa: float
    measure: str = "linear"

    def __post_init__(self) -> None:
        if not (math.isfinite(self.bulk_kPa) and self.bulk_kPa > 0):
            raise SolverError(
                f"Compressibility: the bulk modulus is {self.bulk_kPa:g} kPa; it must be positive."
            )
        if self.measure not in _FUNCTIONS:
            raise SolverError(
                f"Compressibility: measure '{self.measure}' is unknown; use one of {', '.join(_FUNCTIONS)}."
            )

    def strain(self, J: Any) -> Any:
        """Measure of the volume change that the mixed form is linear in, in UFL."""
        return _FUNCTIONS[self.measure].measure(J)

    def energy(self, J: Any, bulk: Any = None) -> Any:
        """U(J) in kPa; `bulk` replaces K by a coefficient."""
        return _FUNCTIONS[self.measure].energy(J, self.bulk_kPa if bulk is None else bulk)

    def mixed(self, J: Any, pressure: Any, bulk: Any = None) -> Any:
        """Perturbed Lagrangian in kPa; over the pressure, positive in expansion, it is stationary at U(J)."""
        K = self.bulk_kPa if bulk is None else bulk
        return pressure * self.strain(J) - _FUNCTIONS[self.measure].conjugate(pressure, K)
