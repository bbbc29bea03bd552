"""Ogden tissue: powers of the principal stretches, without eigenvalues."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import roots_jacobi

from solver.errors import SolverError
from solver.materials.law import Law, isochoric_invariants, positive

# Nodes of the quadrature for fractional powers: 1e-9 relative for squared stretches between 1/4 and 4.
_POWER_NODES = 10


def _power_trace(first: Any, second: Any, exponent: float) -> Any:
    """Trace of C̄^exponent from the invariants of an isochoric C̄ (det C̄ = 1), without its eigenvalues.

    x^(−f) = 2 sin(πf)/π ∫ (1−s)^(−f) (1+s)^(f−1) / [(1−s) + (1+s) x] ds over −1…1 for 0 < f < 1, by
    Gauss–Jacobi quadrature (Higham 2008, Functions of Matrices, § 7.3.1). The trace of C̄ⁿ (a I + b C̄)⁻¹
    at each node is rational in the invariants. The result is smooth where stretches coincide, at rest above
    all; formulas through eigenvalues are not. The invariants of the inverse of C̄ are its own exchanged.
    """
    if exponent < 0:
        first, second = second, first
    whole = math.ceil(abs(exponent) - 1e-12)
    fraction = whole - abs(exponent)
    if fraction < 1e-9:
        return _powers([3.0, first, first**2 - 2 * second], first, second, whole)
    # Where the two exponents add up to −1, SciPy divides 0 by 0 in an entry that it does not use.
    with np.errstate(invalid="ignore"):
        nodes, weights = roots_jacobi(_POWER_NODES, -fraction, fraction - 1)
    total: Any = 0.0
    for s, w in zip(nodes.tolist(), weights.tolist(), strict=True):
        a, b = 1 - s, 1 + s
        parts = [
            3 * a**2 + 2 * a * b * first + b**2 * second,
            a**2 * first + 2 * a * b * second + 3 * b**2,
            a**2 * (first**2 - 2 * second) + a * b * (first * second - 3) + b**2 * first,
        ]
        determinant = a**3 + a**2 * b * first + a * b**2 * second + b**3
        total = total + w * _powers(parts, first, second, whole) / determinant
    return 2 * math.sin(math.pi * fraction) / math.pi * total


def _powers(traces: list[Any], first: Any, second: Any, power: int) -> Any:
    """Trace of M C̄^power from those of M, M C̄ and M C̄², by the theorem of Cayley and Hamilton."""
    while len(traces) <= power:
        traces.append(first * traces[-1] - second * traces[-2] + traces[-3])
    return traces[power]


@dataclass(frozen=True)
class Ogden(Law):
    """Ogden: W = Σ 2 µ_p/α_p² (λ̄1^α_p + λ̄2^α_p + λ̄3^α_p − 3) in the isochoric principal stretches (Ogden 1972, Proc
    R Soc A 326:565; scaled as in Miller & Chinzei 2002, J Biomech 35:483, so that Σ µ_p is the shear
    modulus).

    Its exponents are compiled into its kernels, which only the reference tier allows for.

    Parameters
    ----------
    mu_kPa : tuple of float
        Positive, one a term.
    alpha : tuple of float
        Exponents, not zero.
    """

    mu_kPa: tuple[float, ...]
    alpha: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.alpha or len(self.alpha) != len(self.mu_kPa):
            raise SolverError("Ogden: give as many exponents α as moduli µ, and at least one.")
        positive(self, **{f"µ{i + 1}": mu for i, mu in enumerate(self.mu_kPa)})
        for exponent in self.alpha:
            if not (math.isfinite(exponent) and abs(exponent) > 1e-6):
                raise SolverError(f"Ogden: an exponent α is {exponent:g}; it must be finite and not zero.")

    @property
    def parameters(self) -> dict[str, float]:
        """The moduli."""
        return {f"mu{i + 1}_kPa": float(mu) for i, mu in enumerate(self.mu_kPa)}

    @property
    def structure(self) -> tuple[float, ...]:
        """The exponents."""
        return self.alpha

    @property
    def initial_shear_kPa(self) -> float:
        """Σ µ_p."""
        return float(sum(self.mu_kPa))

    def energy(
        self, F: Any, parameters: Mapping[str, Any] | None = None, fibres: tuple[Any, ...] = ()
    ) -> Any:
        """Sum over the terms."""
        exponents = getattr(self, "alpha", None)
        if exponents is None:
            raise SolverError("Ogden tissue cannot be used live: its exponents are part of its kernel.")
        values = parameters or self.parameters
        first, second = isochoric_invariants(F)
        return sum(
            2 * values[f"mu{i + 1}_kPa"] / a**2 * (_power_trace(first, second, a / 2) - 3)
            for i, a in enumerate(exponents)
        )
