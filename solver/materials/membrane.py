"""Membrane: the capsule of an organ, thin enough to stretch only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from solver.backend import ufl
from solver.materials.law import positive


@dataclass(frozen=True)
class Membrane:
    """Stretch-only incompressible neo-Hookean membrane, W = h µ/2 (tr C_s + 1/det C_s − 3) per area.

    C_s is the right Cauchy–Green tensor of the surface; the thickness follows from incompressibility
    (Holzapfel 2000, § 6.6 in plane stress; Green & Adkins 1970). It has no bending stiffness.

    Parameters
    ----------
    mu_kPa : float
        Shear modulus of the capsule, a third of its Young modulus.
    thickness_mm : float
    """

    mu_kPa: float
    thickness_mm: float

    def __post_init__(self) -> None:
        positive(self, mu_kPa=self.mu_kPa, thickness_mm=self.thickness_mm)

    @property
    def stiffness_kPa_mm(self) -> float:
        """µ h."""
        return self.mu_kPa * self.thickness_mm

    @staticmethod
    def energy(F: Any, normal: Any, stiffness: Any) -> Any:
        """Energy per reference area in kPa mm; `normal` is the reference unit normal, `stiffness` is µ h."""
        C = F.T * F
        trace = ufl.tr(C) - ufl.inner(normal, C * normal)
        cofactor = ufl.cofac(F) * normal
        area_squared = ufl.inner(cofactor, cofactor)
        return stiffness / 2 * (trace + 1 / area_squared - 3)
