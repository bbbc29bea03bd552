"""Holzapfel–Gasser–Ogden tissue: a wall with two dispersed families of collagen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from solver.backend import ufl
from solver.errors import SolverError
from solver.materials.law import Law, isochoric_invariants, not_negative, positive, stretching


@dataclass(frozen=True)
class HolzapfelGasserOgden(Law):
    """Artery wall with two dispersed fibre families: W = c/2 (Ī1 − 3) + Σ k1/(2 k2) (exp(k2 E_i²) − 1),
    E_i = κ (Ī1 − 3) + (1 − 3 κ)(I4i − 1), fibres under stretch only (Holzapfel 2000, J Elast 61:1; Gasser
    2006, J R Soc Interface 3:15). Fibre stretches are not split: a split lets them swell (Nolan 2014, J
    Mech Behav Biomed Mater 39:48).

    Parameters
    ----------
    c_kPa, k1_kPa : float
    k2 : float
    kappa : float
        Dispersion, 0 (aligned) to 1/3 (isotropic).
    """

    c_kPa: float
    k1_kPa: float
    k2: float
    kappa: float = 0.0
    fibres: ClassVar[int] = 2

    def __post_init__(self) -> None:
        positive(self, c_kPa=self.c_kPa, k2=self.k2)
        not_negative(self, k1_kPa=self.k1_kPa)
        if not 0 <= self.kappa <= 1 / 3:
            raise SolverError(
                f"HolzapfelGasserOgden: the dispersion κ is {self.kappa:g}; it lies between 0 and 1/3."
            )

    @property
    def initial_shear_kPa(self) -> float:
        """c of the matrix."""
        return self.c_kPa

    def energy(
        self, F: Any, parameters: Mapping[str, Any] | None = None, fibres: tuple[Any, ...] = ()
    ) -> Any:
        """Matrix and two families of fibres."""
        values = parameters or self.parameters
        first, kappa = isochoric_invariants(F)[0], values["kappa"]
        total = values["c_kPa"] / 2 * (first - 3)
        for fibre in fibres:
            stretch = ufl.inner(F * fibre, F * fibre)
            strain = kappa * (first - 3) + (1 - 3 * kappa) * (stretch - 1)
            total += stretching(strain, values["k1_kPa"], values["k2"])
        return total
