"""Fung–Demiray tissue: isotropic, and stiffer exponentially with stretch, as collagen straightens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from solver.backend import ufl
from solver.materials.law import Law, isochoric_invariants, positive


@dataclass(frozen=True)
class FungDemiray(Law):
    """Isotropic Fung-type law: W = µ/(2b) (exp(b (Ī1 − 3)) − 1) (Demiray 1972, J Biomech 5:309; after Fung 1967, Am J
    Physiol 213:1532). With b → 0 it is neo-Hookean.

    Parameters
    ----------
    mu_kPa : float
        Shear modulus at rest.
    b : float
        How fast it stiffens.
    """

    mu_kPa: float
    b: float

    def __post_init__(self) -> None:
        positive(self, mu_kPa=self.mu_kPa, b=self.b)

    @property
    def initial_shear_kPa(self) -> float:
        """µ."""
        return self.mu_kPa

    def energy(
        self, F: Any, parameters: Mapping[str, Any] | None = None, fibres: tuple[Any, ...] = ()
    ) -> Any:
        """µ/(2b) (exp(b (Ī1 − 3)) − 1)."""
        values = parameters or self.parameters
        b = values["b"]
        return values["mu_kPa"] / (2 * b) * (ufl.exp(b * (isochoric_invariants(F)[0] - 3)) - 1)
