"""Elastic constants: from Young's modulus and Poisson's ratio to the ones that laws are written in."""

from __future__ import annotations

from dataclasses import dataclass

from solver.errors import SolverError
from solver.materials.compressibility import Compressibility
from solver.materials.law import positive
from solver.materials.neo_hookean import NeoHookean
from solver.materials.saint_venant_kirchhoff import SaintVenantKirchhoff


@dataclass(frozen=True)
class ElasticConstants:
    """Isotropic tissue at small strain: G = E/(2 (1 + ν)), K = E/(3 (1 − 2ν)), λ = K − 2G/3 (Holzapfel 2000, § 6.5).

    Parameters
    ----------
    young_kPa : float
        Young's modulus E.
    poisson : float
        Poisson's ratio ν, above −1 and below 0.5.

    Raises
    ------
    SolverError
        At ν ≥ 0.5 too: incompressible tissue has no bulk modulus, and a displacement alone cannot hold its volume.
    """

    young_kPa: float
    poisson: float

    def __post_init__(self) -> None:
        positive(self, young_kPa=self.young_kPa)
        if not -1 < self.poisson < 0.5:
            raise SolverError(
                f"ElasticConstants: Poisson's ratio is {self.poisson:g}; it lies above -1 and below 0.5. "
                "Incompressible tissue (0.5) has no finite bulk modulus: use 0.49 to 0.4999 with the mixed "
                "element 'P2-P1'."
            )

    @property
    def shear_kPa(self) -> float:
        """Shear modulus G."""
        return self.young_kPa / (2 * (1 + self.poisson))

    @property
    def bulk_kPa(self) -> float:
        """Bulk modulus K."""
        return self.young_kPa / (3 * (1 - 2 * self.poisson))

    @property
    def lame_kPa(self) -> float:
        """First Lamé constant λ."""
        return self.bulk_kPa - 2 / 3 * self.shear_kPa

    def neo_hookean(self, measure: str = "linear") -> tuple[NeoHookean, Compressibility]:
        """The neo-Hookean law and the compressibility that have these constants at small strain."""
        return NeoHookean(self.shear_kPa), Compressibility(self.bulk_kPa, measure)

    def saint_venant_kirchhoff(self) -> SaintVenantKirchhoff:
        """The Saint Venant–Kirchhoff law with these constants."""
        return SaintVenantKirchhoff(self.lame_kPa, self.shear_kPa)
